"""``mtl data`` and the open sets, as their user meets them, on small copies."""

from dataclasses import replace
from pathlib import Path

import pytest
from open_copies import make_expressions, make_keypoints
from toy_expressions import run

from mtl_lib import data_commands
from mtl_lib.faces import fetch as fetching
from mtl_lib.faces.open_sets import READERS


@pytest.fixture
def open_root(tmp_path, monkeypatch) -> Path:
    """A small copy of the open sets that holds all that is published of them."""
    folder = tmp_path / "open"
    folder.mkdir()
    make_expressions(folder)
    make_keypoints(folder)
    first, second = fetching.OPEN_SETS
    tables = {f"data/{part}_frames_keypoints.csv": rows for part, rows in (("training", 5), ("test", 3))}
    whole = replace(first, rows={"data/legend.csv": 16}, files={"images": 15}), replace(second, rows=tables)
    monkeypatch.setattr(fetching, "OPEN_SETS", whole)
    return folder


def test_the_open_sets_are_compared_with_what_is_published(open_root, capsys):
    tier = ["data", "check", "--tier", "open", "--root", open_root]
    status, out, _ = run(capsys, *tier)
    assert status == 0 and "sound: nothing is missing or damaged" in out
    assert "rows of data/legend.csv: 16 of 16 expected" in out and "files in images: 15 of 15" in out
    assert "rows of data/test_frames_keypoints.csv: 3 of 3 expected" in out
    # Rows and pictures are lost alike: what is left fits together, and only the numbers tell.
    table = open_root / "facial_expressions/data/legend.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:3] + lines[5:]))
    for name in ("Bo_Chu_0001.jpg", "Bo_Chu_0002.jpg"):
        assert any(name in line for line in lines[3:5])
        (open_root / "facial_expressions/images" / name).unlink()
    for command in (tier, ["data", "check", "--set", "facial_expressions", open_root]):
        status, out, _ = run(capsys, *command)
        assert status == 1 and "NOT sound" in out and "say --subset" in out
        assert "rows of data/legend.csv: 14 of 16 expected, 2 missing" in out
        assert "files in images: 13 of 15 expected, 2 missing" in out
        status, out, _ = run(capsys, *command, "--subset")
        counts = 4 if "--tier" in command else 2
        assert status == 0
        assert (
            f"sound as a part: nothing is damaged; 2 of {counts} counts are below the published ones" in out
        )
        assert "14 of 16 expected, 2 missing" in out
    status, out, _ = run(capsys, "data", "check", "--set", "P1_Facial_Keypoints", open_root)
    assert status == 0 and "sound: nothing is missing or damaged" in out
    # More than there should be is odd in a part, too.
    (open_root / "facial_expressions/images/more_1.jpg").write_bytes(b"")
    for number in range(3):
        (open_root / f"facial_expressions/images/stray_{number}.jpg").write_bytes(b"")
    status, out, _ = run(capsys, *tier, "--subset")
    assert status == 1 and "17 of 15 expected, 2 more than there should be" in out


def test_damage_in_the_open_sets_is_counted_and_named(open_root, capsys):
    (open_root / "facial_expressions/images/Bo_Chu_0002.jpg").unlink()
    (open_root / "P1_Facial_Keypoints/data/training/Ann_Lee_01.jpg").write_bytes(b"")
    (open_root / "P1_Facial_Keypoints/data/test/Lou_Ra_22.jpg").write_bytes(b"")
    status, out, _ = run(capsys, "data", "check", "--tier", "open", "--root", open_root, "--subset", "--all")
    assert status == 1 and "NOT sound" in out and "say --subset" not in out
    assert (
        "left out: 1 damaged or missing pictures (Bo_Chu_0002.jpg" in out and "there is no such file" in out
    )
    assert (
        "left out: 2 damaged or missing pictures (training/Ann_Lee_01.jpg" in out and "Lou_Ra_22.jpg" in out
    )


def test_the_open_sets_can_be_prepared_and_shown_by_name(open_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    for name in data_commands.OPEN_NAMES:
        status, out, _ = run(capsys, "data", "prepare", "--set", name, open_root, "--pixels", 32)
        assert status == 0 and "FaceSet" in out
        status, out, _ = run(
            capsys,
            "data",
            "show",
            "--set",
            name,
            open_root,
            "--out",
            tmp_path / f"{name}.png",
            "--pixels",
            32,
        )
        assert status == 0 and (tmp_path / f"{name}.png").is_file()
    assert tuple(READERS) == data_commands.OPEN_NAMES


def test_fetch_hands_the_folder_on(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(fetching, "fetch", asked.append)
    status, out, _ = run(capsys, "data", "fetch", "open", tmp_path)
    assert status == 0 and asked == [tmp_path] and f"mtl data check --tier open --root {tmp_path}" in out
