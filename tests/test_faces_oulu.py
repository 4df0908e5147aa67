"""Oulu-CASIA from rendered twins: folder names, the last frames, the missing sequence, folds, damaged copies."""

import shutil

import numpy as np
import pytest
import torch
from damaged_sets import (
    damage_settings,
    nothing_is_lost_silently,
    one_face_for_all,
    refused_or_left_out,
    without_pixels,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_faces import unhooked

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.crops import cut
from mtl_lib.faces.oulu import MISSING, SHORT, OuluCASIA
from mtl_lib.faces.twins import oulu as twin
from mtl_lib.faces.twins.oulu import write

CROPPED = "PreProcess_Img/VL_Acropped/Strong"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("oulu") / "Oulu_CASIA_NIR_VIS",
        size=36,
        pixels=60,
        lightings=("Strong", "Dark"),
        seed=1,
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    with one_face_for_all(twin):
        folder = write(
            tmp_path_factory.mktemp("full") / "oulu", size="full", pixels=24, frames=3, original=None
        )
    return OuluCASIA(folder)


@pytest.fixture(scope="module")
def sound(small):
    return OuluCASIA(small).check()


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "oulu")


# ---- what is found


def test_a_full_twin_has_80_people_480_sequences_and_lacks_one(full):
    report = full.load(size=8)[1]
    faces = without_pixels(full)
    assert len(faces) == report.kept == 1437 and len(set(faces.persons)) == 80 and report.rows == 1440
    assert report.left_out == {MISSING: [f"P001/Fear {i}" for i in (1, 2, 3)]} and report.unaccounted() == 0
    assert faces.counts() == dict.fromkeys(OuluCASIA.CLASSES, 240) | {"fear": 237}
    parts = full.folds(faces)
    assert len(parts) == 10
    assert sorted(torch.cat([fold.test for fold in parts]).tolist()) == list(range(1437))
    people = sorted(set(faces.persons))
    for i, fold in enumerate(parts):
        who = [{faces.persons[j] for j in side} for side in fold]
        assert not who[0] & who[1] and who[1] == set(people[i::10]) and len(who[1]) == 8


def test_the_last_three_frames_are_taken_as_they_are(small):
    oulu = OuluCASIA(small)
    faces, _ = oulu.load(size=24)
    entries = oulu.entries()
    assert {entry.picture.name for entry in entries} == {"001.jpeg", "002.jpeg", "003.jpeg"}
    for i, entry in enumerate(entries):
        person, expression, frame = entry.name.split("/")
        assert entry.picture == small / CROPPED / person / expression / frame
        assert faces.classes[faces.labels[i]] == expression.lower() and faces.persons[i] == f"oulu-{person}"
        assert faces.extra["from end"][i] == 4 - int(frame[:3])
        picture = np.asarray(Image.open(entry.picture).convert("L"))
        assert np.array_equal(
            cut(picture, (0.0, 0.0, float(picture.shape[0])), 24), faces.images[i, 0].numpy()
        )
    last = OuluCASIA(small, frames=1)
    assert {entry.picture.name for entry in last.entries()} == {"003.jpeg"}
    assert last.load(size=24)[1].complete()


@pytest.mark.parametrize("name", ["PreProcess_Img", "PreProcessImg", "PreProcess"])
@pytest.mark.parametrize("original", ["OriginalImg", ""])
def test_all_known_folder_names_are_read_alike(small, copy, tmp_path, name, original):
    (copy / "PreProcess_Img").rename(copy / name)
    if not original:
        (copy / "OriginalImg" / "VL").rename(copy / "VL")
        (copy / "OriginalImg").rmdir()
    for pictures in ("cropped", "original"):
        here, there = (OuluCASIA(root, pictures=pictures).load(size=24)[0] for root in (small, tmp_path))
        assert torch.equal(here.images, there.images) and here.persons == there.persons


def test_lightings_and_pictures_are_a_choice(small):
    strong, dark = (OuluCASIA(small, lighting=name).load(size=24)[0] for name in ("Strong", "Dark"))
    assert len(strong) == 33 and len(dark) == 36  # the missing sequence is one of strong light only
    assert dark.images.float().mean() < 0.5 * strong.images.float().mean()
    filmed, report = OuluCASIA(small, pictures="original").load(size=24)
    assert len(filmed) == 36 and report.complete()
    side = filmed.extra["crop"][0]
    assert side.tolist() == [0.0, -10.0, 80.0]  # 80x60 pixels, padded to a square
    report = OuluCASIA(small, lighting="Dark").check()
    assert report.complete() and "also here: cropped/VL/Strong" in str(report)
    assert not any("Strong" in name for names in report.notes.values() for name in names)
    with pytest.raises(DataError, match="no cropped pictures NI/Weak here; there are cropped/VL/Dark, "):
        OuluCASIA(small, imaging="NI", lighting="Weak")
    plain = unhooked("mtl_lib/faces/oulu.py").OuluCASIA
    with pytest.raises(ConfigError, match="lighting is 'Bright'; it must be one of 'Strong', 'Weak', 'Dark'"):
        plain(small, lighting="Bright")
    with pytest.raises(ConfigError, match="at least 1"):
        OuluCASIA(small, frames=0)


def test_windows_litter_is_no_frame(small):
    assert (small / CROPPED / "P001/Anger/Thumbs.db").is_file()
    assert not OuluCASIA(small).load(size=24)[1].notes


# ---- what is damaged


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SURPRISE = f"{CROPPED}/P001/Surprise"


def test_missing_and_short_sequences_are_counted_by_name(copy):
    shutil.rmtree(copy / CROPPED / "P001/Sadness")
    for name in ("000.jpeg", "003.jpeg"):
        (copy / SURPRISE / name).unlink()
    faces, report = OuluCASIA(copy).load(size=24)
    assert report.left_out[MISSING] == [
        f"{where} {i}" for where in ("P001/Sadness", "P002/Fear") for i in (1, 2, 3)
    ]
    assert report.left_out[SHORT] == ["P001/Surprise 1"]
    assert len(faces) == 36 - 7 and report.unaccounted() == 0 and not report.complete()
    assert "29 of 33 expected, 4 missing" in str(report)


DAMAGE = {
    "frame cut off": (
        lambda f: cut_in_half(f / SURPRISE / "003.jpeg"),
        r"003\.jpeg: the picture is damaged",
        1,
    ),
    "not a picture": (
        lambda f: (f / SURPRISE / "002.jpeg").write_text("no"),
        r"002\.jpeg: this is not a picture",
        1,
    ),
    "frame renamed": (
        lambda f: (f / SURPRISE / "003.jpeg").rename(f / SURPRISE / "peak.jpeg"),
        r"peak\.jpeg: this is not the name of a frame",
        3,
    ),
    "a number twice": (
        lambda f: shutil.copy(f / SURPRISE / "003.jpeg", f / SURPRISE / "03.jpeg"),
        r"03\.jpeg: this is not the name of a frame",
        3,
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_one_clear_message_or_a_counted_omission(copy, damage):
    harm, message, lost = DAMAGE[damage]
    harm(copy)
    refused_or_left_out(OuluCASIA, copy, message, lost)


def test_oddities_are_noted(copy):
    (copy / SURPRISE / "001.jpeg").unlink()
    (copy / CROPPED / "P001/Anger").rename(copy / CROPPED / "P001/Angry")
    report = OuluCASIA(copy).load(size=24)[1]
    assert report.notes["sequences whose frame numbers have gaps"] == ["P001/Surprise"]
    assert report.notes["folders that are none of the six expressions, not used"] == ["P001/Angry"]
    assert "P001/Anger 1" in report.left_out[MISSING]
    (copy / "RENDERED_TWIN.json").unlink()
    report = OuluCASIA(copy).check()
    assert report.counts["all"][1] == 1440 and len(report.notes["people who are missing"]) == 78


def test_what_is_missing_is_said_with_the_layout(tmp_path, copy):
    shutil.rmtree(copy / "OriginalImg")
    (copy / CROPPED).parent.rename(copy / "PreProcess_Img/VL_Cropped")
    with pytest.raises(DataError, match="OriginalImg/VL/Strong/P001/Anger/000.jpeg or .*--twin oulu DIR"):
        OuluCASIA(copy)
    (tmp_path / "empty/VL/Strong").mkdir(parents=True)
    with pytest.raises(DataError, match="Strong: there are no people here"):
        OuluCASIA(tmp_path / "empty").load()


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(data, small, sound):
    nothing_is_lost_silently(OuluCASIA, small, data, sound)


@pytest.mark.parametrize(
    "bad", [dict(frames=2), dict(lightings=("Bright",)), dict(imagings=()), dict(cropped=None, original=None),
            dict(cropped="Crops"), dict(pixels=10), dict(size=0)],
)  # fmt: skip
def test_a_twin_that_cannot_be_is_refused(tmp_path, bad):
    with pytest.raises(ConfigError):
        write(tmp_path / "o", **bad)
    assert not list(tmp_path.iterdir())
