"""One batch per task per step, from data sets of different size, without any state to save.

The tasks' data sets are disjoint and of different size (the paper: 140,543 expression images against 8,806
landmark images), yet every step needs a batch of each.  The recycling policy: each set is an endless stream,
pass after pass, every pass a fresh permutation, batches running across the ends of passes.  So all pictures of
a set are seen equally often (to within one), no picture is left out because a batch would have been short, and
the small set simply comes round more often: in the paper's case 16 times per pass of the large one.

Which images a step sees, and how they are augmented, is a pure function of (seed, task, step).  A resumed
run therefore continues exactly where it stopped, with nothing about the data in its checkpoint, and worker
processes change nothing but the wait: they fetch pictures, in order; what is random happens after them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.rendered import RenderedFaces
from mtl_lib.transforms import standardise, to_float

Augment = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]
"""Takes (uint8 images, landmarks or None, generator), returns (float images in (0, 1), landmarks)."""

Faces = FaceSet | RenderedFaces
"""Pictures in memory, or drawn when they are asked for."""

ROOM = 0.5
"""A set is kept on the device if all sets together take at most this part of the memory that is free there."""

ORDER, LOOKS = 0, 1
"""Streams of random numbers: the order of images, and their augmentation."""


@dataclass(frozen=True)
class Batch:
    """What one task gets in one step, on the device.

    Parameters
    ----------
    images : Tensor, [B, 1, S, S]
        Each picture with mean 0 and standard deviation 1.
    labels : Tensor, int64, [B], or None
        Classes.
    landmarks : Tensor, [B, 68, 2], or None
        Pixels of the (augmented) picture.
    index : Tensor, int64, [B]
        Positions in the task's set.
    """

    images: Float[Tensor, "B C S S"]
    labels: Int64[Tensor, " B"] | None
    landmarks: Float[Tensor, "B 68 2"] | None
    index: Int64[Tensor, " B"]


def generator(device: torch.device | str, *key: int) -> torch.Generator:
    """Return a random generator that depends on the whole key and on nothing else.

    Parameters
    ----------
    device : torch.device or str
        Where the numbers are drawn; CPU and GPU draw different ones.
    *key : int
        At least 0; different keys give unrelated streams, also when they differ by 1.

    Examples
    --------
    >>> a, b, c = (torch.rand(1, generator=generator("cpu", *key)) for key in [(0, 1), (0, 1), (1, 0)])
    >>> torch.equal(a, b), torch.equal(a, c)
    (True, False)
    """
    low, high = np.random.SeedSequence(key).generate_state(2).tolist()
    return torch.Generator(device).manual_seed((high << 31) ^ low)


def prepare_images(images: Tensor) -> Tensor:
    """Return pictures as the networks see them: floats, each with mean 0 and standard deviation 1.

    Training, evaluation and prediction all go through here.

    Examples
    --------
    >>> prepare_images(torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)).mean((1, 2, 3)).abs().max() < 1e-6
    tensor(True)
    """
    return standardise(to_float(images))


def size_in_bytes(faces: Faces) -> int:
    """Return what a set takes in memory; one that is drawn on the fly takes next to nothing.

    Examples
    --------
    >>> size_in_bytes(FaceSet(torch.zeros(10, 1, 96, 96, dtype=torch.uint8), None, (), None, ("a",) * 10, "toy"))
    92160
    """
    if isinstance(faces, RenderedFaces):
        parts = [faces.index, faces.state, faces.intensity, faces.person]
    else:
        parts = [faces.images, faces.labels, faces.landmarks, *faces.extra.values()]
    return sum(part.numel() * part.element_size() for part in parts if part is not None)


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device; unlimited on the CPU, where the sets are anyway.

    Examples
    --------
    >>> free_memory(torch.device("cpu"))
    inf
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return float("inf")


def fetch(faces: Faces, index: Int64[Tensor, " B"]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return raw pictures with their labels and landmarks (None where there are none), on the set's device.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]), ("a", "b"), None,
    ...                 ("x", "y", "z"), "toy")
    >>> fetch(faces, torch.tensor([2, 0]))[1]
    tensor([1, 0])
    """
    if isinstance(faces, RenderedFaces):
        return faces.fetch(index)
    return (
        faces.images[index],
        None if faces.labels is None else faces.labels[index],
        None if faces.landmarks is None else faces.landmarks[index],
    )


class TaskBatches:
    """Batches of T face sets; see the module's text for the policy.

    Parameters
    ----------
    sets : sequence or mapping of FaceSet or RenderedFaces
        One per task.
    batch_size : int or sequence of int
        Pictures per step, for all tasks or for each.  A set smaller than its batch is allowed; its pictures
        then occur more than once in a batch.
    seed : int, optional
        Another seed is another order and other augmentation.
    device : torch.device or str, optional
        Where batches are made.
    augment : callable, sequence of (callable or None), or None, optional
        See :data:`Augment`; for all tasks, for each, or none.
    keep : {"auto", "device", "host"}, optional
        Where the sets are kept: 10,000 pictures of 96x96 take 92 MB, the paper's 140,543 take 1.3 GB.  "auto":
        on the device, if they take at most half of what is free there; else in memory of the host, and
        every batch is copied.  The batches are the same.

    Raises
    ------
    ConfigError
        If the number of batch sizes or augmentations is not the number of tasks, a size is below 1, or
        ``keep`` is none of the three words.
    DataError
        If a set is empty.

    Examples
    --------
    >>> def faces(n):
    ...     return FaceSet(torch.zeros(n, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",) * n, "toy")
    >>> batches = TaskBatches([faces(3), faces(100)], batch_size=2)
    >>> torch.cat([batches.batch(step)[0].index for step in range(3)]).bincount()  # two whole passes
    tensor([2, 2, 2])
    >>> batches
    TaskBatches on cpu, seed 0: 'toy' 3 faces, 2 a step, a pass takes 1.5 steps; 'toy' 100 faces, 2 a step, \
a pass takes 50 steps
    """

    def __init__(
        self,
        sets: Sequence[Faces] | Mapping[str, Faces],
        batch_size: int | Sequence[int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        augment: Augment | Sequence[Augment | None] | None = None,
        keep: str = "auto",
    ):
        sets = list(sets.values()) if isinstance(sets, Mapping) else list(sets)
        sizes = [batch_size] * len(sets) if isinstance(batch_size, int) else list(batch_size)
        looks = list(augment) if isinstance(augment, Sequence) else [augment] * len(sets)
        if len(sizes) != len(sets) or len(looks) != len(sets):
            raise ConfigError(f"{len(sets)} sets, {len(sizes)} batch sizes and {len(looks)} augmentations")
        if not sets or min(sizes) < 1:
            raise ConfigError(f"batch sizes {sizes}; at least one task, and at least 1 picture each")
        if keep not in ("auto", "device", "host"):
            raise ConfigError(f"keep is {keep!r}; it must be 'auto', 'device' or 'host'")
        for faces in sets:
            if len(faces) == 0:
                raise DataError(f"the set {faces.name!r} has no pictures to train on")
        self.device = torch.device(device)
        if keep == "auto":
            fits = sum(map(size_in_bytes, sets)) <= ROOM * free_memory(self.device)
            keep = "device" if fits else "host"
        self.kept_on = self.device if keep == "device" else torch.device("cpu")
        self.sets = [faces.to(self.kept_on) for faces in sets]
        self.sizes, self.looks, self.seed = sizes, looks, seed
        self._orders: dict[tuple[int, int], Tensor] = {}

    def index(self, task: int, step: int) -> Int64[Tensor, " B"]:
        """Return the positions in task ``task``'s set that step ``step`` sees (both counted from 0)."""
        count, size = len(self.sets[task]), self.sizes[task]
        position, wanted, pieces = step * size, size, []
        while wanted:
            turn, offset = divmod(position, count)
            piece = self._order(task, turn)[offset : offset + wanted]
            pieces.append(piece)
            position, wanted = position + len(piece), wanted - len(piece)
        return torch.cat(pieces)

    def batch(self, step: int) -> list[Batch]:
        """Return step ``step``'s batches, one per task.

        Parameters
        ----------
        step : int
            Counted from 0.

        Returns
        -------
        list of Batch
            On the device.  The same step gives the same batches, in any order of calls.
        """
        return self._finish(step, self._raw(step))

    def stream(self, start: int, stop: int, workers: int = 0) -> Iterator[list[Batch]]:
        """Yield the batches of the steps from ``start`` up to ``stop``, in order.

        Worker processes fetch (or draw) the pictures ahead of time.  That pays where fetching is slow, as
        with faces that are drawn on the fly; where the sets are kept on a GPU there is nothing to do ahead.

        Parameters
        ----------
        start, stop : int
        workers : int
            0: no processes.  The batches are the same for any number, bit for bit.

        Raises
        ------
        ConfigError
            If there are to be workers, but the sets are kept on a device that they cannot reach.

        Examples
        --------
        >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",) * 3, "toy")
        >>> [len(batches[0].index) for batches in TaskBatches([faces], 2).stream(5, 8)]
        [2, 2, 2]
        """
        if workers and self.kept_on.type != "cpu":
            raise ConfigError(f"the sets are kept on {self.kept_on}; workers need keep='host'")
        if workers:
            raws = DataLoader(
                _Steps(self, start, stop), batch_size=None, num_workers=workers,
                pin_memory=self.device.type == "cuda",
            )  # fmt: skip
        else:
            raws = map(self._raw, range(start, stop))
        for step, raw in enumerate(raws, start):
            yield self._finish(step, raw)

    def passes(self, step: int) -> list[float]:
        """Return how often each set has been gone through after ``step`` steps."""
        return [step * size / len(faces) for size, faces in zip(self.sizes, self.sets, strict=True)]

    def _raw(self, step: int) -> list[tuple]:
        """Index, pixels, labels and landmarks of each task, where the sets are; nothing random but the order."""
        indices = [self.index(task, step) for task in range(len(self.sets))]
        return [(index, *fetch(faces, index)) for index, faces in zip(indices, self.sets, strict=True)]

    def _finish(self, step: int, raw: Sequence[Sequence]) -> list[Batch]:
        """Batches on the device, augmented there with numbers of this step's own."""
        result = []
        for task, (parts, look) in enumerate(zip(raw, self.looks, strict=True)):
            index, images, labels, landmarks = (
                None if part is None else part.to(self.device, non_blocking=True) for part in parts
            )
            if look is not None:
                chance = generator(self.device, self.seed, LOOKS, task, step)
                images, landmarks = look(images, landmarks, chance)
            result.append(Batch(prepare_images(images), labels, landmarks, index))
        return result

    def _order(self, task: int, turn: int) -> Tensor:
        """The permutation of pass ``turn``; only the latest few are remembered, none must be."""
        if (task, turn) not in self._orders:
            while len(self._orders) >= 2 * len(self.sets):
                del self._orders[next(iter(self._orders))]
            # Drawn on the CPU, so that the order is the same on every device.
            chance = generator("cpu", self.seed, ORDER, task, turn)
            order = torch.randperm(len(self.sets[task]), generator=chance)
            self._orders[task, turn] = order.to(self.kept_on)
        return self._orders[task, turn]

    def __repr__(self) -> str:
        parts = [
            f"{faces.name!r} {len(faces)} faces, {size} a step, a pass takes {len(faces) / size:g} steps"
            for faces, size in zip(self.sets, self.sizes, strict=True)
        ]
        where = f"on {self.device}" + ("" if self.kept_on == self.device else f", kept on {self.kept_on}")
        return f"TaskBatches {where}, seed {self.seed}: {'; '.join(parts)}"


class _Steps(Dataset):
    """What worker processes run: the raw batches of some steps."""

    def __init__(self, batches: TaskBatches, start: int, stop: int):
        self.batches, self.start, self.count = batches, start, stop - start

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> list[tuple]:
        return self.batches._raw(self.start + position)
