"""How long a sweep will take on the device that is here: from recorded runs, else from a few small batches.

Runs that were recorded on the same kind of device say it best.  Where there are none, one run of every form of sharing
among the jobs is set up on a few rendered faces, and :mod:`mtl_lib.costs` times small batches of it.
"""

import functools
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mtl_lib.config import TrainConfig
from mtl_lib.devices import isolated, make_fabric
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.face_runs import device_name
from mtl_lib.experiments.threads import few_threads
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.ledger import Entry
from mtl_lib.run import Run

FACES = 130
"""Rendered faces of each set that batches are drawn from: they need some people in every part of the split."""


@dataclass(frozen=True)
class Forecast:
    """What a sweep is expected to cost.

    Parameters
    ----------
    seconds : float
        Of all its runs, one after the other.
    device : str
        On what.
    how : str
        Where the number comes from.
    memory : float or None
        Peak memory in MiB of the largest run that was set up; None if none was.
    """

    seconds: float
    device: str
    how: str
    memory: float | None = None

    def __str__(self) -> str:
        minutes = self.seconds / 60
        time = f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
        memory = "" if self.memory is None else f", {math.ceil(10 * self.memory / 1024) / 10:.1f} GiB"
        return f"about {time}{memory} to go on {self.device}, {self.how}"


def device_here(job: Job, accelerator: str) -> torch.device:
    """Return the device that a job would run on.

    Raises
    ------
    ConfigError
        If there is no such device, or it lacks the job's precision.
    """
    return make_fabric(accelerator, TrainConfig.from_dict(job.config["train"]).precision).device


@functools.lru_cache(maxsize=1)
def _faces(pixels: int) -> dict[str, FaceSet]:
    """Some faces of equal people for both tasks, so that each part of a split has some of both."""
    return {
        "expression": synthetic_set(FACES, landmarks=False, size=pixels, style="film"),
        "landmarks": synthetic_set(FACES, labelled=False, size=pixels, style="wild", first=10**6),
    }


def measured(job: Job, accelerator: str) -> tuple[float, float]:
    """Return the expected seconds and MiB of a job's training, from a few small batches on this device.

    Reading or rendering its faces, validation and the test are not counted.

    Parameters
    ----------
    job : Job
        Its configuration has the part ``train``.
    accelerator : str
        As for :func:`mtl_lib.train.fit`.
    """
    config = TrainConfig.from_dict(job.config["train"])
    sets = _faces(config.pixels)
    fabric = make_fabric(accelerator, config.precision)
    with (
        tempfile.TemporaryDirectory() as folder,
        few_threads(job, accelerator),
        isolated(fabric.device, config.seed, config.tf32),
    ):
        run = Run(config, sets, Path(folder) / "run", fabric, False, False)
        run.folder.close()
        return run.predicted["seconds_per_step"] * config.steps, run.predicted["memory"]


def _form(job: Job) -> tuple:
    train = job.config["train"]
    return train["sharing"], train["norm"] if train["sharing"] == "soft" else "", train["ada"] > 0


def forecast(
    jobs: Sequence[Job], entries: Sequence[Entry], accelerator: str, *, measure: bool = True
) -> Forecast | None:
    """Return what jobs will cost on the device that is here.

    Parameters
    ----------
    jobs : sequence of Job
        Of one tier and budget.
    entries : sequence of Entry
        Recorded runs of the experiment; those of the same tier, budget and device count.
    accelerator : str
        As for :func:`mtl_lib.train.fit`.
    measure : bool, optional
        Whether small batches may be timed where nothing is recorded for this device.

    Returns
    -------
    Forecast or None
        None if nothing can be told: there are no jobs, or some of another kind than networks trained on faces, or nothing
        is recorded and ``measure`` is not set.

    Raises
    ------
    ConfigError
        If there is no such device, or it lacks the jobs' precision.
    """
    if not jobs or any("train" not in job.config for job in jobs):
        return None
    with few_threads(jobs[0], accelerator):
        name = device_name(device_here(jobs[0], accelerator))
    seconds = expected_seconds(jobs, [entry for entry in entries if entry.device == name])
    if seconds is not None:
        return Forecast(seconds, name, "by recorded runs")
    if not measure:
        return None
    forms = {_form(job): job for job in reversed(jobs)}
    costs = {form: measured(job, accelerator) for form, job in forms.items()}
    return Forecast(
        sum(costs[_form(job)][0] for job in jobs),
        name,
        "by a few small batches, training alone",
        max(memory for _, memory in costs.values()),
    )


def expected_seconds(jobs: Sequence[Job], entries: Sequence[Entry]) -> float | None:
    """Return how long jobs will take, from recorded runs of the same tier and budget; None without any.

    The median of the same method counts, else that of all methods.  Other devices take other times: leave their runs out.

    Examples
    --------
    >>> job = Job(experiment="demo", method="laf", seed=0, tier="open", budget="cpu", config={})
    >>> expected_seconds([job, job], []) is None
    True
    """
    total = 0.0
    for job in jobs:
        alike = [
            e for e in entries if (e.tier, e.budget) == (job.tier, job.budget) and not e.diverged
        ]  # a run that diverged ended early
        same = [e.seconds for e in alike if e.method == job.method] or [e.seconds for e in alike]
        if not same:
            return None
        total += statistics.median(same)
    return total
