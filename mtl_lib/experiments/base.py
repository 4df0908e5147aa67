"""What an experiment is: jobs that can be listed without running them, and one function that runs a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_lib.ledger import config_hash


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run that is to be made.

    Parameters
    ----------
    experiment, method : str
        Names, as in the ledger.
    seed : int
        Of initialisation, order and split.
    tier, budget : str
        Which faces, and how much computing.
    config : mapping
        All settings, as JSON can hold them.

    Examples
    --------
    >>> job = Job(experiment="demo", method="laf", seed=3, tier="open", budget="cpu", config={"lr": 0.1})
    >>> job.slug.startswith("laf-open-cpu-s3-")
    True
    """

    experiment: str
    method: str
    seed: int
    tier: str
    budget: str
    config: Mapping[str, Any]

    @property
    def key(self) -> tuple:
        """The key that this job's entry has in the ledger."""
        return (self.experiment, self.tier, self.budget, self.method, self.seed, config_hash(self.config))

    @property
    def slug(self) -> str:
        """A name for files."""
        return f"{self.method}-{self.tier}-{self.budget}-s{self.seed}-{config_hash(self.config)}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job has come to.

    Parameters
    ----------
    metrics : dict of str to float
        For the ledger.
    device : str
        What it ran on, in words.
    memory : float
        Peak memory in MB.
    files : mapping of str to str, optional
        Texts of small files to keep beside the ledger: curves, features.
    """

    metrics: dict[str, float]
    device: str
    memory: float
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or a figure.

    Parameters
    ----------
    name, title : str
        A word for the command line and the ledger; a line for people.
    seeds : mapping of str to int
        How many seeds each budget takes when none are named.
    jobs : callable
        ``jobs(tier, budget, seeds)`` lists all jobs; the same arguments give the same list.
    run : callable
        ``run(job, workspace, root, accelerator)`` makes the run and returns its :class:`Outcome`.  What it keeps
        in the folder ``workspace`` lets a killed run go on.
    tiers : tuple of str
        The tiers it can run on.
    """

    name: str
    title: str
    seeds: Mapping[str, int]
    jobs: Callable[[str, str, Sequence[int]], list[Job]]
    run: Callable[[Job, Path, Path | None, str], Outcome]
    tiers: tuple[str, ...] = ("synthetic", "open")
