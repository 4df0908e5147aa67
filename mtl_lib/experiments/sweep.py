"""Running an experiment's jobs: none twice, several processes at once, killed and resumed at will.

A job that the ledger has is done, also one that diverged.  A process claims the job it works on with a lock that dies with it, so that
several processes, or machines with a common file system, share the work without talking to one another; machines
without one take a shard each.  A job's own folder lets its training go on where it was killed, and is removed
when the job is in the ledger.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from mtl_lib import atomic
from mtl_lib.errors import ConfigError, DivergenceError, Interrupted, MtlError
from mtl_lib.experiments.base import Experiment, Job
from mtl_lib.experiments.divergence import diverged_outcome
from mtl_lib.experiments.forecast import forecast
from mtl_lib.experiments.threads import few_threads
from mtl_lib.ledger import Entry, default_folder, read, record
from mtl_lib.signals import ended_by_sigterm


@dataclass
class Progress:
    """What a sweep did.

    Parameters
    ----------
    done : list of Job
        Run and recorded by this call.
    before : int
        Jobs that the ledger had already.
    elsewhere : int
        Jobs that another process is working on, or has finished meanwhile.
    diverged : list of Job
        Those of ``done`` whose loss stopped being a number: recorded as that, and not tried again.
    failed : list of (Job, str)
        Jobs that ended in another error, and its message.  They are not recorded; the next sweep tries them again.
    """

    done: list[Job] = field(default_factory=list)
    before: int = 0
    elsewhere: int = 0
    diverged: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{len(self.done)} runs recorded, {self.before} were there before"
        if self.elsewhere:
            text += f", {self.elsewhere} left to other processes"
        for job in self.diverged:
            text += f"\ndiverged, and recorded so: {job.slug}"
        for job, message in self.failed:
            text += f"\nfailed: {job.slug}: {message}"
        return text


@contextlib.contextmanager
def _stoppable(name: str, todo: Sequence[Job], progress: Progress) -> Iterator[None]:
    """Say, when a signal ends the sweep, what is kept and how to go on."""
    try:
        with ended_by_sigterm():
            yield
    except KeyboardInterrupt as end:
        number = end.number if isinstance(end, Interrupted) else signal.SIGINT
        rest = len(todo) - len(progress.done) - progress.elsewhere - len(progress.failed)
        raise Interrupted(
            f"{name} is stopped by {signal.Signals(number).name}, {rest} runs are left; the same command goes on, also"
            f" within the run that was broken off. Kept: {progress}",
            number,
        ) from None


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of ``"i/n"``, i counted from 1.

    Raises
    ------
    ConfigError
        If it is no such pair.

    Examples
    --------
    >>> parse_shard("2/3")
    (2, 3)
    """
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()) or not 1 <= int(first) <= int(second):
        raise ConfigError(f"the shard is {text!r}; write i/n with 1 <= i <= n, such as 1/4")
    return int(first), int(second)


def part_of(jobs: Sequence[Job], shard: tuple[int, int]) -> list[Job]:
    """Return every n-th job, from the i-th on.

    Examples
    --------
    >>> jobs = [Job(experiment="demo", method="laf", seed=s, tier="open", budget="cpu", config={}) for s in range(5)]
    >>> [job.seed for job in part_of(jobs, (2, 3))]
    [1, 4]
    """
    i, n = shard
    return list(jobs[i - 1 :: n])


def sweep(
    experiment: Experiment,
    tier: str,
    budget: str,
    *,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    shard: tuple[int, int] = (1, 1),
    root: str | os.PathLike | None = None,
    workspace: str | os.PathLike = "runs/sweeps",
    folder: str | os.PathLike | None = None,
    accelerator: str = "auto",
    again: bool = False,
    tell: bool = True,
) -> Progress:
    """Run what is missing of an experiment.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    tier, budget : str
        On which faces, with how much computing.
    seeds : sequence of int, optional
        By default those that the experiment takes for the budget.
    methods : sequence of str, optional
        Only these.
    shard : (int, int), optional
        ``(i, n)``: of n equal parts of the jobs, the i-th.
    root : path-like, optional
        Where the tier's data are.
    workspace : path-like, optional
        Where unfinished runs are kept.
    folder : path-like, optional
        The ledger's folder; by default the one of this checkout.
    accelerator : str, optional
        Device; "auto" takes a GPU if there is one.
    again : bool, optional
        Run also what is recorded, and replace it.
    tell : bool, optional
        Say on standard error what is being done and how long it takes.

    Returns
    -------
    Progress
        What was done; a job's error does not end the sweep.

    Raises
    ------
    ConfigError
        If the experiment has no such tier or method, there is no ledger to record in, or no such device or precision here.
    Interrupted
        After Ctrl-C or SIGTERM, which do: what is recorded stays, and the job at hand goes on from its folder next time.
    """
    if tier not in experiment.tiers:
        raise ConfigError(
            f"{experiment.name} runs on the tiers {', '.join(experiment.tiers)}, not on {tier!r}"
        )
    folder = default_folder() if folder is None else Path(folder)
    if folder is None:
        raise ConfigError("there is no data/results here to record in; name a folder, or set MTL_RESULTS")
    workspace = Path(workspace) / experiment.name
    wanted = list(experiment.seeds[budget] if seeds is None else seeds)
    jobs = experiment.jobs(tier, budget, wanted, folder)
    if methods is not None:
        known = list(dict.fromkeys(job.method for job in jobs))
        if unknown := [method for method in methods if method not in known]:
            raise ConfigError(f"{experiment.name} has no method {unknown[0]!r}; it has {', '.join(known)}")
        jobs = [job for job in jobs if job.method in methods]
    jobs = part_of(jobs, shard)

    progress = Progress()

    def missing(jobs: Sequence[Job]) -> list[Job]:
        lines = defaultdict(list)
        for entry in read(experiment.name, folder, tier=tier, budget=budget):
            lines[entry.method, entry.seed].append(entry)
        return [
            job
            for job in jobs
            if not any(experiment.is_record_of(entry, job) for entry in lines[job.method, job.seed])
        ]

    todo = jobs if again else missing(jobs)
    progress.before = len(jobs) - len(todo)

    def say(text: str) -> None:
        if tell:
            print(text, file=sys.stderr, flush=True)

    def to_go(rest: Sequence[Job], measure: bool) -> str:
        if not tell:
            return ""
        expected = forecast(rest, read(experiment.name, folder), accelerator, measure=measure)
        return "" if expected is None else f"; {expected}"

    with _stoppable(experiment.name, todo, progress):
        # A smoke sweep is over in little more time than it takes to ask how long it will be.
        expected = to_go(todo, measure=budget != "smoke")
        say(f"{experiment.name}: {experiment.title}; {len(todo)} of {len(jobs)} runs to do{expected}")
        for number, job in enumerate(todo, 1):
            lock = FileLock(workspace / "claims" / f"{job.slug}.lock")
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            try:
                claim = lock.acquire(timeout=0)
            except Timeout:
                progress.elsewhere += 1
                continue
            with claim:
                if not again and not missing([job]):
                    progress.elsewhere += 1  # another process has finished it since
                    continue
                started = time.monotonic()
                try:
                    with few_threads(job, accelerator):
                        outcome = experiment.run(
                            job, workspace / job.slug, None if root is None else Path(root), accelerator
                        )
                except DivergenceError as error:
                    # With the same seed it would end so again; left out, the mean would be of those that went well.
                    outcome = diverged_outcome(accelerator)
                    progress.diverged.append(job)
                    say(f"[{number}/{len(todo)}] {job.slug} diverged, and is recorded so: {error}")
                except MtlError as error:
                    progress.failed.append((job, str(error)))
                    say(f"[{number}/{len(todo)}] {job.slug} failed: {error}")
                    continue
                seconds = time.monotonic() - started
                names = {}
                for what, text in outcome.files.items():
                    names[what] = f"{experiment.name}/{job.slug}.{what}.json"
                    atomic.write_text(folder / names[what], text)
                record(
                    Entry(
                        experiment=experiment.name,
                        method=job.method,
                        seed=job.seed,
                        tier=tier,
                        budget=budget,
                        metrics=outcome.metrics,
                        config=dict(job.config),
                        device=outcome.device,
                        seconds=round(seconds, 2),
                        memory=round(outcome.memory, 1),
                        files=names,
                    ),
                    folder,
                    replace=again,
                )
                shutil.rmtree(workspace / job.slug, ignore_errors=True)
                progress.done.append(job)
                say(
                    f"[{number}/{len(todo)}] {job.slug}: {seconds:.1f} s{to_go(todo[number:], measure=False)}"
                )
    return progress
