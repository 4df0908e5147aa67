"""300-W's boxes: joined by name, checked, and never the reason for which a face is lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat
from test_faces_300w import by_hand

from mtl_lib.errors import DataError
from mtl_lib.faces.three_hundred_w import FACES, ThreeHundredW, read_boxes
from mtl_lib.faces.twins.three_hundred_w import SMALL, write

TOTAL = sum(SMALL.values())


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("twins") / "300w", pixels=48)


@pytest.fixture
def copy(twin, tmp_path) -> Path:
    return shutil.copytree(twin, tmp_path / "300w")


def test_the_paper_box_rule_on_the_owners_boxes(twin):
    faces = ThreeHundredW(twin)
    loaded, _ = faces.load("challenging", size=32)
    cells = loadmat(twin / "Bounding_Boxes/bounding_boxes_ibug.mat")["bounding_boxes"]
    names = [str(cells[0, i][0, 0][0][0]) for i in range(cells.shape[1])]
    assert len(names) > SMALL["ibug"], "the file goes on with other names, as the real one does"
    for entry, (left, top, side) in zip(
        faces.entries("challenging"), loaded.extra["crop"].tolist(), strict=True
    ):
        x1, y1, x2, y2 = cells[0, names.index(entry.picture.name)][0, 0][1][0]
        longest = max(x2 - x1, y2 - y1)
        assert side == pytest.approx(1.4 * longest, rel=1e-5)
        # From pixel centres counted from 1 to edges counted from 0.
        assert left + side / 2 == pytest.approx((x1 + x2) / 2 - 0.5, abs=1e-3)
        assert top + side / 2 == pytest.approx((y1 + y2) / 2 - 0.5, abs=1e-3)


def rewrite_boxes(path: Path, change) -> None:
    cells = loadmat(path)["bounding_boxes"].reshape(-1)
    rows = [(str(c[0, 0][0][0]), c[0, 0][1].astype(float), c[0, 0][2].astype(float)) for c in cells]
    rows = change(rows)
    cells = np.empty((1, len(rows)), dtype=object)
    for i, (name, detector, truth) in enumerate(rows):
        cells[0, i] = {"imgName": name, "bb_detector": detector, "bb_ground_truth": truth}
    savemat(path, {"bounding_boxes": cells})


def test_boxes_are_joined_by_name_not_by_row(copy):
    before, _ = ThreeHundredW(copy).load("challenging", size=32)
    rewrite_boxes(copy / "Bounding_Boxes/bounding_boxes_ibug.mat", lambda rows: rows[::-1])
    after, report = ThreeHundredW(copy).load("challenging", size=32)
    assert torch.equal(before.extra["crop"], after.extra["crop"])
    assert len(report.notes["rows of a box file for faces that are not kept"]) == SMALL["afw"]


def moved(rows):
    name, detector, truth = rows[0]
    return [(name, detector + 1000, truth), *rows[1:]]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda rows: rows[1:], "without a box, cropped by the landmarks"),
        (
            lambda rows: [(rows[0][0], rows[0][1] * np.nan, rows[0][2]), *rows[1:]],
            "without a box, cropped by the",
        ),
        (moved, "whose box lies beside the face, cropped by the landmarks"),
    ],
)
def test_a_face_without_a_usable_box_is_cropped_by_its_landmarks_and_noted(copy, change, note):
    by_landmarks, _ = ThreeHundredW(copy, boxes="landmarks").load("challenging", size=32)
    rewrite_boxes(copy / "Bounding_Boxes/bounding_boxes_ibug.mat", change)
    faces, report = ThreeHundredW(copy).load("challenging", size=32)
    assert len(faces) == SMALL["ibug"]
    [reason] = [reason for reason in report.notes if reason.startswith(note)]
    assert len(report.notes[reason]) == 1
    torch.testing.assert_close(faces.extra["crop"][0], by_landmarks.extra["crop"][0])
    assert not torch.allclose(faces.extra["crop"][1], by_landmarks.extra["crop"][1])


def test_without_any_boxes_no_face_is_lost(copy):
    for file in (copy / "Bounding_Boxes").iterdir():
        file.unlink()
    (copy / "Bounding_Boxes").rmdir()
    report = ThreeHundredW(copy).check()
    assert report.kept == TOTAL and len(report.notes["box files that are missing"]) == len(FACES)
    assert len(report.notes["without a box, cropped by the landmarks"]) == TOTAL
    assert report.complete() and not report.sound()  # a crop that knows the landmarks is no sound test


def test_boxes_that_contradict_one_another(copy):
    path = copy / "Bounding_Boxes/bounding_boxes_ibug.mat"
    rewrite_boxes(path, lambda rows: [*rows, (rows[0][0], rows[0][1] + 5, rows[0][2])])
    with pytest.raises(DataError, match=r"bounding_boxes_ibug\.mat: .* has two different boxes"):
        ThreeHundredW(copy).load("challenging", size=32)
    assert len(ThreeHundredW(copy).check().notes["damaged box files"]) == 1


def test_the_true_boxes_hold_the_landmarks_tightly(twin):
    faces = ThreeHundredW(twin, boxes="truth")
    for entry in faces.entries("common"):
        points = by_hand(entry.picture.with_suffix(".pts"))
        assert np.allclose(entry.box, [*points.min(0), *points.max(0)], atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + b" " * 120, b"\x00" * 500])
def test_a_file_that_holds_no_boxes(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: this is not a file of face boxes"):
        read_boxes(tmp_path / "a.mat")
    savemat(tmp_path / "a.mat", {"boxes": [1, 2]})
    with pytest.raises(DataError, match=r"a\.mat: this is not a file of face boxes"):
        read_boxes(tmp_path / "a.mat")
