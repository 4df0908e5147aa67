"""Folders in which a picture and its landmarks share a name: ``a.jpg`` beside ``a.pts``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import DataError
from mtl_lib.faces import detect
from mtl_lib.faces.crops import box_square
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.pts import read_pts
from mtl_lib.faces.reports import SetReport
from mtl_lib.landmarks import eye_distance

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture with the landmarks beside it.

    Parameters
    ----------
    picture, pts : Path
    points : Tensor, float32, [N, 2]
        In pixels, counted from 0.
    """

    picture: Path
    pts: Path
    points: Float[Tensor, "N 2"]


def read_pairs(folder: Path, account: Account, within: Path, counts: tuple[int, ...] = (68,)) -> list[Pair]:
    """All pairs of a folder, ordered by name.

    What has only one half, or a half that is damaged, goes to the account; every name is a row.

    Parameters
    ----------
    folder : Path
    account : Account
    within : Path
        The set's folder, for names in reports.
    counts : tuple of int
        Numbers of points that may occur.

    Raises
    ------
    DataError
        If the account refuses damaged files and there is one, or the folder cannot be read.
    """
    try:
        files = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=lambda f: f.name)
    except OSError as error:
        raise DataError(f"the folder cannot be read ({error.strerror})", folder) from None
    pictures: dict[str, list[Path]] = {}
    points: dict[str, Path] = {}
    for file in files:
        if file.suffix.lower() in PICTURES and file.is_file():
            pictures.setdefault(file.stem, []).append(file)
        elif file.suffix.lower() == ".pts" and file.is_file():
            points[file.stem] = file
    pairs = []
    for stem in sorted(set(pictures) | set(points)):
        account.report.rows += 1
        mine = pictures.get(stem, [])
        account.use(*mine, *([points[stem]] if stem in points else []))
        try:
            if stem not in points:
                reason, where = "pictures without landmarks", mine[0]
                raise DataError(f"there is no {stem}.pts beside this picture; get the set again", mine[0])
            where = points[stem]
            if len(mine) != 1:
                reason = "landmarks without a picture" if not mine else "landmarks with two pictures"
                names = ", ".join(p.name for p in mine) or f"no picture {stem} with the ending .jpg or .png"
                raise DataError(f"there must be one picture beside these landmarks; found: {names}", where)
            reason, where = "damaged landmark files", mine[0]
            shape = read_pts(points[stem])
            if len(shape) not in counts:
                wanted = " or ".join(map(str, counts))
                raise DataError(f"{len(shape)} points, {wanted} expected; get the file again", points[stem])
            if len(shape) == 68 and not eye_distance(shape) > 0:
                raise DataError("both eyes are in one place; get the file again", points[stem])
        except DataError as error:
            account.damage(reason, where.relative_to(within).as_posix(), error)
        else:
            pairs.append(Pair(mine[0], points[stem], shape))
    return pairs


def detected_square(entry: Entry, picture: np.ndarray, report: SetReport) -> tuple[float, float, float]:
    """The square around MTCNN's box of a face, or around the given one if MTCNN does not find this face.

    The picture may show several people: taken is the detection that overlaps the landmarks' box.  A face that is
    not found is noted and never dropped.

    Raises
    ------
    ConfigError
        If MTCNN is not installed, see :mod:`mtl_lib.faces.detect`.
    """
    low, high = entry.points.amin(0).tolist(), entry.points.amax(0).tolist()
    box = detect.match(detect.detector()(picture), (low[0], low[1], high[0], high[1]))
    if box is None:
        report.note("not found by MTCNN, cropped by the given box", entry.name)
        return entry.crop(*picture.shape)
    return box_square(box)


def overlap(box: tuple[float, float, float, float], points: Float[Tensor, "68 2"]) -> float:
    """Intersection over union of a box and the landmarks' own box.

    Examples
    --------
    >>> points = torch.zeros(68, 2)
    >>> points[0] = torch.tensor([10.0, 10.0])
    >>> overlap((0.0, 0.0, 10.0, 5.0), points)
    0.5
    """
    low, high = points.amin(0), points.amax(0)
    first, last = torch.tensor(box[:2]), torch.tensor(box[2:])
    shared = (torch.minimum(high, last) - torch.maximum(low, first)).clamp(min=0).prod()
    union = (high - low).prod() + (last - first).clamp(min=0).prod() - shared
    return float(shared / union) if union > 0 else 0.0
