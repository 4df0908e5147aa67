"""LSEMSW in our layout, from rendered twins: the table, four splits, damaged copies."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from damaged_sets import damage_settings, nothing_is_lost_silently, refused_or_left_out
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_faces import unhooked

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.lsemsw import LSEMSW, SPLITS
from mtl_lib.faces.states import STATES
from mtl_lib.faces.twins.lsemsw import write


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lsemsw") / "LSEMSW", size=150, pixels=24, seed=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tiny") / "LSEMSW", size=20, pixels=24)


@pytest.fixture(scope="module")
def sound(tiny):
    return LSEMSW(tiny).check()


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "LSEMSW")


def table_of(folder):
    with (folder / "annotations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ---- what is found


def test_the_table_and_the_pictures_are_read(small):
    lsemsw = LSEMSW(small)
    rows = {row["picture"]: row for row in table_of(small)}
    faces, report = lsemsw.load(size=24)
    entries = lsemsw.entries()
    assert len(faces) == len(entries) == len(rows) == report.rows and report.complete()
    assert faces.classes == STATES and repr(lsemsw).startswith("rendered twin of LSEMSW")
    for i, entry in enumerate(entries):
        row = rows[entry.name]
        assert STATES[faces.labels[i]] == row["label"]
        assert faces.persons[i] == f"lsemsw-{row['person'] or 'unknown in ' + row['source_title']}"
        assert lsemsw.titles[faces.extra["title"][i]] == row["source_title"]
        assert faces.extra["frame"][i] == int(row["frame"])
        assert LSEMSW.PARTS[faces.extra["part"][i]] == entry.name.split("/")[0]
        picture = np.asarray(Image.open(small / entry.name))
        assert np.array_equal(picture, faces.images[i, 0].numpy())
    assert any(not row["person"] for row in rows.values())


def test_the_twin_has_the_papers_class_frequencies():
    total = sum(LSEMSW.PUBLISHED_CLASSES.values())
    assert total == 175_679 == sum(LSEMSW.PUBLISHED.values())
    assert LSEMSW.PUBLISHED_CLASSES["Thinking"] / total == pytest.approx(0.180, abs=5e-4)


def test_the_twin_follows_them(small):
    faces, _ = LSEMSW(small).load(size=24)
    for name, count in faces.counts().items():
        expected = LSEMSW.PUBLISHED_CLASSES[name] / 175_679 * 150
        assert abs(count - expected) <= 1, name


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_a_partition_with_about_80_10_10_percent(small, split):
    lsemsw = LSEMSW(small, split=split)
    parts = [lsemsw.entries(part) for part in LSEMSW.PARTS]
    names = [entry.name for part in parts for entry in part]
    assert sorted(names) == sorted(row["picture"] for row in table_of(small))
    count = len(names)
    slack = 0.01 if split in ("given", "random") else 0.06  # whole films and people
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(part) / count - share) < slack, (split, len(part))
    by_title = [{entry.extra["title"] for entry in part} for part in parts]
    by_person = [{entry.person for entry in part} for part in parts]
    for groups, apart in ((by_title, split == "title"), (by_person, split == "person")):
        overlap = groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
        assert bool(overlap) != apart, "the twin cannot tell, or the split leaks"


def test_the_random_split_keeps_the_classes_and_follows_its_seed(small):
    parts = {seed: LSEMSW(small, split="random", seed=seed).entries("test") for seed in (0, 1)}
    assert {e.name for e in parts[0]} != {e.name for e in parts[1]}
    assert [e.name for e in LSEMSW(small, split="random").entries("test")] == [e.name for e in parts[0]]
    whole = Counter(entry.label for entry in LSEMSW(small).entries())
    tested = Counter(entry.label for entry in parts[0])
    assert all(abs(tested[label] - count / 10) <= 1 for label, count in whole.items())


@pytest.mark.parametrize("split", ["random", "title", "person"])
def test_how_much_a_split_shares_is_measured(small, split):
    lsemsw = LSEMSW(small, split=split)
    (train, _), (test, _) = (lsemsw.load(part, size=24) for part in ("train", "test"))
    title = np.mean([t in set(train.extra["title"].tolist()) for t in test.extra["title"].tolist()])
    person = np.mean([p in train.persons for p in test.persons])
    assert lsemsw.shared(train, test) == pytest.approx({"title": title, "person": person})
    assert {"title": title == 0, "person": person == 0 < title, "random": title == 1}[split]


def test_neighbouring_frames_are_nearly_the_same_picture(small):
    faces, _ = LSEMSW(small).load(size=24)
    pictures = faces.images.double().flatten(1)
    pictures -= pictures.mean(1, keepdim=True)
    pictures /= pictures.norm(dim=1, keepdim=True)
    alike = pictures @ pictures.T
    title, frame = faces.extra["title"], faces.extra["frame"]
    near = (title[:, None] == title) & ((frame[:, None] - frame).abs() == 5)
    assert near.sum() > 40
    far = ~near & ~torch.eye(len(faces), dtype=torch.bool)
    assert alike[near].median() > 0.9 > alike[far].median()


def test_splits_that_do_not_exist_are_refused(small):
    plain = unhooked("mtl_lib/faces/lsemsw.py").LSEMSW
    with pytest.raises(ConfigError, match="must be one of 'given', 'random', 'title', 'person'"):
        plain(small, split="film")


# ---- what is damaged


def change(column, value, line=3):
    def harm(folder):
        rows = table_of(folder)
        rows[line - 2][column] = value
        with (folder / "annotations.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return harm


def lines(edit):
    def harm(folder):
        path = folder / "annotations.csv"
        path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")

    return harm


def first_picture(folder):
    return folder / table_of(folder)[1]["picture"]


DAMAGE = {
    "unknown label": (change("label", "Bored"), r"csv:3: the label 'Bored' is unknown; allowed are Happy, "),
    "other folder": (
        change("label", "Thinking"),
        r"csv:3: the label is Thinking, but the picture is in ",
    ),
    "no title": (change("source_title", " "), r"csv:3: no source_title"),
    "no frame number": (change("frame", "x"), r"csv:3: 'x' is no frame number"),
    "a path outside": (change("picture", "train/../../x.jpg"), r"csv:3: .* is not the path of a picture"),
    "too few fields": (
        lines(lambda t: [*t[:2], t[2].rsplit(",", 1)[0], *t[3:]]),
        r"csv:3: 4 fields, 5 expected",
    ),
    "too many fields": (lines(lambda t: [*t[:2], t[2] + ",1", *t[3:]]), r"csv:3: 6 fields, 5 expected"),
    "listed twice": (lines(lambda t: [*t[:2], t[1], *t[3:]]), r"csv:3: .* a second time \(first in line 2\)"),
    "no picture": (lambda f: first_picture(f).unlink(), r"csv:3: names the picture .*there is no such file"),
    "no image": (lambda f: first_picture(f).write_text("no"), r"csv:3: .*this is not a picture"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_in_one_clear_message_or_a_counted_omission(copy, damage):
    harm, message = DAMAGE[damage]
    harm(copy)
    report = refused_or_left_out(LSEMSW, copy, message)
    [names] = report.left_out.values()
    assert len(names) == 1 and "annotations.csv:3" in names[0]


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda t: [t[0].replace("source_title", "film"), *t[1:]], "csv:1: no column source_title"),
        (lambda t: t[:1], "the table lists no picture"),
        (lambda t: [], "csv:1: no column picture, label"),
    ],
)
def test_a_table_that_cannot_be_read_ends_everything(copy, edit, message):
    lines(edit)(copy)
    with pytest.raises(DataError, match=message):
        LSEMSW(copy).load(size=24)
    assert repr(LSEMSW(copy))  # a look at it never fails


def test_what_is_missing_is_said_with_the_layout(tmp_path, copy):
    (copy / "annotations.csv").unlink()
    with pytest.raises(DataError, match="annotations.csv .*no public release is known.*--twin lsemsw DIR"):
        LSEMSW(tmp_path)


def test_too_few_films_cannot_be_split(copy):
    lines(lambda t: [t[0], *(line.replace("title-", "x-").split(",x-")[0] + ",one,a,5" for line in t[1:])])(
        copy
    )
    with pytest.raises(DataError, match="1 titles cannot be dealt 80 to 10 to 10"):
        LSEMSW(copy, split="title").load(size=24)


@given(data=st.data())
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(data, tiny, sound):
    nothing_is_lost_silently(LSEMSW, tiny, data, sound)
