"""The open landmark set: github.com/udacity/P1_Facial_Keypoints, in its original layout.

::

    P1_Facial_Keypoints/data/{training,test}_frames_keypoints.csv    file name, then 68 x,y pairs in pixels
    P1_Facial_Keypoints/data/{training,test}/*.jpg

Frames of videos, named ``First_Last_VF.jpg``: video ``V``, frame ``F``.
"""

import math
import os
from pathlib import Path

import numpy as np
import torch

from mtl_lib.errors import DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.cache import fingerprint, through_cache
from mtl_lib.faces.crops import cut, landmark_box, to_crop
from mtl_lib.faces.entries import Account, Damaged
from mtl_lib.faces.expressions import set_folder
from mtl_lib.faces.reading import digest, list_pictures, person_of, read_gray, read_table
from mtl_lib.faces.reports import SetReport
from mtl_lib.landmarks import eye_distance

FOLDER = "P1_Facial_Keypoints"
PARTS = ("training", "test")


def load_keypoints(
    root: str | os.PathLike,
    *,
    size: int = 96,
    cache: str | os.PathLike | None = None,
    damaged: Damaged = "refuse",
) -> tuple[FaceSet, SetReport]:
    """Read the set, crop the faces by the paper's box rule, and give an account.

    - The shipped parts show the same people, videos and file names, so as a split they are worthless: both
      are pooled, a picture is known by part *and* name, and :func:`~mtl_lib.faces.splits.split_by_person`
      makes a split that holds.
    - Files named ``.jpg`` may be PNG with an alpha channel; the content decides.
    - Some landmarks lie outside their picture; they are kept, and the crop is padded.
    - The same bytes in both parts count once.

    Parameters
    ----------
    root : path-like
        The folder that holds ``P1_Facial_Keypoints``, or that folder itself.
    size : int
        Side of the crops.
    cache : path-like, optional
        Folder for the prepared set.
    damaged : {"refuse", "leave out"}
        A damaged or missing picture ends in an error that names it; or it is left out and counted in the report.

    Returns
    -------
    FaceSet, SetReport
        ``extra["crop"]`` holds each face's ``(left, top, side)`` in the original, ``extra["part"]`` 0 for
        ``training``, 1 for ``test``.

    Raises
    ------
    DataError
        If a file is missing or damaged, or a line does not hold 68 points.

    Examples
    --------
    >>> load_keypoints("nowhere")
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: no folder P1_Facial_Keypoints here; get it from \
github.com/udacity/P1_Facial_Keypoints, or name the folder that holds it
    """
    folder = set_folder(root, FOLDER, "github.com/udacity/P1_Facial_Keypoints") / "data"
    names = {}
    for part in PARTS:
        table = folder / f"{part}_frames_keypoints.csv"
        if not table.is_file():
            raise DataError("the table of key points is missing; download the set again", table)
        names[part] = list_pictures(folder / part)
    files = [folder / f"{part}_frames_keypoints.csv" for part in PARTS]
    files += [folder / part / name for part in PARTS for name in names[part]]
    settings = {"set": FOLDER, "size": size, "damaged": damaged}
    key = fingerprint(files, settings) if cache is not None else ""
    return through_cache(cache, key, lambda: _build(folder, names, size, damaged))


def _build(
    folder: Path, names: dict[str, list[str]], size: int, damaged: Damaged
) -> tuple[FaceSet, SetReport]:
    report = SetReport(FOLDER, str(folder.parent))
    account = Account(report, damaged)
    pixels, points, crops, persons, parts = [], [], [], [], []
    seen: dict[str, str] = {}
    for number, part in enumerate(PARTS):
        table = folder / f"{part}_frames_keypoints.csv"
        rows = _read_points(table, report)
        for name in names[part]:
            if name not in rows:
                report.leave_out("files without key points", f"{part}/{name}")
        for name, (line, shape) in rows.items():
            path = folder / part / name
            try:
                picture = read_gray(path, table, line)
            except DataError as error:
                account.damage("damaged or missing pictures", f"{part}/{name}", error)
                continue
            code = digest(path)
            if code in seen:
                report.leave_out("the same bytes a second time", f"{part}/{name} is {seen[code]}")
                continue
            seen[code] = f"{part}/{name}"
            height, width = picture.shape
            box = landmark_box(shape)
            try:
                pixels.append(cut(picture, tuple(box.tolist()), size))
            except DataError as error:
                told = DataError(f"{name}: {error}", table, line)
                account.damage("faces outside their pictures", f"{part}/{name}", told)
                continue
            outside = (shape < -0.5) | (shape > torch.tensor([width - 0.5, height - 0.5]))
            if bool(outside.any()):
                report.note("with landmarks outside the picture, kept", f"{part}/{name}")
            points.append(shape)
            crops.append(box)
            persons.append(person_of(name))
            parts.append(number)
    if not crops:
        raise DataError("no face is left; download the set again", folder)
    crop = torch.stack(crops)
    original = torch.stack(points)
    faces = FaceSet(
        torch.from_numpy(np.stack(pixels))[:, None],
        None,
        (),
        to_crop(original, crop, size),
        tuple(persons),
        FOLDER,
        {"crop": crop, "part": torch.tensor(parts)},
    )
    report.describe(faces)
    both = {p for p, n in zip(persons, parts, strict=True) if n} & {
        p for p, n in zip(persons, parts, strict=True) if not n
    }
    pupils = eye_distance(original).median().item()
    report.summary.append(
        f"training {parts.count(0)}, test {parts.count(1)}, pooled: {len(both)} persons are in both parts"
    )
    report.summary.append(f"median distance of the pupils {pupils:.0f} pixels; crops {size}x{size}, gray")
    return faces, report


def _read_points(table: Path, report: SetReport) -> dict[str, tuple[int, torch.Tensor]]:
    """Picture to (line, 68 points), in the order of the table."""
    rows = read_table(table)
    line, header = next(rows, (1, []))
    if len(header) != 137:
        raise DataError(
            f"{len(header)} columns; 137 are expected: the file name and 68 pairs x,y. Download the table again",
            table,
            line,
        )
    found: dict[str, tuple[int, torch.Tensor]] = {}
    for line, row in rows:
        report.rows += 1
        if len(row) != 137:
            count = (len(row) - 1) / 2
            raise DataError(
                f"{count:g} points, 68 expected (137 fields); mend or remove the line", table, line
            )
        name = row[0].strip()
        if Path(name).name != name or name in ("", ".", ".."):
            raise DataError(f"{name!r} is not the name of a picture; mend or remove the line", table, line)
        try:
            values = [float(cell) for cell in row[1:]]
        except ValueError as error:
            raise DataError(
                f"a coordinate is not a number ({error}); mend or remove the line", table, line
            ) from None
        if not all(math.isfinite(value) for value in values):
            raise DataError("a coordinate is not finite; mend or remove the line", table, line)
        shape = torch.tensor(values).view(68, 2)
        if eye_distance(shape) <= 0:
            raise DataError("both eyes are in one place; mend or remove the line", table, line)
        if name not in found:
            found[name] = (line, shape)
        elif torch.equal(found[name][1], shape):
            report.leave_out("repeated rows", f"{table.name}:{line} {name}")
        else:
            raise DataError(f"{name} has two different shapes; remove one of the lines", table, line)
    if not found:
        raise DataError("the table has no rows; download it again", table)
    return found
