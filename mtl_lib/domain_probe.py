"""A freshly trained domain probe: can the data set still be told from the features, by somebody new?

The adversary of a training run is a poor judge of its own success.  It may be weak, or behind, or fooled by
features that another classifier of the same size sees through at once.  So when the training is over a new
classifier is fitted, on features that have stopped moving, and tested on people that it has not seen: if
features of the same person were on both sides, recognising the person would pass for recognising the data
set.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError

KINDS = ("linear", "mlp")
"""Logistic regression, or one hidden layer of 64 units."""


@dataclass(frozen=True)
class ProbeResult:
    """How well a new classifier told the domains apart.

    Parameters
    ----------
    accuracy : float
        Balanced accuracy on people it was not fitted on: the mean over domains of ``recalls``.
    low, high : float
        Ends of the confidence interval of ``accuracy``.
    recalls : tuple of float
        Of each domain, the share of its pictures that was recognised.
    chance : float
        1 / T.
    people : tuple of int
        Number of people in each domain.

    Examples
    --------
    >>> result = ProbeResult(0.55, 0.47, 0.63, (0.5, 0.6), 0.5, (90, 90))
    >>> result.found, str(result)
    (False, '55 % (47 to 63, chance 50)')
    """

    accuracy: float
    low: float
    high: float
    recalls: tuple[float, ...]
    chance: float
    people: tuple[int, ...]

    @property
    def found(self) -> bool:
        """Whether the whole interval lies above chance: the domain is there to be found."""
        return self.low > self.chance

    def __str__(self) -> str:
        a, low, high, chance = (100 * v for v in (self.accuracy, self.low, self.high, self.chance))
        return f"{a:.0f} % ({low:.0f} to {high:.0f}, chance {chance:.0f})"


def domain_probe(
    features: Sequence[Float[Tensor, "_ D"] | Float[np.ndarray, "_ D"]],
    persons: Sequence[Sequence[str | int] | np.ndarray],
    kind: str = "linear",
    *,
    folds: int = 2,
    confidence: float = 0.95,
    seed: int = 0,
) -> ProbeResult:
    """Fit a new domain classifier on some people's features and test it on the other people's.

    The people of all domains are dealt into ``folds`` parts, jointly: somebody who is in two domains is in
    one part only.  A classifier is fitted on all parts but one, on features standardised there and with
    every domain equally heavy, and tested on the part left out, until each part has had its turn.

    Parameters
    ----------
    features : sequence of Tensor or array
        One [N_t, D] per domain, in the evaluation mode of the network that made them.
    persons : sequence of sequences (or arrays) of str or int
        Who is in each picture; equal names are equal people, across domains too.
    kind : {"linear", "mlp"}
        A domain that only "mlp" finds is there all the same, in a form that a linear head cannot use.
    folds : int, optional
        Number of parts; at least 2.
    confidence : float, optional
        Of the interval.
    seed : int, optional
        Of the parts, and of the MLP's initial weights.

    Returns
    -------
    ProbeResult
        Balanced accuracy and its interval (see :func:`balanced_interval`).  The interval speaks about other
        people for the features of *this* network, not about another training run.

    Raises
    ------
    ConfigError
        For a ``kind`` that does not exist, or fewer than two folds.
    DataError
        If there are fewer than two domains, lengths differ, a feature is not finite, or a domain has fewer
        people than there are parts.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> same = [rng.normal(size=(200, 3)), rng.normal(size=(200, 3))]
    >>> people = [range(200), range(200, 400)]
    >>> domain_probe(same, people).found
    False
    >>> domain_probe([same[0], same[1] + 3], people).found
    True
    """
    if kind not in KINDS:
        raise ConfigError(f"the probe is {kind!r}; it must be one of {', '.join(KINDS)}")
    if folds < 2:
        raise ConfigError(f"folds is {folds}; a probe needs at least 2, one to fit on and one to test on")
    x, domain, person = _stacked(features, persons)
    domains = len(features)
    people = tuple(len(set(who)) for who in persons)
    if min(people) < folds:
        raise DataError(
            f"the domains have {people} people; each needs at least {folds}, for as many parts that share nobody"
        )
    guess = np.empty(len(x), dtype=int)
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fit, test in parts.split(x, domain, person):
        missing = set(range(domains)) - set(domain[fit].tolist())
        if missing:
            raise DataError(
                f"no people of domain {min(missing)} are left to fit the probe on; use fewer folds"
            )
        guess[test] = _fitted(x[fit], domain[fit], kind, seed).predict(x[test])
    recalls = tuple(float((guess[domain == t] == t).mean()) for t in range(domains))
    low, high = balanced_interval(recalls, people, confidence)
    return ProbeResult(float(np.mean(recalls)), low, high, recalls, 1 / domains, people)


def balanced_interval(
    recalls: Sequence[float], people: Sequence[int], confidence: float = 0.95
) -> tuple[float, float]:
    r"""Return a confidence interval for the mean of several recalls.

    Each recall gets Wilson's interval, with the number of *people* as the number of trials: pictures of one
    person are not independent, and counting them as one trial errs on the safe side.  The intervals
    :math:`[l_t, u_t]` about :math:`r_t` are joined by the square-and-add rule of Zou and Donner (2008), so
    that the interval keeps a width where every picture was recognised:

    .. math:: \bar r - \tfrac1T \big(\textstyle\sum_t (r_t - l_t)^2\big)^{1/2} \;\dots\;
              \bar r + \tfrac1T \big(\textstyle\sum_t (u_t - r_t)^2\big)^{1/2}.

    Parameters
    ----------
    recalls : sequence of float
        One per domain, 0 to 1.
    people : sequence of int
        Independent trials behind each.
    confidence : float, optional
        Probability with which such intervals hold the true mean.

    Returns
    -------
    low, high : float
        Within 0 and 1.

    Examples
    --------
    >>> [round(end, 2) for end in balanced_interval((1.0, 1.0), (50, 50))]
    [0.95, 1.0]
    """
    r, n = np.asarray(recalls, float), np.asarray(people, float)
    z = norm.ppf(0.5 + confidence / 2)
    centre = (r + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(r * (1 - r) / n + z**2 / (4 * n**2))
    below = np.sqrt(((r - (centre - half)) ** 2).sum()) / len(r)
    above = np.sqrt(((centre + half - r) ** 2).sum()) / len(r)
    return float(max(r.mean() - below, 0.0)), float(min(r.mean() + above, 1.0))


def _stacked(features: Sequence, persons: Sequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All features, the domain of each, and the number of its person."""
    if len(features) < 2 or len(features) != len(persons):
        raise DataError(
            f"the probe got features of {len(features)} domains and people of {len(persons)}; it needs both of"
            " the same two or more"
        )
    parts = [np.asarray(f.detach().cpu() if isinstance(f, Tensor) else f, dtype=np.float64) for f in features]
    for t, (part, who) in enumerate(zip(parts, persons, strict=True)):
        if len(part) != len(who):
            raise DataError(f"domain {t} has {len(part)} features and {len(who)} people; one each is needed")
        if not np.isfinite(part).all():
            raise DataError(f"domain {t} has features that are not finite")
    domain = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    names = [str(name) for who in persons for name in who]
    return np.concatenate(parts), domain, np.unique(names, return_inverse=True)[1]


def _fitted(x: np.ndarray, domain: np.ndarray, kind: str, seed: int):
    """A classifier for which every domain weighs the same: the smaller ones are repeated up to the largest."""
    most = np.bincount(domain).max()
    rows = [np.resize(np.flatnonzero(domain == t), most) for t in np.unique(domain)]
    if kind == "linear":
        model = LogisticRegression(max_iter=2000)
    else:
        model = MLPClassifier((64,), alpha=1e-2, max_iter=200, random_state=seed)
    rows = np.random.default_rng(seed).permutation(np.concatenate(rows))
    probe = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a probe that stopped early is tested all the same
        return probe.fit(x[rows], domain[rows])
