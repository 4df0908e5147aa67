"""A run whose loss stops being a number is a result: how it is recorded, and how tables tell of it.

Such a run has a line in the ledger, whose metric ``diverged`` is 1 and which lacks all that could not be measured.  It
enters no mean; so whoever prints means prints :func:`diverged_note`, too: what is left is a choice of the runs that went well.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from mtl_lib.devices import peak_memory
from mtl_lib.experiments.base import Outcome
from mtl_lib.experiments.face_runs import device_name
from mtl_lib.ledger import DIVERGED, Entry


def diverged_outcome(accelerator: str, measures: Mapping[str, float] | None = None) -> Outcome:
    """Return what is recorded of a run that diverged.

    Parameters
    ----------
    accelerator : str
        As for :func:`mtl_lib.train.fit`.
    measures : mapping of str to float, optional
        What it counts as all the same: in a search the worst score, so that its settings lose.

    Examples
    --------
    >>> diverged_outcome("cpu", {"validation_nme": 100.0}).metrics
    {'validation_nme': 100.0, 'diverged': 1.0}
    """
    cuda = accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    return Outcome(
        metrics={**(measures or {}), DIVERGED: 1.0}, device=device_name(device), memory=peak_memory(device)
    )


def diverged_runs(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Return the seeds of the runs of which nothing but their divergence is known, by method.

    A trial of a search that counts with the worst score is none of them.

    Examples
    --------
    >>> entry = Entry(experiment="demo", method="laf", seed=3, tier="open", budget="cpu", metrics={"diverged": 1.0},
    ...               config={}, device="CPU", seconds=1.0, memory=1.0)
    >>> diverged_runs([entry])
    {'laf': [3]}
    """
    found = defaultdict(list)
    for entry in entries:
        if set(entry.metrics) == {DIVERGED}:
            found[entry.method].append(entry.seed)
    return {method: sorted(seeds) for method, seeds in found.items()}


def diverged_note(entries: Sequence[Entry]) -> str:
    """Return the line below a table that names the runs that diverged; nothing if there are none.

    Examples
    --------
    >>> entry = Entry(experiment="demo", method="laf", seed=3, tier="open", budget="cpu", metrics={"diverged": 1.0},
    ...               config={}, device="CPU", seconds=1.0, memory=1.0)
    >>> diverged_note([entry]), diverged_note([])
    ('diverged, and in no mean: laf (seed 3)', '')
    """
    found = [
        f"{method} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
        for method, seeds in diverged_runs(entries).items()
    ]
    return f"{DIVERGED}, and in no mean: {', '.join(found)}" if found else ""
