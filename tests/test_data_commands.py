"""``mtl data``, as its user meets it, on rendered twins."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from toy_expressions import message, run

from mtl_lib import cli, data_commands
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.registry import SETS, open_set, reader, twin_writer
from mtl_lib.faces.sheet import contact_sheet


@pytest.mark.parametrize("name", [name for name, entry in SETS.items() if entry.kind == "landmarks"])
def test_every_set_has_a_twin_that_its_own_reader_finds_sound(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    twin = tmp_path / "somewhere" / "twin"
    status, out, _ = run(capsys, "data", "prepare", "--twin", name, twin)
    assert status == 0 and out.startswith("rendered twin of ") and f"--set {name} {twin}" in out
    status, out, _ = run(capsys, "data", "check", "--set", name, twin)
    assert status == 0 and "sound: nothing is missing or damaged" in out
    status, out, _ = run(
        capsys, "data", "show", "--set", name, twin.parent, "--out", tmp_path / "s.png", "--faces", 9
    )
    assert status == 0 and Image.open(tmp_path / "s.png").width > 400
    assert reader(name).NAME == name and reader(name).KIND == SETS[name].kind
    faces, report = open_set(name, twin).load(size=24)
    assert report.unaccounted() == 0 and (faces.labels is None) == (SETS[name].kind == "landmarks")
    assert f"there is no {'expression' if SETS[name].kind == 'landmarks' else 'landmark'} set" in message(
        capsys, "data", "check", "--tier", "paper", "--root", twin,
        *(("--expression-set", name) if SETS[name].kind == "landmarks" else ("--landmark-sets", name)),
    )  # fmt: skip


def test_a_check_that_finds_damage_says_so_and_ends_with_status_one(root, tmp_path, capsys):
    copy = shutil.copytree(root / "menpo", tmp_path / "menpo")
    victims = sorted((copy / "menpo_train_release").glob("*[0-9].jpg"))[:5]
    for victim in victims:
        victim.write_bytes(b"")
    status, out, _ = run(capsys, "data", "check", "--set", "menpo", copy)
    assert status == 1 and "NOT sound" in out and victims[4].name not in out
    status, out, _ = run(capsys, "data", "check", "--set", "menpo", copy, "--all")
    assert status == 1 and all(victim.name in out for victim in victims)


def test_preparing_keeps_every_part_and_goes_on_where_it_stopped(root, tmp_path, capsys, monkeypatch):
    from mtl_lib.faces import dataset

    plain, built = dataset.FaceFolder._build, []

    def stopped(self, entries, account, size, part, progress):
        if part == "challenging" and not built.count("stop"):
            built.append("stop")
            raise DataError("the light went out", self.folder)
        built.append(part)
        return plain(self, entries, account, size, part, progress)

    monkeypatch.setattr(dataset.FaceFolder, "_build", stopped)
    command = ["data", "prepare", "--set", "300w", root, "--cache", tmp_path / "c", "--pixels", 32]
    assert "the light went out" in message(capsys, *command)
    status, out, _ = run(capsys, *command)
    assert status == 0 and built == ["train", "common", "stop", "challenging"]
    assert out.count("FaceSet") == 3 and f"kept in {tmp_path / 'c'}" in out
    # Training finds them there: no picture is opened.
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a picture was opened"))
    assert len(open_set("300w", root).load("full", size=32, cache=tmp_path / "c")[0]) == 13


def test_damaged_faces_can_be_left_out_and_are_counted(root, tmp_path, capsys, monkeypatch):
    copy = shutil.copytree(root / "menpo", tmp_path / "menpo")
    (copy / "menpo_train_release/image00003.jpg").write_bytes(b"")
    command = ["data", "prepare", "--set", "menpo", copy, "--cache", tmp_path / "c"]
    assert "image00003.jpg: this is not a picture" in message(capsys, *command)
    status, out, _ = run(capsys, *command, "--damaged", "leave-out")
    assert status == 0 and "left out: 1 damaged or missing pictures (image00003.jpg" in out
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "c"))
    status, out, _ = run(capsys, "data", "show", "--set", "menpo", copy, "--out", tmp_path / "s.png")
    assert status == 0 and "left out: 1 damaged or missing pictures (image00003.jpg" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_twin_leaves_nothing(tmp_path, number):
    # A shell may have had SIGINT ignored; Python then would not set its own handler.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from mtl_lib import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "data", "prepare", "--twin", "ckplus", str(tmp_path / "ck")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 300
        while not list(tmp_path.glob(".ck.*/folder/*")):  # it has begun to write
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + number and "mtl: stopped" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_what_a_killed_twin_left_is_removed_and_named(tmp_path, capsys):
    stale, alive = tmp_path / ".t.stale.unfinished", tmp_path / ".t.alive.unfinished"
    others = [tmp_path / ".t.mine", tmp_path / ".tt.x.unfinished", tmp_path / ".t.y.unfinished"]
    for folder in (stale, alive, *others):
        (folder / "folder").mkdir(parents=True)
        if folder != others[-1]:
            (folder / "lock").touch()
    with FileLock(alive / "lock"):
        status, out, _ = run(capsys, "data", "prepare", "--twin", "menpo", tmp_path / "t", "--pixels", 32)
    assert status == 0 and f"removed {stale}" in out and "alive" not in out
    assert {path.name for path in tmp_path.iterdir()} == {"t", alive.name, *(path.name for path in others)}


def test_the_help_says_how_many_pictures_a_small_twin_has(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "prepare", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    twin_writer("ckplus")(tmp_path / "ck", pixels=24)
    drawn = len(list((tmp_path / "ck").rglob("*.png")))
    faces = len(open_set("ckplus", tmp_path / "ck").load(size=24)[0])
    assert f"its {faces} faces are {drawn} pictures" in said


def test_a_tier_is_judged_as_its_sets_are(root, toyset, tmp_path, capsys):
    copy = shutil.copytree(root, tmp_path / "sets")
    command = ["data", "check", "--tier", "paper", "--root", copy, "--expression-set", "toyset"]
    status, out, _ = run(capsys, *command)
    assert status == 0 and out.rstrip().endswith("sound: nothing is missing or damaged")
    victims = sorted((copy / "menpo/menpo_train_release").glob("*[0-9].jpg"))[:5]
    for victim in victims:
        victim.write_bytes(b"")
    status, out, _ = run(capsys, *command)
    assert status == 1 and "NOT sound" in out and victims[4].name not in out
    # Damage stays damage in what is meant to be a part.
    status, out, _ = run(capsys, *command, "--subset", "--all")
    assert status == 1 and "NOT sound" in out and all(victim.name in out for victim in victims)


@pytest.mark.parametrize("name", SETS)
def test_what_cannot_be_downloaded_says_what_to_do(tmp_path, capsys, name):
    said = message(capsys, "data", "fetch", name, tmp_path)
    assert "owners" in said and "Getting the data" in said and f"mtl data check --set {name} DIR" in said
    assert f"mtl data prepare --twin {name} DIR" in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fetch", "facial_expressions", "DIR"], "use mtl data fetch open DIR, which brings both open sets"),
        (["fetch", "faces", "DIR"], "nothing to download is called 'faces'; use mtl data fetch open DIR"),
        (["show", "--set", "P1_Facial_Keypoints", "DIR", "--part", "test"], "has no parts"),
        (["check", "--set", "P1_Facial_Keypoints", "DIR"], "no folder P1_Facial_Keypoints here"),
        (["check", "--set", "900w", "DIR"], "affectnet, facial_expressions, P1_Facial_Keypoints"),
        (["check", "--set", "900w", "DIR"], "there is no data set '900w'; there are 300w, menpo"),
        (["check", "--set", "300w"], "no folder is given; use mtl data check --set 300w DIR"),
        (["check", "DIR"], "Name it with --set"),
        (["check", "--set", "300w", "DIR"], "300-W is not here; expected is a folder with afw"),
        (["show", "DIR"], "Name it with --set"),
        (["show", "--set", "300w", "DIR/none"], "there is no such folder; it should hold 300-W"),
        (["prepare"], "say what to prepare"),
        (["prepare", "--set", "300w", "--twin", "300w", "DIR"], "say what to prepare"),
        (["prepare", "--twin", "300w"], "no folder is given; use mtl data prepare --twin 300w DIR"),
        (["prepare", "--twin", "300w", "DIR", "--faces", "many"], "--faces is 'many'"),
        (["prepare", "--twin", "300w", "DIR/.."], "holds something already"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(tmp_path, capsys, args, words):
    (tmp_path / "x").mkdir()
    place = str(tmp_path / "x")
    assert words.replace("DIR", place) in message(
        capsys, "data", *(arg.replace("DIR", place) for arg in args)
    ).replace("DIR", place)


@pytest.mark.parametrize("command", [[], *([name] for name in data_commands.DATA_COMMANDS)])
def test_the_help_names_every_option_and_set(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main(["data", *command, "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    if command in (["check"], ["prepare"], ["show"]):
        assert all(name in out for name in ("--set NAME", *SETS))
    if not command:
        assert all(name in out for name in data_commands.DATA_COMMANDS)


def test_sheets_of_a_tier(tmp_path, capsys):
    status, out, _ = run(
        capsys,
        "data",
        "show",
        "--out",
        tmp_path / "a.png",
        "--faces",
        13,
        "--pixels",
        48,
        "--tier",
        "synthetic",
    )
    assert status == 0 and out.count("13 of FaceSet") == 2
    assert {f.name for f in tmp_path.iterdir()} == {"a.png", "a-landmarks.png"}


def test_a_sheet_shows_every_class_and_puts_dots_on_landmarks():
    images = torch.zeros(30, 1, 20, 20, dtype=torch.uint8)
    labels = torch.tensor([0] * 28 + [1, 2])
    points = torch.full((30, 68, 2), 4.0)
    faces = FaceSet(images, labels, ("a", "b", "c"), points, ("p",) * 30, "toy")
    sheet = np.asarray(contact_sheet(faces, 6, side=100, columns=6))
    # One row of six faces; a dot of its own colour where (4, 4) is: at (4.5 / 20) of the side.
    assert sheet.shape == (6 + 100 + 6 + 16, 6 * 106 + 6, 3)
    for column in range(6):
        assert tuple(sheet[6 + 22, 6 + 106 * column + 22]) == (255, 196, 0)
        assert tuple(sheet[6 + 70, 6 + 106 * column + 70]) == (0, 0, 0)
    from mtl_lib.faces.sheet import _choice

    assert sorted(faces.labels[_choice(faces, 6, 0)].tolist()) == [0, 0, 0, 0, 1, 2]
    with pytest.raises(ConfigError, match="is empty"):
        contact_sheet(faces, 0)
