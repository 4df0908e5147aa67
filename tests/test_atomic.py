"""A file is the old one or the new one, whatever happens in between."""

import os
import stat

import pytest

from mtl_lib import atomic


def test_a_crash_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "weights.bin"
    atomic.write_bytes(path, b"old")

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights.bin"]


def test_the_file_never_holds_part_of_the_new_bytes(tmp_path, monkeypatch):
    path = tmp_path / "weights.bin"
    atomic.write_bytes(path, b"old")
    seen = []
    replace = os.replace

    def look_first(source, target):
        seen.append(path.read_bytes())
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", look_first)
    atomic.write_bytes(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_a_new_file_can_be_read_by_whom_the_umask_allows(tmp_path):
    umask = os.umask(0o022)
    try:
        path = atomic.write_text(tmp_path / "deep" / "er" / "note.txt", "γ")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text(encoding="utf-8") == "γ"
