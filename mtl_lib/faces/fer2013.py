"""FER2013: photographs found by a search engine, 48x48 gray, in one table.

::

    fer2013.csv        emotion,pixels,Usage

``pixels`` are 2304 numbers row by row, ``Usage`` is Training (28,709), PublicTest or PrivateTest (3,589 each);
0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral.  See I. Goodfellow et al.,
"Challenges in representation learning: A report on three machine learning contests", Neural Networks 64, 2015.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtl_lib.errors import DataError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.reading import read_table
from mtl_lib.faces.reports import SetReport
from mtl_lib.faces.small_files import whole_number

COLUMNS = ("emotion", "pixels", "Usage")
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
SIDE = 48
DAMAGED = "damaged lines"


@dataclass(frozen=True, eq=False)
class PixelEntry(Entry):
    """A face whose pixels are in the table itself.

    Parameters
    ----------
    pixels : bytes
        Row by row.
    """

    pixels: bytes = b""

    def read(self) -> tuple[np.ndarray, bytes]:
        """Return the picture, uint8 [48, 48], and a digest of its pixels."""
        return np.frombuffer(self.pixels, np.uint8).reshape(SIDE, SIDE), hashlib.sha256(self.pixels).digest()


class FER2013(FaceFolder):
    """The faces of FER2013; PublicTest is the validation part, PrivateTest the test part.

    Parameters
    ----------
    root : path-like
        ``fer2013.csv``, the folder that holds it, or the one above.

    Raises
    ------
    DataError
        If it is not there.

    Notes
    -----
    Nobody knows who is shown, so each picture counts as a person of its own and no split by person can be made;
    some pictures occur more than once, also in two parts, and ``check`` names them.

    Examples
    --------
    >>> FER2013("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold FER2013: expected is ...
    """

    NAME = "fer2013"
    TITLE = "FER2013"
    KIND = "expression"
    ORIGIN = "the Kaggle competition 'Challenges in Representation Learning: Facial Expression Recognition Challenge'"
    LAYOUT = f"fer2013.csv ({','.join(COLUMNS)})"
    FOLDERS = ("fer2013", "fer-2013", "fer")
    PARTS = ("train", "validation", "test")
    CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    PUBLISHED = {"train": 28_709, "validation": 3589, "test": 3589}
    CODE = ("small_files.py",)

    PUBLISHED_CLASSES: ClassVar[dict[str, int]] = {
        "anger": 4953, "disgust": 547, "fear": 5121, "happiness": 8989, "sadness": 6077, "surprise": 4002,
        "neutral": 6198,
    }  # fmt: skip
    """Of all three parts together, 35,887."""

    def __init__(self, root: str | os.PathLike):
        root = Path(root)
        super().__init__(root.parent if root.is_file() else root)
        self.table = self.folder / "fer2013.csv"

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return (folder / "fer2013.csv").is_file()

    def _header(self, rows: Iterator[tuple[int, list[str]]]) -> tuple[int, list[int]]:
        """Number of columns, and where the three are."""
        _, header = next(rows, (1, []))
        header = [name.strip() for name in header]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"no column {', '.join(missing)}; the first line should be {','.join(COLUMNS)}", self.table, 1
            )
        return len(header), [header.index(name) for name in COLUMNS]

    def _found(self) -> dict[str, int]:
        # One pass that reads no pixels: the table has 300 megabytes.
        found = dict.fromkeys(USAGES.values(), 0)
        try:
            rows = read_table(self.table)
            _, places = self._header(rows)
            for _, cells in rows:
                usage = cells[places[2]].strip() if len(cells) > places[2] else ""
                found[usage] = found.get(usage, 0) + 1
        except DataError:
            pass
        return {part: found[usage] for part, usage in USAGES.items()}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        account.use(self.table)
        rows = read_table(self.table)
        width, places = self._header(rows)
        entries, empty = [], True
        for line, cells in rows:
            empty = False
            usage = cells[places[2]].strip() if len(cells) == width else None
            if usage != USAGES[part] and (usage in USAGES.values() or part != self.PARTS[0]):
                continue  # a line that belongs nowhere is counted with the first part
            account.report.rows += 1
            try:
                entries.append(self._entry(line, cells, width, places))
            except DataError as error:
                account.damage(DAMAGED, f"line {line}", error)
        if empty:
            raise DataError("the table has no rows; get it again", self.table)
        return entries

    def _entry(self, line: int, cells: Sequence[str], width: int, places: Sequence[int]) -> PixelEntry:
        if len(cells) != width:
            raise DataError(
                f"{len(cells)} fields, {width} expected; mend or remove the line", self.table, line
            )
        emotion, pixels, usage = (cells[i] for i in places)
        if usage.strip() not in USAGES.values():
            raise DataError(
                f"the usage {usage.strip()[:40]!r} is unknown; allowed are {', '.join(USAGES.values())}",
                self.table,
                line,
            )
        label = whole_number(emotion, 0, len(self.CLASSES) - 1, "emotion", self.table, line)
        words = pixels.split()
        if len(words) != SIDE * SIDE:
            raise DataError(
                f"{len(words)} pixels, {SIDE * SIDE} expected; mend or remove the line", self.table, line
            )
        try:
            values = bytes(map(int, words))
        except ValueError:
            raise DataError(
                "a pixel is not a whole number from 0 to 255; mend or remove the line", self.table, line
            ) from None
        name = f"{self.table.name}:{line}"
        return PixelEntry(
            name=name,
            picture=self.table,
            person=f"fer2013-{line}",
            label=label,
            table=self.table,
            line=line,
            pixels=values,
        )

    def _odd(self, entry: Entry, picture: np.ndarray, report: SetReport) -> None:
        if picture.min() == picture.max():
            report.note("pictures of one gray value, kept", entry.name)
