r"""Full whitening of face shapes: coordinates that neither vary differently nor vary together.

:class:`~mtl_lib.landmarks.LandmarkScaler` gives every coordinate the spread 1 but leaves them correlated: where
one point of the jaw is, its neighbours are.  Here the principal axes of the training shapes take their place.
With the covariance :math:`C = V \Lambda V^{\mathsf T}` of the 136 coordinates *x* on the scale (0, 1),

.. math:: z = \Lambda^{-1/2} V^{\mathsf T} (x - \bar x), \qquad x = \bar x + V \Lambda^{1/2} z.

The squared distance of two whitened shapes is their Mahalanobis distance, so a jitter along an axis in which
faces hardly vary costs as much as a turn of the head.  That is a strong opinion about what matters, and the
NME does not share it; it is an option, not the default.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.constants import Copies
from mtl_lib.errors import CheckpointError, ConfigError, DataError

SMALLEST = 1e-6
"""Axes along which the training shapes spread less than this (in crop sides) are not stretched."""


class ShapeWhitener:
    """Landmarks in pixels to uncorrelated numbers of spread 1, and back exactly.

    It has the methods of :class:`~mtl_lib.landmarks.LandmarkScaler` and can take its place.

    Parameters
    ----------
    mean : Tensor, float64, [136]
        Mean shape in units of the crop's side.
    axes : Tensor, float64, [136, 136]
        Orthonormal; column *k* is the direction of whitened coordinate *k*, largest spread first.
    spread : Tensor, float64, [136]
        Standard deviation along each axis; 1 where the training shapes do not vary.
    size : int
        Side of the crop in pixels.

    Raises
    ------
    ConfigError
        If the crop has no side.

    Examples
    --------
    >>> points = torch.rand(300, 68, 2) * 95
    >>> whitener = ShapeWhitener.fit(points, size=96)
    >>> z = whitener.transform(points)
    >>> torch.allclose(z.T @ z / 299, torch.eye(136), atol=1e-2)
    True
    >>> torch.allclose(whitener.inverse(z), points, atol=1e-2)
    True
    """

    def __init__(
        self,
        mean: Float[Tensor, "136"],
        axes: Float[Tensor, "136 136"],
        spread: Float[Tensor, "136"],
        size: int,
    ):
        if size < 1:
            raise ConfigError(f"the crop's side is {size} pixels; it must be at least 1")
        self.mean, self.axes, self.spread, self.size = mean.double(), axes.double(), spread.double(), size
        self._copies = Copies()

    @classmethod
    def fit(cls, points: Float[Tensor, "N 68 2"], size: int) -> "ShapeWhitener":
        """Take mean shape and principal axes from the training landmarks.

        With fewer than 137 shapes some axes have no spread; they keep the scale of the crop.

        Parameters
        ----------
        points : Tensor, [N, 68, 2]
            In pixels of a crop of ``size`` x ``size``.
        size : int

        Raises
        ------
        DataError
            If there are fewer than two shapes or a coordinate is not finite.

        Examples
        --------
        >>> ShapeWhitener.fit(torch.rand(5, 68, 2), size=96).axes.shape
        torch.Size([136, 136])
        """
        if len(points) < 2:
            raise DataError(f"{len(points)} training shapes; the spread of landmarks needs at least 2")
        if not bool(points.isfinite().all()):
            raise DataError("a training landmark is not a finite number; run `mtl data check`")
        unit = cls._to_unit(points.double(), size)
        mean = unit.mean(0)
        centred = unit - mean
        variance, axes = torch.linalg.eigh(centred.mT @ centred / (len(points) - 1))
        variance, axes = variance.flip(0), axes.flip(1)
        spread = variance.clamp_min(0).sqrt()
        return cls(mean, axes, torch.where(spread > SMALLEST, spread, torch.ones_like(spread)), size)

    @staticmethod
    def _to_unit(points: Tensor, size: int) -> Tensor:
        return ((points + 0.5) / size).flatten(-2)  # the crop's edges are at -1/2 and size - 1/2

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Always in double precision, except on devices that have none: axes of small spread are scaled up.
        kind = torch.float32 if like.device.type == "mps" else torch.float64
        parts = (self.mean, self.axes, self.spread)
        mean, axes, spread = (self._copies.of(part, like.device, kind) for part in parts)
        return mean, axes, spread

    def transform(self, points: Float[Tensor, "N 68 2"]) -> Float[Tensor, "N 136"]:
        """Pixels to whitened coordinates.

        Examples
        --------
        >>> one = torch.ones(136)
        >>> ShapeWhitener(0 * one, torch.eye(136), one, size=2).transform(torch.full((1, 68, 2), 0.5))[0, :2]
        tensor([0.5000, 0.5000])
        """
        mean, axes, spread = self._on(points)
        unit = self._to_unit(points.to(mean.dtype), self.size)
        return ((unit - mean) @ axes / spread).to(points.dtype)

    def inverse(self, targets: Float[Tensor, "N 136"]) -> Float[Tensor, "N 68 2"]:
        """Whitened coordinates to pixels of the crop: undoes :meth:`transform`.

        Examples
        --------
        >>> one = torch.ones(136)
        >>> ShapeWhitener(0 * one, torch.eye(136), one, size=2).inverse(torch.full((1, 136), 0.5))[0, 0]
        tensor([0.5000, 0.5000])
        """
        mean, axes, spread = self._on(targets)
        unit = (targets.to(mean.dtype) * spread) @ axes.mT + mean
        return (unit.unflatten(-1, (68, 2)) * self.size - 0.5).to(targets.dtype)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, tensors only.

        Examples
        --------
        >>> sorted(ShapeWhitener.fit(torch.rand(5, 68, 2), size=96).state())
        ['axes', 'mean', 'size', 'spread']
        """
        return {
            "mean": self.mean.clone(),
            "axes": self.axes.clone(),
            "spread": self.spread.clone(),
            "size": torch.tensor(self.size),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "ShapeWhitener":
        """The whitener that :meth:`state` described.

        Raises
        ------
        CheckpointError
            If a tensor is missing or has the wrong shape.

        Examples
        --------
        >>> ShapeWhitener.from_state(ShapeWhitener.fit(torch.rand(5, 68, 2), size=96).state()).size
        96
        """
        shapes = {"mean": (136,), "axes": (136, 136), "spread": (136,), "size": ()}
        for name, shape in shapes.items():
            if name not in state:
                raise CheckpointError(f"the shape whitener lacks {name}; the checkpoint is damaged")
            if tuple(state[name].shape) != shape:
                raise CheckpointError(
                    f"the shape whitener's {name} has the shape {tuple(state[name].shape)}, not {shape} (68 points)"
                )
        return cls(state["mean"], state["axes"], state["spread"], int(state["size"]))
