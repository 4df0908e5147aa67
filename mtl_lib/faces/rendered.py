"""Faces that are drawn when they are asked for: a set of any size that takes no memory.

LSEMSW has 175,679 pictures.  As many rendered ones would fill 1.6 GB at 96x96; but a face is a function of its
number, so it need not be kept: :class:`RenderedFaces` knows who shows what in each picture and draws the
pictures of a batch when the batch is due.  Where drawing is too slow, :meth:`RenderedFaces.cached` keeps the
pixels in files.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mtl_lib.atomic import write_bytes
from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.camera import View
from mtl_lib.faces.numbers import uniform
from mtl_lib.faces.render import render
from mtl_lib.faces.scene import Scene, balanced_states, sample_scene, states_in_proportion
from mtl_lib.faces.states import STATES, TABLE_2

PICTURES_PER_PERSON = 6

PAPER_SIZES = {"expression": 175_679, "landmarks": 8_806}
"""Pictures in LSEMSW, and in the training sets of 300-W (3,148) and Menpo (5,658 semi-frontal) together."""

_MADE_BY = (
    "camera",
    "draw",
    "face_parts",
    "head",
    "numbers",
    "render",
    "rendered",
    "scene",
    "shape",
    "sitter",
    "states",
)
_SHARD = 8192  # faces per file: 75 MB at 96x96


@dataclass(frozen=True, repr=False, eq=False)
class RenderedFaces:
    """A set of faces by description; :func:`rendered_faces` makes one.

    It can be split, selected from, counted and fed to :class:`mtl_lib.loaders.TaskBatches` like a
    :class:`~mtl_lib.faces.base.FaceSet`, but it has no ``images``: :meth:`fetch` draws some, :meth:`load` all.

    Parameters
    ----------
    index : Tensor, int64, [N]
        The faces' numbers in the series of ``seed``.
    state : Tensor, int64, [N]
        What each shows, index into :data:`~mtl_lib.faces.states.STATES`.
    intensity : Tensor, float64, [N]
    person : Tensor, int64, [N]
    labelled, with_landmarks : bool
        Whether states and landmarks are given away.
    size : int
        Side of the pictures in pixels.
    style : str
    gap, seed
        As for :func:`~mtl_lib.faces.scene.sample_scene`.
    name : str

    Examples
    --------
    >>> faces = rendered_faces(1000, size=32)
    >>> images, labels, landmarks = faces.select([5, 700]).fetch(torch.arange(2))
    >>> images.shape, landmarks.shape, torch.equal(images, faces.fetch(torch.tensor([5, 700]))[0])
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 68, 2]), True)
    """

    index: Int64[Tensor, " N"]
    state: Int64[Tensor, " N"]
    intensity: Float64[Tensor, " N"]
    person: Int64[Tensor, " N"]
    labelled: bool
    with_landmarks: bool
    size: int
    style: str
    gap: float | int
    seed: int
    name: str

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Int64[Tensor, " N"] | None:
        """The states, if they are given."""
        return self.state if self.labelled else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the states, if they are given."""
        return STATES if self.labelled else ()

    @cached_property
    def persons(self) -> tuple[str, ...]:
        """Who is shown."""
        return tuple(f"synthetic-{self.seed}-{i:06d}" for i in self.person.tolist())

    @property
    def extra(self) -> dict[str, Tensor]:
        """What else is known of each face."""
        return {"intensity": self.intensity.float(), "state": self.state}

    @cached_property
    def landmarks(self) -> Float[Tensor, "N 68 2"] | None:
        """All landmarks, if they are given; projecting points is some thirty times faster than drawing faces."""
        if not self.with_landmarks:
            return None
        parts = [View(self.scene(rows), self.size).landmarks for rows in torch.arange(len(self)).split(4096)]
        return torch.cat(parts) if parts else torch.zeros(0, 68, 2)

    def scene(self, rows: Int64[Tensor, " B"]) -> Scene:
        """What is in front of the camera in the pictures at ``rows``.

        Examples
        --------
        >>> len(rendered_faces(10).scene(torch.tensor([3, 4])))
        2
        """
        return sample_scene(
            self.index[rows], state=self.state[rows], intensity=self.intensity[rows], person=self.person[rows],
            style=self.style, gap=self.gap, seed=self.seed,
        )  # fmt: skip

    def fetch(
        self, rows: Int64[Tensor, " B"]
    ) -> tuple[UInt8[Tensor, "B 1 S S"], Int64[Tensor, " B"] | None, Float[Tensor, "B 68 2"] | None]:
        """Draw the pictures at ``rows``: pixels, labels and landmarks, the last two None if not given away.

        Examples
        --------
        >>> rendered_faces(10, size=32, labelled=False).fetch(torch.tensor([3]))[1] is None
        True
        """
        images, landmarks = render(self.scene(rows), self.size)
        return (
            images,
            self.state[rows] if self.labelled else None,
            landmarks if self.with_landmarks else None,
        )

    def load(self) -> FaceSet:
        """Draw them all, now.

        Examples
        --------
        >>> rendered_faces(13, size=32).load().counts()["Thinking"]
        1
        """
        images, labels, landmarks = self.fetch(torch.arange(len(self), device=self.index.device))
        return FaceSet(images, labels, self.classes, landmarks, self.persons, self.name, self.extra)

    def cached(self, folder: str | os.PathLike) -> FaceSet:
        """Draw them all, or read them back if that was done before.

        The files hold 8,192 faces each and are written one by one, so that a run that was stopped goes on
        where it was.  Their names are a hash of the settings and of the renderer's code.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.  The 175,679 faces of the paper's size take 1.6 GB.

        Returns
        -------
        FaceSet

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = rendered_faces(5, size=32).cached(folder)
        ...     again = rendered_faces(5, size=32).cached(folder)
        >>> torch.equal(first.images, again.images)
        True
        """
        key, images, landmarks = self._fingerprint(), [], []
        for number, rows in enumerate(torch.arange(len(self)).split(_SHARD)):
            path = Path(folder) / f"rendered-{key}-{number:04d}.safetensors"
            part = _read(path, len(rows), self.size)
            if part is None:
                pixels, points = render(self.scene(rows), self.size)
                part = {"images": pixels.cpu(), "landmarks": points.cpu()}
                write_bytes(path, save(part))
            images.append(part["images"])
            landmarks.append(part["landmarks"])
        return FaceSet(
            torch.cat(images) if images else torch.zeros(0, 1, self.size, self.size, dtype=torch.uint8),
            self.labels,
            self.classes,
            (torch.cat(landmarks) if landmarks else torch.zeros(0, 68, 2)) if self.with_landmarks else None,
            self.persons,
            self.name,
            self.extra,
        )

    def _fingerprint(self) -> str:
        record = hashlib.sha256()
        for name in _MADE_BY:
            record.update((Path(__file__).parent / f"{name}.py").read_bytes())
        record.update(json.dumps([self.size, self.style, self.gap, self.seed]).encode())
        for value in (self.index, self.state, self.intensity, self.person):
            record.update(value.cpu().contiguous().numpy().tobytes())
        return record.hexdigest()[:24]

    def select(self, index: Sequence[int] | Tensor) -> "RenderedFaces":
        """The faces at ``index`` (positions or a boolean mask), in that order.

        Examples
        --------
        >>> len(rendered_faces(10).select([1, 2, 3]))
        3
        """
        index = torch.as_tensor(index, device=self.index.device)
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index.long()
        return replace(
            self,
            index=self.index[index],
            state=self.state[index],
            intensity=self.intensity[index],
            person=self.person[index],
        )

    def to(self, device: torch.device | str) -> "RenderedFaces":
        """The same set, drawn on ``device``.

        Examples
        --------
        >>> rendered_faces(3).to("cpu").index.device.type
        'cpu'
        """
        return replace(
            self,
            index=self.index.to(device),
            state=self.state.to(device),
            intensity=self.intensity.to(device),
            person=self.person.to(device),
        )

    def counts(self) -> dict[str, int]:
        """Number of faces per state; empty if the states are not given.

        Examples
        --------
        >>> rendered_faces(26).counts()["Happy"]
        2
        """
        if not self.labelled:
            return {}
        return dict(zip(STATES, torch.bincount(self.state, minlength=len(STATES)).tolist(), strict=True))

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in self.counts().items()) or "no labels"
        points = "68 landmarks each" if self.with_landmarks else "no landmarks"
        return (
            f"RenderedFaces {self.name!r}: {len(self)} faces of {len(self.person.unique())} persons, drawn when "
            f"asked for, {self.size}x{self.size} pixels; {kinds}; {points}"
        )


def _read(path: Path, count: int, size: int) -> dict[str, Tensor] | None:
    """A part of the cache, or None if it has to be drawn (anew)."""
    try:
        part = load(path.read_bytes())
    except (OSError, SafetensorError):
        return None
    shapes = {name: tuple(value.shape) for name, value in part.items()}
    return part if shapes == {"images": (count, 1, size, size), "landmarks": (count, 68, 2)} else None


def rendered_faces(
    count: int,
    *,
    style: str = "film",
    labelled: bool = True,
    landmarks: bool = True,
    intensity: tuple[float | int, float | int] = (0.2, 0.8),
    frequencies: Mapping[str, float | int] | None = None,
    gap: float | int = 1.0,
    size: int = 96,
    seed: int = 0,
    first: int = 0,
    first_person: int = 0,
    per_person: int = PICTURES_PER_PERSON,
    name: str | None = None,
) -> RenderedFaces:
    """Describe a set of faces; nothing is drawn yet.

    Parameters
    ----------
    count : int
        How many.
    style : {"film", "wild"}
        See :data:`mtl_lib.faces.scene.STYLES`.
    labelled : bool
        Whether the 13 mental states are given as labels (they are shown in any case).
    landmarks : bool
        Whether the 68 landmarks are given.
    intensity : (float, float)
        Each face's intensity is drawn evenly from this range: 0.2 to 0.5 is subtle, 1 is posed.
    frequencies : mapping of str to number, optional
        How often each state is shown, such as :data:`~mtl_lib.faces.states.TABLE_2`; by default all equally.
    gap : float
        Size of the difference between the styles.
    size : int
        Side of the pictures in pixels.
    seed, first : int
        Face ``i`` of the set is face ``first + i`` of the infinite series that belongs to ``seed``.
    first_person : int
        People are numbered from here; equal numbers (and seed) are equal people.
    per_person : int
        About how many pictures there are of each.
    name : str, optional

    Returns
    -------
    RenderedFaces

    Raises
    ------
    ConfigError
        If a number is out of range or a frequency belongs to no state.

    Examples
    --------
    >>> from mtl_lib.faces.states import TABLE_2
    >>> rendered_faces(175_679, frequencies=TABLE_2).counts() == TABLE_2
    True
    """
    if count < 0:
        raise ConfigError(f"{count} faces cannot be rendered; the number must be at least 0")
    if not 0 <= intensity[0] <= intensity[1] <= 1.5:
        raise ConfigError(f"the intensity range is {intensity}; it must be (lowest, highest) within 0 .. 1.5")
    if per_person < 1:
        raise ConfigError(f"{per_person} pictures per person; everybody has at least 1")
    position = torch.arange(count)
    index = position + first
    if frequencies is None:
        state = balanced_states(count, seed + first)
    else:
        state = states_in_proportion(count, seed + first, frequencies)
    strength = intensity[0] + (intensity[1] - intensity[0]) * uniform(seed, index, 1, stream=21)[:, 0]
    people = -(-count // per_person)
    # Everybody has a picture (dealt in turn), and who shows what is a matter of chance.
    person = first_person + position % max(people, 1)
    return RenderedFaces(
        index,
        state,
        strength,
        person,
        labelled,
        landmarks,
        size,
        style,
        gap,
        seed,
        name or f"synthetic {style}",
    )


def paper_sized_faces(seed: int = 0, *, size: int = 96, gap: float | int = 1.0) -> dict[str, RenderedFaces]:
    """Rendered sets of the paper's sizes: subtle states as often as in Table 2, and 8,806 faces with landmarks.

    Nobody is in both, as in the paper's own sets as far as is known.

    Parameters
    ----------
    seed : int
    size : int
        Side of the pictures in pixels.
    gap : float
        Size of the difference between the two sets' styles.

    Returns
    -------
    dict
        ``{"expression": RenderedFaces, "landmarks": RenderedFaces}``.

    Examples
    --------
    >>> {name: len(faces) for name, faces in paper_sized_faces().items()}
    {'expression': 175679, 'landmarks': 8806}
    """
    wanted = PAPER_SIZES["expression"]
    return {
        "expression": rendered_faces(
            wanted, intensity=(0.2, 0.5), frequencies=TABLE_2, landmarks=False, gap=gap, size=size, seed=seed,
            name="synthetic film, paper's size",
        ),
        "landmarks": rendered_faces(
            PAPER_SIZES["landmarks"], style="wild", labelled=False, intensity=(0.0, 1.0), gap=gap, size=size,
            seed=seed, first=1_000_000, first_person=-(-wanted // PICTURES_PER_PERSON), per_person=1,
            name="synthetic wild, paper's size",
        ),
    }  # fmt: skip
