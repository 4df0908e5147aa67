"""Arms of Table 4 with one setting varied: the amount of data, and the weight of the landmarks.

``learning_curve`` varies how many training faces there are of each expression, ``landmark_front`` what a landmark's
error counts beside an expression's.  All else stays as the search for Table 4 chose it.  Where the varied setting has
the very value that Table 4's run has, that run is the result, and none is made here.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_lib.errors import DataError
from mtl_lib.experiments.arms import arm_settings
from mtl_lib.experiments.base import Experiment, Job
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, run_config, run_faces
from mtl_lib.experiments.search import choose
from mtl_lib.experiments.table4 import SEARCH, TABLE_EXPERIMENT
from mtl_lib.ledger import Entry, read
from mtl_lib.seeds import Spread, paired, spread


@dataclass(frozen=True)
class Variation:
    """What is varied.

    Parameters
    ----------
    name : str
        The experiment's.
    title : str
        A line for people.
    setting : str
        The field of :class:`mtl_lib.config.TrainConfig`.
    arms : tuple of str
        For which arms of Table 4.
    values : mapping of str to tuple
        By budget.
    """

    name: str
    title: str
    setting: str
    arms: tuple[str, ...]
    values: Mapping[str, tuple[float | int, ...]]


LEARNING_CURVE = Variation(
    "learning_curve",
    "Table 4's central arms with fewer and with more faces of each expression",
    "per_class",
    ("single", "hard2_private", "hard4_private", "laf", "laf_pinned", "norm_only", "deviation"),
    {"smoke": (2, 4), "cpu": (20, 60, 150), "t4": (20, 60, 150), "full": (20, 60, 150, 600)},
)
LANDMARK_FRONT = Variation(
    "landmark_front",
    "Table 4's central arms with landmarks that count less and more",
    "landmark_weight",
    ("single", "hard4_private", "laf", "laf_pinned", "deviation"),
    dict.fromkeys(("cpu", "t4", "full"), (1.0, 3.0, 10.0, 30.0)) | {"smoke": (1.0, 30.0)},
)


def varied_jobs(
    variation: Variation, tier: str, budget: str, seeds: Sequence[int], folder: Path
) -> list[Job]:
    """List the runs of a variation that are not Table 4's own."""
    blocks, found = SCALES[budget]["blocks"], read(SEARCH, folder, tier=tier, budget=budget)
    jobs = []
    settings = {arm: {**arm_settings(arm, blocks), **choose(arm, budget, found)} for arm in variation.arms}
    for seed in seeds:
        for arm in variation.arms:
            own = run_config(tier, budget, seed, settings[arm])
            for value in variation.values[budget]:
                if own["train"][variation.setting] == value:
                    continue
                config = run_config(tier, budget, seed, {**settings[arm], variation.setting: value})
                jobs.append(
                    Job(
                        experiment=variation.name, method=f"{arm}({value:g})", seed=seed, tier=tier,
                        budget=budget, config=config,
                    )
                )  # fmt: skip
    return jobs


def _experiment(variation: Variation) -> Experiment:
    return Experiment(
        name=variation.name,
        title=variation.title,
        seeds=TABLE_EXPERIMENT.seeds,
        jobs=functools.partial(varied_jobs, variation),
        run=run_faces,
        needs=(SEARCH,),
        defaults=DEFAULTS,
    )


CURVE_EXPERIMENT, FRONT_EXPERIMENT = _experiment(LEARNING_CURVE), _experiment(LANDMARK_FRONT)

Values = dict[str, dict[float, dict[int, float]]]


def by_value(variation: Variation, entries: Sequence[Entry], table: Sequence[Entry], metric: str) -> Values:
    """Return a metric by arm, value of the varied setting, and seed.

    Parameters
    ----------
    variation : Variation
        What was varied.
    entries, table : sequence of Entry
        Runs of the variation and of Table 4, of one tier and budget.
    metric : str
        Name in the ledger.

    Returns
    -------
    dict of str to dict of float to dict of int to float
        Arms in the order of the variation, values rising; arms without a run are left out.

    Raises
    ------
    DataError
        If runs of several tiers or budgets are given, or two runs are for the same place.
    """
    if len({(entry.tier, entry.budget) for entry in (*entries, *table)}) > 1:
        raise DataError("runs of several tiers or budgets are no one curve; select one")
    found: dict = defaultdict(lambda: defaultdict(dict))
    for entry in (*entries, *table):
        arm = entry.method.partition("(")[0]
        value = entry.config["train"][variation.setting]
        if arm not in variation.arms or metric not in entry.metrics:
            continue
        seeds = found[arm][float("inf") if value is None else float(value)]
        if entry.seed in seeds:
            raise DataError(f"{arm} at {variation.setting} {value} has two runs of seed {entry.seed}")
        seeds[entry.seed] = entry.metrics[metric]
    return {
        arm: {value: found[arm][value] for value in sorted(found[arm])}
        for arm in variation.arms
        if arm in found
    }


def spreads(values: Values, minus: str | None = None) -> dict[str, dict[float, Spread]]:
    """Return mean and spread over seeds, or of the differences to another arm at the same value.

    Parameters
    ----------
    values : dict
        As :func:`by_value` gives it.
    minus : str, optional
        The arm that differences are taken to, paired by seed; it is left out itself.

    Examples
    --------
    >>> values = {"single": {20.0: {0: 1.0, 1: 2.0}}, "laf": {20.0: {0: 2.0, 1: 4.0}, 60.0: {0: 5.0}}}
    >>> print(spreads(values, minus="single")["laf"][20.0])
    1.5 ± 0.7 (n = 2)
    >>> sorted(spreads(values)["laf"]), sorted(spreads(values, minus="single")["laf"])
    ([20.0, 60.0], [20.0])
    """
    if minus is None:
        return {
            arm: {value: spread(list(seeds.values())) for value, seeds in of_arm.items()}
            for arm, of_arm in values.items()
        }
    other = values.get(minus, {})
    return {
        arm: {
            value: paired(seeds, other[value])
            for value, seeds in of_arm.items()
            if value in other and set(seeds) & set(other[value])
        }
        for arm, of_arm in values.items()
        if arm != minus
    }


@dataclass(frozen=True)
class Duel:
    """The best of some arms against the best of others, at one value of the varied setting.

    Parameters
    ----------
    first, second : str
        The best arm of each side, by its mean.
    difference : Spread
        ``first`` minus ``second``, paired by seed.
    """

    first: str
    second: str
    difference: Spread


def duels(
    values: Values, firsts: Sequence[str], seconds: Sequence[str], *, less_is_better: bool = False
) -> dict[float, Duel]:
    """Return the best arm of each of two sides at every value, and their difference.

    Each side's best is chosen by the very numbers that are compared, so a side with more arms has a small advantage.

    Parameters
    ----------
    values : dict
        As :func:`by_value` gives it.
    firsts, seconds : sequence of str
        The arms of each side.
    less_is_better : bool, optional
        For an error.

    Returns
    -------
    dict of float to Duel
        Values at which both sides have runs of a common seed.

    Examples
    --------
    >>> values = {"laf": {20.0: {0: 2.0, 1: 4.0}}, "deviation": {20.0: {0: 1.0, 1: 1.0}}, "hard4": {20.0: {0: 1.0, 1: 2.0}}}
    >>> duel = duels(values, ("laf", "deviation"), ("hard4",))[20.0]
    >>> print(duel.first, duel.second, duel.difference)
    laf hard4 1.5 ± 0.7 (n = 2)
    """
    sign = -1 if less_is_better else 1
    found = {}
    for value in sorted({value for of_arm in values.values() for value in of_arm}):

        def best(arms: Sequence[str], value: float = value) -> str | None:
            there = [arm for arm in arms if values.get(arm, {}).get(value)]
            mean = {arm: spread(list(values[arm][value].values())).mean for arm in there}
            return max(there, key=lambda arm: sign * mean[arm]) if there else None

        first, second = best(firsts), best(seconds)
        if first and second and set(values[first][value]) & set(values[second][value]):
            found[value] = Duel(first, second, paired(values[first][value], values[second][value]))
    return found


def crossings(duels: Mapping[float, Duel]) -> list[tuple[float, float]]:
    """Return the pairs of neighbouring values between which the mean difference changes its sign.

    Examples
    --------
    >>> crossings({v: Duel("a", "b", spread([d, d])) for v, d in ((20.0, -1.0), (60.0, 2.0), (150.0, 1.0))})
    [(20.0, 60.0)]
    """
    pairs = zip(duels, list(duels)[1:], strict=False)
    return [(a, b) for a, b in pairs if duels[a].difference.mean * duels[b].difference.mean < 0]
