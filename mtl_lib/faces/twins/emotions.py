"""Rendered faces with basic emotions, for the twins of expression sets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mtl_lib.errors import ConfigError
from mtl_lib.faces.basic_emotions import EMOTION_PATTERNS, render_emotions
from mtl_lib.faces.numbers import uniform
from mtl_lib.faces.states import Pattern
from mtl_lib.faces.twins.common import Drawn


class Shot(NamedTuple):
    """A picture to be taken.

    Parameters
    ----------
    emotion : str
    number : int
        The face's number: pictures with one number are frames of one sequence.
    person : int
    intensity : float
    """

    emotion: str
    number: int
    person: int
    intensity: float


def draw_shots(
    shots: Iterable[Shot],
    *,
    pixels: int,
    patterns: Mapping[str, Pattern] = EMOTION_PATTERNS,
    style: str = "film",
    gap: float | int = 0.0,
    pose: float | int = 0.4,
    occlusion: float | int | None = 0.0,
    missing: float | int = 0.0,
    framing: float | int = 1.0,
    seed: int = 0,
    progress: bool = False,
    total: int | None = None,
) -> Iterator[Drawn]:
    """Render shots one after another, a batch at a time, so that any number fits into memory.

    Parameters
    ----------
    shots : iterable of Shot
    pixels : int
        Side of the pictures.
    patterns, style, gap, pose, occlusion, missing, framing, seed
        As for :func:`mtl_lib.faces.basic_emotions.render_emotions`.
    progress, total
        Whether to show a bar, and how many shots there are.

    Yields
    ------
    Drawn
        Numbered from 0 in the order of the shots.

    Examples
    --------
    >>> [face.pixels.shape for face in draw_shots([Shot("fear", 0, 0, 1.0), Shot("anger", 1, 0, 1.0)], pixels=32)]
    [(32, 32), (32, 32)]
    """
    batch = max(1, min(256, 2_400_000 // pixels**2))
    shots, done = iter(shots), 0
    with tqdm(total=total, unit=" faces", mininterval=0.5, disable=not progress) as bar:
        while chunk := list(islice(shots, batch)):
            images, points = render_emotions(
                [shot.emotion for shot in chunk],
                index=torch.tensor([shot.number for shot in chunk]),
                person=torch.tensor([shot.person for shot in chunk]),
                intensity=torch.tensor([shot.intensity for shot in chunk], dtype=torch.float64),
                patterns=patterns,
                style=style,
                gap=gap,
                pose=pose,
                occlusion=occlusion,
                missing=missing,
                framing=framing,
                seed=seed,
                size=pixels,
            )
            for i in range(len(chunk)):
                yield Drawn(images[i, 0].numpy(), points[i], done + i)
            done += len(chunk)
            bar.update(len(chunk))


def one_each(labels: Sequence[str], span: tuple[float | int, float | int], seed: int) -> list[Shot]:
    """Shots in which nobody is seen twice: the sets found on the web, of which no one knows who is in them.

    Parameters
    ----------
    labels : sequence of str
        What each picture shows.
    span : (float, float)
        Range of intensity.
    seed : int

    Examples
    --------
    >>> [shot.emotion for shot in one_each(["fear", "anger"], (0.5, 1.0), seed=0)]
    ['fear', 'anger']
    """
    peaks = strengths(range(len(labels)), span, seed)
    return [Shot(label, i, i, peaks[i]) for i, label in enumerate(labels)]


def draw_wild(
    shots: Sequence[Shot],
    *,
    pixels: int,
    seed: int,
    pose: float | int = 1.0,
    framing: float | int = 1.0,
    progress: bool = False,
) -> Iterator[Drawn]:
    """:func:`draw_shots` as photographs found on the web: any pose, light and occlusion, some units missing.

    Examples
    --------
    >>> len(list(draw_wild(one_each(["fear"], (0.5, 1.0), seed=0), pixels=32, seed=0)))
    1
    """
    return draw_shots(
        shots, pixels=pixels, style="wild", gap=1.0, pose=pose, occlusion=None, missing=0.05, framing=framing, seed=seed,
        progress=progress, total=len(shots),
    )  # fmt: skip


def strengths(numbers: Sequence[int], span: tuple[float | int, float | int], seed: int) -> list[float]:
    """An intensity for each number, evenly from a range.

    Raises
    ------
    ConfigError
        If the range is not within 0 .. 1.5.

    Examples
    --------
    >>> all(0.8 <= value <= 1.2 for value in strengths(range(9), (0.8, 1.2), 0))
    True
    """
    if not 0 <= span[0] <= span[1] <= 1.5:
        raise ConfigError(f"the intensity range is {span}; it must be (lowest, highest) within 0 .. 1.5")
    draw = uniform(seed, torch.tensor(list(numbers), dtype=torch.int64), 1, stream=33)[:, 0]
    return (span[0] + (span[1] - span[0]) * draw).tolist()


def enough_pixels(pixels: int, least: int = 24) -> None:
    """Refuse pictures that are too small to draw a face in.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> enough_pixels(48)
    """
    if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < least:
        raise ConfigError(
            f"pictures of {pixels!r} pixels are too small to draw a face in; give at least {least}"
        )


def shuffled(items: Sequence, seed: int) -> list:
    """The items in an order that depends on ``seed`` only.

    Examples
    --------
    >>> sorted(shuffled("abc", 0))
    ['a', 'b', 'c']
    """
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def shared_out(frequencies: Mapping[str, int], count: int, seed: int) -> list[str]:
    """So many labels, as frequent as given and at least one of each if there is room, in random order.

    Examples
    --------
    >>> sorted(shared_out({"a": 90, "b": 9, "c": 1}, 11, 0))
    ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'b', 'b', 'c']
    """
    names = list(frequencies)
    spare = max(0, count - len(names))
    share = np.array([frequencies[name] for name in names]) * (spare / sum(frequencies.values()))
    own = np.floor(share).astype(int) + (1 if count >= len(names) else 0)
    for i in np.argsort(-(share - np.floor(share)), kind="stable")[: max(0, count - own.sum())]:
        own[i] += 1
    # Fewer faces than labels: the most frequent ones are shown.
    for i in np.argsort([-frequencies[name] for name in names], kind="stable")[: max(0, count - own.sum())]:
        own[i] += 1
    return shuffled([name for name, number in zip(names, own, strict=True) for _ in range(number)], seed)
