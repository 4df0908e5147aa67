"""AffectNet's two releases from rendered twins: tables, boxes, labels in ``.npy`` files, damaged copies."""

import csv
import io
import shutil

import numpy as np
import pytest
import torch
from damaged_sets import damage_settings, nothing_is_lost_silently, refused_or_left_out
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_faces import unhooked

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.affectnet import COLUMNS, AffectNet
from mtl_lib.faces.crops import cut
from mtl_lib.faces.twins.affectnet import write

NAMES = "neutral happiness sadness surprise fear disgust anger contempt".split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("affectnet")
    return {kind: write(root / kind, size=20, pixels=40, release=kind, seed=1) for kind in ("full", "mini")}


@pytest.fixture(scope="module")
def sound(folders):
    return {kind: AffectNet(folder).check() for kind, folder in folders.items()}


@pytest.fixture
def full(folders, tmp_path):
    return shutil.copytree(folders["full"], tmp_path / "AffectNet")


@pytest.fixture
def mini(folders, tmp_path):
    return shutil.copytree(folders["mini"], tmp_path / "AffectNet")


# ---- what is found


def test_the_full_release_is_read_line_by_line(folders):
    for part, table in (("train", "training.csv"), ("validation", "validation.csv")):
        with (folders["full"] / table).open(newline="") as file:
            rows = [row for row in csv.reader(file) if row[0] != COLUMNS[0]]
        mine = [row for row in rows if int(row[6]) < 8]
        faces, report = AffectNet(folders["full"]).load(part, size=40)
        assert len(faces) == len(mine) == report.rows - len(rows) + len(mine) and report.complete()
        assert [faces.classes[i] for i in faces.labels] == [NAMES[int(row[6])] for row in mine]
        assert faces.extra["valence"].tolist() == pytest.approx([float(row[7]) for row in mine])
        assert faces.extra["arousal"].tolist() == pytest.approx([float(row[8]) for row in mine])
        for image, crop, row in zip(faces.images, faces.extra["crop"], mine, strict=True):
            x, y, width, height = map(int, row[1:5])
            side = 1.4 * max(width, height)
            expected = (x + width / 2 - side / 2, y + height / 2 - side / 2, side)
            assert crop.tolist() == pytest.approx(expected, abs=1e-3)
            picture = np.asarray(
                Image.open(folders["full"] / "Manually_Annotated_Images" / row[0]).convert("L")
            )
            difference = cut(picture, expected, 40).astype(int) - image[0].numpy()
            assert np.abs(difference).max() <= 1


def test_faces_without_an_expression_are_counted(sound):
    report = sound["full"]
    assert {reason: len(names) for reason, names in report.left_out.items()} == {
        "labelled none": 1, "labelled uncertain": 1, "labelled no face": 1,
    }  # fmt: skip
    assert report.complete() and report.unaccounted() == 0
    assert report.notes == {"tables without a line of column names": ["validation.csv"]}


def test_the_mini_release_holds_the_same_faces(folders, sound):
    assert sound["mini"].complete() and not sound["mini"].notes and not sound["mini"].left_out
    for part in AffectNet.PARTS:
        (a, _), (b, _) = (AffectNet(folders[kind]).load(part, size=24) for kind in ("full", "mini"))
        assert torch.equal(a.labels, b.labels)
        for key in ("valence", "arousal"):
            assert torch.allclose(a.extra[key], b.extra[key])


def test_numbers_are_in_the_order_of_numbers(folders):
    stems = [int(entry.name.split("/")[1]) for entry in AffectNet(folders["mini"]).entries("train")]
    assert stems == sorted(stems) and max(stems) >= 10


def test_contempt_can_be_left_out(folders):
    with_it, _ = AffectNet(folders["full"]).load(size=24)
    without, report = AffectNet(folders["full"], contempt=False).load(size=24)
    assert without.classes == tuple(NAMES[:7])
    assert without.counts() == {name: count for name, count in with_it.counts().items() if name != "contempt"}
    assert len(report.left_out["labelled contempt, not wanted"]) == with_it.counts()["contempt"]
    assert report.unaccounted() == 0


def test_published_counts_agree_with_one_another(full):
    assert sum(AffectNet.PUBLISHED_CLASSES.values()) == AffectNet.PUBLISHED["train"]
    (full / "RENDERED_TWIN.json").unlink()
    assert AffectNet(full, contempt=False).published == {"train": 283_901, "validation": 3500}


def test_tables_and_pictures_may_lie_deeper(full, folders):
    (full / "Manually_Annotated_file_lists").mkdir()
    for name in ("training.csv", "validation.csv"):
        (full / name).rename(full / "Manually_Annotated_file_lists" / name)
    (full / "Manually_Annotated").mkdir()
    (full / "Manually_Annotated_Images").rename(full / "Manually_Annotated/Manually_Annotated_Images")
    here, there = (AffectNet(root).load(size=24)[0] for root in (full.parent, folders["full"]))
    assert torch.equal(here.images, there.images)


def test_which_release_is_asked_where_both_are(full, folders):
    shutil.copytree(folders["mini"] / "val_set", full / "val_set")
    with pytest.raises(ConfigError, match="both releases are in .*release='full' or release='mini'"):
        AffectNet(full)
    assert AffectNet(full, release="mini").release == "mini"
    with pytest.raises(DataError, match="the full release is not here; the mini one is"):
        AffectNet(folders["mini"], release="full")
    with pytest.raises(ConfigError, match="must be 'full' or 'mini'"):
        unhooked("mtl_lib/faces/affectnet.py").AffectNet(full, release="small")


# ---- what is damaged


def cells(edit):
    def harm(folder):
        path = folder / "training.csv"
        lines = path.read_text().splitlines()
        path.write_text(
            "\n".join([*lines[:2], ",".join(edit(lines[2].split(","), lines)), *lines[3:]]) + "\n"
        )

    return harm


def put(place, value):
    return cells(lambda row, _: [*row[:place], value, *row[place + 1 :]])


def third(folder):
    name = (folder / "training.csv").read_text().splitlines()[2].split(",")[0]
    return folder / "Manually_Annotated_Images" / name


FULL = {
    "label out of range": (put(6, "11"), r"training\.csv:3: '11' is no expression; allowed .* 0 to 10"),
    "eight fields": (cells(lambda row, _: row[:-1]), r"training\.csv:3: 8 fields, 9 expected"),
    "ten fields": (cells(lambda row, _: [*row, "0"]), r"training\.csv:3: 10 fields, 9 expected"),
    "empty box": (put(3, "0"), r"training\.csv:3: the face's box is 0 wide"),
    "no box": (put(1, "NULL"), r"training\.csv:3: 'NULL' is no face_x"),
    "box elsewhere": (put(1, "5000"), r"training\.csv:3: the face's square .* lies outside the picture"),
    "a path outside": (put(0, "../x.jpg"), r"training\.csv:3: '\.\./x\.jpg' is not the path of a picture"),
    "two labels": (
        cells(
            lambda row, lines: [
                lines[1].split(",")[0],
                *row[1:6],
                str(7 - int(lines[1].split(",")[6])),
                *row[7:],
            ]
        ),
        r"training\.csv:3: .* has another label than in line 2",
    ),
    "picture missing": (lambda f: third(f).unlink(), r"training\.csv:3: names the picture .*no such file"),
    "picture no picture": (lambda f: third(f).write_text("x"), r"training\.csv:3: .*this is not a picture"),
}


@pytest.mark.parametrize("damage", FULL)
def test_damage_to_the_full_release(full, damage):
    harm, message = FULL[damage]
    harm(full)
    refused_or_left_out(AffectNet, full, message)


def test_a_line_listed_twice_alike_counts_once(full):
    cells(lambda _, lines: lines[1].split(","))(full)
    report = AffectNet(full).load(size=24)[1]
    assert len(report.left_out["listed a second time"]) == 1 and report.unaccounted() == 0


def saved(value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def annotation(folder, kind):
    return folder / f"train_set/annotations/3_{kind}.npy"


MINI = {
    "label out of range": (lambda f: annotation(f, "exp").write_bytes(saved(np.array("8"))), r"3_exp\.npy: '8' is no exp"),
    "two labels": (lambda f: annotation(f, "exp").write_bytes(saved(np.array([1, 2]))), r"3_exp\.npy: .*2 values"),
    "a Python object": (
        lambda f: annotation(f, "exp").write_bytes(saved(np.array(["1"])).replace(b"'<U1'", b"'|O' ")),
        r"3_exp\.npy: this does not hold one value",
    ),
    "no npy": (lambda f: annotation(f, "exp").write_bytes(b"1"), r"3_exp\.npy: .*not an \.npy file"),
    "cut off": (lambda f: annotation(f, "exp").write_bytes(saved(np.array("1"))[:-2]), r"3_exp\.npy: this does not hold"),
    "bad header": (
        lambda f: annotation(f, "exp").write_bytes(saved(np.array("1")).replace(b"'descr'", b"'descr\"")),
        r"3_exp\.npy: this does not hold one value",
    ),
    "label missing": (lambda f: annotation(f, "exp").unlink(), r"3_exp\.npy: the picture's label is missing"),
    "picture missing": (lambda f: (f / "train_set/images/3.jpg").unlink(), r"the label of a picture that is not in images"),
    "picture damaged": (lambda f: (f / "train_set/images/3.jpg").write_bytes(b"\xff\xd8"), r"3\.jpg: this is not a picture"),
}  # fmt: skip


@pytest.mark.parametrize("damage", MINI)
def test_damage_to_the_mini_release(mini, damage):
    harm, message = MINI[damage]
    harm(mini)
    refused_or_left_out(AffectNet, mini, message)


@pytest.mark.parametrize("value", ["-2", "calm", "", "nan"])
def test_valence_that_makes_no_sense_is_noted_and_the_face_is_kept(full, value):
    put(7, value)(full)
    report = AffectNet(full).load("train", size=24)[1]
    [[note]] = [names for reason, names in report.notes.items() if reason.startswith("valence not between")]
    assert note.endswith(f": {value}") and report.complete()


def test_a_mini_release_without_affect_has_none(mini):
    for path in mini.glob("*/annotations/*_val.npy"):
        path.unlink()
    extra = AffectNet(mini).load(size=24)[0].extra
    assert extra["valence"].isnan().all() and not extra["arousal"].isnan().any()


@pytest.mark.parametrize(
    "table, content, message",
    [
        (
            "training.csv",
            ",".join(COLUMNS[::-1]) + "\n",
            "training.csv:1: 'expression'|training.csv:1: .* is no expression",
        ),
        ("training.csv", ",".join(COLUMNS) + "\n", "training.csv: the table has no rows"),
        ("training.csv", COLUMNS[0] + ",a\n", "training.csv:1: the first line should be"),
        ("validation.csv", None, "the table validation.csv is missing"),
    ],
)
def test_a_table_that_cannot_be_read_ends_everything(full, table, content, message):
    if content is None:
        (full / table).unlink()
    else:
        (full / table).write_text(content)
    with pytest.raises(DataError, match=message):
        AffectNet(full).load(size=24)
    assert repr(AffectNet(full))


def test_what_is_missing_is_said_with_the_layout(tmp_path):
    with pytest.raises(
        DataError, match="training.csv, validation.csv and Manually_Annotated_Images/, or train_set/"
    ):
        AffectNet(tmp_path)


@given(data=st.data(), kind=st.sampled_from(["full", "mini"]))
@damage_settings
def test_random_damage_never_crashes_and_never_loses_silently(data, kind, folders, sound):
    nothing_is_lost_silently(AffectNet, folders[kind], data, sound[kind])
