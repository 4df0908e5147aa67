"""Random harm to the files of a data set, undone afterwards, and what a reader may do about it."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from mtl_lib.errors import DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.marks import MARK

KINDS = ("delete", "truncate", "garble", "rename", "empty", "another's content")


damage_settings = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would read a set for minutes
)


@contextmanager
def harmed(folder, data):
    """One file of ``folder`` deleted, cut off, garbled, renamed, emptied or overwritten by another's bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    # Any kind of file is as likely as any other: frames are many, labels are few.
    kinds = sorted({path.suffix for path in files})
    suffix = data.draw(st.sampled_from(kinds))
    victim = data.draw(st.sampled_from([path for path in files if path.suffix == suffix]))
    other = data.draw(st.sampled_from(files))
    content = victim.read_bytes()
    kind = data.draw(st.sampled_from(KINDS))
    moved = victim.with_name("renamed" + victim.suffix)
    try:
        if kind == "delete":
            victim.unlink()
        elif kind == "truncate":
            victim.write_bytes(content[: data.draw(st.integers(0, max(0, len(content) - 1)))])
        elif kind == "garble":
            at = data.draw(st.integers(0, max(0, len(content) - 1)))
            victim.write_bytes(
                content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :]
            )
        elif kind == "empty":
            victim.write_bytes(b"")
        elif kind == "another's content":
            victim.write_bytes(other.read_bytes())
        else:
            victim.rename(moved)
        yield victim, kind
    finally:
        moved.unlink(missing_ok=True)
        victim.write_bytes(content)


def nothing_is_lost_silently(reader, folder, data, whole, harms=1, **options):
    """After random harm, reading ends in a :class:`DataError` that names a file there, or in a closed account.

    Parameters
    ----------
    reader : callable
        From a folder to a ``FaceFolder``.
    folder : Path
        A sound twin; it is sound again afterwards.
    whole : SetReport
        What :meth:`check` said of it when it was sound.
    harms : int
        At most so many files are harmed.
    """
    with ExitStack() as stack:
        count = data.draw(st.integers(1, harms)) if harms > 1 else 1
        victims = [stack.enter_context(harmed(folder, data))[0] for _ in range(count)]
        for damaged in ("refuse", "leave out"):
            try:
                faces, report = reader(folder, **options).load(size=24, damaged=damaged)
            except DataError as error:
                assert str(folder) in str(error), f"no file is named: {error}"
            else:
                assert report.unaccounted() == 0 and len(faces) == report.kept
                assert_reported(report, whole, victims)
        # check() goes on after damage, unless the set is no longer recognised or its table is unreadable.
        try:
            report = reader(folder, **options).check()
        except DataError as error:
            assert str(folder) in str(error), f"no file is named: {error}"
        else:
            assert report.unaccounted() == 0
            assert_reported(report, whole, victims)


def assert_reported(report, whole, victims):
    if report.kept < whole.kept:
        lost_rows = sum(len(names) for names in report.left_out.values())
        usual = sum(len(names) for names in whole.left_out.values())
        unmarked = any(victim.name == MARK for victim in victims)
        assert lost_rows > usual or not report.complete() or unmarked, "faces are gone without a word"


def refused_or_left_out(reader, folder, message, lost=1):
    """Damage to a set is refused with this message, or as many faces as are lost are left out and counted.

    Returns the account of what was left out.
    """
    with pytest.raises(DataError, match=message):
        reader(folder).load(size=24)
    faces, report = reader(folder).load(size=24, damaged="leave out")
    assert len(faces) == sum(reader(folder).published.values()) - lost
    assert report.unaccounted() == 0 and not report.complete()
    return report


@contextmanager
def one_face_for_all(twin):
    """While this lasts, the writer ``twin`` (a module) draws one face and uses it for all: for counting files."""
    draw = twin.draw_shots

    def once(shots, **settings):
        shots = list(shots)
        [face] = draw(shots[:1], **{**settings, "progress": False, "total": 1})
        return (replace(face, number=i) for i in range(len(shots)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twin, "draw_shots", once)
        yield


def without_pixels(folder):
    """The faces that :meth:`load` would give, their pictures not read."""
    entries = folder.entries()
    return FaceSet(
        torch.zeros(len(entries), 1, 0, 0, dtype=torch.uint8),
        torch.tensor([entry.label for entry in entries]),
        folder.CLASSES,
        None,
        tuple(entry.person for entry in entries),
        folder.TITLE,
    )
