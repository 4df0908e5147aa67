"""What an experiment is: jobs that can be listed without running them, and one function that runs a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_lib.ledger import Entry, config_hash


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


def jobs_of_arms(
    experiment: str,
    configs: Callable[[int], Mapping[str, Mapping[str, Any]]],
    tier: str,
    budget: str,
    seeds: Sequence[int],
) -> list[Job]:
    """List a run of every arm with every seed, all of a seed before the next.

    Parameters
    ----------
    experiment : str
        Whose runs they are.
    configs : callable
        From a seed to the configuration of every arm.
    tier, budget : str
    seeds : sequence of int

    Examples
    --------
    >>> jobs = jobs_of_arms("demo", lambda seed: {"laf": {"lr": 0.1}, "single": {}}, "open", "cpu", [0, 1])
    >>> [(job.method, job.seed) for job in jobs]
    [('laf', 0), ('single', 0), ('laf', 1), ('single', 1)]
    """
    return [
        Job(experiment=experiment, method=arm, seed=seed, tier=tier, budget=budget, config=config)
        for seed in seeds
        for arm, config in configs(seed).items()
    ]


def same_settings(
    recorded: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any]
) -> bool:
    """Return whether a recorded configuration is the wanted one.

    The package grows, and a run must not be lost because a setting has been added since: what the recorded
    configuration lacks must have its default now, the value that leaves everything as it was before.  What it has
    beyond the wanted one is a difference.

    Parameters
    ----------
    recorded, wanted : mapping
        Configurations, which may hold further mappings.
    defaults : mapping
        Default values, laid out as in ``wanted``.

    Examples
    --------
    >>> same_settings({"lr": 0.1}, {"lr": 0.1, "new": 0}, {"lr": 0.5, "new": 0})
    True
    >>> same_settings({"lr": 0.1}, {"lr": 0.1, "new": 1}, {"lr": 0.5, "new": 0})
    False
    """
    if set(recorded) - set(wanted):
        return False
    for name, value in wanted.items():
        if name not in recorded:
            if name not in defaults or defaults[name] != value:
                return False
        elif isinstance(value, Mapping) and isinstance(recorded[name], Mapping):
            if not same_settings(recorded[name], value, defaults.get(name, {})):
                return False
        elif recorded[name] != value:
            return False
    return True


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
        Peak memory in MiB.
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
    seeds : mapping of str to tuple of int
        Which seeds each budget takes when none are named.
    jobs : callable
        ``jobs(tier, budget, seeds, folder)`` lists all jobs; the same arguments, and the same earlier experiments
        in the ledger's ``folder``, give the same list.
    run : callable
        ``run(job, workspace, root, accelerator)`` makes the run and returns its :class:`Outcome`.  What it keeps
        in the folder ``workspace`` lets a killed run go on.
    tiers : tuple of str
        The tiers it can run on.
    needs : tuple of str
        Experiments that must be recorded before.
    defaults : mapping
        Defaults of the settings in a job's configuration; see :func:`same_settings`.
    """

    name: str
    title: str
    seeds: Mapping[str, tuple[int, ...]]
    jobs: Callable[[str, str, Sequence[int], Path], list[Job]]
    run: Callable[[Job, Path, Path | None, str], Outcome]
    tiers: tuple[str, ...] = ("synthetic", "open", "paper")
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def is_record_of(self, entry: Entry, job: Job) -> bool:
        """Return whether a line of the ledger is the record of a job."""
        if entry.key[:-1] != job.key[:-1]:
            return False
        return entry.hash == job.key[-1] or same_settings(entry.config, job.config, self.defaults)
