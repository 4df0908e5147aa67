"""AffectNet: the largest hand-labelled set of expressions in photographs, in both of its releases.

::

    training.csv, validation.csv             (or in Manually_Annotated_file_lists/)
        subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal
    Manually_Annotated_Images/7/name.jpg     (or Manually_Annotated/Manually_Annotated_Images/)

and the smaller one, of faces that are cut out already::

    train_set/images/7.jpg, train_set/annotations/7_exp.npy, 7_val.npy, 7_aro.npy;  the same under val_set

0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; the full release also has
8 none, 9 uncertain, 10 no face.  See A. Mollahosseini, B. Hasani, M. Mahoor, "AffectNet: A database for facial
expression, valence, and arousal computing in the wild", IEEE Transactions on Affective Computing 10(1), 2019.
"""

import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.reading import read_table
from mtl_lib.faces.small_files import names_in, whole_number

COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
NO_EXPRESSION = {8: "labelled none", 9: "labelled uncertain", 10: "labelled no face"}
DAMAGED = "damaged lines"

_TABLES = {"train": "training.csv", "validation": "validation.csv"}
_SETS = {"train": "train_set", "validation": "val_set"}


class AffectNet(FaceFolder):
    """The hand-labelled faces of AffectNet.

    Parameters
    ----------
    root : path-like
        The folder that holds ``training.csv`` (or ``Manually_Annotated_file_lists``) and
        ``Manually_Annotated_Images``, or ``train_set`` and ``val_set``; or the one above.
    release : {"full", "mini"}, optional
        Which of them; by default the one that is there.
    contempt : bool
        Whether contempt is the eighth class or, as in work with seven, left out.

    Raises
    ------
    DataError
        If the set is not there.
    ConfigError
        If there is no such release, or it must be said which.

    Notes
    -----
    The test part was never given out; papers test on the 500 validation faces of each class.  Nobody knows who is
    shown, so each picture counts as a person of its own.  ``extra["valence"]`` and ``extra["arousal"]`` are in
    -1 .. 1, NaN where they are not given or make no sense.  In the full release faces are cut out by their given
    box, extended by 0.2 of its longer side on each side; faces of the mini release are taken whole.

    Examples
    --------
    >>> AffectNet("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold AffectNet: expected is ...
    """

    NAME = "affectnet"
    TITLE = "AffectNet"
    KIND = "expression"
    ORIGIN = "its authors (mohammadmahoor.com/affectnet), to heads of laboratories, under an agreement"
    LAYOUT = (
        "training.csv, validation.csv and Manually_Annotated_Images/, or train_set/{images,annotations} and "
        "val_set/{images,annotations}"
    )
    PARTS = ("train", "validation")
    CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    CODE = ("small_files.py",)

    PUBLISHED_CLASSES: ClassVar[dict[str, int]] = {
        "neutral": 74_874, "happiness": 134_415, "sadness": 25_459, "surprise": 14_090, "fear": 6378,
        "disgust": 3803, "anger": 24_882, "contempt": 3750,
    }  # fmt: skip
    """Of the training part; the validation part has 500 of each."""

    PUBLISHED = {"train": 287_651, "validation": 4000}

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        release: Literal["full", "mini"] | None = None,
        contempt: bool = True,
    ):
        super().__init__(root)
        if release not in ("full", "mini", None):
            raise ConfigError(f"the release is {release!r}; it must be 'full' or 'mini'")
        here = self._releases(self.folder)
        if release is None and len(here) > 1:
            raise ConfigError(f"both releases are in {self.folder}; say release='full' or release='mini'")
        if release is not None and release not in here:
            raise DataError(f"the {release} release is not here; the {here[0]} one is", self.folder)
        self.release = release or here[0]
        self.contempt = contempt
        if not contempt:
            self.CLASSES = self.CLASSES[:-1]

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return bool(cls._releases(folder))

    @classmethod
    def _releases(cls, folder: Path) -> list[str]:
        found = []
        if cls._images(folder) is not None and any(cls._table(folder, part) for part in cls.PARTS):
            found.append("full")
        if any((folder / name / "annotations").is_dir() for name in _SETS.values()):
            found.append("mini")
        return found

    @staticmethod
    def _images(folder: Path) -> Path | None:
        inside = (
            folder / "Manually_Annotated" / "Manually_Annotated_Images",
            folder / "Manually_Annotated_Images",
        )
        return next((path for path in inside if path.is_dir()), None)

    @staticmethod
    def _table(folder: Path, part: str) -> Path | None:
        inside = (folder / "Manually_Annotated_file_lists" / _TABLES[part], folder / _TABLES[part])
        return next((path for path in inside if path.is_file()), None)

    @property
    def published(self) -> dict[str, int]:
        """Faces that each part should have; without contempt, only where its number is known."""
        expected = dict(super().published)
        if not self.contempt:
            if self.twin is not None:
                return {}
            return {
                "train": expected["train"] - self.PUBLISHED_CLASSES["contempt"],
                "validation": expected["validation"] - 500,
            }
        return expected

    def _settings(self) -> dict[str, object]:
        return {"release": self.release, "contempt": self.contempt}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        return (self._full if self.release == "full" else self._mini)(part, account)

    def _labelled(self, label: int, name: str, account: Account) -> bool:
        """Whether a face has one of the classes; if not, it is counted."""
        if label >= len(self.CLASSES):
            account.report.leave_out(NO_EXPRESSION.get(label, "labelled contempt, not wanted"), name)
        return label < len(self.CLASSES)

    # ---- the full release

    def _full(self, part: str, account: Account) -> list[Entry]:
        table = self._table(self.folder, part)
        if table is None:
            raise DataError(f"the table {_TABLES[part]} is missing; copy the set again", self.folder)
        account.use(table)
        images = self._images(self.folder)
        entries: list[Entry] = []
        seen: dict[str, tuple[int, int]] = {}
        empty = True
        for line, cells in read_table(table):
            if empty and line == 1 and cells[0].strip() == COLUMNS[0]:
                if tuple(cell.strip() for cell in cells) != COLUMNS:
                    raise DataError(f"the first line should be {','.join(COLUMNS)}; copy it again", table, 1)
                continue
            if empty and line == 1:
                account.report.note("tables without a line of column names", table.name)
            empty = False
            account.report.rows += 1
            try:
                entry = self._row(table, line, cells, images, seen, account)
            except DataError as error:
                account.damage(DAMAGED, f"{table.name} line {line}", error)
                continue
            if entry is not None:
                entries.append(entry)
        if empty:
            raise DataError("the table has no rows; copy it again", table)
        return entries

    def _row(
        self,
        table: Path,
        line: int,
        cells: Sequence[str],
        images: Path,
        seen: dict[str, tuple[int, int]],
        account: Account,
    ) -> Entry | None:
        if len(cells) != len(COLUMNS):
            raise DataError(
                f"{len(cells)} fields, {len(COLUMNS)} expected; mend or remove the line", table, line
            )
        name, x, y, width, height, _, expression, valence, arousal = (cell.strip() for cell in cells)
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or parts[0] == "/" or "\0" in name:
            raise DataError(
                f"{name[:80]!r} is not the path of a picture; mend or remove the line", table, line
            )
        picture = images / name
        label = whole_number(expression, 0, 10, "expression", table, line)
        first_line, first_label = seen.setdefault(name, (line, label))
        if first_line != line:
            if first_label == label:
                account.report.leave_out("listed a second time", f"{table.name} line {line}: {name}")
                return None
            raise DataError(
                f"{name} has another label than in line {first_line}; remove one of the lines", table, line
            )
        account.use(picture)
        if not self._labelled(label, name, account):
            return None
        left, top, wide, high = (
            whole_number(text, -(10**6), 10**6, what, table, line)
            for text, what in ((x, "face_x"), (y, "face_y"), (width, "face_width"), (height, "face_height"))
        )
        if wide <= 0 or high <= 0:
            raise DataError(
                f"the face's box is {wide} wide and {high} high; mend or remove the line", table, line
            )
        return Entry(
            name=name,
            picture=picture,
            person=f"affectnet-{name}",
            label=label,
            # The box is given from edge to edge, points from pixel centre to pixel centre.
            box=(left - 0.5, top - 0.5, left + wide - 0.5, top + high - 0.5),
            table=table,
            line=line,
            extra={
                "valence": _affect(valence, "valence", name, account),
                "arousal": _affect(arousal, "arousal", name, account),
            },
        )

    # ---- the mini release

    def _mini(self, part: str, account: Account) -> list[Entry]:
        base = self.folder / _SETS[part]
        pictures = {}
        for name in names_in(base / "images", "file"):
            stem, _, ending = name.partition(".")
            if ending.lower() in ("jpg", "jpeg", "png"):
                pictures[stem] = name
        notes = {name for name in names_in(base / "annotations", "file")}
        labelled = {name.removesuffix("_exp.npy") for name in notes if name.endswith("_exp.npy")}
        if not pictures and not labelled:
            raise DataError(f"no pictures and labels in {_SETS[part]}; copy the set again", self.folder)
        entries = []
        for stem in sorted(pictures.keys() | labelled, key=_natural):
            account.report.rows += 1
            files = {
                kind: base / "annotations" / f"{stem}_{kind}.npy" for kind in ("exp", "val", "aro", "lnd")
            }
            account.use(*(path for path in files.values() if path.name in notes))
            name = f"{_SETS[part]}/{stem}"
            try:
                if stem not in pictures:
                    raise DataError(
                        f"the label of a picture that is not in images/ ({stem}.jpg); copy the set again",
                        files["exp"],
                    )
                account.use(base / "images" / pictures[stem])
                if stem not in labelled:
                    raise DataError("the picture's label is missing; copy the set again", files["exp"])
                label = whole_number(_scalar(files["exp"]), 0, 7, "expression", files["exp"])
                extra = {
                    long: _affect(_scalar(files[short]), long, name, account)
                    if files[short].name in notes
                    else math.nan
                    for short, long in (("val", "valence"), ("aro", "arousal"))
                }
            except DataError as error:
                account.damage("damaged labels", name, error)
                continue
            if self._labelled(label, name, account):
                picture = base / "images" / pictures[stem]
                person = f"affectnet-{name}"
                entries.append(Entry(name=name, picture=picture, person=person, label=label, extra=extra))
        return entries


def _affect(text: str, what: str, name: str, account: Account) -> float:
    """Valence or arousal; what is odd about it must not cost a face its expression, so it is noted."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        account.report.note(f"{what} not between -1 and 1, given as NaN", f"{name}: {text[:40]}")
        return math.nan
    return value


def _scalar(path: Path) -> str:
    """The one value in an ``.npy`` file, as text; the set has numbers and strings there."""
    try:
        with path.open("rb") as file:
            data = file.read(65_536)
        if not data.startswith(b"\x93NUMPY"):
            raise ValueError("not an .npy file")
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if array.size != 1:
            raise ValueError(f"{array.size} values")
        return str(array.reshape(-1)[0])
    except Exception as error:  # NumPy's reader of headers raises whatever Python's parser does
        raise DataError(f"this does not hold one value ({error}); copy the file again", path) from None


def _natural(stem: str) -> tuple:
    """Numbers in the order of numbers."""
    return tuple(
        (0, int(word), "") if word.isdigit() else (1, 0, word) for word in re.split(r"(\d+)", stem) if word
    )
