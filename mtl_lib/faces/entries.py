"""A face as a data set's files describe it, and the account of what became of all of them.

The account always closes: every face that the files promise is either kept or left out for a reason, and files that
nobody looked at are known.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import DataError
from mtl_lib.faces.crops import box_square, landmark_box, whole_picture
from mtl_lib.faces.reading import read_picture
from mtl_lib.faces.reports import SetReport

Damaged = Literal["refuse", "leave out"]


@dataclass(frozen=True, eq=False)
class Entry:
    """One face as the files describe it, its picture not yet read.

    Parameters
    ----------
    name : str
        For messages: the picture's path within the set's folder.
    picture : Path
        The picture's file.
    person : str
        Who is shown, with the set's name in front, such as ``"ckplus-S005"``: equal names are equal people
        across sets.  Where nobody knows, the picture's own name.
    label : int, optional
        Index into the set's ``classes``.
    points : Tensor, float32, [68, 2], optional
        Landmarks in pixels of the picture, pixel centres at integers, counted from 0.
    box : (left, top, right, bottom), optional
        The face's box, in the coordinates of ``points``.  Without a box the landmarks' box is taken; without
        landmarks the whole picture.
    table, line : Path and int, optional
        Where the face is listed, for messages.
    extra : mapping of str to number
        Goes into the set's ``extra``; the same keys for all entries of a set.
    """

    name: str
    picture: Path
    person: str
    label: int | None = None
    points: Float[Tensor, "68 2"] | None = None
    box: tuple[float, float, float, float] | None = None
    table: Path | None = None
    line: int | None = None
    extra: Mapping[str, float | int] = field(default_factory=dict)

    def read(self) -> tuple[np.ndarray, bytes]:
        """Return the picture in gray, uint8 [height, width], and a digest of what it was made from.

        Raises
        ------
        DataError
            If the file is missing or is not a whole picture.
        """
        # A table that names the picture in a line can be mended there; landmarks beside it cannot.
        gray, _ = read_picture(self.picture, self.table if self.line is not None else None, self.line)
        return gray, hashlib.sha256(self.picture.read_bytes()).digest()

    def crop(self, height: int, width: int) -> tuple[float, float, float]:
        """Return the face's square ``(left, top, side)``; see :mod:`mtl_lib.faces.crops`."""
        if self.box is not None:
            return box_square(self.box)
        if self.points is not None:
            return tuple(landmark_box(self.points).tolist())
        return whole_picture(height, width)


class Account:
    """What a set reports while its entries are listed.

    Parameters
    ----------
    report : SetReport
    damaged : {"refuse", "leave out"}
        Whether a damaged file ends the reading with its error, or only the face is left out and counted.

    Examples
    --------
    >>> account = Account(SetReport("toy", "toy"), "leave out")
    >>> account.damage("without landmarks", "a.jpg", DataError("there is no such file", "a.pts"))
    >>> account.report.left_out
    {'without landmarks': ['a.jpg (a.pts: there is no such file)']}
    """

    def __init__(self, report: SetReport, damaged: Damaged = "refuse"):
        self.report, self.damaged = report, damaged
        self.used: set[Path] = set()

    def use(self, *paths: Path) -> None:
        """Say that a file was read or taken into account; files never named here are reported as not used."""
        self.used.update(paths)

    def damage(self, reason: str, name: str, error: DataError) -> None:
        """Leave out a face because of a damaged or missing file, or raise the error.

        Raises
        ------
        DataError
            ``error``, unless damaged faces are to be left out.
        """
        if self.damaged == "refuse":
            raise error
        self.report.damaged += 1
        self.report.leave_out(reason, f"{name} ({error})")

    def spoilt(self, reason: str, error: DataError) -> None:
        """Note a damaged or missing file that costs no face by itself, or raise the error.

        Raises
        ------
        DataError
            ``error``, unless damaged files are to be passed over.

        Examples
        --------
        >>> account = Account(SetReport("toy", "toy"), "leave out")
        >>> account.spoilt("damaged box files", DataError("this is no file of boxes", "a.mat"))
        >>> account.report.damaged, account.report.notes
        (1, {'damaged box files': ['a.mat: this is no file of boxes']})
        """
        if self.damaged == "refuse":
            raise error
        self.report.damaged += 1
        self.report.note(reason, str(error))
