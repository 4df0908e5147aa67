"""The loaders of the two open sets, on small copies of their layouts made of rendered faces, quirks included."""

import numpy as np
import pytest
import torch
from open_copies import EXPRESSION_ROWS, FACES, POINTS, encoded, gray, make_expressions, make_keypoints
from PIL import Image

from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.crops import to_original
from mtl_lib.faces.expressions import load_expressions
from mtl_lib.faces.keypoints import load_keypoints
from mtl_lib.faces.reading import person_of
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.tiers import check_tier, load_tier


@pytest.fixture
def root(tmp_path):
    make_expressions(tmp_path)
    make_keypoints(tmp_path)
    return tmp_path


# ---- what is found


def test_expressions_are_read_and_everything_left_out_is_counted(root):
    faces, report = load_expressions(root, size=48)
    assert faces.counts() == {"anger": 1, "happiness": 1, "neutral": 3, "sadness": 1, "surprise": 1}
    assert faces.images.shape == (7, 1, 48, 48) and faces.images.dtype == torch.uint8
    assert faces.persons == ("Ann_Lee", "Ann_Lee", "Bo_Chu", "Bo_Chu", "Cy", "Dee_Fox", "Jo")
    left_out = {reason.split(":")[0]: len(names) for reason, names in report.left_out.items()}
    assert left_out == {
        "repeated rows": 1,
        "rows that give one picture different labels": 2,
        "files without a label": 1,
        "labelled fear": 1,
        "labelled contempt": 1,
        "the same bytes under a second name": 1,
        "from colour film frames (this source would give away the label)": 3,
    }
    # The account closes: every row is either a picture or has a reason.
    assert report.rows == len(EXPRESSION_ROWS)
    assert report.kept + sum(left_out.values()) - left_out["files without a label"] == report.rows
    assert len(report.notes["labels not in lower case, folded"]) == 4
    assert report.notes["not square, padded by their border"] == ["Cy-3b.jpg"]


def test_the_pixels_are_those_of_the_file(root):
    faces, _ = load_expressions(root, size=64)
    original = np.asarray(Image.open(root / "facial_expressions/images/Ann_Lee_0001.jpg"))
    assert np.array_equal(faces.images[0, 0].numpy(), original)
    webp = np.asarray(Image.open(root / "facial_expressions/images/Bo_Chu_0001.jpg").convert("L"))
    assert np.array_equal(faces.images[2, 0].numpy(), webp)


def test_all_sources_bring_the_sixth_class(root):
    faces, _ = load_expressions(root, size=32, source="all")
    assert faces.counts() == {
        "anger": 1,
        "disgust": 1,
        "happiness": 2,
        "neutral": 3,
        "sadness": 2,
        "surprise": 1,
    }
    few, _ = load_expressions(root, size=32, source="all", classes=("fear", "contempt"))
    assert few.counts() == {"fear": 1, "contempt": 1}


def test_the_same_bytes_with_two_labels_are_both_left_out(root):
    table = root / "facial_expressions/data/legend.csv"
    table.write_text(table.read_text().replace("Hal_0001.jpg,happiness", "Hal_0001.jpg,anger"))
    faces, report = load_expressions(root, size=32)
    assert faces.counts()["happiness"] == 0
    assert len(report.left_out["the same bytes under two names with two labels"]) == 2


def test_key_points_are_pooled_cropped_and_mapped(root):
    faces, report = load_keypoints(root, size=96)
    assert len(faces) == 7 and report.rows == 8
    assert len(report.left_out["the same bytes a second time"]) == 1
    assert report.notes["with landmarks outside the picture, kept"] == ["training/Kim_Po_00.jpg"]
    assert faces.persons == ("Ann_Lee",) * 3 + ("Kim_Po",) * 2 + ("Ann_Lee", "Lou_Ra")
    assert faces.extra["part"].tolist() == [0] * 5 + [1] * 2
    kept = [0, 1, 2, 3, 4, 5, 7]
    truth = POINTS[kept].clone()
    truth[3] -= torch.tensor([14.0, 0.0])
    back = to_original(faces.landmarks, faces.extra["crop"], 96)
    assert (back - truth).abs().max() < 0.01  # two decimals in the file
    assert faces.landmarks.min() > 0 and faces.landmarks.max() < 95


def test_cropped_pixels_lie_under_the_cropped_landmarks(root):
    # Sample the original at the landmarks and the crop at the mapped ones: the same brightness.
    faces, _ = load_keypoints(root, size=96)
    for k, number in ((0, 0), (1, 1), (5, 5)):
        grid = POINTS[number] / 31.5 - 1
        there = torch.nn.functional.grid_sample(
            FACES[number][None].float(), grid[None, None], align_corners=True
        )
        grid = faces.landmarks[k] / 47.5 - 1
        here = torch.nn.functional.grid_sample(
            faces.images[k][None].float(), grid[None, None], align_corners=True
        )
        inner = slice(27, 36)
        assert (there - here)[0, 0, 0, inner].abs().mean() < 6


def test_a_folder_may_be_named_itself(root):
    assert len(load_expressions(root / "facial_expressions", size=32)[0]) == 7
    assert len(load_keypoints(root / "P1_Facial_Keypoints", size=32)[0]) == 7


def test_the_tier_and_its_report(root):
    sets = load_tier("open", root, pixels=32)
    assert sets["expression"].labels is not None and sets["landmarks"].landmarks is not None
    parts = split_by_person(list(sets.values()), (0.5, 0.5))
    who = [{f.persons[i] for f, p in zip(sets.values(), parts, strict=True) for i in p[k]} for k in (0, 1)]
    assert not who[0] & who[1]
    text = str(check_tier("open", root))
    assert "1 persons are in both sets (2 and 4 of their pictures)" in text
    for fact in (
        "neutral 3",
        "7 pictures kept",
        "1 files without a label",
        "5 persons",
    ):
        assert fact in text
    assert len(load_tier("open", root, size=3, pixels=32)["expression"]) == 3


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("George_W_Bush_0001.jpg", "George_W_Bush"),
        ("Valerie_Harper_30.jpg", "Valerie_Harper"),
        ("Kate-12.jpg", "Kate"),
        ("Kate_7b.jpg", "Kate"),
        ("Lin_Yi-fu_0001.jpg", "Lin_Yi-fu"),
        ("Solo.jpg", "Solo"),
    ],
)
def test_people_are_known_by_their_files(name, person):
    assert person_of(name) == person


# ---- the cache


def same(a: FaceSet, b: FaceSet) -> bool:
    tensors = [(a.images, b.images), *((a.extra[k], b.extra[k]) for k in a.extra)]
    tensors += [(x, y) for x, y in ((a.labels, b.labels), (a.landmarks, b.landmarks)) if x is not None]
    return all(torch.equal(x, y) for x, y in tensors) and (a.persons, a.classes) == (b.persons, b.classes)


@pytest.mark.parametrize("load", [load_expressions, load_keypoints])
def test_the_cache_gives_back_what_was_read(root, tmp_path, load, monkeypatch):
    cache = tmp_path / "cache"
    first, report = load(root, size=32, cache=cache)
    assert same(first, load(root, size=32)[0])
    # A second time no picture is opened.
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *_: pytest.fail("a picture was opened"))
        again, told = load(root, size=32, cache=cache)
    assert same(first, again) and str(told) == str(report)
    # Another setting or a changed file is another entry.
    load(root, size=40, cache=cache)
    assert len(list(cache.iterdir())) == 2
    victim = next(
        f for f in sorted(root.rglob("*_0*.jpg")) if ("data" in f.parts) == (load is load_keypoints)
    )
    victim.write_bytes(encoded(gray(23), "PNG"))
    assert not same(load(root, size=32, cache=cache)[0], first)


def test_a_damaged_cache_is_made_anew(root, tmp_path):
    cache = tmp_path / "cache"
    first, _ = load_keypoints(root, size=32, cache=cache)
    [file] = cache.iterdir()
    for damage in (b"", b"\x00" * 40, file.read_bytes()[:-30]):
        file.write_bytes(damage)
        assert same(load_keypoints(root, size=32, cache=cache)[0], first)


def test_pictures_without_key_points_are_counted(root):
    extra = root / "P1_Facial_Keypoints/data/training/Stray_00.jpg"
    extra.write_bytes(encoded(gray(9), "JPEG"))
    assert load_keypoints(root, size=32)[1].left_out["files without key points"] == ["training/Stray_00.jpg"]


@pytest.mark.parametrize("setting", [dict(source="colour"), dict(classes=("bored",)), dict(classes=())])
def test_bad_settings_are_refused(root, setting):
    with pytest.raises(ConfigError, match="must be one of|no class is called"):
        load_expressions(root, **setting)
