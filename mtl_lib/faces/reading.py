"""Reading pictures and tables that other people made: everything odd becomes one clear message."""

import csv
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mtl_lib.errors import DataError

_NUMBER_AT_END = re.compile(r"[-_]\d+[A-Za-z]?$")


def person_of(filename: str) -> str:
    """Who is shown, from a file name of the form ``First_Last_0001.jpg``.

    The stem without a number at its end.  Both open sets name their files after people this way, so equal
    results are equal people across the two (misspelt names aside).

    Examples
    --------
    >>> person_of("Ann_Lee_0003.jpg"), person_of("Ann_Lee_51.jpg"), person_of("Ann-12b.jpg"), person_of("Ann.jpg")
    ('Ann_Lee', 'Ann_Lee', 'Ann', 'Ann')
    """
    return _NUMBER_AT_END.sub("", Path(filename).stem)


def read_gray(
    path: str | os.PathLike, named_in: str | os.PathLike | None = None, line: int | None = None
) -> np.ndarray:
    """Read a picture of any kind as gray values: :func:`read_picture` without the second answer.

    Examples
    --------
    >>> read_gray("nowhere.jpg")
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere.jpg: there is no such file; check the path
    """
    return read_picture(path, named_in, line)[0]


def read_picture(
    path: str | os.PathLike, named_in: str | os.PathLike | None = None, line: int | None = None
) -> tuple[np.ndarray, bool]:
    """Read a picture of any kind as gray values, and say whether it was in colour.

    The content decides, not the name: some files called ``.jpg`` are PNG with an alpha channel or WEBP.

    Parameters
    ----------
    path : path-like
        The picture.
    named_in, line : path-like and int, optional
        The table and line that name it, for the message.

    Returns
    -------
    gray : numpy.ndarray, uint8, [height, width]
    colour : bool
        Whether its channels differ (a gray photograph saved with three channels is not in colour).

    Raises
    ------
    DataError
        If the file is missing, cut off or no picture.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGBA", (4, 3)).save(f"{folder}/odd.jpg", format="PNG")
    ...     gray, colour = read_picture(f"{folder}/odd.jpg")
    >>> gray.shape, colour
    ((3, 4), False)
    """
    path = Path(path)

    where = (path, named_in, line)
    if not path.is_file():
        raise _failure(where, "there is no such file", "check the path", "download the set again")
    try:
        with Image.open(path) as picture:
            picture.load()
            colour = False
            if picture.mode not in ("1", "L", "LA", "I", "I;16", "F"):
                # Rounding in JPEG moves the channels of a gray picture by a level or so.
                red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), dtype=np.int16), -1, 0)
                colour = bool((np.abs(red - green) + np.abs(green - blue)).mean() > 3)
            return np.asarray(picture.convert("L")), colour
    except UnidentifiedImageError:
        raise _failure(
            where,
            "this is not a picture",
            "give a JPEG, PNG, WEBP or another kind that Pillow reads",
            "download it again",
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _failure(
            where, f"the picture is damaged ({error})", "give a whole copy of it", "download it again"
        ) from None


# Not within read_picture, where the tests' type checks would be compiled anew for every picture.
def _failure(
    where: tuple[Path, str | os.PathLike | None, int | None], what: str, alone: str, of_a_set: str
) -> DataError:
    # Who names one picture can mend a path; who reads a set can mend the set or the line that names it.
    path, named_in, line = where
    if named_in is None:
        return DataError(f"{what}; {alone}", path)
    return DataError(f"names the picture {path}: {what}; {of_a_set}, or remove the line", named_in, line)


def read_table(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file with their numbers, from 1; blank lines are passed over.

    Raises
    ------
    DataError
        If the file is missing or is not UTF-8 text.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.csv").write_text("a,b\\n\\n1,2\\n")
    ...     list(read_table(Path(folder, "t.csv")))
    [(1, ['a', 'b']), (3, ['1', '2'])]
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            "there is no such file; download the set again, or name the folder that holds it", path
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DataError(f"this is not UTF-8 text ({error.reason}); download it again", path) from None
    except csv.Error as error:
        raise DataError(f"this is not a CSV file ({error}); download it again", path) from None


def same_name(name: str, plain: str) -> bool:
    """Whether a folder's name is the wanted one, letters and digits alone compared, in any case.

    Examples
    --------
    >>> same_name("Bounding Boxes", "boundingboxes"), same_name("Bounding_Boxes", "boundingboxes")
    (True, True)
    """
    return re.sub(r"[^a-z0-9]", "", name.lower()) == plain


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, to find one picture under two names.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a").write_bytes(b"")
    ...     digest(Path(folder, "a"))[:8]
    'e3b0c442'
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_pictures(folder: Path) -> list[str]:
    """Names of the files in a folder, sorted; hidden files do not count.

    Raises
    ------
    DataError
        If the folder is missing or empty.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "b.jpg").write_bytes(b"")
    ...     list_pictures(Path(folder))
    ['b.jpg']
    """
    if not folder.is_dir():
        raise DataError(
            "there is no such folder; it should hold the pictures. Download the set again", folder
        )
    names = sorted(f.name for f in os.scandir(folder) if f.is_file() and not f.name.startswith("."))
    if not names:
        raise DataError("the folder is empty; it should hold the pictures. Download the set again", folder)
    return names
