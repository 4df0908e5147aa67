"""Landmark files in the format .pts: what was written is read, and what is damaged says where."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import DataError
from mtl_lib.faces.pts import read_pts, write_pts

coordinates = st.floats(-500, 5000, width=32)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=70))
@settings(max_examples=40, deadline=None)
def test_landmark_files_read_back_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("pts") / "a.pts"
    points = torch.tensor(rows)
    write_pts(path, points)
    torch.testing.assert_close(read_pts(path, expected=len(rows)), points, rtol=1e-6, atol=1e-5)


def test_points_are_counted_from_one_in_the_file(tmp_path):
    write_pts(tmp_path / "a.pts", torch.tensor([[0.0, 10.0]]))
    assert "\n1.000000 11.000000\n" in (tmp_path / "a.pts").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nn_points:  2\n{\n1 2\n3 4\n}\n",
        "version: 1\nn_points: 2\n{\n1 2\n3 4\n}",  # one space, no line end
        "version: 1\r\nn_points:  2\r\n{\r\n1 2 \r\n3 4\r\n}\r\n",
        "{\n1 2\n3 4\n}",  # no header
        "version: 1\nn_points:  2\n\n# a comment\n{\n\n1 2\n\n3 4\n}\n",
        "\ufeffversion: 1\nN_Points : 2\n{ 1 2\n3 4 }\nand more\n",
        "version: 1\nn_points:  2\n{\n1e0\t2.0\n3 4\n}\n",
    ],
)
def test_any_header_is_read(tmp_path, text):
    (tmp_path / "a.pts").write_bytes(text.encode("utf-8"))
    assert read_pts(tmp_path / "a.pts").tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version: 1\nn_points:  3\n{\n1 2\n3 4\n}\n",
            r"a\.pts: 2 points, 3 expected, as the file itself says",
        ),
        ("version: 1\nn_points:  1\n{\n1 2\n3 4\n}\n", r"a\.pts: 2 points, 1 expected"),
        ("{\n1 2\n3 4\n}\n", r"a\.pts: 2 points, 68 expected, as this set has"),
        ("version: 1\nn_points: many\n{\n1 2\n}\n", r"a\.pts:2: n_points is 'many', which is no number"),
        ("version: 1\nn_points: ²\n{\n1 2\n}\n", r"a\.pts:2: n_points is '²'"),
        ("version: 1\nn_points:  2\n{\n1 2\n3\n}\n", r"a\.pts:5: 1 numbers, 2 expected"),
        ("version: 1\nn_points:  2\n{\n1 2\n3 4 5\n}\n", r"a\.pts:5: 3 numbers, 2 expected"),
        ("version: 1\nn_points:  2\n{\n1 2\nx 4\n}\n", r"a\.pts:5: a coordinate is not a number"),
        ("version: 1\nn_points:  2\n{\n1 nan\n3 4\n}\n", r"a\.pts:4: a coordinate is not finite"),
        ("version: 1\nn_points:  2\n{\n1 2\n3 4\n", r"a\.pts: no '}' after 2 points: the file is cut off"),
        ("version: 1\nn_points:  2\n1 2\n3 4\n", r"a\.pts: no line begins with '{'"),
        ("", r"a\.pts: no line begins with '{'"),
    ],
)
def test_damaged_landmark_files_say_where(tmp_path, text, message):
    (tmp_path / "a.pts").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_pts(tmp_path / "a.pts", expected=68 if "68" in message else None)


def test_landmark_files_that_are_no_text_or_not_there(tmp_path):
    (tmp_path / "a.pts").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match=r"a\.pts: this is not UTF-8 text"):
        read_pts(tmp_path / "a.pts")
    with pytest.raises(DataError, match=r"none\.pts: there is no such file"):
        read_pts(tmp_path / "none.pts")
    with pytest.raises(DataError, match="not finite"):
        write_pts(tmp_path / "b.pts", torch.tensor([[1.0, float("inf")]]))
    assert not (tmp_path / "b.pts").exists()
