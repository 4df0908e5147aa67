"""Damaging copies of small rendered twins, and what must come of it: shared by the tests of all gated sets."""

import json
import shutil
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from mtl_lib.errors import MtlError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.marks import MARK

KINDS = ("delete", "truncate", "garble", "rename", "empty", "other bytes")


def copy_of(twin: Path, target: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(twin, target))


def harm(folder: Path, data) -> Path:
    """Damage one file, drawn by hypothesis; returns which."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != MARK)
    victim = data.draw(st.sampled_from(files))
    content = victim.read_bytes()
    kind = data.draw(st.sampled_from(KINDS))
    if kind == "delete":
        victim.unlink()
    elif kind == "truncate":
        victim.write_bytes(content[: data.draw(st.integers(0, max(0, len(content) - 1)))])
    elif kind == "garble":
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        victim.write_bytes(content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :])
    elif kind == "empty":
        victim.write_bytes(b"")
    elif kind == "other bytes":
        victim.write_bytes(data.draw(st.binary(max_size=300)))
    else:
        victim.rename(victim.with_name("renamed" + victim.suffix))
    return victim


damage_settings = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would copy and read a set for minutes
)


def survives(make, root: Path) -> None:
    """Reading a damaged copy of a twin: clear errors, closed accounts, nothing silent.  ``make(root)`` opens it."""
    counts = json.loads((root / MARK).read_text())["counts"]
    total = sum(counts[part] for part in make.PARTS)
    try:
        folder: FaceFolder = make(root)
    except MtlError as error:
        assert str(root) in str(error)
        return
    assert str(folder.folder) in repr(folder)
    try:
        report = folder.check()
    except MtlError as error:
        assert str(root) in str(error)
    else:
        assert report.unaccounted() == 0, str(report)
        assert report.kept == total or not report.complete(), (
            "faces are gone and the report calls it complete"
        )
    try:
        faces, report = folder.load(size=24)
    except MtlError as error:
        assert str(root) in str(error)
    else:
        assert report.unaccounted() == 0 and report.kept == len(faces)
        assert len(faces) == total or not report.complete()
    try:
        faces, report = folder.load(size=24, damaged="leave out")
    except MtlError as error:
        assert str(root) in str(error)
    else:
        assert report.unaccounted() == 0 and report.kept == len(faces)
        assert len(faces) == total or not report.complete()
