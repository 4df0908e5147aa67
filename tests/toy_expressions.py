"""A toy set of expressions beside twins of landmark sets, and `mtl` run as a user runs it."""

from pathlib import Path

import numpy as np
from PIL import Image

from mtl_lib import cli
from mtl_lib.faces import registry
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Entry
from mtl_lib.faces.registry import SETS, Listed, twin_writer


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


def list_toys(monkeypatch) -> None:
    """Let the registry know the toy set, as ``toyset``."""
    monkeypatch.setitem(SETS, "toyset", Listed("expression", "toys", "toys:Toy", "toys:write"))
    plain = registry._imported
    monkeypatch.setattr(
        registry, "_imported", lambda place: ToyExpressions if place == "toys:Toy" else plain(place)
    )


def write_paper_sets(folder: Path) -> Path:
    """300-W, Menpo and the toy set of expressions in a folder."""
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
