"""Size, spread and rank of features, and how far apart the features of several domains lie.

To be read beside every domain probe.  A probe at chance has two explanations: the domains are alike, or
there is nothing left in the features by which anything could be told apart.  Size, spread and rank show
which.  The energy distance needs no classifier, and comes with the values it takes where there is no
difference: by permuting people.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import DataError
from mtl_lib.polar import effective_rank


@dataclass(frozen=True)
class FeatureShape:
    """How large features are, and in how many directions they differ.

    Parameters
    ----------
    norm : float
        Mean length of a feature vector.
    spread : float
        Root mean square distance from the mean feature; near 0 after a collapse, also onto a point other
        than 0.
    rank : int
        Singular values of the centred features above 1 % of the largest.  Of features that have collapsed it
        counts rounding errors: read ``spread`` first.
    """

    norm: float
    spread: float
    rank: int


def feature_shape(features: Float[Tensor, "N D"], rtol: float = 0.01) -> FeatureShape:
    """Measure length, spread and effective rank of some features.

    Parameters
    ----------
    features : Tensor, [N, D]
        One row per picture.
    rtol : float, optional
        Singular values below this share of the largest do not count.

    Returns
    -------
    FeatureShape
        See there.

    Raises
    ------
    DataError
        Without features.

    Examples
    --------
    >>> line = torch.linspace(-1, 1, 5)[:, None] * torch.tensor([[3.0, 4.0]])
    >>> feature_shape(line)  # five points on a line through 0, up to 5 away from it
    FeatureShape(norm=3.0, spread=3.5355..., rank=1)
    """
    if not len(features):
        raise DataError("there are no features to measure")
    x = features.detach().double()
    centred = x - x.mean(dim=0)
    return FeatureShape(
        norm=float(x.norm(dim=1).mean()),
        spread=float(centred.square().sum(dim=1).mean().sqrt()),
        rank=int(effective_rank(centred, rtol)),
    )


@dataclass(frozen=True)
class DistanceResult:
    """A distance between domains beside what it is where there is no difference.

    Parameters
    ----------
    distance : float
        The energy distance of standardised features.
    null : tuple of float
        Its mean and its 95th percentile when people are assigned to domains at random.
    p : float
        Share of assignments (the true one included) with a distance at least as large.
    """

    distance: float
    null: tuple[float, float]
    p: float


def energy_distance(
    features: Sequence[Float[Tensor, "_ D"]],
    persons: Sequence[Sequence[str | int] | np.ndarray] | None = None,
    *,
    permutations: int = 199,
    seed: int = 0,
) -> DistanceResult:
    r"""Energy distance between the features of several domains, with its permutation null.

    For two domains it is :math:`2\,\mathrm E\lVert a - b\rVert - \mathrm E\lVert a - a'\rVert -
    \mathrm E\lVert b - b'\rVert` (Székely and Rizzo, 2013), which is zero only for equal distributions; for
    more, the mean over pairs.  Features are standardised jointly first: without that, shrinking all
    features would bring any two domains together.

    Parameters
    ----------
    features : sequence of Tensor
        One [N_t, D] per domain.  Memory and time grow with the square of their total number.
    persons : sequence of sequences (or arrays) of str or int, optional
        Who is in each picture, every person in one domain only.  Whole people change domains then, because
        pictures of one person are alike for reasons of their own; by default every picture is by itself.
    permutations : int, optional
        Number of random assignments.
    seed : int, optional
        Of the assignments.

    Returns
    -------
    DistanceResult
        See there.

    Raises
    ------
    DataError
        If there are fewer than two domains, one is empty, or a person is in two.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> a, b = torch.randn(60, 2, generator=g), torch.randn(60, 2, generator=g)
    >>> energy_distance([a, b]).p > 0.05, energy_distance([a, b + 1]).p
    (True, 0.005)
    """
    if len(features) < 2 or min(len(f) for f in features) == 0:
        raise DataError("an energy distance needs the features of at least two domains, none of them empty")
    x = torch.cat([f.detach().double().cpu() for f in features])
    deviation = x.std(dim=0, correction=0)
    x = (x - x.mean(dim=0)) / torch.where(deviation > 0, deviation, 1.0)
    apart = torch.cdist(x, x)
    domain = np.repeat(np.arange(len(features)), [len(f) for f in features])
    unit = np.arange(len(x))
    if persons is not None:
        names = [str(name) for who in persons for name in who]
        if len(names) != len(x):
            raise DataError(f"there are {len(x)} features and {len(names)} people; one each is needed")
        unit = np.unique(names, return_inverse=True)[1]
    home = np.zeros(unit.max() + 1, dtype=int)
    home[unit] = domain
    if (home[unit] != domain).any():
        raise DataError("a person is in two domains, so people cannot change domains; leave `persons` out")
    rng = np.random.default_rng(seed)
    true = _energy(apart, domain, len(features))
    null = np.array([_energy(apart, rng.permutation(home)[unit], len(features)) for _ in range(permutations)])
    p = (1 + int((null >= true).sum())) / (1 + permutations)
    return DistanceResult(true, (float(null.mean()), float(np.quantile(null, 0.95))), p)


def _energy(apart: Tensor, domain: np.ndarray, domains: int) -> float:
    """The mean over pairs of domains, from the distances of all pairs of features."""
    member = torch.nn.functional.one_hot(torch.from_numpy(domain), domains).double()
    member /= member.sum(dim=0)
    mean = member.T @ apart @ member
    within = mean.diagonal()
    pairs = 2 * mean - within[:, None] - within[None, :]
    return float(pairs.sum() / (domains * (domains - 1)))
