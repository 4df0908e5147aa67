"""The 68 facial landmarks: their groups, their mirror, their error measure, their scaling.

A landmark is ``(x, y)`` in pixels of its picture, ``x`` to the right, ``y`` down, the centre of the first
pixel at ``(0, 0)``.  "Left" means left *in the picture*, which is the subject's right.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.constants import Copies, constant
from mtl_lib.errors import CheckpointError, ConfigError, DataError

GROUPS: dict[str, range] = {
    "jaw": range(0, 17),
    "left_brow": range(17, 22),
    "right_brow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nose_base": range(31, 36),
    "left_eye": range(36, 42),
    "right_eye": range(42, 48),
    "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
"""The iBUG 68-point scheme, counted from 0; left and right as seen in the picture."""


def _mirror_pairs() -> tuple[int, ...]:
    flip = list(range(68))
    pairs = [(i, 16 - i) for i in range(8)]  # jaw
    pairs += [(17 + i, 26 - i) for i in range(5)]  # brows
    pairs += [(31, 35), (32, 34)]  # nose base
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]  # eyes: lids run opposite ways
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56)]  # outer lips
    pairs += [(60, 64), (61, 63), (67, 65)]  # inner lips
    for a, b in pairs:
        flip[a], flip[b] = b, a
    return tuple(flip)


FLIP_68: tuple[int, ...] = _mirror_pairs()
"""``points[:, FLIP_68]`` renames the points of a mirrored face; its own inverse."""


def flip_landmarks(points: Float[Tensor, "*N 68 2"], width: int) -> Float[Tensor, "*N 68 2"]:
    """Landmarks of the picture mirrored left to right.

    Two things happen: ``x`` becomes ``width - 1 - x``, and the points change names, because the mirrored
    left eye is a right eye.  Forgetting the second is the classic error: training still runs, and the
    network learns the mean of both sides.

    Parameters
    ----------
    points : Tensor, [..., 68, 2]
        Landmarks in pixels.
    width : int
        Width of the picture in pixels.

    Returns
    -------
    Tensor, [..., 68, 2]

    Examples
    --------
    >>> points = torch.rand(3, 68, 2) * 95
    >>> torch.allclose(flip_landmarks(flip_landmarks(points, 96), 96), points, atol=1e-4)
    True
    """
    order = constant(FLIP_68, torch.int64, points.device)
    mirrored = torch.stack((width - 1 - points[..., 0], points[..., 1]), -1)
    return mirrored.index_select(-2, order)


def eye_distance(
    points: Float[Tensor, "*N 68 2"], normaliser: Literal["pupil", "ocular"] = "pupil"
) -> Float[Tensor, "*N"]:
    """The length that landmark errors are divided by.

    Parameters
    ----------
    points : Tensor, [..., 68, 2]
        True landmarks.
    normaliser : {"pupil", "ocular"}
        ``"pupil"``: between the means of each eye's six points (the paper's choice).  ``"ocular"``: between
        the outer eye corners 36 and 45, about 1.4 times as long.

    Returns
    -------
    Tensor, [...]
        In the unit of ``points``.

    Raises
    ------
    ConfigError
        If ``normaliser`` is neither.

    Examples
    --------
    >>> points = torch.zeros(1, 68, 2)
    >>> points[:, 42:48, 0] = 30.0
    >>> eye_distance(points).item(), eye_distance(points, "ocular").item()
    (30.0, 30.0)
    """
    if normaliser == "pupil":
        gap = points[..., 36:42, :].mean(-2) - points[..., 42:48, :].mean(-2)
    elif normaliser == "ocular":
        gap = points[..., 36, :] - points[..., 45, :]
    else:
        raise ConfigError(f"the normaliser is {normaliser!r}; it must be 'pupil' or 'ocular'")
    return gap.norm(dim=-1)


def nme(
    predicted: Float[Tensor, "N 68 2"],
    true: Float[Tensor, "N 68 2"],
    normaliser: Literal["pupil", "ocular"] = "pupil",
) -> Float[Tensor, " N"]:
    r"""Normalised mean error of each picture, in percent.

    .. math:: \mathrm{NME} = \frac{100}{68} \sum_i \frac{\lVert \hat p_i - p_i \rVert_2}{d}

    with *d* from :func:`eye_distance` of the true points.  A set's NME is the plain mean over its pictures.
    Because both lengths scale alike, it does not matter whether the points are in pixels of the crop or of
    the original picture, as long as both are the same.

    Parameters
    ----------
    predicted, true : Tensor, [N, 68, 2]
    normaliser : {"pupil", "ocular"}
        Never compare numbers with different normalisers: an ocular NME is about 27 % smaller.

    Returns
    -------
    Tensor, [N]
        Percent.

    Raises
    ------
    DataError
        If the eyes of a true shape coincide, so that nothing can be divided by their distance.
    ConfigError
        If ``normaliser`` is unknown.

    Examples
    --------
    >>> true = torch.zeros(1, 68, 2)
    >>> true[:, 42:48, 0] = 50.0
    >>> nme(true + torch.tensor([3.0, 4.0]), true).item()  # 5 pixels off, 50 between the pupils
    10.0
    """
    distance = eye_distance(true, normaliser)
    if not bool((distance > 0).all()):
        bad = (
            int((distance <= 0).nonzero()[0, 0])
            if bool((distance <= 0).any())
            else int(distance.isnan().nonzero()[0, 0])
        )
        raise DataError(
            f"landmarks of picture {bad}: both eyes are in one place, so NME is undefined; leave it out"
        )
    return 100 * (predicted - true).norm(dim=-1).mean(-1) / distance


class LandmarkScaler:
    """Landmarks in pixels to the numbers that a network predicts, and back.

    The paper says both "normalised to (0, 1)" (section 4.1) and "whitened".  Both are done: a point's place
    in the crop on the scale (0, 1), then each of the 136 coordinates to mean 0 and standard deviation 1 over
    the *training* set.

    Parameters
    ----------
    mean, std : Tensor, [136]
        In units of the crop's side; from :meth:`fit`.
    size : int
        Side of the crop in pixels.

    Examples
    --------
    >>> points = torch.rand(10, 68, 2) * 95
    >>> scaler = LandmarkScaler.fit(points, size=96)
    >>> targets = scaler.transform(points)
    >>> targets.shape, torch.allclose(scaler.inverse(targets), points, atol=1e-3)
    (torch.Size([10, 136]), True)
    """

    def __init__(self, mean: Float[Tensor, "136"], std: Float[Tensor, "136"], size: int):
        if size < 1:
            raise ConfigError(f"the crop's side is {size} pixels; it must be at least 1")
        self.mean, self.std, self.size = mean, std, size
        self._copies = Copies()

    @classmethod
    def fit(cls, points: Float[Tensor, "N 68 2"], size: int) -> "LandmarkScaler":
        """Take mean and standard deviation from the training landmarks.

        Parameters
        ----------
        points : Tensor, [N, 68, 2]
            Training landmarks, in pixels of a crop of ``size`` x ``size``.
        size : int

        Raises
        ------
        DataError
            If there are fewer than two shapes or a coordinate is not finite.

        Examples
        --------
        >>> LandmarkScaler.fit(torch.rand(5, 68, 2), size=96).mean.shape
        torch.Size([136])
        """
        if len(points) < 2:
            raise DataError(f"{len(points)} training shapes; the spread of landmarks needs at least 2")
        if not bool(points.isfinite().all()):
            raise DataError("a training landmark is not a finite number; run `mtl data check`")
        unit = cls._to_unit(points.double(), size)
        # A coordinate that never moves would divide by zero; it then keeps its own (0, 1) scale.
        std = unit.std(0)
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        return cls(unit.mean(0).float(), std.float(), size)

    @staticmethod
    def _to_unit(points: Tensor, size: int) -> Tensor:
        # Pixel i covers [i - 1/2, i + 1/2], so the crop's edges are at -1/2 and size - 1/2.
        return ((points + 0.5) / size).flatten(-2)

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (self._copies.of(part, like.device, like.dtype) for part in (self.mean, self.std))
        return mean, std

    def transform(self, points: Float[Tensor, "N 68 2"]) -> Float[Tensor, "N 136"]:
        """Pixels to network targets, ordered x0, y0, x1, y1, ...

        Examples
        --------
        >>> scaler = LandmarkScaler(torch.zeros(136), torch.ones(136), size=2)
        >>> scaler.transform(torch.full((1, 68, 2), 0.5))[0, :2]
        tensor([0.5000, 0.5000])
        """
        mean, std = self._on(points)
        return (self._to_unit(points, self.size) - mean) / std

    def inverse(self, targets: Float[Tensor, "N 136"]) -> Float[Tensor, "N 68 2"]:
        """Network output to pixels of the crop: undoes :meth:`transform`.

        Examples
        --------
        >>> scaler = LandmarkScaler(torch.zeros(136), torch.ones(136), size=2)
        >>> scaler.inverse(torch.full((1, 136), 0.5))[0, 0]
        tensor([0.5000, 0.5000])
        """
        mean, std = self._on(targets)
        unit = targets * std + mean
        return unit.unflatten(-1, (68, 2)) * self.size - 0.5

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, tensors only.

        Examples
        --------
        >>> sorted(LandmarkScaler(torch.zeros(136), torch.ones(136), 96).state())
        ['mean', 'size', 'std']
        """
        return {"mean": self.mean.clone(), "std": self.std.clone(), "size": torch.tensor(self.size)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "LandmarkScaler":
        """The scaler that :meth:`state` described.

        Raises
        ------
        CheckpointError
            If a tensor is missing or has the wrong shape.

        Examples
        --------
        >>> LandmarkScaler.from_state(LandmarkScaler(torch.zeros(136), torch.ones(136), 96).state()).size
        96
        """
        missing = {"mean", "std", "size"} - set(state)
        if missing:
            raise CheckpointError(
                f"the landmark scaler lacks {', '.join(sorted(missing))}; the checkpoint is damaged"
            )
        if state["mean"].shape != (136,) or state["std"].shape != (136,):
            raise CheckpointError(
                f"the landmark scaler has {tuple(state['mean'].shape)} means; 136 are needed (68 points)"
            )
        return cls(state["mean"].float(), state["std"].float(), int(state["size"]))
