"""CK+, the extended Cohn-Kanade set: posed expressions on video, from a neutral face to the strongest one.

::

    cohn-kanade-images/S005/001/S005_001_00000011.png            frames; 593 sequences of 123 people
    Emotion/S005/001/S005_001_00000011_emotion.txt               one number such as 3.0000000e+00; 327 sequences
    Landmarks/S005/001/S005_001_00000011_landmarks.txt           68 lines "x y"
    FACS/S005/001/S005_001_00000011_facs.txt                     lines "action-unit intensity", 0: not given

The paper takes the last frame of each labelled sequence and makes 5 folds (section 4.1).  See P. Lucey et al.,
"The Extended Cohn-Kanade Dataset (CK+)", CVPR workshops, 2010.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal

import torch

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces import folds as _folds
from mtl_lib.faces.align import TurnedEntry, eye_line, turn_points
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.reports import SetReport
from mtl_lib.faces.small_files import names_in, numbers_in, text_of, whole_number

_FRAME = re.compile(r"(S\d+)_(\d+)_(\d+)\.png", re.IGNORECASE)
_ZIPS = {
    "cohn-kanade-images": ("extended-cohn-kanade-images",),
    "Emotion": ("Emotion_labels",),
    "Landmarks": ("Landmarks",),
    "FACS": ("FACS_labels",),
}
"""Folders named after the archives, in which people are known to have the real ones."""

NO_LABEL = "sequences without an emotion label"

Crop = Literal["aligned", "landmarks", "whole"]


class CKPlus(FaceFolder):
    """The last frames of the labelled sequences of CK+.

    Parameters
    ----------
    root : path-like
        The folder that holds ``cohn-kanade-images`` and ``Emotion``, or the one above.  Both may lie in folders
        named after their archives (``extended-cohn-kanade-images/cohn-kanade-images``, ``Emotion_labels/Emotion``).
    crop : {"aligned", "landmarks", "whole"}, optional
        ``"aligned"``: the picture is turned until the eyes are level, then the landmarks' box is cut out, extended
        by 0.2 of its longer side on each side.  ``"landmarks"``: without the turn.  ``"whole"``: the whole frame,
        padded to a square.  By default ``"aligned"`` if the folder ``Landmarks`` is there, else ``"whole"``.

    Raises
    ------
    DataError
        If the set is not there.
    ConfigError
        If there is no such crop, or it needs landmarks and there are none.

    Notes
    -----
    A sequence without a file in ``Emotion`` has no label; it is counted, not used.  The 68 landmarks were fitted
    by an active appearance model; they place the crop and are not passed on as truth.  Contempt is kept and there
    is no neutral class, as the paper's "7 basic expressions" imply.

    Examples
    --------
    >>> CKPlus("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold CK+: expected is ...
    """

    NAME = "ckplus"
    TITLE = "CK+"
    KIND = "expression"
    ORIGIN = "the University of Pittsburgh, under an agreement"
    LAYOUT = "cohn-kanade-images/S005/001/*.png and Emotion/S005/001/*_emotion.txt (also Landmarks and FACS)"
    FOLDERS = ("CK+", "CK", "ck_plus", "CKPlus", "cohn-kanade-plus")
    CLASSES = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
    PUBLISHED = {"all": 327}
    CODE = ("align.py", "small_files.py")

    PUBLISHED_CLASSES: ClassVar[dict[str, int]] = {
        "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
    }  # fmt: skip
    """Labelled sequences of each class, of 118 people; 593 sequences of 123 people in all."""

    def __init__(self, root: str | os.PathLike, *, crop: Crop | None = None):
        super().__init__(root)
        self.images, self.emotions = (
            self._place(self.folder, name) for name in ("cohn-kanade-images", "Emotion")
        )
        self.landmarks, self.facs = (self._place(self.folder, name) for name in ("Landmarks", "FACS"))
        if crop not in ("aligned", "landmarks", "whole", None):
            raise ConfigError(f"the crop is {crop!r}; it must be 'aligned', 'landmarks' or 'whole'")
        if crop in ("aligned", "landmarks") and self.landmarks is None:
            raise ConfigError(
                f"{self.folder} has no folder Landmarks, so the crop cannot be {crop!r}; get it, or say crop='whole'"
            )
        self.crop: Crop = crop or ("whole" if self.landmarks is None else "aligned")

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return all(cls._parts_of_layout(folder).values())

    @classmethod
    def _parts_of_layout(cls, folder: Path) -> dict[str, bool]:
        return {name: cls._place(folder, name) is not None for name in ("cohn-kanade-images", "Emotion")}

    @staticmethod
    def _place(folder: Path, name: str) -> Path | None:
        inside = [folder / parent / name for parent in _ZIPS[name]]
        return next((path for path in (*inside, folder / name) if path.is_dir()), None)

    def _settings(self) -> dict[str, object]:
        return {"crop": self.crop}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        entries = []
        for subject, sequence in self._sequences(account.report):
            account.report.rows += 1
            name = f"{subject}/{sequence}"
            try:
                entry = self._entry(subject, sequence, account)
            except DataError as error:
                account.damage("damaged sequences", name, error)
                continue
            if entry is None:
                account.report.leave_out(NO_LABEL, name)
            else:
                entries.append(entry)
        return entries

    def _sequences(self, report: SetReport) -> list[tuple[str, str]]:
        """Every (subject, sequence) that has frames or a label, in order."""
        found = set()
        for base in (self.images, self.emotions):
            for subject in names_in(base, "folder"):
                for sequence in names_in(base / subject, "folder"):
                    if base == self.images or names_in(base / subject / sequence):
                        found.add((subject, sequence))
        return sorted(found)

    def _entry(self, subject: str, sequence: str, account: Account) -> Entry | None:
        """The labelled last frame of a sequence; None without a label."""
        folder = self.images / subject / sequence
        label_folder = self.emotions / subject / sequence
        labels, frames = names_in(label_folder), names_in(folder, "file")
        account.use(*(folder / name for name in frames), *(label_folder / name for name in labels))
        for base in (self.landmarks, self.facs):
            if base is not None:
                account.use(*(base / subject / sequence / n for n in names_in(base / subject / sequence)))

        if not labels:
            if not frames:
                account.report.note("sequences without frames and label", f"{subject}/{sequence}")
            return None
        label, labelled_frame = self._label(label_folder, labels, subject, sequence)
        if not frames:
            raise DataError("the sequence is labelled, but has no frames; copy it again", folder)
        numbers = {}
        for frame in frames:
            match = _FRAME.fullmatch(frame)
            if not match or (match[1].upper(), match[2]) != (subject.upper(), sequence):
                raise DataError(
                    f"this is not the name of a frame here (it should be {subject}_{sequence}_00000001.png or so); "
                    "give the file its name back, or copy the sequence again",
                    folder / frame,
                )
            numbers[int(match[3])] = frame
        last = max(numbers)
        if last < labelled_frame:
            raise DataError(
                f"the label is of frame {labelled_frame}, but the frames end at {last}; copy the sequence again",
                label_folder / labels[0],
            )
        if last > labelled_frame:
            account.report.note("the label is not of the last frame, which is taken", f"{subject}/{sequence}")
        return self._cropped(subject, sequence, folder / numbers[last], label - 1)

    @staticmethod
    def _label(folder: Path, names: list[str], subject: str, sequence: str) -> tuple[int, int]:
        if len(names) > 1:
            raise DataError(f"{len(names)} labels for one sequence; keep the right one", folder)
        path = folder / names[0]
        match = re.fullmatch(r"(S\d+)_(\d+)_(\d+)_emotion\.txt", path.name, re.IGNORECASE)
        if not match or (match[1].upper(), match[2]) != (subject.upper(), sequence):
            raise DataError(
                f"this is not the name of a label here (it should be {subject}_{sequence}_00000001_emotion.txt or "
                "so); give the file its name back, or copy it again",
                path,
            )
        return whole_number(text_of(path), 1, 7, "emotion", path), int(match[3])

    def _cropped(self, subject: str, sequence: str, frame: Path, label: int) -> Entry:
        about = dict(
            name=f"{subject}/{sequence}/{frame.name}", picture=frame, person=f"ckplus-{subject}", label=label
        )
        if self.crop == "whole":
            return Entry(**about)
        path = self.landmarks / subject / sequence / f"{frame.stem}_landmarks.txt"
        rows = numbers_in(path, 2)
        if len(rows) != 68:
            raise DataError(f"{len(rows)} points, 68 expected; copy the file again", path)
        points = torch.tensor(rows, dtype=torch.float32)
        if self.crop == "landmarks":
            return Entry(box=_box(points), **about)
        try:
            turn, x, y = eye_line(points)
        except DataError as error:
            raise DataError(f"{error}; say crop='landmarks' if the eyes do not matter", path) from None
        extra = {"turn": turn, "turn x": x, "turn y": y}
        return TurnedEntry(
            box=_box(turn_points(points, turn, x, y)), turn=turn, x=x, y=y, extra=extra, **about
        )

    def action_units(self) -> dict[str, dict[int, float]]:
        """The action units of every coded sequence, ``"S005/001"`` to unit to intensity (0: not given).

        Raises
        ------
        DataError
            If a file is damaged.
        """
        coded = {}
        if self.facs is not None:
            for subject in names_in(self.facs, "folder"):
                for sequence in names_in(self.facs / subject, "folder"):
                    for name in names_in(self.facs / subject / sequence, "file"):
                        path = self.facs / subject / sequence / name
                        units = {}
                        for unit, strength in numbers_in(path, 2):
                            units[whole_number(str(unit), 1, 99, "action unit", path)] = strength
                        coded[f"{subject}/{sequence}"] = units
        return coded

    def check(self, *, progress: bool = False) -> SetReport:
        """As :meth:`FaceFolder.check <mtl_lib.faces.dataset.FaceFolder.check>`, and counts of each class."""
        report = super().check(progress=progress)
        if self.twin is None:
            found = Counter(self.CLASSES[entry.label] for entry in self._listed(None, "leave out")[0])
            for name, published in self.PUBLISHED_CLASSES.items():
                if found[name] != published:
                    report.note(
                        "classes with another number than published", f"{name} {found[name]} of {published}"
                    )
        return report

    @staticmethod
    def folds(faces: FaceSet, k: int = 5, way: str = "stratified", seed: int = 0) -> list[_folds.Fold]:
        """The paper's 5 folds; which people are in which is not said, so see :func:`mtl_lib.faces.folds.folds`.

        ``"stratified"`` and ``"every"`` (people sorted by number, every k-th to the same fold) keep people apart,
        ``"image"`` does not.
        """
        return _folds.folds(faces, k, way, seed)


def _box(points: torch.Tensor) -> tuple[float, float, float, float]:
    return (*points.amin(0).tolist(), *points.amax(0).tolist())
