"""Oulu-CASIA NIR&VIS: six posed expressions on video, in visible and near-infrared light, at three lightings.

::

    OriginalImg/VL/Strong/P001/Anger/000.jpeg                frames as filmed (some copies have VL at the top)
    PreProcess_Img/VL_Acropped/Strong/P001/Anger/000.jpeg    faces cut out by the set's makers
    .../NI, .../NI_Acropped                                  the same in near-infrared light
    Strong, Weak, Dark;  P001 to P080;  Anger Disgust Fear Happiness Sadness Surprise

Each sequence runs from a neutral face to the strongest expression.  The paper takes visible light, strong
lighting, the last three frames and 10 folds by person (section 4.1).  See G. Zhao et al., "Facial expression
recognition from near-infrared videos", Image and Vision Computing 29, 2011.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces import folds as _folds
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.dataset import NOT_USED, FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.reading import same_name
from mtl_lib.faces.reports import SetReport
from mtl_lib.faces.small_files import names_in

PICTURES = ("cropped", "original")
IMAGINGS = ("VL", "NI")
LIGHTINGS = ("Strong", "Weak", "Dark")

_FRAME = re.compile(r"(\d+)\.(jpe?g|png|bmp)", re.IGNORECASE)

MISSING = "frames of sequences that are missing or empty"
SHORT = "frames that a sequence is too short for"

Pictures = Literal["cropped", "original"]


class OuluCASIA(FaceFolder):
    """The last frames of Oulu-CASIA's sequences at one lighting.

    Parameters
    ----------
    root : path-like
        The folder that holds ``OriginalImg`` or ``PreProcess_Img`` (also ``PreProcessImg``, ``PreProcess``) or
        ``VL`` itself, or the one above.
    pictures : {"cropped", "original"}, optional
        The makers' crops, taken whole, or the frames as filmed.  By default the crops if they are there.  The
        set gives no boxes: of a frame as filmed, the whole is taken, padded to a square.
    imaging : {"VL", "NI"}
        Visible or near-infrared light.
    lighting : {"Strong", "Weak", "Dark"}
    frames : int
        How many frames from the end of each sequence.

    Raises
    ------
    DataError
        If the set, or this part of it, is not there.
    ConfigError
        If a choice does not exist.

    Notes
    -----
    80 people and 6 expressions make 480 sequences; in some copies of ``VL_Acropped/Strong`` one is missing or
    empty.  So a missing sequence is no error: it is left out, counted and named.

    Examples
    --------
    >>> OuluCASIA("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold Oulu-CASIA: expected is ...
    """

    NAME = "oulu"
    TITLE = "Oulu-CASIA"
    KIND = "expression"
    ORIGIN = "the University of Oulu, under an agreement"
    LAYOUT = (
        "OriginalImg/VL/Strong/P001/Anger/000.jpeg or PreProcess_Img/VL_Acropped/Strong/P001/Anger/000.jpeg"
    )
    FOLDERS = ("Oulu_CASIA_NIR_VIS", "Oulu_CASIA", "Oulu-CASIA", "OuluCASIA", "OULU", "OCNV")
    CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    PUBLISHED = {"all": 1440}
    CODE = ("small_files.py",)

    SUBJECTS: ClassVar[int] = 80

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        pictures: Pictures | None = None,
        imaging: Literal["VL", "NI"] = "VL",
        lighting: Literal["Strong", "Weak", "Dark"] = "Strong",
        frames: int = 3,
    ):
        super().__init__(root)
        for what, value, allowed in (
            ("pictures", pictures, (*PICTURES, None)),
            ("imaging", imaging, IMAGINGS),
            ("lighting", lighting, LIGHTINGS),
        ):
            if value not in allowed:
                names = ", ".join(repr(name) for name in allowed if name)
                raise ConfigError(f"{what} is {value!r}; it must be one of {names}")
        if frames < 1:
            raise ConfigError(f"the last {frames} frames are none; give at least 1")
        trees = self._trees(self.folder)
        if pictures is None:
            wanted = ((kind, imaging, lighting) for kind in PICTURES)
            pictures = next((key[0] for key in wanted if key in trees), "cropped")
        self.pictures, self.imaging, self.lighting, self.frames = pictures, imaging, lighting, frames
        if (pictures, imaging, lighting) not in trees:
            there = ", ".join("/".join(key) for key in sorted(trees))
            raise DataError(
                f"no {pictures} pictures {imaging}/{lighting} here; there are {there}. Copy them, or choose another",
                self.folder,
            )
        self.tree = trees[pictures, imaging, lighting]

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return bool(cls._trees(folder))

    @staticmethod
    def _trees(folder: Path) -> dict[tuple[str, str, str], Path]:
        """(pictures, imaging, lighting) to the folder that holds P001 and so on."""
        inside = [folder / name for name in names_in(folder, "folder")]
        cropped = [
            path
            for path in inside
            if same_name(path.name, "preprocessimg") or same_name(path.name, "preprocess")
        ]
        original = [path for path in inside if same_name(path.name, "originalimg")]
        found = {}
        for kind, bases, ending in (
            ("original", [folder, *original], ""),
            ("cropped", [folder, *cropped], "_Acropped"),
        ):
            for base in bases:
                for imaging in IMAGINGS:
                    for lighting in LIGHTINGS:
                        path = base / (imaging + ending) / lighting
                        if path.is_dir():
                            found[kind, imaging, lighting] = path
        return found

    @property
    def published(self) -> Mapping[str, int]:
        """Faces that there should be: 3 frames of 480 sequences, or as the mark of a twin says."""
        sequences = self.SUBJECTS * len(self.CLASSES)
        if self.twin is not None:
            sequences = self.twin["counts"].get(f"{self.pictures}/{self.imaging}/{self.lighting}", sequences)
        return {"all": sequences * self.frames}

    def _settings(self) -> dict[str, object]:
        return {"tree": str(self.tree), "frames": self.frames}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        entries: list[Entry] = []
        subjects = [
            name for name in names_in(self.tree, "folder") if re.fullmatch(r"P\d+", name, re.IGNORECASE)
        ]
        if not subjects:
            raise DataError("there are no people here (folders P001 to P080); copy the set again", self.tree)
        for subject in subjects:
            for label, (sequence, name) in enumerate(self._sequences(subject, account)):
                where = f"{subject}/{name}"
                account.report.rows += self.frames
                try:
                    numbers = self._numbered(sequence, account)
                except DataError as error:
                    for i in range(self.frames):
                        account.damage("frames of damaged sequences", f"{where} {i + 1}", error)
                    continue
                last = sorted(numbers)[-self.frames :]
                for i in range(self.frames - len(last)):
                    account.report.leave_out(MISSING if not last else SHORT, f"{where} {i + 1}")
                if numbers and max(numbers) - min(numbers) + 1 != len(numbers):
                    account.report.note("sequences whose frame numbers have gaps", where)
                for from_end, number in zip(range(len(last), 0, -1), last, strict=True):
                    entries.append(
                        Entry(
                            name=f"{where}/{numbers[number]}",
                            picture=sequence / numbers[number],
                            person=f"oulu-{subject}",
                            label=label,
                            extra={"from end": from_end},
                        )
                    )
        return entries

    def _sequences(self, subject: str, account: Account) -> list[tuple[Path, str]]:
        """The folder and name of each expression, in the order of ``CLASSES``, there or not."""
        found = {}
        for name in names_in(self.tree / subject, "folder"):
            if name.lower() in self.CLASSES:
                found[name.lower()] = name
            else:
                account.report.note(
                    "folders that are none of the six expressions, not used", f"{subject}/{name}"
                )
        names = [found.get(label, label.capitalize()) for label in self.CLASSES]
        return [(self.tree / subject / name, name) for name in names]

    @staticmethod
    def _numbered(sequence: Path, account: Account) -> dict[int, str]:
        numbers = {}
        names = names_in(sequence, "file")
        account.use(*(sequence / name for name in names))
        for name in names:
            match = _FRAME.fullmatch(name)
            if not match or int(match[1]) in numbers:
                raise DataError(
                    "this is not the name of a frame (000.jpeg, 001.jpeg, ..., each number once); give the file its "
                    "name back, or copy the sequence again",
                    sequence / name,
                )
            numbers[int(match[1])] = name
        return numbers

    def check(self, *, progress: bool = False) -> SetReport:
        """As :meth:`FaceFolder.check <mtl_lib.faces.dataset.FaceFolder.check>`, of this lighting only.

        The other lightings are named, and not looked at.
        """
        report = super().check(progress=progress)
        others = {key: path for key, path in self._trees(self.folder).items() if path != self.tree}
        places = [path.relative_to(self.folder).as_posix() + "/" for path in others.values()]
        unused = [name for name in report.notes.pop(NOT_USED, []) if not name.startswith(tuple(places))]
        for name in unused:
            report.note(NOT_USED, name)
        if self.twin is None:
            there = set(name.upper() for name in names_in(self.tree, "folder"))
            for number in range(1, self.SUBJECTS + 1):
                if f"P{number:03d}" not in there:
                    report.note("people who are missing", f"P{number:03d}")
        report.summary.append(
            f"{self.pictures} pictures, {self.imaging}, {self.lighting}, last {self.frames} frames"
        )
        if others:
            report.summary.append("also here: " + ", ".join("/".join(key) for key in sorted(others)))
        return report

    @staticmethod
    def folds(faces: FaceSet, k: int = 10, way: str = "every", seed: int = 0) -> list[_folds.Fold]:
        """The usual 10 folds: fold ``i`` tests every 10th person from the ``i``-th on, 8 people each.

        See :func:`mtl_lib.faces.folds.folds` for the other ways.
        """
        return _folds.folds(faces, k, way, seed)
