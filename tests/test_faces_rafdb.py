"""RAF-DB from rendered twins: the list, the names, damaged copies."""

import re
import shutil

import numpy as np
import pytest
from damaged_sets import damage_settings, nothing_is_lost_silently, refused_or_left_out
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mtl_lib.errors import DataError
from mtl_lib.faces.rafdb import RAFDB
from mtl_lib.faces.twins.rafdb import write

LIST = "EmoLabel/list_patition_label.txt"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("raf") / "basic", size=20, pixels=32, seed=1)


@pytest.fixture(scope="module")
def sound(small):
    return RAFDB(small).check()


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "RAF-DB")


def test_every_line_is_one_face_of_the_part_that_its_name_says(small, sound):
    assert sound.complete() and not sound.notes and not sound.left_out
    names = "surprise fear disgust happiness sadness anger neutral".split()
    listed = [line.split() for line in (small / LIST).read_text().splitlines()]
    assert {len(re.search(r"\d+", name)[0]) for name, _ in listed if name[:2] == "tr"} == {5}
    assert {len(re.search(r"\d+", name)[0]) for name, _ in listed if name[:2] == "te"} == {4}
    for part in ("train", "test"):
        faces, report = RAFDB(small).load(part, size=32)
        mine = [(name, int(label)) for name, label in listed if name.startswith(part)]
        assert len(faces) == len(mine) == report.rows
        assert [faces.classes[i] for i in faces.labels] == [names[label - 1] for _, label in mine]
        for image, person, (name, _) in zip(faces.images, faces.persons, mine, strict=True):
            stem = name.removesuffix(".jpg")
            picture = Image.open(small / f"Image/aligned/{stem}_aligned.jpg")
            assert picture.mode == "RGB" and person == f"rafdb-{stem}"
            assert np.array_equal(np.asarray(picture.convert("L")), image[0].numpy())


def test_published_counts_agree_with_one_another():
    assert {part: sum(own.values()) for part, own in RAFDB.PUBLISHED_CLASSES.items()} == RAFDB.PUBLISHED


def line_of(edit):
    def harm(folder):
        path = folder / LIST
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:2], edit(lines[2], lines), *lines[3:]]) + "\n")

    return harm


def third(folder):
    return folder / "Image/aligned/train_00003_aligned.jpg"


DAMAGE = {
    "label out of range": (line_of(lambda line, _: line[:-1] + "8"), r"label\.txt:3: '8' is no label; allowed .* 1 to 7"),
    "label zero": (line_of(lambda line, _: line[:-1] + "0"), r"label\.txt:3: '0' is no label"),
    "a word": (line_of(lambda line, _: line[:-1] + "sad"), r"label\.txt:3: 'sad' is no label"),
    "no label": (line_of(lambda line, _: line.split()[0]), r"label\.txt:3: .* is not a picture's name and a label"),
    "three fields": (line_of(lambda line, _: line + " 1"), r"label\.txt:3: .* is not a picture's name and a label"),
    "another name": (line_of(lambda line, _: "face_1.jpg 3"), r"label\.txt:3: 'face_1\.jpg 3' is not a picture's name"),
    "listed twice": (line_of(lambda _, lines: lines[0]), r"label\.txt:3: train_00001\.jpg is listed a second time"),
    "picture missing": (lambda f: third(f).unlink(), r"label\.txt:3: names the picture .*there is no such file"),
    "picture cut off": (lambda f: third(f).write_bytes(third(f).read_bytes()[:300]), r"label\.txt:3: names .*00003"),
    "picture renamed": (lambda f: third(f).rename(third(f).with_name("train_00003.jpg")), r"label\.txt:3: names"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_one_clear_message_or_a_counted_omission(copy, damage):
    harm, message = DAMAGE[damage]
    harm(copy)
    refused_or_left_out(RAFDB, copy, message)


def test_a_picture_without_a_line_is_noted(copy):
    shutil.copy(third(copy), third(copy).with_name("train_99999_aligned.jpg"))
    notes = RAFDB(copy).check().notes
    assert notes == {"files that belong to no face, not used": ["Image/aligned/train_99999_aligned.jpg"]}


def test_what_is_missing_is_said_with_the_layout(copy, tmp_path):
    (copy / LIST).write_text("\n")
    with pytest.raises(DataError, match="label.txt: the list is empty"):
        RAFDB(tmp_path).load()
    (copy / LIST).unlink()
    with pytest.raises(DataError, match="list_patition_label.txt and Image/aligned/.*--twin rafdb DIR"):
        RAFDB(tmp_path)


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(data, small, sound):
    nothing_is_lost_silently(RAFDB, small, data, sound)
