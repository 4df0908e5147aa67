"""The loaders of the two open sets, on small copies of their layouts made of rendered faces, quirks included."""

import csv
import io
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mtl_lib import cli
from mtl_lib.errors import ConfigError, DataError, MtlError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.crops import to_original
from mtl_lib.faces.expressions import load_expressions
from mtl_lib.faces.keypoints import load_keypoints
from mtl_lib.faces.reading import person_of
from mtl_lib.faces.render import render_faces
from mtl_lib.faces.sheet import LOOKS, _choice, augmentation_sheet, augmented
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.tiers import check_tier, load_tier
from mtl_lib.landmarks import FLIP_68
from mtl_lib.transforms import augment

FACES, POINTS = render_faces(torch.arange(24), size=64, style="wild", occlusion=0.0)
HEADER = ["", *map(str, range(136))]

EXPRESSION_ROWS = [
    ("302", "Ann_Lee_0001.jpg", "happiness"),
    ("302", "Ann_Lee_0002.jpg", "neutral"),
    ("302", "Bo_Chu_0001.jpg", "anger"),
    ("dw", "Bo_Chu_0002.jpg", "sadness"),
    ("dw", "Cy-3b.jpg", "surprise"),
    ("dw", "Dee_Fox_0001.jpg", "neutral"),
    ("dw", "Dee_Fox_0001.jpg", "neutral"),  # a repeated row
    ("dw", "Eve_0001.jpg", "neutral"),
    ("dw", "Eve_0001.jpg", "sadness"),  # one picture, two labels
    ("dw", "Flo_0001.jpg", "fear"),
    ("dw", "Gus_0001.jpg", "contempt"),
    ("dw", "Hal_0001.jpg", "happiness"),  # the same bytes as Ann_Lee_0001
    ("film", "Ida_01.jpg", "DISGUST"),
    ("film", "Ida_02.jpg", "SADNESS"),
    ("film", "Ida_03.jpg", "HAPPINESS"),  # gray, but from the colour source
    ("dw", "Jo_0001.jpg", "Neutral"),
]


def gray(number: int) -> Image.Image:
    return Image.fromarray(FACES[number, 0].numpy())


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_expressions(root):
    folder = root / "facial_expressions"
    (folder / "data").mkdir(parents=True)
    (folder / "images").mkdir()
    write_rows(folder / "data/legend.csv", [("user.id", "image", "emotion"), *EXPRESSION_ROWS])
    for number, name in enumerate(dict.fromkeys(row[1] for row in EXPRESSION_ROWS)):
        (folder / "images" / name).write_bytes(encoded(gray(number), "JPEG"))
    images = folder / "images"
    (images / "Hal_0001.jpg").write_bytes((images / "Ann_Lee_0001.jpg").read_bytes())
    (images / "Bo_Chu_0001.jpg").write_bytes(encoded(gray(2).convert("RGB"), "WEBP"))
    (images / "Cy-3b.jpg").write_bytes(encoded(gray(4).crop((0, 4, 64, 54)), "PNG"))
    for number, name in ((20, "Ida_01.jpg"), (21, "Ida_02.jpg")):
        tinted = Image.merge("RGB", (gray(number), gray(number).point(lambda v: v // 2), gray(number)))
        (images / name).write_bytes(encoded(tinted, "JPEG"))
    (images / "nobody_labelled_me.jpg").write_bytes(encoded(gray(22), "JPEG"))
    (images / ".DS_Store").write_bytes(b"not a picture")
    return folder


KEYPOINT_NAMES = {
    "training": ["Ann_Lee_00.jpg", "Ann_Lee_01.jpg", "Ann_Lee_10.jpg", "Kim_Po_00.jpg", "Kim_Po_01.jpg"],
    "test": ["Ann_Lee_00.jpg", "Kim_Po_01.jpg", "Lou_Ra_22.jpg"],
}


def make_keypoints(root):
    folder = root / "P1_Facial_Keypoints" / "data"
    number = 0
    for part, names in KEYPOINT_NAMES.items():
        (folder / part).mkdir(parents=True)
        rows = [HEADER]
        for name in names:
            picture, points = gray(number), POINTS[number].clone()
            kind = picture.convert("RGBA") if number % 2 == 0 else picture
            (folder / part / name).write_bytes(encoded(kind, "PNG" if number % 2 == 0 else "JPEG"))
            if (part, name) == ("training", "Kim_Po_00.jpg"):
                points -= torch.tensor([14.0, 0.0])  # some of its points leave the picture
            rows.append([name, *(f"{v:.2f}" for v in points.flatten().tolist())])
            number += 1
        write_rows(folder / f"{part}_frames_keypoints.csv", rows)
    # One picture twice, in both parts, as in the real set.
    (folder / "test/Kim_Po_01.jpg").write_bytes((folder / "training/Kim_Po_01.jpg").read_bytes())
    return folder


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


def test_landmarks_stay_where_they_should_under_every_augmentation(root, tmp_path):
    # What lies under a landmark stays under it: the same brightness, of its mirror image the partner's.
    faces, _ = load_keypoints(root, size=96)

    def under(some: FaceSet) -> torch.Tensor:
        grid = some.landmarks / (some.size - 1) * 2 - 1
        return torch.nn.functional.grid_sample(some.images.float(), grid[:, None], align_corners=True)[
            :, 0, 0
        ]

    before = under(faces)
    looks = dict(augmented(faces))
    for name, look in looks.items():
        inside = ((look.landmarks >= 0) & (look.landmarks <= 95)).all(-1)
        assert inside.float().mean() > 0.8 and look.landmarks.shape == faces.landmarks.shape
        moved = (look.landmarks - faces.landmarks).norm(dim=-1).mean()
        assert moved < 1e-4 if name in ("as it is", "noise") else moved > 1, name
        # Left stays left, also in the mirror: the eyes' outer corners.
        assert bool((look.landmarks[:, 36, 0] < look.landmarks[:, 45, 0]).all()), name
        if name == "as in training":  # some are mirrored, some are not
            continue
        expected = before[:, list(FLIP_68)] if name == "mirrored" else before
        gap = (under(look) - expected)[:, 17:][inside[:, 17:]].abs().mean()
        assert gap < 4, (name, gap)
        assert (
            name in ("as it is", "noise")
            or (under(replace(look, landmarks=faces.landmarks)) - before)[:, 17:].abs().mean() > 5 * gap
        ), name
    # No augmentation is left out: every setting of augment is switched on in some column.
    settings = {p.name for p in signature(augment).parameters.values() if p.kind == p.KEYWORD_ONLY}
    for setting in settings:
        assert any(look.get(setting) != LOOKS["as it is"][setting] for look in list(LOOKS.values())[1:-1])
    assert LOOKS["as in training"] == {}
    sheet = np.asarray(augmentation_sheet(faces, 3, side=96))
    cells = [(22 + 102 * row, 6 + 102 * column) for row in range(3) for column in range(len(looks))]
    assert sheet.shape == (22 + 3 * 102, len(looks) * 102 + 6, 3)
    chosen = faces.select(_choice(faces, 3, 0))
    drawn = list(dict(augmented(chosen)).values())
    for number, (y, x) in enumerate(cells):
        points = drawn[number % len(looks)].landmarks[number // len(looks)].round().long()
        for px, py in points[((points >= 1) & (points <= 94)).all(-1)].tolist():
            assert tuple(sheet[y + py, x + px]) == (255, 196, 0)


def test_the_command_shows_every_augmentation_of_the_open_faces(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "s.png"
    command = ["data", "show", "--tier", "open", "--root", str(root), "--augmented", "--faces", "2"]
    assert cli.main([*command, "--out", str(out)]) == 0
    sheets = [np.asarray(Image.open(path)) for path in (out, out.with_name("s-landmarks.png"))]
    yellow = [(sheet == (255, 196, 0)).all(-1).sum() for sheet in sheets]
    assert sheets[0].shape[1] == sheets[1].shape[1] == len(LOOKS) * 150 + 6
    assert yellow[0] == 0 and yellow[1] > 2 * len(LOOKS) * 40


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


# ---- damaged copies: one clear message each


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut_in_half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


EXPRESSION_DAMAGE = {
    "picture missing": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").unlink(),
        r"legend\.csv:5: names the picture .*Bo_Chu_0002\.jpg: there is no such file; download",
    ),
    "picture cut off": (
        lambda f: cut_in_half(f / "images/Bo_Chu_0002.jpg"),
        r"legend\.csv:5: .*Bo_Chu_0002\.jpg: the picture is damaged .*download it again",
    ),
    "no picture at all": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").write_text("<html>404</html>"),
        r"legend\.csv:5: .*Bo_Chu_0002\.jpg: this is not a picture; download it again",
    ),
    "empty picture": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").write_bytes(b""),
        r"legend\.csv:5: .*this is not a picture",
    ),
    "unknown label": (
        lambda f: edit(f / "data/legend.csv", "anger", "boredom"),
        r"legend\.csv:4: the label 'boredom' is unknown; allowed are anger, contempt",
    ),
    "missing column": (
        lambda f: edit(f / "data/legend.csv", "emotion", "mood"),
        r"legend\.csv:1: no column emotion; the first line should be user\.id,image,emotion",
    ),
    "too few fields": (
        lambda f: edit(f / "data/legend.csv", "Bo_Chu_0001.jpg,anger", "Bo_Chu_0001.jpg"),
        r"legend\.csv:4: 2 fields, 3 expected",
    ),
    "path for a name": (
        lambda f: edit(f / "data/legend.csv", "Bo_Chu_0001.jpg", "../x.jpg"),
        r"legend\.csv:4: '\.\./x\.jpg' is not the name of a picture",
    ),
    "no table": (lambda f: (f / "data/legend.csv").unlink(), r"legend\.csv: the table of labels is missing"),
    "table without rows": (
        lambda f: (f / "data/legend.csv").write_text("user.id,image,emotion\n"),
        r"legend\.csv: the table has no rows",
    ),
    "empty table": (lambda f: (f / "data/legend.csv").write_text(""), r"legend\.csv:1: no column user\.id"),
    "not text": (lambda f: (f / "data/legend.csv").write_bytes(b"\xff\xfe\x00a"), r"not UTF-8 text"),
    "empty folder": (
        lambda f: [p.unlink() for p in (f / "images").iterdir()],
        r"images: the folder is empty; it should hold the pictures",
    ),
}


@pytest.mark.parametrize("damage", EXPRESSION_DAMAGE)
def test_damaged_expressions_end_in_one_clear_message(tmp_path, damage):
    folder = make_expressions(tmp_path)
    harm, message = EXPRESSION_DAMAGE[damage]
    harm(folder)
    with pytest.raises(DataError, match=message):
        load_expressions(tmp_path, size=32)


def rewrite(path, line, change):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[line - 1] = change(rows[line - 1])
    write_rows(path, rows)


TRAIN = "training_frames_keypoints.csv"
KEYPOINT_DAMAGE = {
    "67 points": (lambda f: rewrite(f / TRAIN, 3, lambda r: r[:-2]), TRAIN + r":3: 67 points, 68 expected"),
    "69 points": (
        lambda f: rewrite(f / TRAIN, 3, lambda r: [*r, "1", "2"]),
        TRAIN + r":3: 69 points, 68 expected",
    ),
    "missing column": (
        lambda f: rewrite(f / TRAIN, 1, lambda r: r[:-1]),
        TRAIN + r":1: 136 columns; 137 are expected",
    ),
    "a word for a number": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [*r[:5], "ten", *r[6:]]),
        TRAIN + r":4: a coordinate is not a number \(.*'ten'\)",
    ),
    "not a number": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [*r[:5], "nan", *r[6:]]),
        TRAIN + r":4: a coordinate is not finite",
    ),
    "no eyes": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [r[0]] + ["9"] * 136),
        TRAIN + r":4: both eyes are in one",
    ),
    "far outside": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [r[0]] + [str(float(v) + 500) for v in r[1:]]),
        TRAIN + r":4: Ann_Lee_10\.jpg: the face's square .* lies outside the picture",
    ),
    "two shapes": (
        lambda f: rewrite(f / TRAIN, 3, lambda r: ["Ann_Lee_00.jpg", *r[1:]]),
        TRAIN + r":3: Ann_Lee_00\.jpg has two different shapes",
    ),
    "picture missing": (
        lambda f: (f / "test/Lou_Ra_22.jpg").unlink(),
        r"test_frames_keypoints\.csv:4: .*Lou_Ra_22\.jpg: there is no such file",
    ),
    "picture cut off": (
        lambda f: cut_in_half(f / "training/Ann_Lee_01.jpg"),
        TRAIN + r":3: .*Ann_Lee_01\.jpg: the picture is damaged",
    ),
    "no table": (lambda f: (f / TRAIN).unlink(), TRAIN + r": the table of key points is missing"),
    "empty folder": (
        lambda f: [p.unlink() for p in (f / "test").iterdir()],
        r"test: the folder is empty",
    ),
}


@pytest.mark.parametrize("damage", KEYPOINT_DAMAGE)
def test_damaged_key_points_end_in_one_clear_message(tmp_path, damage):
    folder = make_keypoints(tmp_path)
    harm, message = KEYPOINT_DAMAGE[damage]
    harm(folder)
    with pytest.raises(DataError, match=message):
        load_keypoints(tmp_path, size=32)


def test_pictures_without_key_points_are_counted(root):
    extra = root / "P1_Facial_Keypoints/data/training/Stray_00.jpg"
    extra.write_bytes(encoded(gray(9), "JPEG"))
    assert load_keypoints(root, size=32)[1].left_out["files without key points"] == ["training/Stray_00.jpg"]


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_never_crashes_and_never_loses_silently(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    make_expressions(root)
    make_keypoints(root)
    files = sorted(f for f in root.rglob("*") if f.is_file() and not f.name.startswith("."))
    victim = data.draw(st.sampled_from(files))
    content = victim.read_bytes()
    kind = data.draw(st.sampled_from(["delete", "truncate", "garble", "rename"]))
    if kind == "delete":
        victim.unlink()
    elif kind == "truncate":
        victim.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    elif kind == "garble":
        at = data.draw(st.integers(0, len(content) - 1))
        victim.write_bytes(content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :])
    else:
        victim.rename(victim.with_name("renamed" + victim.suffix))
    for load in (load_expressions, load_keypoints):
        try:
            faces, report = load(root, size=24)
        except MtlError as error:
            assert str(root) in str(error)
        else:
            unused_files = ("files without a label", "files without key points")
            rows = sum(len(v) for k, v in report.left_out.items() if k not in unused_files)
            assert report.kept + rows == report.rows and len(faces) == report.kept


@pytest.mark.parametrize("setting", [dict(source="colour"), dict(classes=("bored",)), dict(classes=())])
def test_bad_settings_are_refused(root, setting):
    with pytest.raises(ConfigError, match="must be one of|no class is called"):
        load_expressions(root, **setting)
