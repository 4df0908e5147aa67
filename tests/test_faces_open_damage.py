"""Damaged copies of the two open sets end in one clear message each."""

import csv

import pytest
from damaged_sets import harmed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_copies import make_expressions, make_keypoints, write_rows

from mtl_lib.errors import DataError, MtlError
from mtl_lib.faces.expressions import load_expressions
from mtl_lib.faces.keypoints import load_keypoints


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut_in_half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


EXPRESSION_DAMAGE = {
    "picture missing": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").unlink(),
        r"legend\.csv:5: names the picture .*Bo_Chu_0002\.jpg: there is no such file; download",
    ),
    "picture cut off": (
        lambda f: cut_in_half(f / "images/Bo_Chu_0002.jpg"),
        r"legend\.csv:5: .*Bo_Chu_0002\.jpg: the picture is damaged .*download it again",
    ),
    "no picture at all": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").write_text("<html>404</html>"),
        r"legend\.csv:5: .*Bo_Chu_0002\.jpg: this is not a picture; download it again",
    ),
    "empty picture": (
        lambda f: (f / "images/Bo_Chu_0002.jpg").write_bytes(b""),
        r"legend\.csv:5: .*this is not a picture",
    ),
    "unknown label": (
        lambda f: edit(f / "data/legend.csv", "anger", "boredom"),
        r"legend\.csv:4: the label 'boredom' is unknown; allowed are anger, contempt",
    ),
    "missing column": (
        lambda f: edit(f / "data/legend.csv", "emotion", "mood"),
        r"legend\.csv:1: no column emotion; the first line should be user\.id,image,emotion",
    ),
    "too few fields": (
        lambda f: edit(f / "data/legend.csv", "Bo_Chu_0001.jpg,anger", "Bo_Chu_0001.jpg"),
        r"legend\.csv:4: 2 fields, 3 expected",
    ),
    "path for a name": (
        lambda f: edit(f / "data/legend.csv", "Bo_Chu_0001.jpg", "../x.jpg"),
        r"legend\.csv:4: '\.\./x\.jpg' is not the name of a picture",
    ),
    "no table": (lambda f: (f / "data/legend.csv").unlink(), r"legend\.csv: the table of labels is missing"),
    "table without rows": (
        lambda f: (f / "data/legend.csv").write_text("user.id,image,emotion\n"),
        r"legend\.csv: the table has no rows",
    ),
    "empty table": (lambda f: (f / "data/legend.csv").write_text(""), r"legend\.csv:1: no column user\.id"),
    "not text": (lambda f: (f / "data/legend.csv").write_bytes(b"\xff\xfe\x00a"), r"not UTF-8 text"),
    "empty folder": (
        lambda f: [p.unlink() for p in (f / "images").iterdir()],
        r"images: the folder is empty; it should hold the pictures",
    ),
}


@pytest.mark.parametrize("damage", EXPRESSION_DAMAGE)
def test_damaged_expressions_end_in_one_clear_message(tmp_path, damage):
    folder = make_expressions(tmp_path)
    harm, message = EXPRESSION_DAMAGE[damage]
    harm(folder)
    with pytest.raises(DataError, match=message):
        load_expressions(tmp_path, size=32)


def rewrite(path, line, change):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[line - 1] = change(rows[line - 1])
    write_rows(path, rows)


TRAIN = "training_frames_keypoints.csv"
KEYPOINT_DAMAGE = {
    "67 points": (lambda f: rewrite(f / TRAIN, 3, lambda r: r[:-2]), TRAIN + r":3: 67 points, 68 expected"),
    "69 points": (
        lambda f: rewrite(f / TRAIN, 3, lambda r: [*r, "1", "2"]),
        TRAIN + r":3: 69 points, 68 expected",
    ),
    "missing column": (
        lambda f: rewrite(f / TRAIN, 1, lambda r: r[:-1]),
        TRAIN + r":1: 136 columns; 137 are expected",
    ),
    "a word for a number": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [*r[:5], "ten", *r[6:]]),
        TRAIN + r":4: a coordinate is not a number \(.*'ten'\)",
    ),
    "not a number": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [*r[:5], "nan", *r[6:]]),
        TRAIN + r":4: a coordinate is not finite",
    ),
    "no eyes": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [r[0]] + ["9"] * 136),
        TRAIN + r":4: both eyes are in one",
    ),
    "far outside": (
        lambda f: rewrite(f / TRAIN, 4, lambda r: [r[0]] + [str(float(v) + 500) for v in r[1:]]),
        TRAIN + r":4: Ann_Lee_10\.jpg: the face's square .* lies outside the picture",
    ),
    "two shapes": (
        lambda f: rewrite(f / TRAIN, 3, lambda r: ["Ann_Lee_00.jpg", *r[1:]]),
        TRAIN + r":3: Ann_Lee_00\.jpg has two different shapes",
    ),
    "picture missing": (
        lambda f: (f / "test/Lou_Ra_22.jpg").unlink(),
        r"test_frames_keypoints\.csv:4: .*Lou_Ra_22\.jpg: there is no such file",
    ),
    "picture cut off": (
        lambda f: cut_in_half(f / "training/Ann_Lee_01.jpg"),
        TRAIN + r":3: .*Ann_Lee_01\.jpg: the picture is damaged",
    ),
    "no table": (lambda f: (f / TRAIN).unlink(), TRAIN + r": the table of key points is missing"),
    "empty folder": (
        lambda f: [p.unlink() for p in (f / "test").iterdir()],
        r"test: the folder is empty",
    ),
}


@pytest.mark.parametrize("damage", KEYPOINT_DAMAGE)
def test_damaged_key_points_end_in_one_clear_message(tmp_path, damage):
    folder = make_keypoints(tmp_path)
    harm, message = KEYPOINT_DAMAGE[damage]
    harm(folder)
    with pytest.raises(DataError, match=message):
        load_keypoints(tmp_path, size=32)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_never_crashes_and_never_loses_silently(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    make_expressions(root)
    make_keypoints(root)
    with harmed(root, data):
        for load in (load_expressions, load_keypoints):
            try:
                faces, report = load(root, size=24)
            except MtlError as error:
                assert str(root) in str(error)
            else:
                unused_files = ("files without a label", "files without key points")
                rows = sum(len(v) for k, v in report.left_out.items() if k not in unused_files)
                assert report.kept + rows == report.rows and len(faces) == report.kept
