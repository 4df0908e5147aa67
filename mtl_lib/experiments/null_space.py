r"""Does it matter what the sub-gradient does where a stack lacks rank?  The paper's U V^T against the shortest one.

Tasks that start from the same weights make every stack rank 1, and there :math:`U V^\top` over all columns adds to
the sub-gradient of least length a product of two singular vectors of zero: whichever LAPACK returns.  Three arms,
equal but for one thing: the shortest sub-gradient, the paper's, and as a control the shortest one from a start
that is moved by as little as float32 can tell.  Training magnifies such a nothing; what the arms differ by has to be
held against what the control differs by.

Settings are the same for all and not tuned.  Networks and sets are smaller than those of the tables.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_lib.experiments.base import Experiment, Job, Outcome, jobs_of_arms
from mtl_lib.experiments.face_runs import DEFAULTS, run_config, run_faces
from mtl_lib.polar import polar_factor
from mtl_lib.run import Run
from mtl_lib.run_folder import read_log
from mtl_lib.sharing_curves import snapshot
from mtl_lib.sharing_measures import as_rows

NAME = "null_space"

ARMS: dict[str, dict[str, Any]] = {
    "minimum": {},
    "full": {"train": {"penalty_null": "full"}},
    "nudged": {"nudge": 1e-6},
}
"""In what each arm differs from the first; the nudge is relative to every weight, and the same for all tasks."""

COMMON = {
    "sharing": "soft",
    "norm": "laf",
    "init": "same",
    "ada": 0.0,
    "lr": 0.05,
    "momentum": 0.9,
    "gamma": 0.06,
}
SMALLER: dict[str, dict[str, Any]] = {
    "smoke": {},
    "cpu": {"width": 8, "batch_size": 16, "steps": 200, "channels_last": False},
}
RENDERED = {"smoke": (130, 100), "cpu": (1560, 1000)}
"""Rendered faces for expressions and for landmarks; at other budgets as many as in the tables."""


def arm_config(arm: str, tier: str, budget: str, seed: int) -> dict[str, Any]:
    """Return the configuration of an arm's run as the ledger has it.

    Examples
    --------
    >>> config = arm_config("full", "synthetic", "cpu", 0)
    >>> config["train"]["penalty_null"], config["nudge"], config["data"]["expression"]
    ('full', 0.0, 1560)
    """
    own = ARMS[arm]
    settings = {**COMMON, **SMALLER.get(budget, {}), **own.get("train", {})}
    config = run_config(tier, budget, seed, settings)
    if tier == "synthetic" and budget in RENDERED:
        config["data"] |= dict(zip(("expression", "landmarks"), RENDERED[budget], strict=True))
    return {**config, "nudge": own.get("nudge", 0.0)}


def jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the runs of all arms, all of a seed before the next."""
    return jobs_of_arms(
        NAME,
        lambda seed: {arm: arm_config(arm, tier, budget, seed) for arm in ARMS},
        tier,
        budget,
        seeds,
    )


@torch.no_grad()
def added_in_full(stacks: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    r"""Return what the paper's :math:`U V^\top` adds to the shortest sub-gradient of LAF, as means over layers.

    Parameters
    ----------
    stacks : mapping of str to sequence of Tensor
        For every layer its T tasks' weights.

    Returns
    -------
    dict of str to float
        ``added``: its Frobenius norm over that of the shortest one.  ``spectral``: the largest singular value of
        :math:`U V^\top`.  ``peak``: the largest share of the added square that falls on one weight of all tasks.
        ``same``: cosine (without sign) with what is added if the same weights are listed backwards, which changes no
        norm: 1 if the choice meant anything.

    Examples
    --------
    >>> w = torch.randn(50, generator=torch.Generator().manual_seed(0))
    >>> found = added_in_full({"fc": [w, w]})
    >>> round(found["added"], 4), round(found["spectral"], 4)
    (1.0, 1.0)
    """
    found = []
    for weights in stacks.values():
        rows = as_rows(weights).double()
        least = polar_factor(rows)
        full = polar_factor(rows, null="full")
        extra, other = full - least, polar_factor(rows.flip(1), null="full").flip(1) - least
        square = extra.square().sum(0)
        found.append({
            "added": extra.norm() / least.norm(),
            "spectral": torch.linalg.matrix_norm(full, ord=2),
            "peak": square.max() / square.sum(),
            "same": (extra * other).sum().abs() / (extra.norm() * other.norm()),
        })  # fmt: skip
    return {name: float(torch.stack([each[name] for each in found]).mean()) for name in found[0]}


@torch.no_grad()
def watch(run: Run, nudge: float | int) -> None:
    """Nudge the start, measure it, and write into the log how far the tasks' kernels are apart after step 1 and at the end."""
    if run.step == 0:
        if nudge:
            generator = torch.Generator().manual_seed(run.config.seed)
            for weights in run.kernels().values():
                noise = 1 + nudge * torch.randn(weights[0].shape, generator=generator)
                for weight in weights:
                    weight.mul_(noise.to(weight.device))
        run.log("completion", added_in_full(run.kernels()))
    if run.step in (1, run.config.steps):
        found = snapshot(run.kernels())
        ratio = found.sigma[:, 1] / found.sigma[:, 0]
        run.log("apart", {"cosine": float(found.cosine.mean()), "ratio": float(ratio.mean())})


def run(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Make one run.

    Its metrics besides those of :func:`mtl_lib.experiments.face_runs.run_faces`: ``start_added``, ...
    of :func:`added_in_full`; ``first_cosine`` and ``first_ratio`` after one step, ``last_cosine`` and ``last_ratio`` at
    the end: the cosine between the tasks' kernels, and their second singular value over the first, as means over layers.
    """
    found = run_faces(
        job, workspace, root, accelerator, watch=functools.partial(watch, nudge=job.config["nudge"])
    )
    log = read_log(workspace)
    start = next(line for line in log if line["event"] == "completion")
    first, last = [line for line in log if line["event"] == "apart"]
    metrics = {f"start_{name}": start[name] for name in ("added", "spectral", "peak", "same")}
    for when, line in (("first", first), ("last", last)):
        metrics |= {f"{when}_{name}": line[name] for name in ("cosine", "ratio")}
    rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
    return Outcome(metrics={**found.metrics, **rounded}, device=found.device, memory=found.memory)


NULL_SPACE = Experiment(
    name=NAME,
    title="what the sub-gradient does where a stack lacks rank: the paper's U V^T, the shortest, and a control",
    seeds={"smoke": (0,), "cpu": (0, 1, 2), "t4": (0, 1, 2), "full": (0, 1, 2)},
    jobs=jobs,
    run=run,
    defaults={**DEFAULTS, "nudge": 0.0},
)
