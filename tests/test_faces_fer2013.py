"""FER2013 from rendered twins: one table, three parts, damaged lines."""

import csv

import numpy as np
import pytest
from damaged_sets import damage_settings, nothing_is_lost_silently
from hypothesis import given
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.fer2013 import FER2013
from mtl_lib.faces.twins.fer2013 import write

USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("fer") / "fer2013", size=41, seed=1)


@pytest.fixture(scope="module")
def sound(small):
    return FER2013(small).check()


@pytest.fixture
def lines(small):
    return (small / "fer2013.csv").read_text().splitlines()


def put(folder, lines):
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return FER2013(folder)


def test_every_line_is_one_face_of_its_part(small):
    with (small / "fer2013.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = "anger disgust fear happiness sadness surprise neutral".split()
    for part, usage in USAGE.items():
        faces, report = FER2013(small).load(part, size=48)
        mine = [row for row in rows if row["Usage"] == usage]
        assert len(faces) == len(mine) == report.rows and report.complete()
        assert [faces.classes[i] for i in faces.labels] == [names[int(row["emotion"])] for row in mine]
        for image, row in zip(faces.images.numpy(), mine, strict=True):
            assert np.array_equal(image.flatten(), np.array(row["pixels"].split(), dtype=np.uint8))
        assert len(set(faces.persons)) == len(faces)


def test_published_counts_agree_with_one_another():
    assert sum(FER2013.PUBLISHED.values()) == sum(FER2013.PUBLISHED_CLASSES.values()) == 35_887


def test_twins_and_single_gray_values_are_noted(small, sound):
    assert sound.complete() and sound.unaccounted() == 0
    assert sound.notes["pictures of one gray value, kept"] == ["fer2013.csv:3"]
    [names] = sound.notes["pictures that two parts share"]
    assert names.startswith("fer2013.csv:2 = ")


def test_the_file_its_folder_and_the_one_above_are_the_same(small):
    for root in (small / "fer2013.csv", small, small.parent):
        assert FER2013(root).table == small / "fer2013.csv"
    with pytest.raises(DataError, match=r"fer2013.csv \(emotion,pixels,Usage\).*Kaggle.*--twin fer2013 DIR"):
        FER2013(small.parent.parent / "nowhere")


def test_columns_are_found_by_name(tmp_path, lines):
    def turned(line):
        emotion, pixels, usage = line.split(",")
        return f"{emotion}, {usage},{pixels}"

    same = put(tmp_path, ["emotion, Usage, pixels", *map(turned, lines[1:])])
    assert same.load(size=24)[0].counts() == put(tmp_path, lines).load(size=24)[0].counts()


def pixels(edit):
    def harm(line):
        emotion, values, usage = line.split(",")
        return f"{emotion},{' '.join(edit(values.split()))},{usage}"

    return harm


DAMAGE = {
    "2303 pixels": (pixels(lambda v: v[1:]), r"csv:3: 2303 pixels, 2304 expected"),
    "2305 pixels": (pixels(lambda v: [*v, "0"]), r"csv:3: 2305 pixels, 2304 expected"),
    "no pixels": (pixels(lambda v: []), r"csv:3: 0 pixels"),
    "too bright": (pixels(lambda v: ["256", *v[1:]]), r"csv:3: a pixel is not a whole number from 0 to 255"),
    "negative": (pixels(lambda v: ["-1", *v[1:]]), r"csv:3: a pixel is not a whole number"),
    "a word": (pixels(lambda v: ["x", *v[1:]]), r"csv:3: a pixel is not a whole number"),
    "label out of range": (lambda line: "7" + line[1:], r"csv:3: '7' is no emotion; allowed are .* 0 to 6"),
    "no label": (lambda line: line[1:], r"csv:3: '' is no emotion"),
    "unknown usage": (
        lambda line: line.rsplit(",", 1)[0] + ",Testing",
        r"csv:3: the usage 'Testing' is unknown",
    ),
    "two fields": (lambda line: line.rsplit(",", 1)[0], r"csv:3: 2 fields, 3 expected"),
    "four fields": (lambda line: line + ",", r"csv:3: 4 fields, 3 expected"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_one_clear_message_or_a_counted_omission(tmp_path, lines, damage):
    harm, message = DAMAGE[damage]
    fer = put(tmp_path, [*lines[:2], harm(lines[2]), *lines[3:]])
    with pytest.raises(DataError, match=message):
        fer.load(size=24)
    report = fer.check()
    assert report.kept == len(lines) - 2 and report.unaccounted() == 0
    [[name]] = report.left_out.values()
    assert "fer2013.csv:3" in name
    assert report.counts["train"][1] == 28_709  # no mark, so the real set's numbers are expected


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda t: t[:1], "the table has no rows"),
        (lambda t: ["a,b,c", *t[1:]], "csv:1: no column emotion, pixels, Usage"),
        (lambda t: ["\0", *t], "not a CSV file|no column"),
    ],
)
def test_a_table_that_cannot_be_read_ends_everything(tmp_path, lines, edit, message):
    fer = put(tmp_path, edit(lines))
    with pytest.raises(DataError, match=message):
        fer.load()
    assert "train 0 of 28709" in repr(fer)


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(data, small, sound):
    nothing_is_lost_silently(FER2013, small, data, sound)


def test_other_sizes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="has 48, no others"):
        write(tmp_path / "f", pixels=96)
