"""Maps of features by t-SNE, and numbers that say what a map is meant to show: how far domains are mixed.

A map is a picture of neighbourhoods, made by an optimisation that starts from somewhere and has a free
parameter, the perplexity.  So one map is an anecdote; here there are always several, of the same features.
The two numbers need no map: the share of the features' variance that lies between the domains, and the share
of a feature's neighbours that come from the other domains.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError

SCALE = 500
"""Stored coordinates are whole numbers from -SCALE to SCALE: a map has no unit, and the eye sees no more."""

Features = Sequence[Float[Tensor, "_ D"] | Float[np.ndarray, "_ D"]]


def _arrays(features: Features) -> list[np.ndarray]:
    """The features in double precision, checked."""
    parts = [np.asarray(f.detach().cpu() if isinstance(f, Tensor) else f, dtype=np.float64) for f in features]
    if len(parts) < 2 or min(map(len, parts)) == 0:
        raise DataError("features of at least two domains are needed, none of them empty")
    if not all(np.isfinite(part).all() for part in parts):
        raise DataError("some features are not finite")
    return parts


def standardised(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of all domains, each column with mean 0 and deviation 1, and the domain of each row.

    A column that does not vary is 0: after a collapse all rows are equal.

    Parameters
    ----------
    features : sequence of Tensor or array
        One [N_t, D] per domain.

    Raises
    ------
    DataError
        If there are fewer than two domains, one is empty, or a feature is not finite.

    Examples
    --------
    >>> x, domain = standardised([np.zeros((2, 1)), np.ones((2, 1))])
    >>> x.ravel().tolist(), domain.tolist()
    ([-1.0, -1.0, 1.0, 1.0], [0, 0, 1, 1])
    """
    parts = _arrays(features)
    x = np.concatenate(parts)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    varies = deviation > 1e-9 * np.abs(mean)  # else what varies is the rounding of the mean
    x = np.where(varies, (x - mean) / np.where(varies, deviation, 1.0), 0.0)
    return x, np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def between_share(features: Features) -> float:
    r"""Return the share of the features' variance that lies between the domains' means, 0 to 1.

    .. math:: \frac{B}{B + W}, \qquad B = \frac1T \sum_t \lVert \mu_t - \mu \rVert^2, \qquad
              W = \frac1T \sum_t \mathrm E \lVert z - \mu_t \rVert^2,

    with :math:`\mu` the mean of the means, so that every domain counts the same.  It is free of scale, 1 where each
    domain has shrunk to a point of its own, and 0 where all are one point.  Domains that differ in anything but the
    mean have 0 too: it is the plainest of the distances, not the sharpest.  Of n + n features of *one* distribution
    it is about 1/(2n), not 0.

    Parameters
    ----------
    features : sequence of Tensor or array
        One [N_t, D] per domain.

    Examples
    --------
    >>> between_share([np.array([[0.0], [2.0]]), np.array([[4.0], [6.0]])])
    0.8
    """
    parts = _arrays(features)
    means = np.stack([part.mean(axis=0) for part in parts])
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean()
    within = np.mean(
        [((part - mean) ** 2).sum(axis=1).mean() for part, mean in zip(parts, means, strict=True)]
    )
    return float(between / (between + within)) if between + within > 0 else 0.0


def mixing(points: np.ndarray, domain: np.ndarray, neighbours: int = 10) -> float:
    """Return how far domains are mixed: other domains' share of the neighbours, over that of a random draw.

    0: everybody's nearest neighbours are of the own domain.  1: as in a well shuffled pack.

    Parameters
    ----------
    points : array, [N, D]
        Features (standardised), or places in a map.
    domain : array of int, [N]
        Every domain equally often, so that no size decides.
    neighbours : int, optional
        How many neighbours count.

    Raises
    ------
    DataError
        If domains are of different size, or there are too few points.

    Examples
    --------
    >>> rng, domain = np.random.default_rng(0), np.arange(400) % 2
    >>> points = rng.normal(size=(400, 2))
    >>> round(mixing(points, domain), 1), mixing(points + 9 * domain[:, None], domain)
    (1.0, 0.0)
    """
    counts = np.unique(domain, return_counts=True)[1]
    if len(counts) < 2 or len(set(counts.tolist())) > 1 or len(domain) != len(points):
        raise DataError(f"mixing needs domains of equal size, one number per point; it got {counts.tolist()}")
    if len(points) <= neighbours:
        raise DataError(f"{len(points)} points have no {neighbours} neighbours each")
    found = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors(return_distance=False)
    other = float((domain[found] != domain[:, None]).mean())
    by_chance = (len(points) - counts[0]) / (len(points) - 1)
    return float(other / by_chance)


@dataclass(frozen=True)
class DomainMap:
    """Several t-SNE maps of the same features.

    Parameters
    ----------
    domain : tuple of int
        Where each point comes from.
    label : tuple of int
        Its class, -1 where there is none.
    perplexities, seeds : tuple of int
        A map for each pair of them.
    places : array, int, [len(perplexities), len(seeds), N, 2]
        Coordinates from -:data:`SCALE` to :data:`SCALE`; each map is centred and scaled for itself.
    """

    domain: tuple[int, ...]
    label: tuple[int, ...]
    perplexities: tuple[int, ...]
    seeds: tuple[int, ...]
    places: np.ndarray

    def of(self, perplexity: int, seed: int) -> np.ndarray:
        """Return one map, [N, 2].

        Raises
        ------
        ConfigError
            If there is none of that perplexity and seed.
        """
        if perplexity not in self.perplexities or seed not in self.seeds:
            raise ConfigError(
                f"there is no map of perplexity {perplexity} and seed {seed}; there are perplexities"
                f" {self.perplexities} and seeds {self.seeds}"
            )
        return self.places[self.perplexities.index(perplexity), self.seeds.index(seed)]

    def to_json(self) -> str:
        """Return all of it as JSON."""
        values = {name: list(getattr(self, name)) for name in ("domain", "label", "perplexities", "seeds")}
        return json.dumps({**values, "places": self.places.tolist()}, separators=(",", ":")) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DomainMap":
        """Return the map that :meth:`to_json` wrote, parsed.

        Raises
        ------
        DataError
            If something is missing, or there is not one place for each point in each map.
        """
        names = ("domain", "label", "perplexities", "seeds")
        if missing := [name for name in (*names, "places") if name not in values]:
            raise DataError(f"the stored map has no {missing[0]!r}; record the run again")
        parts = {name: tuple(values[name]) for name in names}
        places = np.asarray(values["places"], dtype=int)
        wanted = (len(parts["perplexities"]), len(parts["seeds"]), len(parts["domain"]), 2)
        if places.shape != wanted or len(parts["label"]) != wanted[2]:
            raise DataError(f"the stored map has places of shape {places.shape}; {wanted} was expected")
        return cls(**parts, places=places)


def tsne(x: np.ndarray, perplexity: float | int, seed: int) -> Float[np.ndarray, "N 2"]:
    """Return one t-SNE map, by scikit-learn, from a *random* start.

    Scikit-learn's default starts from the two largest principal components, and then two seeds give nearly the same
    map; what the data do not decide would stay hidden.

    Parameters
    ----------
    x : array, [N, D]
        Standardised features.
    perplexity : float
        About how many neighbours a point keeps near; below N.
    seed : int
        Of the start.

    Raises
    ------
    ConfigError
        If there are not more points than the perplexity.
    """
    if not 0 < perplexity < len(x):
        raise ConfigError(
            f"the perplexity is {perplexity}; of {len(x)} points it must be between 0 and {len(x)}"
        )
    return TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(x.astype(np.float32))


def domain_map(
    features: Features,
    labels: Sequence[Sequence[int] | None],
    perplexities: Sequence[int] = (5, 15, 40),
    seeds: Sequence[int] = (0, 1),
) -> DomainMap:
    """Map the features of several domains, once for every perplexity and seed.

    Parameters
    ----------
    features : sequence of Tensor or array
        One [N_t, D] per domain; some hundred in all.
    labels : sequence of (sequence of int or None)
        Classes of each domain, if it has any.
    perplexities, seeds : sequence of int, optional
        Which maps.

    Returns
    -------
    DomainMap
        With the points in the order of ``features``.

    Raises
    ------
    DataError
        If a domain's labels are not as many as its features.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = domain_map([rng.normal(size=(20, 3)), rng.normal(size=(20, 3))], [[0] * 20, None], (5,), (0,))
    >>> found.of(5, 0).shape, int(abs(found.places).max()), found.label[::20]
    ((40, 2), 500, (0, -1))
    """
    x, domain = standardised(features)
    label: list[int] = []
    for t, own in enumerate(labels):
        count = int((domain == t).sum())
        own = [-1] * count if own is None else [int(k) for k in own]
        if len(own) != count:
            raise DataError(f"domain {t} has {count} features and {len(own)} labels")
        label += own
    places = np.zeros((len(perplexities), len(seeds), len(x), 2), dtype=int)
    for i, perplexity in enumerate(perplexities):
        for j, seed in enumerate(seeds):
            found = tsne(x, perplexity, seed)
            found = found - (found.max(axis=0) + found.min(axis=0)) / 2
            places[i, j] = np.rint(SCALE * found / max(float(np.abs(found).max()), 1e-12))
    return DomainMap(tuple(domain.tolist()), tuple(label), tuple(perplexities), tuple(seeds), places)
