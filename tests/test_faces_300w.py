"""300-W, on a small rendered twin of its layout and on damaged copies of that."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_sets import damage_settings, nothing_is_lost_silently
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.crops import to_original
from mtl_lib.faces.dataset import NOT_USED
from mtl_lib.faces.marks import MARK, read_mark
from mtl_lib.faces.pts import pts_text, read_pts, write_pts
from mtl_lib.faces.registry import open_set, reader, twin_writer
from mtl_lib.faces.three_hundred_w import FACES, SOURCES, ThreeHundredW
from mtl_lib.faces.twins.common import part_counts
from mtl_lib.faces.twins.three_hundred_w import SMALL, SPACED, write
from mtl_lib.landmark_subsets import head_turn

TOTAL = sum(SMALL.values())


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("twins") / "300w", pixels=48)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """One or two faces in each folder: enough to break, quick to read."""
    return write(tmp_path_factory.mktemp("twins") / "tiny", size=8, pixels=24)


@pytest.fixture(scope="module")
def sound(tiny):
    return ThreeHundredW(tiny).check()


@pytest.fixture
def copy(twin, tmp_path) -> Path:
    return shutil.copytree(twin, tmp_path / "300w")


# ---- the twin


def test_the_challenging_part_of_the_twin_shows_heads_that_are_turned_further(tmp_path):
    size = {**dict.fromkeys(FACES, 1), "helen/testset": 80, "ibug": 80}
    faces = ThreeHundredW(write(tmp_path / "300w", size=size, pixels=24))
    common, challenging = (faces.load(part, size=24)[0] for part in ("common", "challenging"))
    assert (len(common), len(challenging)) == (81, 80), "as many as were asked for, folder by folder"
    middle = [head_turn(each.landmarks).median().item() for each in (common, challenging)]
    assert middle[1] > 1.3 * middle[0], middle


@pytest.mark.parametrize("size", [{"ibug": 3}, {**SMALL, "ibug": 0}, {**SMALL, "cofw": 2}])
def test_a_size_by_folder_names_every_folder(tmp_path, size):
    with pytest.raises(ConfigError, match="name each of afw, .*ibug with one face or more"):
        write(tmp_path / "300w", size=size)


# ---- what is found


def test_the_published_numbers_add_up():
    published = ThreeHundredW.PUBLISHED
    assert published == {"train": 3148, "common": 554, "challenging": 135}
    assert {part: sum(FACES[s] for s in sources) for part, sources in SOURCES.items()} == published
    assert part_counts(FACES, "full", SMALL) == FACES
    assert published["common"] + published["challenging"] == 689


def by_hand(pts: Path) -> np.ndarray:
    """The points of a file, read without our reader."""
    numbers = re.findall(r"^(-?[\d.]+) (-?[\d.]+)$", pts.read_text(), re.MULTILINE)
    return np.array(numbers, dtype=float) - 1


def test_every_part_is_read_and_the_way_back_leads_to_the_files(twin):
    faces = ThreeHundredW(twin)
    for part, sources in SOURCES.items():
        loaded, report = faces.load(part, size=48)
        entries = faces.entries(part)
        assert len(loaded) == len(entries) == report.rows == sum(SMALL[s] for s in sources)
        assert {str(Path(entry.name).parent) for entry in entries} == set(sources)
        assert report.complete() and report.unaccounted() == 0 and not report.left_out
        back = to_original(loaded.landmarks, loaded.extra["crop"], 48)
        for entry, points in zip(entries, back, strict=True):
            truth = by_hand(entry.picture.with_suffix(".pts"))
            assert np.abs(points.numpy() - truth).max() < 1e-2
            assert Path(twin, entry.name) == entry.picture


def test_the_full_test_set_is_common_and_challenging(twin):
    faces = ThreeHundredW(twin)
    full, report = faces.load("full", size=32)
    common, challenging = (faces.load(part, size=32)[0] for part in ("common", "challenging"))
    assert torch.equal(full.images, torch.cat([common.images, challenging.images]))
    assert full.persons == common.persons + challenging.persons
    assert report.counts == {"common": (8, 8), "challenging": (5, 5)}
    assert set(full.extra["part"].tolist()) == {1, 2}
    everything, _ = faces.load(size=32)
    assert len(everything) == TOTAL


def test_pixels_lie_under_the_landmarks(twin):
    # In the renderer the iris is darker than the skin between the eyes, in crop and original alike; sample both.
    faces = ThreeHundredW(twin)
    loaded, _ = faces.load("challenging", size=96)
    for k, entry in enumerate(faces.entries("challenging")):
        picture = np.asarray(Image.open(entry.picture).convert("L"), dtype=float)
        for point in (27, 30, 33, 8):
            x, y = by_hand(entry.picture.with_suffix(".pts"))[point]
            u, v = loaded.landmarks[k, point].tolist()
            if 1 < x < picture.shape[1] - 2 and 1 < y < picture.shape[0] - 2 and 1 < u < 94 and 1 < v < 94:
                there = picture[int(y) : int(y) + 2, int(x) : int(x) + 2].mean()
                here = loaded.images[k, 0][int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2].float().mean()
                assert abs(there - float(here)) < 30


def test_a_name_with_a_space_and_pictures_of_any_mode(twin):
    entries = {entry.name: entry for entry in ThreeHundredW(twin).entries()}
    spaced = entries[f"ibug/{SPACED}.jpg"]
    assert spaced.person == "300w-ibug/image_092"
    modes = {Image.open(entry.picture).mode for entry in entries.values()}
    assert {"L", "RGB", "RGBA"} <= modes


def test_faces_of_one_picture_are_one_person(twin):
    entries = ThreeHundredW(twin).entries()
    people: dict[str, set[bytes]] = {}
    for entry in entries:
        people.setdefault(entry.person, set()).add(entry.picture.read_bytes())
    assert all(len(contents) == 1 for contents in people.values())
    assert len(people) == len({entry.picture.read_bytes() for entry in entries}) < len(entries)
    report = ThreeHundredW(twin).check()
    assert len(report.notes["pictures that several faces share"]) == len(entries) - len(people)


# ---- where it lies, and what it is


def test_the_folder_or_its_parent_may_be_named(twin, tmp_path):
    assert ThreeHundredW(twin.parent).folder == twin
    shutil.copytree(twin, tmp_path / "faces" / "some other name")
    assert ThreeHundredW(tmp_path / "faces").folder.name == "some other name"
    shutil.copytree(twin, tmp_path / "faces" / "300W")  # a known name goes before another
    assert ThreeHundredW(tmp_path / "faces").folder.name == "300W"
    shutil.copytree(twin, tmp_path / "faces" / "300-w")
    with pytest.raises(DataError, match=r"several folders here look like 300-W \(300-w, 300W\)"):
        ThreeHundredW(tmp_path / "faces")


def test_what_is_not_there_is_answered_with_what_to_do(tmp_path):
    with pytest.raises(DataError) as error:
        ThreeHundredW(tmp_path)
    for words in (str(tmp_path), "expected is", "lfpw/testset", "ibug.doc.ic.ac.uk", "--twin 300w"):
        assert words in str(error.value)
    with pytest.raises(DataError, match="there is no such folder"):
        ThreeHundredW(tmp_path / "gone")


def test_a_twin_says_that_it_is_one(twin, copy):
    faces = ThreeHundredW(twin)
    assert repr(faces).startswith("rendered twin of 300-W in ")
    assert "train 18, common 8, challenging 5 faces" in repr(faces)
    loaded, report = faces.load("common", size=24)
    assert "rendered twin" in loaded.name and "rendered twin" in str(report)
    assert "show nobody" in json.loads((twin / MARK).read_text())["notice"]
    (copy / MARK).unlink()
    assert repr(ThreeHundredW(copy)).startswith("300-W in ")
    assert "train 18 of 3148" in repr(ThreeHundredW(copy))
    assert not ThreeHundredW(copy).check().complete()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"counts": 3, "twin_of": "300w"}', '{"counts": {"a": "x"}}', "[" * 9]
)
def test_a_damaged_mark_is_said_to_be_one(copy, text):
    (copy / MARK).write_text(text)
    with pytest.raises(DataError, match=MARK + ": the mark of a rendered twin is damaged"):
        ThreeHundredW(copy)


def test_the_mark_of_another_set(copy):
    (copy / MARK).write_text((copy / MARK).read_text().replace('"300w"', '"menpo"'))
    with pytest.raises(DataError, match="name --set menpo"):
        ThreeHundredW(copy)


def test_settings_that_do_not_exist(twin):
    with pytest.raises(ConfigError, match="boxes is 'mine'"):
        ThreeHundredW(twin, boxes="mine")
    with pytest.raises(ConfigError, match="no part 'exam'; there are train, common, challenging, full"):
        ThreeHundredW(twin).load("exam")
    with pytest.raises(ConfigError, match="there is no data set '400w'; there are 300w"):
        reader("400w")
    with pytest.raises(ConfigError, match="there is no expression set '300w'"):
        open_set("300w", twin, "expression")


def test_a_twin_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/photo.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="holds something already"):
        twin_writer("300w")(tmp_path / "full", pixels=48)
    for size in (0, -1, True, "huge"):
        with pytest.raises(ConfigError, match="it must be a number of faces or 'full'"):
            write(tmp_path / "t", size=size)
    monkeypatch.setattr("mtl_lib.faces.twins.three_hundred_w.savemat", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "t", pixels=48)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_twin_is_the_same_from_the_same_seed(twin, tmp_path):
    again = write(tmp_path / "again", pixels=48)
    names = sorted(path.relative_to(twin) for path in twin.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        if name.suffix != ".mat":  # those carry the time of writing
            assert (twin / name).read_bytes() == (again / name).read_bytes()
    other = write(tmp_path / "other", pixels=48, seed=1)
    assert (other / "ibug/image_003_1.pts").read_text() != (twin / "ibug/image_003_1.pts").read_text()
    assert read_mark(twin, "300w")["counts"] == {"train": 18, "common": 8, "challenging": 5}


def test_names_in_a_full_twin_are_all_different():
    from mtl_lib.faces.three_hundred_w import _FACE_NUMBER
    from mtl_lib.faces.twins.three_hundred_w import _stem

    stems = [_stem("ibug", first, 0) for first in range(FACES["ibug"])]
    assert len({_FACE_NUMBER.sub("", stem) for stem in stems}) == FACES["ibug"] and SPACED in stems


def test_a_larger_twin_keeps_the_proportions(tmp_path):
    larger = ThreeHundredW(write(tmp_path / "t", size=60, pixels=24))
    assert larger.check().complete() and "train 49" in repr(larger)


# ---- damaged copies: one clear message each, or a counted omission

P, C = "ibug/image_003_1.pts", "ibug/image_003_1.jpg"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "picture missing": (lambda f: (f / C).unlink(), "landmarks without a picture", P + ": there must be one picture"),
    "picture cut off": (lambda f: truncated(f / C), "damaged or missing pictures", r"image_003_1\.jpg: the picture is"),
    "no picture": (
        lambda f: (f / C).write_text("<html>"),
        "damaged or missing pictures",
        r"image_003_1\.jpg: this is not a picture",
    ),
    "landmarks missing": (lambda f: (f / P).unlink(), "pictures without landmarks", r"there is no image_003_1\.pts"),
    "landmarks cut off": (lambda f: truncated(f / P), "damaged landmark files", P + ".*"),
    "67 points": (
        lambda f: write_pts(f / P, torch.rand(67, 2)),
        "damaged landmark files",
        P + ": 67 points, 68 expected",
    ),
    "all in one place": (
        lambda f: write_pts(f / P, torch.ones(68, 2)),
        "damaged landmark files",
        P + ": both eyes are in one place",
    ),
    "far away": (
        lambda f: (f / P).write_text(pts_text(read_pts(f / P) + 3000)),
        "damaged or missing pictures",
        P + ": the face's square .* lies outside the picture",
    ),
    "two pictures": (
        lambda f: (f / "ibug/image_003_1.png").write_bytes((f / C).read_bytes()),
        "landmarks with two pictures",
        P + ": there must be one picture .*image_003_1.jpg, image_003_1.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_a_message_or_is_counted(copy, damage):
    inflict, reason, message = DAMAGE[damage]
    inflict(copy)
    with pytest.raises(DataError, match=message):
        ThreeHundredW(copy).load("challenging", size=32)
    report = ThreeHundredW(copy).check()
    assert [name for name in report.left_out] == [reason]
    assert len(report.left_out[reason]) == 1 and re.search(message, report.left_out[reason][0])
    assert report.counts["challenging"] == (4, 5) and report.unaccounted() == 0
    faces, report = ThreeHundredW(copy).load("challenging", size=32, damaged="leave out")
    assert len(faces) == 4 and len(report.left_out[reason]) == 1


def test_a_folder_that_is_gone(copy):
    (copy / "helen").rename(copy / "hidden")
    with pytest.raises(DataError, match=r"helen/trainset: 300-W should have this folder"):
        ThreeHundredW(copy).load("train", size=32)
    report = ThreeHundredW(copy).check()
    gone = report.notes["folders that are missing"]
    assert len(gone) == 2 and "helen/trainset" in gone[0] and "helen/testset" in gone[1]
    assert not report.sound()
    assert report.counts["common"] == (4, 8)
    assert len(report.notes[NOT_USED]) == 22


def test_what_belongs_to_no_face_is_noted(copy):
    (copy / "300W/01_Indoor").mkdir(parents=True)
    (copy / "300W/01_Indoor/indoor_001.png").write_bytes(b"")
    (copy / "ibug/Thumbs.db").write_bytes(b"")
    (copy / "ibug/.DS_Store").write_bytes(b"")
    report = ThreeHundredW(copy).check()
    assert report.notes[NOT_USED] == ["300W/01_Indoor/indoor_001.png", "ibug/Thumbs.db"]
    assert report.complete()


def test_a_picture_in_two_parts_is_noted(copy):
    (copy / "ibug/image_003_1.jpg").write_bytes((copy / "helen/trainset/1000000000_1.jpg").read_bytes())
    [shared] = ThreeHundredW(copy).check().notes["pictures that two parts share"]
    assert shared == "helen/trainset/1000000000_1.jpg = ibug/image_003_1.jpg"


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(tiny, sound, data):
    nothing_is_lost_silently(ThreeHundredW, tiny, data, sound, harms=3)


# ---- the cache


def test_prepared_parts_are_read_again_without_opening_a_picture(copy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first, report = ThreeHundredW(copy).load(size=24, cache=cache)
    assert len(list(cache.iterdir())) == 3
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *_: pytest.fail("a picture was opened"))
        again, told = ThreeHundredW(copy).load(size=24, cache=cache)
        full, _ = ThreeHundredW(copy).load("full", size=24, cache=cache)
    assert torch.equal(first.images, again.images) and torch.equal(first.landmarks, again.landmarks)
    assert str(report) == str(told) and len(full) == 13
    # Other boxes, other crops; a changed file is read again.
    other, _ = ThreeHundredW(copy, boxes="truth").load(size=24, cache=cache)
    assert not torch.equal(first.images, other.images)
    buffer = io.BytesIO()
    Image.new("L", (200, 200), 9).save(buffer, "JPEG")
    (copy / C).write_bytes(buffer.getvalue())
    changed, _ = ThreeHundredW(copy).load("challenging", size=24, cache=cache)
    assert (changed.images[0] == 9).all()
