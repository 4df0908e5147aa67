"""Table 7 of the paper: does what was learnt from subtle faces help with posed ones?

Three experiments.  ``transfer_search`` chooses the rate of the fine-tuning, for networks that learnt expressions,
landmarks or wrong labels and for random weights, on validation people within the training parts of the first target's
first two folds.  ``table7`` fine-tunes from every start to the folds of every target.  ``transfer_curve`` does so with
3 and 10 training faces of each expression of the first target; with all of them, ``table7`` has done it.

Folds are not independent: the training parts of any two of them overlap.  So intervals over folds and seeds take the
variance of Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003, for repeated
cross-validation (Bouckaert and Frank, 2004).
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from mtl_lib.errors import DataError
from mtl_lib.experiments.base import Experiment, Job
from mtl_lib.experiments.recorded import paper_rows
from mtl_lib.experiments.transfer_runs import SEARCHED, STARTS, Start, defaults, run_transfer, transfer_config
from mtl_lib.experiments.transfer_sets import FOLDS, TARGETS
from mtl_lib.ledger import Entry, read
from mtl_lib.seeds import Spread

SEARCH, TABLE, CURVE = "transfer_search", "table7", "transfer_curve"
RATES = (0.02, 0.06, 0.2)
SEARCHED_STARTS = ("single", "landmarks", "shuffled", "scratch")
"""The controls have a rate of their own: with that of another start they would only seem worse."""
SEARCH_FOLDS = 2
CURVE_STARTS = ("laf+ada", "scratch", "landmarks")
FEWER_STARTS = {"oulu": (*(name for name, start in STARTS.items() if start.paper), "scratch")}
"""The second target gets the paper's rows, and what they are compared with."""
PER_CLASS = (3, 10)
IN_PAPER = {"ckplus": "CK+", "oulu": "OCNV"}


def search_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the trials: every kind of start, with every rate."""
    target = TARGETS[tier][0]
    return [
        Job(
            experiment=SEARCH, method=f"{start}.{rate:g}", seed=seed, tier=tier, budget=budget,
            config=transfer_config(
                tier, budget, seed, target, start, rate, fractions=SEARCHED, folds=SEARCH_FOLDS
            ),
        )
        for seed in seeds
        for start in SEARCHED_STARTS
        for rate in RATES
    ]  # fmt: skip


def chosen_rates(entries: Sequence[Entry]) -> dict[str, float]:
    """Return the rate of every start that was best on validation people, by macro-recall.

    Parameters
    ----------
    entries : sequence of Entry
        The recorded search of one tier and budget.

    Raises
    ------
    DataError
        If a trial is missing.
    """
    scores: dict[tuple[str, float], list[float]] = {}
    for entry in entries:
        start, _, rate = entry.method.partition(".")
        scores.setdefault((start, float(rate)), []).append(
            entry.metrics.get("validation_macro_recall", -math.inf)
        )  # it diverged
    wanted = [(start, rate) for start in SEARCHED_STARTS for rate in RATES]
    if lacking := [f"{start}.{rate:g}" for start, rate in wanted if (start, rate) not in scores]:
        raise DataError(f"the search lacks {', '.join(lacking[:3])}; run mtl sweep {SEARCH} first")
    best = {
        start: max(RATES, key=lambda rate: float(np.mean(scores[start, rate]))) for start in SEARCHED_STARTS
    }
    if lost := [start for start, rate in best.items() if math.isinf(np.mean(scores[start, rate]))]:
        raise DataError(f"every rate of {lost[0]} diverged; there is nothing to choose from")
    return {name: best[_like(start)] for name, start in STARTS.items()}


def _like(start: Start) -> str:
    """The start whose rate another one takes: that of its kind."""
    if start.from_task == "landmarks":
        return "landmarks"
    return {"": "scratch", "shuffled": "shuffled"}.get(start.source, "single")


def table_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the runs of Table 7: every start, on all folds of every target."""
    rates = chosen_rates(read(SEARCH, folder, tier=tier, budget=budget))
    return [
        Job(
            experiment=TABLE, method=f"{target}.{start}", seed=seed, tier=tier, budget=budget,
            config=transfer_config(tier, budget, seed, target, start, rates[start]),
        )
        for seed in seeds
        for target in TARGETS[tier]
        for start in FEWER_STARTS.get(target, tuple(STARTS))
    ]  # fmt: skip


def curve_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the runs with few faces of each expression."""
    rates = chosen_rates(read(SEARCH, folder, tier=tier, budget=budget))
    target = TARGETS[tier][0]
    return [
        Job(
            experiment=CURVE, method=f"{target}.{start}({count})", seed=seed, tier=tier, budget=budget,
            config=transfer_config(tier, budget, seed, target, start, rates[start], per_class=count),
        )
        for seed in seeds
        for count in PER_CLASS
        for start in CURVE_STARTS
    ]  # fmt: skip


Folds = dict[tuple[int, int], float]
"""Accuracy in percent by (seed, fold)."""


def by_fold(entries: Sequence[Entry], method: str) -> Folds:
    """Return a method's accuracy in every fold of every seed.

    Parameters
    ----------
    entries : sequence of Entry
        Of one experiment, tier and budget.
    method : str
        Target and start, such as ``"ckplus.laf+ada"``.

    Raises
    ------
    DataError
        If a seed has two runs.
    """
    found: Folds = {}
    for entry in entries:
        if entry.method != method:
            continue
        if any(seed == entry.seed for seed, _ in found):
            raise DataError(f"{method} has two runs of seed {entry.seed}; see mtl results check")
        for name, value in entry.metrics.items():
            if name.startswith("fold_"):
                found[entry.seed, int(name.removeprefix("fold_"))] = float(value)
    return found


def over_folds(values: Folds, folds: int, minus: Folds | None = None, level: float = 0.95) -> Spread:
    """Return mean, spread and interval over folds and seeds, or of paired differences.

    The variance of the mean of :math:`J` values is taken as :math:`(1/J + 1/(k-1))\\,s^2`: with :math:`k` folds
    the test part is :math:`1/(k-1)` of the training part, and the training parts overlap.  The plain :math:`s^2/J`
    would make intervals far too narrow.

    Parameters
    ----------
    values, minus : mapping of (seed, fold) to float
        Of the second, only what the first has as well is used, and the differences are taken.
    folds : int
        k.
    level : float, optional
        Coverage.

    Raises
    ------
    DataError
        If there is nothing to average.

    Examples
    --------
    >>> few = {(0, 1): 80.0, (0, 2): 90.0, (1, 1): 84.0, (1, 2): 86.0}
    >>> found = over_folds(few, 2)
    >>> found.mean, found.n, round(found.high - found.mean, 1)  # 3.18 s sqrt(1/4 + 1)
    (85.0, 4, 14.8)
    """
    keys = [key for key in values if minus is None or key in minus]
    if not keys:
        raise DataError("there are no folds in common to average; has the experiment been recorded?")
    x = np.array([values[key] - (0 if minus is None else minus[key]) for key in keys])
    n, mean, positive = len(x), float(x.mean()), int((x > 0).sum())
    if n == 1:
        return Spread(mean, math.nan, math.nan, math.nan, 1, positive, math.nan)
    sd = float(x.std(ddof=1))
    error = sd * math.sqrt(1 / n + 1 / (folds - 1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return Spread(mean, sd, mean - half, mean + half, n, positive, p)


def paper_accuracies() -> dict[str, dict[str, float]]:
    """Return the paper's Table 7: database -> row -> accuracy in percent.

    Examples
    --------
    >>> found = paper_accuracies()
    >>> found["CK+"]["RN+LAF+ADA (S)"], found["OCNV"]["RN (FT)"]
    (86.3, 82.9)
    """
    found: dict[str, dict[str, float]] = {}
    for row in paper_rows("table7_tner.csv"):
        found.setdefault(row["database"], {})[row["method"]] = float(row["accuracy_percent"])
    return found


def table7_text(entries: Sequence[Entry], reference: str = "scratch") -> str:
    """Return our Table 7 beside the paper's, at most 88 characters wide.

    Parameters
    ----------
    entries : sequence of Entry
        Of one tier and budget.
    reference : str, optional
        The start that differences are taken to.
    """
    paper, lines = paper_accuracies(), []
    targets = [name for name in FOLDS if any(entry.method.startswith(f"{name}.") for entry in entries)]
    for target in targets:
        base = by_fold(entries, f"{target}.{reference}")
        seeds = len({seed for seed, _ in base})
        run = len({fold for _, fold in base})
        some = f" ({run} of them run)" if run < FOLDS[target] else ""
        lines.append(
            f"{target}: {FOLDS[target]} folds by person{some}, {seeds} seed{'s' if seeds != 1 else ''}"
        )
        lines.append(f"{'start':16}{'accuracy, %':>14}{f'minus {reference}':>16}{'interval':>18}{'paper':>8}")
        for start, about in STARTS.items():
            values = by_fold(entries, f"{target}.{start}")
            if not values:
                continue
            whole = over_folds(values, FOLDS[target])
            line = f"{start:16}{f'{whole.mean:.1f} ± {whole.sd:.1f}':>14}"
            if start != reference and base:
                found = over_folds(values, FOLDS[target], base)
                star = "*" if found.clear else " "
                line += f"{found.mean:>+15.1f}{star}{f'{found.low:+.1f} to {found.high:+.1f}':>18}"
            else:
                line += " " * 34
            printed = paper.get(IN_PAPER.get(target, ""), {}).get(about.paper)
            lines.append((line + ("" if printed is None else f"{printed:8.1f}")).rstrip())
        lines.append("")
    lines.append("± standard deviation over folds and seeds; * the 95 % interval of the paired")
    lines.append("difference, which allows for folds that share training faces, leaves out 0")
    return "\n".join(lines)


def _experiment(
    name: str, title: str, jobs, seeds: Mapping[str, tuple[int, ...]], needs=(), test=True
) -> Experiment:
    run = functools.partial(run_transfer, test=test)
    return Experiment(
        name=name, title=title, seeds=seeds, jobs=jobs, run=run, needs=needs, defaults=defaults()
    )


_SEEDS = {"smoke": (0,), "cpu": (0, 1, 2), "t4": (0, 1, 2), "full": (0, 1, 2)}
TRANSFER_SEARCH = _experiment(
    SEARCH,
    "the rate of fine-tuning, for every start, on validation people",
    search_jobs,
    dict.fromkeys(_SEEDS, (100,)),
    test=False,
)
TABLE7 = _experiment(
    TABLE, "Table 7: fine-tuning to posed sets, in folds by person", table_jobs, _SEEDS, (SEARCH,)
)
TRANSFER_CURVE = _experiment(
    CURVE, "fine-tuning with few faces of each expression", curve_jobs, _SEEDS, (SEARCH,)
)
