"""Landmark files of the kind ``.pts``, in which 300-W and Menpo give their points.

::

    version: 1
    n_points:  68
    {
    30.5 40.25
    ...
    }

Points are counted from 1 in the file (the centre of the first pixel is 1, 1) and from 0 everywhere in this
package.  The offset is taken off on reading, put on again on writing, and appears nowhere else.
"""

import math
import os
import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.atomic import write_text
from mtl_lib.errors import DataError

_COUNT = re.compile(r"\s*n_points\s*:\s*(\S+)\s*$", re.IGNORECASE)


def read_pts(path: str | os.PathLike, expected: int | None = None) -> Float[Tensor, "N 2"]:
    """Read a ``.pts`` file.

    Parameters
    ----------
    path : path-like
    expected : int, optional
        Refuse another number of points.

    Returns
    -------
    Tensor, float32, [N, 2]
        ``(x, y)`` in pixels, counted from 0.

    Raises
    ------
    DataError
        If the file is missing or cut off, a coordinate is no number, or their number is not the one that the
        file announces or that is expected.  It names the file and the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.pts").write_text("version: 1\\nn_points:  2\\n{\\n1 1\\n3.5 2\\n}\\n")
    ...     read_pts(Path(folder, "a.pts"))
    tensor([[0.0000, 0.0000],
            [2.5000, 1.0000]])
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such file; it should hold the landmarks of the picture beside it", path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"this is not UTF-8 text ({error.reason}); get the file again", path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from None
    # Headers have two lines or three, one space or two: only the braces are where they should be.
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith("{")), None)
    if start is None:
        raise DataError(
            "no line begins with '{', after which the points should stand; get the file again", path
        )
    announced = _announced(path, lines[:start])
    rows: list[tuple[float, float]] = []
    # The first point may stand behind the brace.
    body = [(start + 1, lines[start].lstrip()[1:]), *enumerate(lines[start + 1 :], start + 2)]
    for number, line in body:
        text, closed, _ = line.partition("}")
        if text.strip():
            rows.append(_point(path, number, text))
        if closed:
            break
    else:
        raise DataError(f"no '}}' after {len(rows)} points: the file is cut off; get it again", path)
    for wanted, why in ((announced, "as the file itself says"), (expected, "as this set has")):
        if wanted is not None and len(rows) != wanted:
            raise DataError(f"{len(rows)} points, {wanted} expected, {why}; get the file again", path)
    return torch.tensor(rows, dtype=torch.float64).view(-1, 2).sub(1).float()


def count_points(path: str | os.PathLike) -> int:
    """How many points a ``.pts`` file has; reads and checks all of it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     count_points(write_pts(f"{folder}/a.pts", torch.zeros(39, 2)))
    39
    """
    return len(read_pts(path))


def write_pts(path: str | os.PathLike, points: Float[Tensor, "N 2"]) -> Path:
    """Write a ``.pts`` file that :func:`read_pts` reads back.

    Parameters
    ----------
    path : path-like
    points : Tensor, [N, 2]
        In pixels, counted from 0.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    DataError
        If a coordinate is not finite.

    Examples
    --------
    >>> import tempfile
    >>> points = torch.rand(68, 2) * 200
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.allclose(read_pts(write_pts(f"{folder}/a.pts", points), expected=68), points, atol=1e-4)
    True
    """
    return write_text(path, pts_text(points, path))


def pts_text(points: Float[Tensor, "N 2"], path: str | os.PathLike | None = None) -> str:
    """The content of a ``.pts`` file; ``path`` is for the message.

    Examples
    --------
    >>> pts_text(torch.tensor([[0.0, 1.5]])).splitlines()
    ['version: 1', 'n_points:  1', '{', '1.000000 2.500000', '}']
    """
    if not bool(torch.isfinite(points).all()):
        raise DataError("a coordinate is not finite; landmarks must be numbers", path)
    rows = "".join(f"{x + 1:.6f} {y + 1:.6f}\n" for x, y in points.double().tolist())
    return f"version: 1\nn_points:  {len(points)}\n{{\n{rows}}}\n"


def _announced(path: Path, header: list[str]) -> int | None:
    """The number of points that the header names."""
    for number, line in enumerate(header, 1):
        found = _COUNT.match(line)
        if found:
            if not (found[1].isascii() and found[1].isdigit()):
                raise DataError(
                    f"n_points is {found[1]!r}, which is no number; get the file again", path, number
                )
            return int(found[1])
    return None


def _point(path: Path, number: int, text: str) -> tuple[float, float]:
    fields = text.split()
    if len(fields) != 2:
        raise DataError(f"{len(fields)} numbers, 2 expected (x y); get the file again", path, number)
    try:
        x, y = (float(value) for value in fields)
    except ValueError as error:
        raise DataError(f"a coordinate is not a number ({error}); get the file again", path, number) from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError("a coordinate is not finite; get the file again", path, number)
    return x, y
