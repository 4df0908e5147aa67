"""Small files of text that hold one label or some numbers; whatever is odd becomes one clear message."""

import math
import os
from pathlib import Path

from mtl_lib.errors import DataError

_JUNK = ("Thumbs.db", "desktop.ini")
"""What Windows leaves in folders of pictures."""


def names_in(folder: Path, kind: str = "any") -> list[str]:
    """Names in a folder, sorted, hidden ones and Windows' own aside; none if there is no such folder.

    Parameters
    ----------
    folder : Path
    kind : {"any", "file", "folder"}

    Examples
    --------
    >>> names_in(Path("nowhere"))
    []
    """
    if not folder.is_dir():
        return []
    wanted = {"any": lambda _: True, "file": os.DirEntry.is_file, "folder": os.DirEntry.is_dir}[kind]
    with os.scandir(folder) as found:
        names = [item.name for item in found if not item.name.startswith(".") and wanted(item)]
    return sorted(name for name in names if name not in _JUNK)


def text_of(path: Path) -> str:
    """What a small text file says.

    Raises
    ------
    DataError
        If it is missing, unreadable or no text.

    Examples
    --------
    >>> text_of(Path("nowhere.txt"))
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere.txt: there is no such file; copy the set again
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError("there is no such file; copy the set again", path) from None
    except UnicodeDecodeError:
        raise DataError("this is not text; copy the file again", path) from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); copy it again", path) from None


def numbers_in(path: Path, per_line: int) -> list[list[float]]:
    """Lines of so many finite numbers, separated by spaces; empty lines are passed over.

    Raises
    ------
    DataError
        If the file is missing, or a line holds anything else; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("  1.0e+00  2\\n\\n3 4\\n")
    ...     numbers_in(Path(folder, "a.txt"), 2)
    [[1.0, 2.0], [3.0, 4.0]]
    """
    rows = []
    for line, text in enumerate(text_of(path).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        if len(words) != per_line:
            raise DataError(f"{len(words)} numbers, {per_line} expected; copy the file again", path, line)
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise DataError(
                f"{text.strip()[:40]!r} is not {per_line} numbers; copy the file again", path, line
            ) from None
        if not all(math.isfinite(value) for value in row):
            raise DataError("a number is not finite; copy the file again", path, line)
        rows.append(row)
    return rows


def whole_number(text: str, low: int, high: int, what: str, path: Path, line: int | None = None) -> int:
    """A whole number in a range, also written as ``3.0000000e+00``.

    Raises
    ------
    DataError
        If it is not; the message says which numbers are allowed.

    Examples
    --------
    >>> whole_number(" 3.0000000e+00 ", 1, 7, "emotion", Path("a.txt"))
    3
    """
    try:
        value = float(text.strip())
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value == int(value) and low <= value <= high):
        raise DataError(
            f"{text.strip()[:40]!r} is no {what}; allowed are the whole numbers from {low} to {high}",
            path,
            line,
        )
    return int(value)
