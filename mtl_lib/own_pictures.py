"""A reader's own pictures, a folder of them: which files, where the faces are, and a table of what was found.

A picture that cannot be read is reported and the others go on.
"""

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_lib import atomic
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.evaluate import TrainedModel
from mtl_lib.faces.crops import box_square
from mtl_lib.faces.reading import read_table
from mtl_lib.predict import PicturePrediction, predict_picture, read_upright, square

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""What is taken for a picture within a folder; a file that is named is read whatever it is called."""

BOX_COLUMNS = ["picture", "left", "top", "right", "bottom"]

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class FolderPrediction:
    """What came of many pictures.

    Parameters
    ----------
    table : Path or None
        The CSV file with a row per face; None if no picture could be read.
    done : list of PicturePrediction
        Pictures that were read.
    failed : list of str
        Messages about the others.
    """

    table: Path | None
    done: list[PicturePrediction]
    failed: list[str]


def find_pictures(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Return the pictures that are meant: files as they are, and of folders every picture directly in them, by name.

    Parameters
    ----------
    paths : iterable of path-like

    Raises
    ------
    DataError
        If a folder holds no picture.

    Examples
    --------
    >>> [path.name for path in find_pictures(["me.jpg", "you.jpg", "me.jpg"])]
    ['me.jpg', 'you.jpg']
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            each
            for each in path.iterdir()
            if each.suffix.lower() in ENDINGS and not each.name.startswith(".")
        )
        if not inside:
            raise DataError(f"there is no picture in this folder ({', '.join(ENDINGS)})", path)
        found += inside
    return list(dict.fromkeys(found))


def read_boxes(path: str | os.PathLike) -> dict[str, list[Box]]:
    """Read face boxes from a table: ``picture,left,top,right,bottom``, a line for each face.

    Parameters
    ----------
    path : path-like
        A CSV file with these names in its first line; ``picture`` is a file name without folders.

    Returns
    -------
    dict of str to list of (left, top, right, bottom)
        Boxes in pixels by picture.

    Raises
    ------
    DataError
        If the columns are others, or a box is no four whole numbers, with the line.
    """
    found: dict[str, list[Box]] = defaultdict(list)
    lines = list(read_table(path))
    if not lines or [name.strip() for name in lines[0][1]] != BOX_COLUMNS:
        raise DataError(f"the first line must be {','.join(BOX_COLUMNS)}", path, 1)
    for number, cells in lines[1:]:
        try:
            picture, *values = (cell.strip() for cell in cells)
            left, top, right, bottom = (int(value) for value in values)
        except ValueError:
            raise DataError(
                f"{','.join(cells)!r} is no picture and four whole numbers (left, top, right, bottom)",
                path,
                number,
            ) from None
        found[picture].append((left, top, right, bottom))
    return dict(found)


def predict_pictures(
    model: TrainedModel,
    pictures: Sequence[Path],
    out: str | os.PathLike,
    *,
    box: Box | None = None,
    boxes: dict[str, list[Box]] | None = None,
    detector: Callable | None = None,
    tell: Callable[[str], object] = print,
    complain: Callable[[str], object] = print,
) -> FolderPrediction:
    """Draw landmarks and expressions on pictures, and write a table of them, ``predictions.csv``.

    Where a face is, is decided in this order: ``box``; the table's ``boxes`` for this picture; what ``detector`` finds;
    the largest square in the middle of the picture.  The table says which it was.

    Parameters
    ----------
    model : TrainedModel
        From :func:`mtl_lib.evaluate.load_run`.
    pictures : sequence of Path
        From :func:`find_pictures`.
    out : path-like
        Folder for drawings and table.
    box : (left, top, right, bottom), optional
        One box for all pictures.
    boxes : dict, optional
        From :func:`read_boxes`.
    detector : callable, optional
        From :func:`mtl_lib.faces.detect.detector`; its boxes are extended as in training.
    tell, complain : callable, optional
        Take a line for each picture that was read, and for each that was not.

    Returns
    -------
    FolderPrediction

    Raises
    ------
    ConfigError
        If a box is given for a picture that is not among them.
    """
    out, boxes = Path(out), boxes or {}
    if unknown := sorted(set(boxes) - {picture.name for picture in pictures}):
        raise ConfigError(f"boxes are given for {unknown[0]!r}, which is not among the pictures")
    again = Counter(picture.stem for picture in pictures)
    done, failed = [], []
    for picture in pictures:
        # me.jpg and me.png must not be drawn into the same file.
        name = picture.name.replace(".", "_") if again[picture.stem] > 1 else picture.stem
        try:
            squares, source = [], "given"
            if box is None and picture.name in boxes:
                shape = read_upright(picture).shape
                squares = [square(shape, each, picture) for each in boxes[picture.name]]
            elif box is None and detector is not None:
                squares, source = [box_square(each) for each in detector(read_upright(picture))], "detected"
            one = predict_picture(model, picture, out, box, squares=squares, source=source, name=name)
        except (DataError, ConfigError) as error:
            failed.append(str(error))
            complain(str(error))
            continue
        done.append(one)
        tell(str(one))
    if not done:
        return FolderPrediction(None, done, failed)
    table = out / "predictions.csv"
    atomic.write_text(table, as_table(done))
    return FolderPrediction(table, done, failed)


def as_table(done: Sequence[PicturePrediction]) -> str:
    """Return the table: a row per face with picture, square, expression, all probabilities, all landmarks in pixels.

    Parameters
    ----------
    done : sequence of PicturePrediction
        Of one model, at least one.
    """
    states = sorted(name for name, _ in done[0].faces[0].ranking)
    points = 0 if done[0].faces[0].landmarks is None else len(done[0].faces[0].landmarks)
    header = ["picture", "face", "box", "left", "top", "side"]
    header += ["expression", "probability", *(f"p_{name}" for name in states)] if states else []
    header += [f"{axis}{k}" for k in range(points) for axis in "xy"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for one in done:
        for number, face in enumerate(one.faces, 1):
            row: list[object] = [str(one.picture), number, face.source, *(f"{v:.1f}" for v in face.crop)]
            if states:
                shares = dict(face.ranking)
                row += [
                    face.ranking[0][0],
                    f"{face.ranking[0][1]:.4f}",
                    *(f"{shares[name]:.4f}" for name in states),
                ]
            if points:
                row += [f"{v:.2f}" for v in face.landmarks.ravel()]
            writer.writerow(row)
    return text.getvalue()
