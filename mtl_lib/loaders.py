"""One batch per task per step, from data sets of different size, without any state to save.

The tasks' data sets are disjoint and of different size (the paper: 140,543 expression images against 8,806
landmark images), yet every step needs a batch of each.  So each set is an endless stream: pass after pass,
every pass a fresh permutation, batches running across the ends of passes.  The small set simply comes round
more often.

Which images a step sees, and how they are augmented, is a pure function of (seed, task, step).  A resumed
run therefore continues exactly where it stopped, with nothing about the data in its checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.transforms import standardise, to_float

Augment = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]
"""Takes (uint8 images, landmarks or None, generator), returns (float images in (0, 1), landmarks)."""

ORDER, LOOKS = 0, 1
"""Streams of random numbers: the order of images, and their augmentation."""


@dataclass(frozen=True)
class Batch:
    """What one task gets in one step, on the device.

    Attributes
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


class TaskBatches:
    """Batches of T face sets; see the module's text for the policy.

    Parameters
    ----------
    sets : sequence or mapping of FaceSet
        One per task.  Their tensors are kept on ``device``: 10,000 pictures of 96x96 take 92 MB.
    batch_size : int or sequence of int
        Pictures per step, for all tasks or for each.  A set smaller than its batch is allowed; its pictures
        then occur more than once in a batch.
    seed : int, optional
        Another seed is another order and other augmentation.
    device : torch.device or str, optional
        Where batches are made.
    augment : callable, sequence of (callable or None), or None, optional
        See :data:`Augment`; for all tasks, for each, or none.

    Raises
    ------
    ConfigError
        If the number of batch sizes or augmentations is not the number of tasks, or a size is below 1.
    DataError
        If a set is empty.

    Examples
    --------
    >>> def faces(n):
    ...     return FaceSet(torch.zeros(n, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",) * n, "toy")
    >>> batches = TaskBatches([faces(3), faces(100)], batch_size=2)
    >>> torch.cat([batches.batch(step)[0].index for step in range(3)]).bincount()  # two whole passes
    tensor([2, 2, 2])
    """

    def __init__(
        self,
        sets: Sequence[FaceSet] | Mapping[str, FaceSet],
        batch_size: int | Sequence[int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        augment: Augment | Sequence[Augment | None] | None = None,
    ):
        sets = list(sets.values()) if isinstance(sets, Mapping) else list(sets)
        sizes = [batch_size] * len(sets) if isinstance(batch_size, int) else list(batch_size)
        looks = list(augment) if isinstance(augment, Sequence) else [augment] * len(sets)
        if len(sizes) != len(sets) or len(looks) != len(sets):
            raise ConfigError(f"{len(sets)} sets, {len(sizes)} batch sizes and {len(looks)} augmentations")
        if not sets or min(sizes) < 1:
            raise ConfigError(f"batch sizes {sizes}; at least one task, and at least 1 picture each")
        for faces in sets:
            if len(faces) == 0:
                raise DataError(f"the set {faces.name!r} has no pictures to train on")
        self.device = torch.device(device)
        self.sets = [faces.to(self.device) for faces in sets]
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
        result = []
        for task, (faces, look) in enumerate(zip(self.sets, self.looks, strict=True)):
            index = self.index(task, step)
            images = faces.images[index]
            labels = None if faces.labels is None else faces.labels[index]
            landmarks = None if faces.landmarks is None else faces.landmarks[index]
            if look is not None:
                chance = generator(self.device, self.seed, LOOKS, task, step)
                images, landmarks = look(images, landmarks, chance)
            result.append(Batch(prepare_images(images), labels, landmarks, index))
        return result

    def passes(self, step: int) -> list[float]:
        """Return how often each set has been gone through after ``step`` steps."""
        return [step * size / len(faces) for size, faces in zip(self.sizes, self.sets, strict=True)]

    def _order(self, task: int, turn: int) -> Tensor:
        """The permutation of pass ``turn``; only the latest few are remembered, none must be."""
        if (task, turn) not in self._orders:
            while len(self._orders) >= 2 * len(self.sets):
                del self._orders[next(iter(self._orders))]
            # Drawn on the CPU, so that the order is the same on every device.
            chance = generator("cpu", self.seed, ORDER, task, turn)
            order = torch.randperm(len(self.sets[task]), generator=chance)
            self._orders[task, turn] = order.to(self.device)
        return self._orders[task, turn]
