"""Menpo, on a small rendered twin of its layout and on damaged copies of that."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_sets import damage_settings, nothing_is_lost_silently
from hypothesis import given
from hypothesis import strategies as st

from mtl_lib.errors import DataError
from mtl_lib.faces.crops import MARGIN, to_original
from mtl_lib.faces.marks import MARK
from mtl_lib.faces.menpo import PROFILES, Menpo
from mtl_lib.faces.pts import read_pts, write_pts
from mtl_lib.faces.twins.common import part_counts
from mtl_lib.faces.twins.menpo import FULL, SMALL, write

KEPT_APART = "train profiles with 39 points, kept apart"


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("twins") / "menpo", pixels=48)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("twins") / "tiny", size=1, pixels=24)


@pytest.fixture(scope="module")
def sound(tiny):
    return Menpo(tiny).check()


@pytest.fixture
def copy(twin, tmp_path) -> Path:
    return shutil.copytree(twin, tmp_path / "menpo")


def test_the_published_numbers():
    assert Menpo.PUBLISHED == {"train": 5658, "test": 5335} and PROFILES == 1906
    assert part_counts(FULL, "full", SMALL) == {"train": 5658, "profile": 1906, "test": 5335}


def points_in(file: Path) -> int:
    return len(re.findall(r"^-?[\d.]+ -?[\d.]+$", file.read_text(), re.MULTILINE))


def test_the_flat_folder_is_sorted_out_by_the_number_of_points(twin):
    files = sorted((twin / "menpo_train_release").glob("*.pts"))
    kinds = [points_in(file) for file in files]
    assert sorted(set(kinds)) == [39, 68]
    menpo = Menpo(twin)
    faces, report = menpo.load("train", size=48)
    assert report.rows == len(files) and len(faces) == kinds.count(68) == SMALL["train"]
    assert len(report.left_out[KEPT_APART]) == kinds.count(39) == SMALL["profile"]
    assert [entry.picture.stem for entry in menpo.entries("train")] == [
        file.stem for file, kind in zip(files, kinds, strict=True) if kind == 68
    ]
    profiles = menpo.profiles()
    assert [p.stem for p, _ in profiles] == [f.stem for f, k in zip(files, kinds, strict=True) if k == 39]
    assert all(points.shape == (39, 2) for _, points in profiles)
    report = menpo.check()
    assert report.counts == {"train": (12, 12), "test": (6, 6), "profile": (4, 4)} and report.complete()


def test_landmarks_come_back_and_fill_the_crop_as_the_box_rule_says(twin):
    menpo = Menpo(twin)
    faces, _ = menpo.load(size=96)
    back = to_original(faces.landmarks, faces.extra["crop"], 96)
    for entry, points in zip(menpo.entries(), back, strict=True):
        torch.testing.assert_close(points, read_pts(entry.picture.with_suffix(".pts")), rtol=0, atol=1e-2)
    extent = (faces.landmarks.amax(1) - faces.landmarks.amin(1)).amax(1)
    assert np.allclose(extent, 96 / (1 + 2 * MARGIN), atol=1e-3)
    assert len(set(faces.persons)) == len(faces)


def test_where_it_may_lie(twin, tmp_path):
    assert repr(Menpo(twin.parent)).startswith("rendered twin of Menpo 2D in ")
    flat = Menpo(twin / "menpo_train_release")  # the folder of pictures itself; the test release beside it
    assert len(flat.load(size=24)[0]) == 18 and repr(flat).startswith("rendered twin")
    shutil.copytree(twin / "menpo_train_release", tmp_path / "x" / "menpo_challenge_trainset")
    alone = Menpo(tmp_path / "x")
    assert alone.check().counts == {"train": (12, 5658), "profile": (4, 1906)}
    with pytest.raises(DataError, match="there is no test release here"):
        alone.load("test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Menpo 2D is not here; expected is one flat folder"):
        Menpo(tmp_path / "empty")


def test_profiles_in_the_test_release_are_kept_apart_too(copy):
    release = copy / "testset" / "profile"
    release.mkdir()
    for file in (copy / "menpo_train_release").glob("*p.*"):
        file.rename(release / file.name)
    report = Menpo(copy).check()
    assert len(report.left_out["test profiles with 39 points, kept apart"]) == 4
    assert report.counts["profile"] == (0, 4) and not report.complete() and report.unaccounted() == 0
    assert len(Menpo(copy).profiles("test")) == 4 and not Menpo(copy).profiles()


def test_another_number_of_points_is_damage(copy):
    write_pts(copy / "menpo_train_release/image00002.pts", torch.rand(29, 2))
    with pytest.raises(DataError, match=r"image00002\.pts: 29 points, 68 or 39 expected"):
        Menpo(copy).load("train", size=24)
    assert Menpo(copy).check().counts["train"] == (11, 12)


def test_a_test_release_without_landmarks_says_so(copy):
    for file in (copy / "testset/semifrontal").glob("*.pts"):
        file.unlink()
    with pytest.raises(DataError, match=r"there is no image00000\.pts beside this picture"):
        Menpo(copy).load("test", size=24)
    report = Menpo(copy).check()
    assert len(report.left_out["pictures without landmarks"]) == 6 and report.counts["train"] == (12, 12)


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(tiny, sound, data):
    nothing_is_lost_silently(Menpo, tiny, data, sound, harms=3)


def test_a_lost_profile_is_missed(copy):
    victim = copy / "menpo_train_release/image00001p"
    for ending in (".jpg", ".pts"):
        victim.with_suffix(ending).unlink()
    report = Menpo(copy).check()
    assert report.counts["profile"] == (3, 4) and not report.complete()
    assert "profile: 3 of 4 expected, 1 missing" in str(report)
    (copy / MARK).unlink()
    assert "profile: 3 of 1906 expected" in str(Menpo(copy).check())


def test_the_pictures_of_profiles_are_looked_at_too(copy):
    (copy / "menpo_train_release/image00001p.jpg").write_bytes(b"\xff\xd8")
    report = Menpo(copy).check()
    [name] = report.notes["damaged pictures of profiles"]
    assert "image00001p.jpg: " in name and not report.sound() and report.counts["profile"] == (3, 4)
