"""Tuning, the same for everybody: every arm gets the same trials, judged on validation people only.

The trials are points of one low-discrepancy sequence, so that all arms try the same learning rates and landmark
weights; an arm's own strengths (gamma, the adversary's, ...) take further coordinates.  The trial with the best
mean score over the search's seeds is the arm's choice.  The report then uses other seeds.  A control
(``like`` of :class:`~mtl_lib.experiments.arms.Arm`) takes over the choice of the arm that it is the control of.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from mtl_lib.errors import DataError
from mtl_lib.experiments.arms import ARMS
from mtl_lib.ledger import Entry

LEARNING_RATE = (0.01, 0.1)
LANDMARK_WEIGHTS = (3.0, 10.0, 30.0)
TRIALS = {"smoke": 1, "cpu": 6, "t4": 6, "full": 6}
SEARCH_SEEDS = {"smoke": (100,), "cpu": (100, 101), "t4": (100, 101), "full": (100,)}


def _between(low: float, high: float, position: float) -> float:
    """A number at a share of the way from low to high, evenly in the logarithm, with two digits."""
    value = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
    return float(f"{value:.2g}")


def tuned_arms() -> list[str]:
    """Return the arms that are searched: all but the controls that take over another arm's settings.

    Examples
    --------
    >>> "laf" in tuned_arms(), "norm_only" in tuned_arms()
    (True, False)
    """
    return [name for name, arm in ARMS.items() if not arm.like]


def trials(arm: str, count: int) -> list[dict[str, float]]:
    """Return the settings that an arm tries.

    Parameters
    ----------
    arm : str
        One of :func:`tuned_arms`.
    count : int
        How many trials.

    Returns
    -------
    list of dict
        Settings by name.

    Examples
    --------
    >>> [trial["lr"] for trial in trials("single", 3)] == [trial["lr"] for trial in trials("laf", 3)]
    True
    >>> sorted(trials("laf+ada", 1)[0])
    ['ada', 'gamma', 'landmark_weight', 'lr']
    """
    tuned = ARMS[arm].tuned
    # Unscrambled and without the point 0: the first coordinates are the same whatever follows.
    points = qmc.Halton(2 + len(tuned), scramble=False).random(count + 1)[1:]
    return [
        {
            "lr": _between(*LEARNING_RATE, point[0]),
            "landmark_weight": LANDMARK_WEIGHTS[int(point[1] * len(LANDMARK_WEIGHTS))],
            **{
                name: _between(*bounds, position)
                for (name, bounds), position in zip(tuned.items(), point[2:], strict=True)
            },
        }
        for point in points
    ]


def choose(arm: str, budget: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the settings of an arm's best trial, or of the arm's that it is a control of.

    Parameters
    ----------
    arm : str
        Its name; trial t of it is recorded as method ``<arm>.<t>``.
    budget : str
        Its budget: how many trials there must be.
    entries : sequence of Entry
        The recorded search on one tier.

    Raises
    ------
    DataError
        If trials are missing: a choice among some of them would favour an arm or harm it.
    """
    arm = ARMS[arm].like or arm
    tried = trials(arm, TRIALS[budget])
    scores: dict[int, list[float]] = {t: [] for t in range(len(tried))}
    for entry in entries:
        name, _, number = entry.method.rpartition(".")
        if name == arm and entry.budget == budget and number.isdecimal() and int(number) in scores:
            # A search made with other trials must not decide about today's.
            if all(_setting(entry.config, key) == value for key, value in tried[int(number)].items()):
                # A trial that diverged has no score, and loses to every other.
                scores[int(number)].append(entry.metrics.get("validation_score", -math.inf))
    lacking = [t for t, found in scores.items() if len(found) < len(SEARCH_SEEDS[budget])]
    if lacking:
        raise DataError(
            f"the search for {arm!r} at budget {budget} lacks the trials {', '.join(map(str, lacking))}; run the sweep"
            " of the search first"
        )
    best = max(scores, key=lambda t: float(np.mean(scores[t])))
    if math.isinf(np.mean(scores[best])):
        raise DataError(
            f"every trial of {arm!r} at budget {budget} diverged; there is nothing to choose from"
        )
    return tried[best]


def _setting(config: Mapping[str, Any], key: str) -> Any:
    return config.get("train", {}).get(key)
