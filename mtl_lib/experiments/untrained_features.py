"""What somebody can know of a picture's data set without any training: references for the features of Fig. 3c.

Colour, size and contrast of the pictures are matched (:func:`mtl_lib.loaders.prepare_images`).  The framing is not:
where a set comes as faces cut out already, as the open expression set does, they stay as they are, and the eyes lie
at another height than in a set that is cut out by its landmarks.  Means of six horizontal bands show how far that
goes, and pictures of set 1 cut anew, so that the sets' mean pictures lie as close as one cut for all can bring them, show
what is left.
"""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mtl_lib import tasks
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError
from mtl_lib.experiments.alignment_measures import features_of
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import prepare_images
from mtl_lib.transforms import standardise, to_float

REFERENCES = ("pixels", "pixels6", "bands6", "columns6", "reframed", "reframed6", "untrained")
"""The standardised pictures at half their side; at 6 x 6; the means of 6 horizontal bands, and of 6 columns; the pictures
at half their side, and 6 bands, when set 1 is cut anew; and features at initial weights."""


def recut(images: UInt8[Tensor, "N 1 S S"], side: int, top: int) -> Float[Tensor, "N 1 S S"]:
    """Return a square of every picture, from the middle between left and right, at the old size and standardised.

    Parameters
    ----------
    images : Tensor, uint8, [N, 1, S, S]
    side, top : int
        Of the square, in pixels.

    Examples
    --------
    >>> import torch
    >>> recut(torch.randint(0, 255, (2, 1, 8, 8), dtype=torch.uint8), 6, 2).shape
    torch.Size([2, 1, 8, 8])
    """
    size = images.shape[-1]
    left = (size - side) // 2
    square = to_float(images)[:, :, top : top + side, left : left + side]
    return standardise(F.interpolate(square, size=size, mode="bilinear", antialias=True))


def best_cut(first: UInt8[Tensor, "N 1 S S"], second: UInt8[Tensor, "M 1 S S"]) -> tuple[int, int]:
    """Return (side, top) of the cut of the first set after which the sets' mean pictures are closest.

    Parameters
    ----------
    first, second : Tensor, uint8, [., 1, S, S]
        Pictures of two sets; of training people.
    """
    size, mean = first.shape[-1], prepare_images(second).mean(0)
    step = max(1, size // 24)
    cuts = [
        (side, top)
        for side in range(size - 10 * step, size + 1, step)
        for top in range(0, size - side + 1, step)
    ]
    return min(cuts, key=lambda cut: float((recut(first, *cut).mean(0) - mean).square().mean()))


def reference_features(
    kind: str, config: TrainConfig, faces: Sequence[FaceSet], train: Sequence[FaceSet]
) -> list[Float[Tensor, "N D"]]:
    """Return what a probe may have of pictures without any training.

    Parameters
    ----------
    kind : str
        One of :data:`REFERENCES`.
    config : TrainConfig
        Of the run that is compared with.
    faces, train : sequence of FaceSet
        One set per task: test pictures, and those of the training people, by which a cut is chosen.

    Raises
    ------
    ConfigError
        If there is no such reference.
    """
    if kind not in REFERENCES:
        raise ConfigError(f"the reference is {kind!r}; it must be one of {', '.join(REFERENCES)}")
    if kind == "untrained":
        # One network: the tasks' start from the same weights, and batch norm from the same statistics.
        networks = tasks.Networks(
            config, tasks.make_tasks(config, dict(zip(config.tasks, train, strict=True)))
        )
        return [features_of(networks, 0, own.images) for own in faces]
    pictures = [prepare_images(own.images) for own in faces]
    if kind.startswith("reframed"):
        cut = best_cut(*(own.images[:1000] for own in train))
        pictures[0] = recut(faces[0].images, *cut)
    half = faces[0].size // 2
    grid = {"pixels6": (6, 6), "bands6": (6, 1), "reframed6": (6, 1), "columns6": (1, 6)}.get(
        kind, (half, half)
    )
    return [F.adaptive_avg_pool2d(each, grid).flatten(1) for each in pictures]
