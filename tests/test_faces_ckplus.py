"""CK+ from rendered twins: the published counts, the last frame, folds by person, damaged copies."""

import math
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from damaged_sets import nothing_is_lost_silently, one_face_for_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from toy_faces import unhooked

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.align import eye_line, turn_picture, turn_points
from mtl_lib.faces.ckplus import NO_LABEL, CKPlus
from mtl_lib.faces.crops import cut, to_original, whole_picture
from mtl_lib.faces.folds import folds
from mtl_lib.faces.small_files import numbers_in
from mtl_lib.faces.twins import ckplus as twin
from mtl_lib.faces.twins.ckplus import write


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("ckplus") / "CK+", size=7, pixels=48, frames=2, seed=1)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    with one_face_for_all(twin):
        return CKPlus(write(tmp_path_factory.mktemp("full") / "CK+", size="full", pixels=24, frames=2))


@pytest.fixture(scope="module")
def faces(full):
    return full.load(size=24)


@pytest.fixture(scope="module")
def sound(small):
    return CKPlus(small).check()


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "CK+")


# ---- what is found


def test_a_full_twin_has_the_published_counts(full, faces):
    faces, report = faces
    assert faces.counts() == {
        "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
    }  # fmt: skip
    assert len(faces) == 327 and len(set(faces.persons)) == 118
    assert report.rows == 593 and len(report.left_out[NO_LABEL]) == 593 - 327 and report.unaccounted() == 0
    assert len({path.name for path in full.images.iterdir() if path.is_dir()}) == 123
    # Nobody poses one emotion twice.
    assert max(Counter(zip(faces.persons, faces.labels.tolist(), strict=True)).values()) == 1
    assert repr(full).endswith("all 327 faces") and "rendered twin of CK+" in repr(full)


@pytest.mark.parametrize("way", ["stratified", "every", "image"])
def test_every_labelled_sequence_is_tested_once_and_nobody_is_on_both_sides(full, faces, way):
    faces, _ = faces
    parts = full.folds(faces, way=way)
    assert len(parts) == 5
    assert sorted(torch.cat([fold.test for fold in parts]).tolist()) == list(range(327))
    for fold in parts:
        assert sorted(torch.cat(fold).tolist()) == list(range(327))
        who = [{faces.persons[i] for i in side} for side in fold]
        assert bool(who[0] & who[1]) == (way == "image")
    if way != "every":
        for fold in parts:
            shares = np.bincount(faces.labels[fold.test], minlength=7) / np.bincount(faces.labels)
            assert np.abs(shares - 0.2).max() < 0.16, "a class is bunched in one fold"
        other = full.folds(faces, way=way, seed=1)
        assert not all(torch.equal(a.test, b.test) for a, b in zip(parts, other, strict=True))


def test_every_kth_person_goes_to_the_same_fold(full, faces):
    faces, _ = faces
    people = sorted(set(faces.persons))
    for i, fold in enumerate(full.folds(faces, way="every")):
        assert {faces.persons[j] for j in fold.test} == set(people[i::5])


def test_folds_that_cannot_be_made_are_refused(faces, small):
    faces, _ = faces
    with pytest.raises(ConfigError, match="must be one of stratified, every, image"):
        folds(faces, 5, "random")
    with pytest.raises(ConfigError, match="at least 2"):
        folds(faces, 1)
    with pytest.raises(DataError, match="cannot be cut into 200 folds"):
        folds(faces, 200)
    few = CKPlus(small).load(size=24)[0]
    with pytest.raises(DataError, match="the rarest class of .* too few for 5 folds"):
        folds(few, 5, "image")
    angry = {faces.persons[i] for i in (faces.labels == 0).nonzero()[:, 0].tolist()}
    first = sorted(angry)[0]
    alone = faces.select(
        [i for i, person in enumerate(faces.persons) if person == first or person not in angry]
    )
    with pytest.raises(DataError, match="would learn without anger"):
        folds(alone, 5, "every")


def test_the_last_frame_is_taken_with_its_label(small):
    ckplus = CKPlus(small, crop="whole")
    faces, _ = ckplus.load(size=32)
    entries = ckplus.entries()
    assert len(entries) == len(faces)
    for i, entry in enumerate(entries):
        subject, sequence = entry.name.split("/")[:2]
        frames = sorted((ckplus.images / subject / sequence).glob("*.png"))
        assert entry.picture == frames[-1] and len(frames) == 2 and faces.persons[i] == f"ckplus-{subject}"
        picture = np.asarray(Image.open(frames[-1]).convert("L"))
        assert np.array_equal(cut(picture, whole_picture(*picture.shape), 32), faces.images[i, 0].numpy())
        text = next((ckplus.emotions / subject / sequence).iterdir()).read_text()
        codes = "anger contempt disgust fear happiness sadness surprise".split()
        assert codes.index(faces.classes[faces.labels[i]]) + 1 == float(text)


def test_folders_named_after_the_archives_are_read_alike(small, tmp_path):
    other = write(tmp_path / "data", size=7, pixels=48, frames=2, seed=1, in_archives=True)
    assert not (other / "Emotion").exists()
    (a, _), (b, _) = CKPlus(small).load(size=32), CKPlus(other).load(size=32)
    assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and a.persons == b.persons
    (c, _) = CKPlus(tmp_path).load(size=32)  # the folder above
    assert torch.equal(a.images, c.images)


def test_a_seed_is_a_twin(small, tmp_path):
    again = write(tmp_path / "again", size=7, pixels=48, frames=2, seed=1)
    other = write(tmp_path / "other", size=7, pixels=48, frames=2, seed=2)
    files = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (small, again)]
    assert files[0] == files[1]
    assert all(
        (small / p).read_bytes() == (again / p).read_bytes() for p in files[0] if (small / p).is_file()
    )
    assert not torch.equal(CKPlus(small).load(size=24)[0].images, CKPlus(other).load(size=24)[0].images)


def test_the_coded_action_units_are_those_that_the_label_requires(full):
    required = {
        "anger": {24}, "contempt": {14}, "disgust": {9, 10}, "fear": {1, 2, 4}, "happiness": {12},
        "sadness": {1, 4, 15}, "surprise": {1, 2, 5},
    }  # fmt: skip
    coded = full.action_units()
    assert len(coded) == 593
    assert 0 in {strength for units in coded.values() for strength in units.values()}
    for entry in full.entries():
        units = set(coded["/".join(entry.name.split("/")[:2])])
        assert required[full.CLASSES[entry.label]] <= units


# ---- the crop


@given(st.integers(0, 200), st.floats(-0.6, 0.6))
@settings(max_examples=30, deadline=None)
def test_points_and_pixels_are_turned_alike(seed, turn):
    x, y = torch.tensor([30.0, 26.0]) + 12 * torch.rand(2, generator=torch.Generator().manual_seed(seed))
    ys, xs = np.mgrid[:64, :70]
    picture = (250 * np.exp(-((xs - x.item()) ** 2 + (ys - y.item()) ** 2) / 8)).astype(np.uint8)
    turned = turn_picture(picture, turn, 34.0, 31.0).astype(float)
    turned[turned < 8] = 0
    found = torch.tensor([(turned * xs).sum(), (turned * ys).sum()]) / turned.sum()
    assert torch.allclose(found.float(), turn_points(torch.stack((x, y)), turn, 34.0, 31.0), atol=0.2)


def test_aligned_eyes_are_level_and_the_way_back_is_known(small):
    ckplus = CKPlus(small)
    assert ckplus.crop == "aligned"
    faces, _ = ckplus.load(size=96)
    turns = []
    for i, entry in enumerate(ckplus.entries()):
        subject, sequence, frame = entry.name.split("/")
        path = ckplus.landmarks / subject / sequence / frame.replace(".png", "_landmarks.txt")
        points = torch.tensor(numbers_in(path, 2))
        turn, x, y = (faces.extra[key][i].item() for key in ("turn", "turn x", "turn y"))
        turned = turn_points(points, turn, x, y)
        assert abs(eye_line(turned)[0]) < 1e-4
        crop = faces.extra["crop"][i]
        inside = (turned + 0.5 - crop[:2]) / crop[2]
        assert inside.min() > 0.14 and inside.max() < 0.86  # 0.2 of the longer side, before it was extended
        back = turn_points(to_original(((inside * 96) - 0.5)[None], crop[None], 96)[0], -turn, x, y)
        assert torch.allclose(back, points, atol=1e-2)
        turns.append(abs(turn))
    assert max(turns) > math.radians(1), "no head was turned, the test says nothing"
    straight = CKPlus(small, crop="landmarks").load(size=96)[0]
    assert not torch.equal(straight.images, faces.images) and "turn" not in straight.extra


def test_without_landmarks_the_whole_frame_is_taken(copy):
    shutil.rmtree(copy / "Landmarks")
    ckplus = CKPlus(copy)
    assert ckplus.crop == "whole" and len(ckplus.load(size=24)[0]) == ckplus.published["all"]
    with pytest.raises(ConfigError, match="no folder Landmarks.*crop='whole'"):
        CKPlus(copy, crop="aligned")
    plain = unhooked("mtl_lib/faces/ckplus.py")
    with pytest.raises(ConfigError, match="must be 'aligned', 'landmarks' or 'whole'"):
        plain.CKPlus(copy, crop="tight")


# ---- what is damaged


def labelled(folder, kind):
    """A file of a labelled sequence: its last frame, its label or the landmarks of its last frame."""
    label = sorted(folder.glob("Emotion/*/*/*_emotion.txt"))[0]
    stem = label.name.removesuffix("_emotion.txt")
    place = label.parent.relative_to(folder / "Emotion")
    return {
        "label": label,
        "frame": folder / "cohn-kanade-images" / place / f"{stem}.png",
        "landmarks": folder / "Landmarks" / place / f"{stem}_landmarks.txt",
    }[kind]


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "label out of range": ("label", lambda p: p.write_text("8.0\n"), r"emotion\.txt: '8\.0' is no emotion; allowed.*1 to 7"),
    "neutral has no class": ("label", lambda p: p.write_text("0\n"), r"emotion\.txt: '0' is no emotion"),
    "half a label": ("label", lambda p: p.write_text("2.5\n"), r"emotion\.txt: '2\.5' is no emotion"),
    "empty label": ("label", lambda p: p.write_text(""), r"emotion\.txt: '' is no emotion"),
    "infinite label": ("label", lambda p: p.write_text("inf"), r"emotion\.txt: 'inf' is no emotion"),
    "binary label": ("label", lambda p: p.write_bytes(b"\xff\xfe\0"), r"emotion\.txt: this is not text"),
    "two labels": (
        "label",
        lambda p: p.with_name(p.name.replace("_00000002_", "_00000001_")).write_text("1"),
        r"2 labels for one sequence",
    ),
    "label renamed": ("label", lambda p: p.rename(p.with_name("label.txt")), r"label\.txt: this is not the name of a label"),
    "last frame missing": ("frame", lambda p: p.unlink(), r"label is of frame 2, but the frames end at 1"),
    "frames missing": (
        "frame",
        lambda p: shutil.rmtree(p.parent),
        r"labelled, but has no frames",
    ),
    "frame cut off": ("frame", cut_in_half, r"\.png: (the picture is damaged|this is not a picture)"),
    "frame renamed": ("frame", lambda p: p.rename(p.with_name("x.png")), r"x\.png: this is not the name of a frame"),
    "67 points": (
        "landmarks",
        lambda p: p.write_text("\n".join(p.read_text().splitlines()[:-1])),
        r"landmarks\.txt: 67 points, 68 expected",
    ),
    "three numbers": ("landmarks", lambda p: p.write_text("1 2 3\n"), r"landmarks\.txt:1: 3 numbers, 2 expected"),
    "a word": (
        "landmarks",
        lambda p: p.write_text(p.read_text().replace("e+01", "x+01", 1)),
        r"landmarks\.txt:1: .* is not 2 numbers",
    ),
    "all points in one place": ("landmarks", lambda p: p.write_text("5 5\n" * 68), r"landmarks\.txt: the eyes .* say crop="),
    "landmarks missing": ("landmarks", lambda p: p.unlink(), r"landmarks\.txt: there is no such file"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_one_clear_message_or_a_counted_omission(copy, damage):
    kind, harm, message = DAMAGE[damage]
    harm(labelled(copy, kind))
    with pytest.raises(DataError, match=message):
        CKPlus(copy).load(size=24)
    faces, report = CKPlus(copy).load(size=24, damaged="leave out")
    assert len(faces) == CKPlus(copy).published["all"] - 1 and report.unaccounted() == 0
    [(reason, names)] = [item for item in report.left_out.items() if item[0] != NO_LABEL]
    assert len(names) == 1 and reason.startswith("damaged") and str(copy) in names[0]
    assert not CKPlus(copy).check().complete()


def test_a_deleted_label_is_an_unlabelled_sequence_and_the_count_says_so(copy):
    before = CKPlus(copy).load(size=24)[1]
    labelled(copy, "label").unlink()
    ckplus = CKPlus(copy)
    report = ckplus.load(size=24)[1]
    assert len(report.left_out[NO_LABEL]) == len(before.left_out[NO_LABEL]) + 1
    wanted = ckplus.published["all"]
    assert not report.complete() and f"{wanted - 1} of {wanted} expected, 1 missing" in str(report)
    assert repr(ckplus).endswith(f"all {wanted - 1} of {wanted} faces")


def test_sequences_without_a_label_need_nothing_else(copy):
    before = CKPlus(copy).load(size=24)[1]
    subject, sequence = before.left_out[NO_LABEL][0].split("/")
    folder = copy / "cohn-kanade-images" / subject / sequence
    for path in folder.iterdir():
        path.unlink()
    (copy / "cohn-kanade-images" / subject / "042").mkdir()
    (copy / "cohn-kanade-images" / subject / "042" / "odd name.png").write_bytes(b"")
    report = CKPlus(copy).load(size=24)[1]
    assert report.complete() and report.unaccounted() == 0 and report.rows == before.rows + 1
    assert report.notes["sequences without frames and label"] == [f"{subject}/{sequence}"]


def test_a_later_frame_is_noted(copy):
    frame = labelled(copy, "frame")
    later = frame.with_name(frame.name.replace("_00000002", "_00000003"))
    shutil.copy(frame, later)
    marks = labelled(copy, "landmarks")
    shutil.copy(marks, marks.with_name(marks.name.replace("_00000002", "_00000003")))
    report = CKPlus(copy).load(size=24)[1]
    assert len(report.notes["the label is not of the last frame, which is taken"]) == 1


def test_counts_of_a_real_copy_are_compared_with_the_published_ones(copy):
    made = CKPlus(copy).published["all"]
    (copy / "RENDERED_TWIN.json").unlink()
    report = CKPlus(copy).check()
    assert report.counts["all"] == (made, 327)
    assert len(report.notes["classes with another number than published"]) == 7


def test_what_is_missing_is_said_with_the_layout(tmp_path, copy):
    shutil.rmtree(copy / "Emotion")
    for place in (tmp_path, copy, tmp_path / "nowhere"):
        with pytest.raises(
            DataError, match=r"cohn-kanade-images/S005/001/\*\.png and Emotion/.*--twin ckplus DIR"
        ):
            CKPlus(place)
    with pytest.raises(DataError, match=r"this is CK\+ without Emotion; expected"):
        CKPlus(copy)


@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_never_crashes_and_never_loses_silently(data, small, sound):
    nothing_is_lost_silently(CKPlus, small, data, sound)


def test_a_twin_is_not_written_over_anything(small):
    with pytest.raises(ConfigError, match="holds something already"):
        write(small)
    with pytest.raises(ConfigError, match="at least 2"):
        write(small / "new", frames=1)
