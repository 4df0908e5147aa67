"""``mtl data`` and the paper's tier, as their user meets them, on rendered twins."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from open_copies import make_expressions, make_keypoints
from PIL import Image

from mtl_lib import cli, data_commands
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces import fetch as fetching
from mtl_lib.faces import registry
from mtl_lib.faces.base import FaceSet, joined
from mtl_lib.faces.dataset import ROLES, FaceFolder
from mtl_lib.faces.entries import Entry
from mtl_lib.faces.open_sets import READERS
from mtl_lib.faces.registry import SETS, Listed, open_set, reader, twin_writer
from mtl_lib.faces.sheet import contact_sheet
from mtl_lib.faces.splits import split_by_person, split_faces
from mtl_lib.faces.tiers import check_tier, load_tier
from mtl_lib.tasks import load_sets, split_sets


class ToyExpressions(FaceFolder):
    """Pictures in folders named after two classes."""

    NAME, TITLE, KIND = "toyset", "Toy expressions", "expression"
    ORIGIN, LAYOUT = "nowhere", "toy/calm and toy/glad"
    CLASSES = ("calm", "glad")

    @classmethod
    def _recognise(cls, folder):
        return all((folder / name).is_dir() for name in cls.CLASSES)

    def _entries(self, part, account):
        files = sorted(self.folder.glob("*/*.png"))
        account.report.rows += len(files)
        return [
            Entry(f.name, f, f"toy-{f.stem[:2]}", self.CLASSES.index(f.parent.name), extra={"number": i})
            for i, f in enumerate(files)
        ]


@pytest.fixture
def toyset(monkeypatch):
    monkeypatch.setitem(SETS, "toyset", Listed("expression", "toys", "toys:Toy", "toys:write"))
    plain = registry._imported
    monkeypatch.setattr(
        registry, "_imported", lambda place: ToyExpressions if place == "toys:Toy" else plain(place)
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with 300-W, Menpo and a toy set of expressions."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ("300w", "menpo"):
        twin_writer(name)(folder / name, pixels=32)
    for i in range(40):
        place = folder / "toy" / ToyExpressions.CLASSES[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20), 6 * i, np.uint8)).save(place / f"{i // 4:02d}-{i}.png")
    return folder


def run(capsys, *args) -> tuple[int, str, str]:
    status = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def message(capsys, *args) -> str:
    status, _, err = run(capsys, *args)
    assert status == 2
    [line] = [line for line in err.splitlines() if line.startswith("mtl: ")]
    return line


# ---- twin, check, prepare, show


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


def test_fetch_hands_the_folder_on(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(fetching, "fetch", asked.append)
    status, out, _ = run(capsys, "data", "fetch", "open", tmp_path)
    assert status == 0 and asked == [tmp_path] and f"mtl data check --tier open --root {tmp_path}" in out


# ---- contact sheets


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


# ---- the paper's tier


def test_the_tier_reads_the_named_sets(root, toyset, tmp_path):
    sets = load_tier("paper", root, pixels=24, cache=tmp_path, expression_set="toyset")
    assert len(sets["expression"]) == 40 and sets["expression"].classes == ("calm", "glad")
    # 300-W gives all its faces, Menpo those to train on.
    landmarks = sets["landmarks"]
    assert len(landmarks) == 31 + 12 and landmarks.landmarks.shape == (43, 68, 2)
    roles = [ROLES[i] for i in landmarks.extra["role"].tolist()]
    assert roles == ["train"] * 18 + ["test"] * 13 + ["train"] * 12
    only = load_tier("paper", root, pixels=24, expression_set="toyset", landmark_sets="menpo")
    assert len(only["landmarks"]) == 18
    assert len(load_tier("paper", root, 5, pixels=24, expression_set="toyset")["landmarks"]) == 5
    text = str(check_tier("paper", root, expression_set="toyset"))
    assert (
        "Toy expressions" in text
        and "rendered twin of Menpo 2D" in text
        and "train: 18 of 18 expected" in text
    )


def test_the_owners_test_faces_are_the_test_faces(root, toyset):
    config = TrainConfig.for_budget("smoke", tier="paper", expression_set="toyset", pixels=32)
    parts = split_sets(config, load_sets(config, root))
    assert len(parts["test"]["landmarks"]) == 13
    assert all(who.startswith(("300w-ibug", "300w-helen/testset", "300w-lfpw/testset"))
               for who in parts["test"]["landmarks"].persons)  # fmt: skip
    assert len(parts["train"]["landmarks"]) + len(parts["validation"]["landmarks"]) == 30
    assert not set(parts["train"]["landmarks"].persons) & set(parts["validation"]["landmarks"].persons)
    assert sum(len(parts[part]["expression"]) for part in parts) == 40
    people = [set(parts[part]["expression"].persons) for part in parts]
    assert not people[0] & people[1] and not people[1] & people[2] and not people[0] & people[2]


def with_roles(roles, name="toy") -> FaceSet:
    images = torch.zeros(len(roles), 1, 2, 2, dtype=torch.uint8)
    persons = tuple(f"{name}{i // 2}" for i in range(len(roles)))
    return FaceSet(images, None, (), None, persons, name, {"role": torch.tensor(roles)})


def test_splits_as_the_owners_say():
    given = with_roles([0, 0, 1, 1, 2, 2])
    [parts] = split_faces([given])
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    kept_back = with_roles([0] * 40 + [1] * 4)
    assert split_faces([kept_back])[0][2].tolist() == [40, 41, 42, 43]
    partly = with_roles([0] * 40 + [2] * 10)
    free = with_roles([0] * 40, "free")
    free = FaceSet(free.images, None, (), None, free.persons, "free")
    first, second = split_faces([partly, free], (0.6, 0.2, 0.2), 3)
    assert first[2].tolist() == list(range(40, 50))
    assert sorted([*first[0].tolist(), *first[1].tolist()]) == list(range(40)) and len(first[1]) == 10
    # The other sets are split as they would be without it.
    assert all(
        torch.equal(a, b) for a, b in zip(second, split_by_person([free], (0.6, 0.2, 0.2), 3)[0], strict=True)
    )
    with pytest.raises(DataError, match="6 faces to train on and 0 to test on"):
        split_faces([with_roles([0] * 6)])


def test_training_on_the_tier_from_the_command_line(root, toyset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    status, told, _ = run(
        capsys, "train", "--out", out, "--tier", "paper", "--root", root, "--budget", "smoke", "--steps", 2,
        "--set", "expression_set=toyset", "pixels=32", "width=2", "batch_size=4",
    )  # fmt: skip
    assert status == 0 and "mtl evaluate" in told
    assert json.loads((out / "config.json").read_text())["config"]["landmark_sets"] == "300w+menpo"
    status, told, _ = run(capsys, "evaluate", out, "--root", root)
    assert status == 0 and "NME (pupils)" in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"expression_set": "300w"}, "there is no expression set '300w'"),
        ({"landmark_sets": "300w+300w"}, "each set can be named once"),
        ({"landmark_sets": ""}, "there is no landmark set ''"),
        ({"landmark_sets": "300w,menpo"}, "there is no landmark set '300w,menpo'; there are 300w, menpo"),
        ({"intensity": (0.1, 0.2)}, "only the faces of the tier 'synthetic'"),
    ],
)
def test_tiers_that_cannot_be(root, toyset, settings, words):
    with pytest.raises(ConfigError, match=words):
        load_tier("paper", root, **{"expression_set": "toyset", **settings})


def test_options_of_a_set_stand_behind_its_name(root, toyset):
    assert open_set("300w:boxes=truth", root).boxes == "truth"
    sets = load_tier(
        "paper", root, pixels=24, expression_set="toyset", landmark_sets="300w:boxes=truth+menpo"
    )
    plain = load_tier("paper", root, pixels=24, expression_set="toyset")
    assert not torch.equal(sets["landmarks"].images[:31], plain["landmarks"].images[:31])
    assert torch.equal(sets["landmarks"].images[31:], plain["landmarks"].images[31:])
    for name, words in (
        ("300w:boxes", "the option 'boxes'; options are written key=value, with the keys boxes"),
        ("300w:box=truth", "the option 'box=truth'"),
        ("toyset:boxes=truth", "but this set has none"),
        ("menpo:boxes=truth", "boxes is 'truth'; it must be one of landmarks, mtcnn"),
        ("300w:boxes=mine", "boxes is 'mine'"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_set(name, root)


def test_a_set_that_is_not_there_is_named(tmp_path, root, toyset, capsys):
    assert "needs a folder that holds the data sets" in message(capsys, "data", "check", "--tier", "paper")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Toy expressions is not here; expected is toy/calm"):
        load_tier("paper", tmp_path / "empty", expression_set="toyset")
    with pytest.raises(DataError, match="300-W is not here"):
        load_tier("paper", root / "toy", expression_set="toyset")


def test_sets_that_differ_are_not_joined():
    first = with_roles([0, 1])
    labelled = FaceSet(first.images, torch.tensor([0, 0]), ("a",), None, first.persons, "labelled")
    with pytest.raises(DataError, match="'toy' and 'labelled' differ in what they hold"):
        joined([first, labelled], "both")


def test_the_appendix_tells_of_every_set():
    text = (Path(__file__).parent.parent / "chapters/appendix/data.md").read_text(encoding="utf-8")
    for name in SETS:
        assert (
            f"(`{name}`)" in text and f"mtl data check --set {name} DIR" in text and f"| `{name}` |" in text
        )
        for part, count in reader(name).PUBLISHED.items():
            assert f"{count:,}" in text or str(count) in text or part in ("train", "validation", "test")
