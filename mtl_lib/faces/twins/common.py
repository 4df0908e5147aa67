"""What the writers of rendered twins share: how many faces, which faces, how a picture is encoded, the mark."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mtl_lib.atomic import new_folder
from mtl_lib.errors import ConfigError
from mtl_lib.faces.marks import write_mark
from mtl_lib.faces.numbers import uniform
from mtl_lib.faces.render import render
from mtl_lib.faces.scene import sample_scene

_BATCH = 256


@dataclass(frozen=True)
class Drawn:
    """A rendered face.

    Parameters
    ----------
    pixels : numpy.ndarray, uint8, [H, W]
    points : Tensor, float32, [68, 2]
        Pixel centres at integers, counted from 0.
    number : int
        Its place in the twin, from 0.
    """

    pixels: UInt8[np.ndarray, "H W"]
    points: Float[Tensor, "68 2"]
    number: int


def part_counts(
    published: Mapping[str, int], size: int | str | None, small: Mapping[str, int]
) -> dict[str, int]:
    """How many faces each part of a twin has.

    Parameters
    ----------
    published : mapping of str to int
        What the real set has.
    size : int, "full" or None
        All faces together, shared out as in the real set with at least as many in each part as ``small`` says
        divided by 4 (and 1); ``"full"``: as published; None: ``small``.
    small : mapping of str to int
        Enough of everything to try the reader with.

    Raises
    ------
    ConfigError
        If ``size`` is anything else.

    Examples
    --------
    >>> part_counts({"train": 900, "test": 100}, 50, {"train": 8, "test": 4})
    {'train': 45, 'test': 5}
    """
    if size is None:
        return dict(small)
    if size == "full":
        return dict(published)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"the size of a twin is {size!r}; it must be a number of faces or 'full'")
    total = sum(published.values())
    return {
        part: max(1, small.get(part, 0) // 4, round(size * count / total))
        for part, count in published.items()
    }


def draw_faces(
    count: int,
    *,
    style: str = "wild",
    pixels: int = 96,
    state: Callable[[Tensor], Tensor] | None = None,
    intensity: tuple[float, float] = (0.2, 0.8),
    person: Callable[[Tensor], Tensor] | None = None,
    pose: float = 1.0,
    seed: int = 0,
    first: int = 0,
) -> Iterator[Drawn]:
    """Render faces one after another, a batch at a time, so that any number fits into memory.

    Parameters
    ----------
    count : int
    style, pose
        As for :func:`mtl_lib.faces.scene.sample_scene`.
    pixels : int
        Side of the pictures.
    state, person : callable, optional
        From the faces' numbers, int64 [B], to which of the 13 states each shows and who it is; by default no
        state, and each face somebody else.
    intensity : (float, float)
        Lowest and highest strength of the state.
    seed, first : int
        Face ``i`` is face ``first + i`` of the series that belongs to ``seed``.

    Yields
    ------
    Drawn

    Examples
    --------
    >>> [face.pixels.shape for face in draw_faces(2, pixels=32)]
    [(32, 32), (32, 32)]
    """
    for start in range(0, count, _BATCH):
        number = torch.arange(start, min(start + _BATCH, count))
        index = number + first
        strength = intensity[0] + (intensity[1] - intensity[0]) * uniform(seed, index, 1, stream=31)[:, 0]
        scene = sample_scene(
            index,
            state=None if state is None else state(number),
            intensity=strength,
            person=None if person is None else person(number),
            style=style,
            pose=pose,
            seed=seed,
        )
        images, points = render(scene, pixels)
        for i, own in enumerate(number.tolist()):
            yield Drawn(images[i, 0].numpy(), points[i], own)


def in_colour(gray: UInt8[np.ndarray, "H W"], seed: int) -> Image.Image:
    """A gray picture tinted as skin is, so that readers meet three channels that differ.

    Examples
    --------
    >>> in_colour(np.full((4, 4), 128, np.uint8), 0).mode
    'RGB'
    """
    tint = np.random.default_rng(seed).uniform([1.02, 0.92, 0.75], [1.15, 1.0, 0.92])
    values = gray[..., None].astype(np.float32) * tint.astype(np.float32)
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture as a file's bytes; ``kind`` is Pillow's name of the format.

    Examples
    --------
    >>> encoded(Image.new("L", (2, 2)), "PNG")[:4]
    b'\\x89PNG'
    """
    buffer = io.BytesIO()
    options = {"quality": 92} if kind == "JPEG" else {}
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def put(folder: Path, path: str, data: bytes) -> None:
    """Write a file of a twin, making the folders above it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     put(Path(folder), "a/b.txt", b"c")
    ...     Path(folder, "a/b.txt").read_bytes()
    b'c'
    """
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def write_twin(
    folder: str | os.PathLike, name: str, counts: Mapping[str, int], seed: int, fill: Callable[[Path], None]
) -> Path:
    """Make a twin's folder: all of it, marked, or nothing.

    Parameters
    ----------
    folder : path-like
        Must not exist or be empty: rendered faces are never mixed with real ones.
    name, counts, seed
        For the mark, see :func:`mtl_lib.faces.marks.write_mark`.
    fill : callable
        Writes the files into the folder that it is given.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    ConfigError
        If the folder holds something.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write_twin(f"{folder}/t", "300w", {"train": 0}, 0, lambda path: None)
    ...     [path.name for path in made.iterdir()]
    ['RENDERED_TWIN.json']
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} holds something already; a twin is written into a new or an empty folder"
        )
    with new_folder(folder) as scratch:
        fill(scratch)
        write_mark(scratch, name, counts, seed)
    return folder
