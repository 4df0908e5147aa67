"""300-W: faces in the wild with 68 landmarks, the sets of the 300 Faces In-the-Wild Challenge.

::

    afw/*.jpg                 with a .pts beside each picture              337 to train on
    helen/trainset/*.jpg                                                  2000
    lfpw/trainset/*.png                                                    811
    helen/testset/*.jpg       the common test set                          330
    lfpw/testset/*.png                                                     224
    ibug/*.jpg                the challenging test set                     135
    Bounding_Boxes/bounding_boxes_{afw,helen_trainset,helen_testset,lfpw_trainset,lfpw_testset,ibug}.mat

The full test set is common and challenging together.  The folder ``300W`` with indoor and outdoor pictures,
which came later, is another test set and is not used.
"""

import os
import re
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.pairs import Pair, detected_square, overlap, read_pairs
from mtl_lib.faces.reading import same_name
from mtl_lib.faces.reports import SetReport

SOURCES: dict[str, tuple[str, ...]] = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
}
"""Where each part lies."""

FACES = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
"""Faces in each folder."""

BOXES = ("detector", "truth", "landmarks", "mtcnn")

_FACE_NUMBER = re.compile(r"\s*_\d+$")
_LEAST_OVERLAP = 0.1

Box = tuple[float, float, float, float]


class ThreeHundredW(FaceFolder):
    """300-W on disk.

    A face is cropped by the box that the owners' detector gave it (``Bounding_Boxes/*.mat``), extended by 0.2
    on each side.  Boxes and pictures are joined by name: the file for ``ibug`` holds 337 rows, of which only the
    first 135 are its own.  A face without a box, or whose box lies elsewhere, is cropped by its landmarks and
    noted; no face is dropped for want of a box.

    One picture with several faces lies there several times, once per face.  All faces of a picture count as
    one person, so that a split by person cannot part them; beyond that, who is shown is unknown.

    Parameters
    ----------
    root : path-like
        The folder with ``afw``, ``helen``, ``ibug`` and ``lfpw``, or the one above it.
    boxes : {"detector", "truth", "landmarks", "mtcnn"}
        ``"truth"``: the owners' box around the landmarks; ``"landmarks"``: our own.  Both know where the
        landmarks are, which a test should not.  ``"mtcnn"``: found anew as in the paper, see
        :mod:`mtl_lib.faces.detect`, and by the owners' detector where that fails.

    Raises
    ------
    ConfigError
        If there is no such kind of boxes.
    DataError
        If the set is not there.

    Examples
    --------
    >>> import tempfile
    >>> from mtl_lib.faces.twins.three_hundred_w import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     faces, report = ThreeHundredW(write(f"{folder}/300w")).load("full", size=48)
    >>> faces.landmarks.shape, report.counts
    (torch.Size([13, 68, 2]), {'common': (8, 8), 'challenging': (5, 5)})
    """

    NAME = "300w"
    TITLE = "300-W"
    KIND = "landmarks"
    ORIGIN = "ibug.doc.ic.ac.uk/resources/300-W (a form to fill in)"
    LAYOUT = (
        "a folder with afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset and ibug, in each of them "
        "pictures with a .pts file beside each, and Bounding_Boxes with six .mat files"
    )
    FOLDERS = ("300-w", "300_w", "ibug_300w", "300w_dataset")
    PARTS = ("train", "common", "challenging")
    UNIONS = {"full": ("common", "challenging")}
    OFFICIAL = {"train": "train", "common": "test", "challenging": "test"}
    PUBLISHED = {"train": 3148, "common": 554, "challenging": 135}
    CODE = ("detect.py", "pairs.py", "pts.py")

    def __init__(self, root: str | os.PathLike, boxes: str = "detector"):
        if boxes not in BOXES:
            raise ConfigError(f"boxes is {boxes!r}; it must be one of {', '.join(BOXES)}")
        super().__init__(root)
        self.boxes = boxes

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return sum((folder / name).is_dir() for name in ("afw", "helen", "ibug", "lfpw")) >= 2

    def _square(self, entry: Entry, picture: np.ndarray, report: SetReport) -> tuple[float, float, float]:
        if self.boxes == "mtcnn":
            return detected_square(entry, picture, report)
        return super()._square(entry, picture, report)

    def _settings(self) -> dict[str, object]:
        return {"boxes": self.boxes}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        entries = []
        for source in SOURCES[part]:
            folder = self.folder / source
            if not folder.is_dir():
                error = DataError(f"{self.TITLE} should have this folder; get the set again", folder)
                account.spoilt("folders that are missing", error)
                continue
            pairs = read_pairs(folder, account, self.folder)
            boxes = self._boxes(source, {pair.picture.stem for pair in pairs}, account)
            entries += [self._entry(source, pair, boxes, account) for pair in pairs]
        return entries

    def _entry(self, source: str, pair: Pair, boxes: dict[str, Box], account: Account) -> Entry:
        name = pair.picture.relative_to(self.folder).as_posix()
        box = boxes.get(pair.picture.stem)
        if self.boxes != "landmarks" and box is None:
            account.report.note("without a box, cropped by the landmarks", name)
        elif box is not None and overlap(box, pair.points) < _LEAST_OVERLAP:
            account.report.note("whose box lies beside the face, cropped by the landmarks", name)
            box = None
        # LFPW numbers pictures, the others number the faces of a picture.
        stem = pair.picture.stem if source.startswith("lfpw") else _FACE_NUMBER.sub("", pair.picture.stem)
        return Entry(
            name,
            pair.picture,
            f"{self.NAME}-{source}/{stem}",
            points=pair.points,
            box=box,
            table=pair.pts,
            extra={"source": list(FACES).index(source)},
        )

    def _boxes(self, source: str, stems: set[str], account: Account) -> dict[str, Box]:
        """Stem to the box that the owners give."""
        if self.boxes == "landmarks":
            account.use(*(path for path in [self._box_file(source)] if path is not None))
            return {}
        path = self._box_file(source)
        if path is None:
            account.report.note(
                "box files that are missing", f"bounding_boxes_{source.replace('/', '_')}.mat"
            )
            # Its faces are kept, cropped by their landmarks, which a test face's crop should not know: no sound copy.
            account.report.damaged += 1
            return {}
        account.use(path)
        try:
            found = read_boxes(path, "bb_ground_truth" if self.boxes == "truth" else "bb_detector")
        except DataError as error:
            account.spoilt("damaged box files", error)
            return {}
        for stem in sorted(set(found) - stems):
            account.report.note("rows of a box file for faces that are not kept", f"{path.name}: {stem}")
        return {stem: box for stem, box in found.items() if stem in stems and box is not None}

    def _box_file(self, source: str) -> Path | None:
        name = f"bounding_boxes_{source.replace('/', '_')}.mat"
        folders = [
            f for f in sorted(self.folder.iterdir()) if f.is_dir() and same_name(f.name, "boundingboxes")
        ]
        return next((folder / name for folder in [*folders, self.folder] if (folder / name).is_file()), None)


def read_boxes(path: Path, which: str = "bb_detector") -> dict[str, Box | None]:
    """Face boxes from one of the ``.mat`` files of 300-W.

    Parameters
    ----------
    path : Path
    which : {"bb_detector", "bb_ground_truth"}

    Returns
    -------
    dict of str to (left, top, right, bottom) or None
        By the picture's name without its ending, in pixels counted from 0 (the files count from 1, as ``.pts``
        files do).  None where the box has no extent.

    Raises
    ------
    DataError
        If the file is missing, damaged or built otherwise, or gives one picture two boxes.
    """
    if not path.is_file():
        raise DataError("there is no such file; it should hold the faces' boxes", path)
    try:
        cells = loadmat(path)["bounding_boxes"].reshape(-1)
        rows = [(str(cell[0, 0]["imgName"][0]), np.asarray(cell[0, 0][which], dtype=float)) for cell in cells]
    except Exception as error:  # SciPy raises whatever its parser stumbles over, zlib.error to MemoryError
        raise DataError(
            f"this is not a file of face boxes ({type(error).__name__}: {error}); get it again", path
        ) from None
    boxes: dict[str, Box | None] = {}
    for name, values in rows:
        if values.size != 4:
            raise DataError(
                f"the box of {name!r} has {values.size} numbers, 4 expected; get the file again", path
            )
        left, top, right, bottom = (float(v) - 1 for v in values.reshape(-1))
        sound = np.isfinite([left, top, right, bottom]).all() and right > left and bottom > top
        box = (left, top, right, bottom) if sound else None
        stem = Path(name).stem
        if boxes.setdefault(stem, box) != box:
            raise DataError(f"{name!r} has two different boxes; get the file again", path)
    return boxes
