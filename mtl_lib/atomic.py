"""Files that are either the old ones or the new ones, never half of each; folders that are there whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_UNFINISHED, _LOCK = ".unfinished", "lock"


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one.

    The bytes go to a temporary file in the same folder (a rename is atomic only within one file system),
    are flushed to the disk, and then take the name ``path``.  Missing parent folders are made.

    Parameters
    ----------
    path : path-like
        The file to write.
    data : bytes
        Its new content.

    Returns
    -------
    pathlib.Path
        ``path``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(f"{folder}/a/b.bin", b"12").read_bytes()
    b'12'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files readable by their owner only; give what an ordinary open() would give.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write ``text`` as UTF-8; see :func:`write_bytes`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(f"{folder}/note.txt", "γ").read_text(encoding="utf-8")
    'γ'
    """
    return write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a folder to fill that takes the name ``folder`` when it is complete.

    After an error or an interruption (also by SIGTERM, within :func:`mtl_lib.signals.ended_by_sigterm`) nothing is left
    of it.  What a process leaves that is killed outright, the next call for the same name removes.

    Parameters
    ----------
    folder : path-like
        Must not exist, or be empty.  Missing parents are made.

    Yields
    ------
    pathlib.Path
        An empty folder beside it, hidden.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with new_folder(f"{place}/made") as inside:
    ...         write_text(inside / "a.txt", "a").exists(), Path(f"{place}/made").exists()
    ...     [path.name for path in Path(place).rglob("*")]
    (True, False)
    ['made', 'a.txt']
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=_UNFINISHED))
    lock = FileLock(scratch / _LOCK)
    try:
        with lock:  # dies with the process, and so says whether anybody is still at work here
            inside = scratch / "folder"
            inside.mkdir()
            yield inside
            if folder.exists():
                folder.rmdir()
            inside.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_unfinished(folder: str | os.PathLike) -> list[Path]:
    """Remove what processes left that were killed while they filled ``folder`` by :func:`new_folder`.

    Parameters
    ----------
    folder : path-like
        The name that it would have taken.

    Returns
    -------
    list of pathlib.Path
        What was removed.  What a living process is filling stays.

    Examples
    --------
    >>> remove_unfinished("nowhere/at/all")
    []
    """
    folder = Path(folder).absolute()
    removed = []
    for path in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else []:
        ours = path.name.startswith(f".{folder.name}.") and path.name.endswith(_UNFINISHED)
        if not ours or not (path / _LOCK).is_file():
            continue
        try:
            with FileLock(path / _LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        except Timeout:
            continue
        removed.append(path)
    return removed
