"""A small search, the same for all rows of a table: which of a few learning rates is best on validation people."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mtl_lib.devices import peak_memory
from mtl_lib.errors import DataError, DivergenceError
from mtl_lib.experiments.base import Job, Outcome
from mtl_lib.experiments.face_runs import device_name, run_faces
from mtl_lib.ledger import Entry

RATES = {"smoke": (0.03,), **dict.fromkeys(("cpu", "t4", "full"), (0.01, 0.03, 0.1))}
"""Learning rates that are tried, by budget; their range is that of Table 4's search."""

SEARCH_SEEDS = {"smoke": (100,), "cpu": (100,), "t4": (100, 101), "full": (100,)}
"""Seeds of a search; no table is made on them."""


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
        cuda = accelerator != "cpu" and torch.cuda.is_available()
        device = torch.device("cuda" if cuda else "cpu")
        return Outcome(
            metrics={**diverged, "diverged": 1.0}, device=device_name(device), memory=peak_memory(device)
        )
