"""RAF-DB, basic emotions: photographs from the internet, each labelled by some 40 people.

::

    EmoLabel/list_patition_label.txt      train_00001.jpg 5        (sic: "patition")
    Image/aligned/train_00001_aligned.jpg  100x100; test names have 4 digits: test_0001

1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral; the part is in the name.  See S. Li,
W. Deng and J. Du, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition in the
wild", CVPR 2017.
"""

import os
import re
from pathlib import Path
from typing import ClassVar

from mtl_lib.errors import DataError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.small_files import text_of, whole_number

LABELS = "EmoLabel/list_patition_label.txt"
DAMAGED = "damaged lines"

_NAME = re.compile(r"(train|test)_(\d+)\.jpg")


class RAFDB(FaceFolder):
    """The aligned faces of RAF-DB's basic emotions.

    Parameters
    ----------
    root : path-like
        The folder that holds ``EmoLabel`` and ``Image`` (``basic`` in the owners' archive), or the one above.

    Raises
    ------
    DataError
        If the set is not there.

    Notes
    -----
    Nobody knows who is shown, so each picture counts as a person of its own.  The pictures were aligned and
    cropped by the set's makers and are taken whole.

    Examples
    --------
    >>> RAFDB("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold RAF-DB: expected is ...
    """

    NAME = "rafdb"
    TITLE = "RAF-DB"
    KIND = "expression"
    ORIGIN = "its authors (whdeng.cn/raf), under an agreement"
    LAYOUT = f"{LABELS} and Image/aligned/train_00001_aligned.jpg"
    FOLDERS = ("basic", "RAF-DB", "RAF_DB", "RAF")
    PARTS = ("train", "test")
    CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    PUBLISHED = {"train": 12_271, "test": 3068}
    CODE = ("small_files.py",)

    PUBLISHED_CLASSES: ClassVar[dict[str, dict[str, int]]] = {
        "train": dict(zip(CLASSES, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
        "test": dict(zip(CLASSES, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
    }

    def __init__(self, root: str | os.PathLike):
        super().__init__(root)
        self.table, self.images = self.folder / LABELS, self.folder / "Image" / "aligned"

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return all(cls._parts_of_layout(folder).values())

    @classmethod
    def _parts_of_layout(cls, folder: Path) -> dict[str, bool]:
        return {LABELS: (folder / LABELS).is_file(), "Image/aligned": (folder / "Image" / "aligned").is_dir()}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        account.use(self.table)
        entries: list[Entry] = []
        seen: dict[str, int] = {}
        lines = text_of(self.table).splitlines()
        if not any(line.strip() for line in lines):
            raise DataError("the list is empty; copy it again", self.table)
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            match = _NAME.fullmatch(words[0])
            if (match[1] if match else self.PARTS[0]) != part:
                continue  # a line that belongs nowhere is counted with the first part
            account.report.rows += 1
            try:
                entry = self._entry(words, number, seen)
            except DataError as error:
                account.damage(DAMAGED, f"line {number}", error)
                continue
            entries.append(entry)
        return entries

    def _entry(self, words: list[str], line: int, seen: dict[str, int]) -> Entry:
        if len(words) != 2 or not _NAME.fullmatch(words[0]):
            raise DataError(
                f"{' '.join(words)[:60]!r} is not a picture's name and a label (train_00001.jpg 5); mend or remove "
                "the line",
                self.table,
                line,
            )
        name, label = words
        if name in seen:
            raise DataError(
                f"{name} is listed a second time (first in line {seen[name]}); remove one of the lines",
                self.table,
                line,
            )
        seen[name] = line
        stem = name.removesuffix(".jpg")
        return Entry(
            name=name,
            picture=self.images / f"{stem}_aligned.jpg",
            person=f"rafdb-{stem}",
            label=whole_number(label, 1, len(self.CLASSES), "label", self.table, line) - 1,
            table=self.table,
            line=line,
        )
