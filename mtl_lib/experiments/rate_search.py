"""A small search, the same for all rows of a table: which of a few learning rates is best on validation people."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mtl_lib.errors import DataError, DivergenceError
from mtl_lib.experiments.base import Job, Outcome
from mtl_lib.experiments.divergence import diverged_outcome
from mtl_lib.experiments.face_runs import run_config, run_faces
from mtl_lib.ledger import Entry

RATES = {"smoke": (0.03,), **dict.fromkeys(("cpu", "t4", "full"), (0.01, 0.03, 0.1))}
"""Learning rates that are tried, by budget; their range is that of Table 4's search."""

SEARCH_SEEDS = {"smoke": (100,), "cpu": (100,), "t4": (100, 101), "full": (100,)}
"""Seeds of a search; no table is made on them."""

TABLE_SEEDS = {"smoke": (0,), **dict.fromkeys(("cpu", "t4"), (0, 1, 2, 3, 4)), "full": (0, 1, 2)}
"""Seeds of a table whose rates were searched."""


def trial_jobs(
    experiment: str,
    methods: Iterable[str],
    settings: Callable[[str, str], dict[str, Any]],
    tier: str,
    budget: str,
    seeds: Sequence[int],
) -> list[Job]:
    """List the trials: every method with every rate, as ``<method>.<number of the rate>``.

    Parameters
    ----------
    experiment : str
        Name of the search.
    methods : iterable of str
        Rows that are tuned.
    settings : callable
        Takes a method and a budget, and returns the settings without the rate.
    tier, budget, seeds
        As for every experiment.

    Examples
    --------
    >>> jobs = trial_jobs("demo_search", ["net"], lambda method, budget: {"gamma": 0.0}, "synthetic", "cpu", [100])
    >>> [(job.method, job.config["train"]["lr"]) for job in jobs]
    [('net.0', 0.01), ('net.1', 0.03), ('net.2', 0.1)]
    """
    methods = list(methods)
    return [
        Job(
            experiment=experiment, method=f"{method}.{t}", seed=seed, tier=tier, budget=budget,
            config=run_config(tier, budget, seed, {**settings(method, budget), "lr": rate}),
        )
        for seed in seeds
        for t, rate in enumerate(RATES[budget])
        for method in methods
    ]  # fmt: skip


def best_rate(
    method: str,
    entries: Sequence[Entry],
    rates: Sequence[float],
    trials: int,
    metric: str,
    lowest: bool = False,
) -> float:
    """Return the rate whose trials are best on average; of equally good ones, the smallest.

    Parameters
    ----------
    method : str
        Its trial with rate number t is recorded as ``<method>.<t>``.
    entries : sequence of Entry
        The recorded search on one tier and budget.
    rates : sequence of float
        Those that were to be tried.
    trials : int
        How many runs there must be of each.
    metric : str
        What decides, of validation people.
    lowest : bool, optional
        Whether less is better.

    Raises
    ------
    DataError
        If a trial is missing: a choice among some of them would favour a row or harm it.

    Examples
    --------
    >>> runs = [
    ...     Entry(experiment="demo", method=f"net.{t}", seed=100, tier="open", budget="cpu", metrics={"nme": nme},
    ...           config={"train": {"lr": lr}}, device="CPU", seconds=1.0, memory=1.0)
    ...     for t, (lr, nme) in enumerate([(0.01, 9.0), (0.03, 7.0), (0.1, 8.0)])
    ... ]
    >>> best_rate("net", runs, (0.01, 0.03, 0.1), 1, "nme", lowest=True)
    0.03
    """
    found: dict[float, list[float]] = {rate: [] for rate in rates}
    for entry in entries:
        rate = entry.config["train"]["lr"]
        if entry.method.rpartition(".")[0] == method and rate in found:
            found[rate].append(entry.metrics[metric])
    lacking = [f"{rate:g}" for rate, scores in found.items() if len(scores) < trials]
    if lacking:
        raise DataError(
            f"the search for {method!r} lacks the rates {', '.join(lacking)}; run the sweep of the search first"
        )
    sign = 1 if lowest else -1
    return min(found, key=lambda rate: (sign * sum(found[rate]) / len(found[rate]), rate))


def run_trial(
    job: Job, workspace: Path, root: Path | None, accelerator: str, *, diverged: dict[str, float]
) -> Outcome:
    """Train a network and measure it on validation people only.

    Parameters
    ----------
    job, workspace, root, accelerator
        As for :func:`mtl_lib.experiments.face_runs.run_faces`.
    diverged : dict of str to float
        Measures of a run that has diverged: a rate at which nothing is learnt must lose, not stop the search.
    """
    try:
        return run_faces(job, workspace, root, accelerator, test=False)
    except DivergenceError:
        return diverged_outcome(accelerator, diverged)
