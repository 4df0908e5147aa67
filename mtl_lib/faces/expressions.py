"""The open expression set: github.com/muxspace/facial_expressions, in its original layout.

::

    facial_expressions/data/legend.csv     user.id,image,emotion
    facial_expressions/images/*.jpg

One annotator per picture.  What is odd about it, and what is done: see :func:`load_expressions`.
"""

import os
from pathlib import Path

import numpy as np
import torch

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.cache import fingerprint, through_cache
from mtl_lib.faces.crops import cut, whole_picture
from mtl_lib.faces.entries import Account, Damaged
from mtl_lib.faces.reading import digest, list_pictures, person_of, read_picture, read_table
from mtl_lib.faces.reports import SetReport

FOLDER = "facial_expressions"
LABELS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Every label that the table may hold, in any case."""

SOURCES = ("gray", "all")
CLASSES = {
    "gray": ("anger", "happiness", "neutral", "sadness", "surprise"),
    "all": ("anger", "disgust", "happiness", "neutral", "sadness", "surprise"),
}
"""Classes with enough pictures to learn and test, by source."""


def load_expressions(
    root: str | os.PathLike,
    *,
    size: int = 96,
    source: str = "gray",
    classes: tuple[str, ...] | None = None,
    cache: str | os.PathLike | None = None,
    damaged: Damaged = "refuse",
) -> tuple[FaceSet, SetReport]:
    """Read the set, and give an account of it.

    - **Label and source are confounded.**  The colour pictures are film frames of a few actors, who supply
      nearly all ``disgust`` and over half of ``sadness``: a network could name the label by recognising the
      film.  By default only the gray pictures (news photographs) are kept, with five classes; a picture
      that is gray but comes from somebody whose pictures are mostly in colour goes with them.
      ``source="all"`` keeps both, with six classes.
    - ``contempt`` and ``fear`` have some ten to thirty pictures and are left out, as is ``disgust`` from
      the gray ones.
    - Labels come in both cases; they are folded.
    - A picture named twice with one label counts once; with two labels it is left out, as nobody knows.
    - The same bytes under two names count once: one of the names is wrong, and both would put one picture
      into two parts of a split.
    - Files without a label are not used.
    - All becomes gray; a picture that is not square is padded by its border.

    Everything left out is in the report, with its reason.

    Parameters
    ----------
    root : path-like
        The folder that holds ``facial_expressions``, or that folder itself.
    size : int
        Side of the prepared pictures.
    source : {"gray", "all"}
    classes : tuple of str, optional
        Other classes than the usual ones for this source.
    cache : path-like, optional
        Folder for the prepared set.
    damaged : {"refuse", "leave out"}
        A damaged or missing picture ends in an error that names it; or it is left out and counted in the report.

    Returns
    -------
    FaceSet, SetReport

    Raises
    ------
    DataError
        If a file is missing or damaged, a column is missing, or a label is unknown.
    ConfigError
        If ``source`` or a class does not exist.

    Examples
    --------
    >>> load_expressions("nowhere")
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: no folder facial_expressions here; get it from \
github.com/muxspace/facial_expressions, or name the folder that holds it
    """
    if source not in SOURCES:
        raise ConfigError(f"the source is {source!r}; it must be one of {', '.join(SOURCES)}")
    classes = CLASSES[source] if classes is None else tuple(classes)
    unknown = [name for name in classes if name not in LABELS]
    if unknown or not classes:
        raise ConfigError(f"no class is called {unknown}; there are {', '.join(LABELS)}")
    folder = set_folder(root, FOLDER, "github.com/muxspace/facial_expressions")
    table, images = folder / "data" / "legend.csv", folder / "images"
    if not table.is_file():
        raise DataError("the table of labels is missing; download the set again", table)
    names = list_pictures(images)
    settings = {"set": FOLDER, "size": size, "source": source, "classes": classes, "damaged": damaged}
    key = fingerprint([table, *(images / name for name in names)], settings) if cache is not None else ""
    return through_cache(cache, key, lambda: _build(folder, names, size, source, classes, damaged))


def set_folder(root: str | os.PathLike, name: str, origin: str) -> Path:
    """The folder of a set: ``root/name``, or ``root`` where that is its name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "faces").mkdir()
    ...     set_folder(folder, "faces", "example.org").name
    'faces'
    """
    root = Path(root)
    if (root / name).is_dir():
        return root / name
    if root.name == name and root.is_dir():
        return root
    raise DataError(f"no folder {name} here; get it from {origin}, or name the folder that holds it", root)


def _build(
    folder: Path, names: list[str], size: int, source: str, classes: tuple[str, ...], damaged: Damaged
) -> tuple[FaceSet, SetReport]:
    table, images = folder / "data" / "legend.csv", folder / "images"
    report = SetReport(FOLDER, str(folder))
    account = Account(report, damaged)
    labelled, named = _read_labels(table, report)
    for name in names:
        if name not in named:
            report.leave_out("files without a label", name)

    # Every picture is read, also those left out: a check that passes means that all files are sound.
    pictures = {}
    for name, (line, _, _) in labelled.items():
        try:
            pictures[name] = read_picture(images / name, table, line)
        except DataError as error:
            account.damage("damaged or missing pictures", name, error)
    labelled = {name: about for name, about in labelled.items() if name in pictures}
    of_annotator: dict[str, list[bool]] = {}
    for name, (_, annotator, _) in labelled.items():
        of_annotator.setdefault(annotator, []).append(pictures[name][1])
    film = {annotator for annotator, colour in of_annotator.items() if sum(colour) > len(colour) / 2}

    seen: dict[str, tuple[str, str]] = {}
    chosen: dict[str, tuple[str, np.ndarray]] = {}
    for name, (_, annotator, label) in labelled.items():
        picture, colour = pictures[name]
        code = digest(images / name)
        first, first_label = seen.setdefault(code, (name, label))
        if first != name:
            if first_label == label:
                report.leave_out("the same bytes under a second name", f"{name} is {first}")
            else:
                reason = "the same bytes under two names with two labels"
                report.leave_out(reason, f"{name} is {first}")
                if chosen.pop(first, None):
                    report.leave_out(reason, first)
        elif source == "gray" and (colour or annotator in film):
            report.leave_out("from colour film frames (this source would give away the label)", name)
        elif label not in classes:
            report.leave_out(f"labelled {label}: too few from this source to learn and test", name)
        else:
            chosen[name] = (label, picture)

    if not chosen:
        raise DataError(
            f"no picture with a label among {', '.join(classes)} is left; run `mtl data check`", table
        )
    pixels, crops = [], []
    for name, (_, picture) in chosen.items():
        crops.append(whole_picture(*picture.shape))
        pixels.append(cut(picture, crops[-1], size))
        if picture.shape[0] != picture.shape[1]:
            report.note("not square, padded by their border", name)
    faces = FaceSet(
        torch.from_numpy(np.stack(pixels))[:, None],
        torch.tensor([classes.index(label) for label, _ in chosen.values()]),
        classes,
        None,
        tuple(person_of(name) for name in chosen),
        FOLDER,
        {"crop": torch.tensor(crops)},
    )
    report.describe(faces)
    sides = [side for _, picture in chosen.values() for side in picture.shape]
    report.summary.append(f"sides of {min(sides)} to {max(sides)} pixels, now {size}x{size}, gray")
    return faces, report


def _read_labels(table: Path, report: SetReport) -> tuple[dict[str, tuple[int, str, str]], set[str]]:
    """Picture to (line, annotator, label), in the order of the table; and all names that occur in it."""
    rows = read_table(table)
    _, header = next(rows, (1, []))
    wanted = ("user.id", "image", "emotion")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"no column {', '.join(missing)}; the first line should be {','.join(wanted)}, it is {','.join(header)}",
            table,
            1,
        )
    columns = [header.index(name) for name in wanted]
    labelled: dict[str, tuple[int, str, str]] = {}
    conflicts: set[str] = set()
    lines: dict[str, list[int]] = {}
    for line, row in rows:
        report.rows += 1
        if len(row) != len(header):
            raise DataError(
                f"{len(row)} fields, {len(header)} expected; mend or remove the line", table, line
            )
        annotator, name, label = (row[i].strip() for i in columns)
        folded = label.lower()
        if folded not in LABELS:
            raise DataError(f"the label {label!r} is unknown; allowed are {', '.join(LABELS)}", table, line)
        if Path(name).name != name or name in ("", ".", ".."):
            raise DataError(
                f"{name!r} is not the name of a picture in images/; mend or remove the line", table, line
            )
        if label != folded:
            report.note("labels not in lower case, folded", name)
        lines.setdefault(name, []).append(line)
        if name not in labelled:
            labelled[name] = (line, annotator, folded)
        elif labelled[name][2] == folded:
            report.leave_out("repeated rows", f"line {line}: {name}")
            lines[name].pop()
        else:
            conflicts.add(name)
    if not labelled:
        raise DataError("the table has no rows; download it again", table)
    for name in sorted(conflicts):
        for line in lines[name]:
            report.leave_out("rows that give one picture different labels", f"line {line}: {name}")
        del labelled[name]
    return labelled, set(lines)
