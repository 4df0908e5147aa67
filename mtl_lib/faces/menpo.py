"""Menpo 2D: faces with 68 landmarks, and profiles with 39, as the Menpo challenge handed them out.

::

    menpo_train_release/*.jpg                 both kinds in one flat folder, a .pts beside each picture:
                                              5658 semi-frontal with 68 points, 1906 profiles with 39
    testset/{semifrontal,profile}/*.jpg       the test release, if it is there: 5335 semi-frontal
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Damaged, Entry
from mtl_lib.faces.pairs import Pair, detected_square, read_pairs
from mtl_lib.faces.reading import read_picture
from mtl_lib.faces.reports import SetReport

TRAIN_FOLDERS = ("menpo_train_release", "menpo_challenge_trainset", "trainset")
BOXES = ("landmarks", "mtcnn")
PROFILES = 1906
"""Profiles in the training release."""


class Menpo(FaceFolder):
    """Menpo on disk.

    The faces with 68 points are the set.  Profiles have 39 other points, which a network for 68 cannot learn
    from: they are left out, counted, and given by :meth:`profiles` to whoever wants them.

    Faces are cropped by their landmarks' box, as the release has no other.  Who is shown is unknown, so each
    picture counts as a person.

    Parameters
    ----------
    root : path-like
        The flat folder with the training pictures, or the one above it.  The test release is found inside it
        or beside it, in ``testset``; without it the set has no part ``"test"``.
    boxes : {"landmarks", "mtcnn"}
        ``"mtcnn"``: found as in the paper, see :mod:`mtl_lib.faces.detect`, and by the landmarks where that
        fails.

    Raises
    ------
    ConfigError
        If there is no such kind of boxes.
    DataError
        If the set is not there.

    Examples
    --------
    >>> import tempfile
    >>> from mtl_lib.faces.twins.menpo import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     menpo = Menpo(write(f"{folder}/menpo"))
    ...     faces, report = menpo.load("train", size=48)
    ...     len(faces), len(menpo.profiles()), report.unaccounted()
    (12, 4, 0)
    """

    NAME = "menpo"
    TITLE = "Menpo 2D"
    KIND = "landmarks"
    ORIGIN = (
        "ibug.doc.ic.ac.uk/resources/2nd-facial-landmark-tracking-competition-menpo-ben (a form to fill in)"
    )
    LAYOUT = (
        "one flat folder (menpo_train_release) of pictures with a .pts file beside each, and testset/semifrontal "
        "if you have the test release"
    )
    FOLDERS = (*TRAIN_FOLDERS, "menpo2d", "menpo_2d")
    PARTS = ("train", "test")
    PUBLISHED = {"train": 5658, "test": 5335}
    CODE = ("detect.py", "pairs.py", "pts.py")

    def __init__(self, root: str | os.PathLike, boxes: str = "landmarks"):
        if boxes not in BOXES:
            raise ConfigError(f"boxes is {boxes!r}; it must be one of {', '.join(BOXES)}")
        super().__init__(root)
        self.boxes = boxes
        self.train = next(f for f in self._train_folders(self.folder) if _has_points(f))
        test = [f / "testset" for f in (self.folder, self.folder.parent)]
        self.test = next((f for f in test if (f / "semifrontal").is_dir() or (f / "profile").is_dir()), None)

    @classmethod
    def _train_folders(cls, folder: Path) -> list[Path]:
        return [folder, *(folder / name for name in TRAIN_FOLDERS)]

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return any(_has_points(f) for f in cls._train_folders(folder))

    def _settings(self) -> dict[str, object]:
        return {"boxes": self.boxes}

    def _square(self, entry: Entry, picture: np.ndarray, report: SetReport) -> tuple[float, float, float]:
        if self.boxes == "mtcnn":
            return detected_square(entry, picture, report)
        return super()._square(entry, picture, report)

    def _parts(self, part: str | None) -> tuple[str, ...]:
        parts = super()._parts(part)
        if self.test is not None:
            return parts
        if part == "test":
            raise DataError(
                "there is no test release here: expected is testset/semifrontal inside this folder or beside it",
                self.folder,
            )
        return ("train",)

    def _entries(self, part: str, account: Account) -> list[Entry]:
        if part == "train":
            pairs = read_pairs(self.train, account, self.folder, (68, 39))
        elif self.test is None:
            return []
        else:
            pairs = []
            for kind in ("semifrontal", "profile"):
                if (self.test / kind).is_dir():
                    pairs += read_pairs(self.test / kind, account, self.test.parent, (68, 39))
        entries = []
        for pair in pairs:
            name = _name(pair, self.train if part == "train" else self.test)
            if len(pair.points) == 68:
                person = f"{self.NAME}-{part}/{pair.picture.stem}"
                entries.append(Entry(name, pair.picture, person, points=pair.points, table=pair.pts))
            else:
                account.report.leave_out(f"{part} profiles with 39 points, kept apart", name)
        return entries

    def profiles(self, part: str = "train") -> list[tuple[Path, Float[Tensor, "39 2"]]]:
        """The profiles: each picture's file and its 39 points in pixels, counted from 0.

        Raises
        ------
        DataError
            If a landmark file is damaged.
        """
        return self._profiles(part, "refuse")

    def _profiles(self, part: str, damaged: Damaged) -> list[tuple[Path, Float[Tensor, "39 2"]]]:
        account = Account(SetReport(self.TITLE, str(self.folder)), damaged)
        folders = [self.train] if part == "train" else [self.test / "profile"] if self.test else []
        pairs = [p for f in folders if f.is_dir() for p in read_pairs(f, account, f, (68, 39))]
        return [(pair.picture, pair.points) for pair in pairs if len(pair.points) == 39]

    def check(self, *, progress: bool = False) -> SetReport:
        """As for every set; profiles are read and counted against the published number too."""
        report = super().check(progress=progress)
        sound = dict.fromkeys(self._parts(None), 0)
        for part in sound:
            for picture, _ in self._profiles(part, "leave out"):
                try:
                    read_picture(picture)
                    sound[part] += 1
                except DataError as error:
                    report.damaged += 1
                    report.note("damaged pictures of profiles", str(error))
        published = PROFILES if self.twin is None else self.twin["counts"].get("profile")
        report.counts["profile"] = (sound["train"], published)
        return report


def _has_points(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() == ".pts" for file in folder.iterdir())


def _name(pair: Pair, folder: Path) -> str:
    return pair.picture.relative_to(folder).as_posix()
