"""Is the ledger what the experiments of today would record?  ``mtl results check``."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from mtl_lib.errors import MtlError
from mtl_lib.experiments.base import Experiment
from mtl_lib.experiments.divergence import diverged_note
from mtl_lib.ledger import read


def problems(experiments: Mapping[str, Experiment], folder: str | os.PathLike) -> list[str]:
    """Return everything that is odd about the recorded runs, one line each.

    - a damaged line, or a file that a line names and that is not there;
    - an experiment, a method, or a configuration that no longer exists;
    - two lines for one seed of one method;
    - a method with fewer seeds than its rivals on the same tier and budget.

    What no method has yet is not odd: see :func:`not_recorded`.

    Parameters
    ----------
    experiments : mapping of str to Experiment
        Those of today, by name.
    folder : path-like
        The ledger's folder.
    """
    found = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        name = path.stem
        try:
            entries = read(name, folder)
        except MtlError as error:
            found.append(str(error))
            continue
        for entry in entries:
            missing = [each for each in entry.files.values() if not (Path(folder) / each).is_file()]
            found += [
                f"{path.name}: {entry.method}, seed {entry.seed}: the file {each} is missing"
                for each in missing
            ]
        if name not in experiments:
            found.append(f"{path.name}: there is no experiment {name!r}; there are {', '.join(experiments)}")
            continue
        groups = defaultdict(list)
        for entry in entries:
            groups[entry.tier, entry.budget].append(entry)
        for (tier, budget), group in groups.items():
            where = f"{path.name}, {tier}, {budget}"
            seeds = sorted({entry.seed for entry in group})
            try:
                jobs = experiments[name].jobs(tier, budget, seeds, Path(folder))
            except MtlError as error:
                found.append(f"{where}: {error}")
                continue
            methods = list(dict.fromkeys(job.method for job in jobs))
            by_name = {(job.method, job.seed): job for job in jobs}
            for entry in group:
                if entry.method not in methods:
                    found.append(f"{where}: there is no method {entry.method!r} any more (seed {entry.seed})")
                elif not experiments[name].is_record_of(entry, by_name[entry.method, entry.seed]):
                    found.append(
                        f"{where}: {entry.method}, seed {entry.seed}: its configuration {entry.hash} no longer exists;"
                        " run the sweep again and take the line out"
                    )
            twice = Counter((entry.method, entry.seed) for entry in group)
            found += [f"{where}: {m}, seed {s}: {n} lines" for (m, s), n in sorted(twice.items()) if n > 1]
            for method in methods:
                lacking = [s for s in seeds if (method, s) not in twice]
                if lacking:
                    listed = ", ".join(map(str, lacking))
                    found.append(f"{where}: {method} lacks the seeds {listed}")
    return found


def not_recorded(experiments: Mapping[str, Experiment], folder: str | os.PathLike) -> list[str]:
    """Return what the experiments declare and the ledger has not (yet), or cannot have, one line each.

    - runs that diverged;
    - tiers of an experiment on which there is no run, of any budget;
    - where there are runs, seeds that the experiment declares for the budget and that no method has.

    Parameters
    ----------
    experiments : mapping of str to Experiment
        Those of today, by name.
    folder : path-like
        The ledger's folder; files that cannot be read are left to :func:`problems`.
    """
    found = []
    for name, experiment in experiments.items():
        try:
            entries = read(name, folder)
        except MtlError:
            continue
        begun = {entry.tier for entry in entries}
        if absent := [tier for tier in experiment.tiers if tier not in begun]:
            found.append(
                f"{name}: nothing is recorded on the tier{'s' * (len(absent) > 1)} {', '.join(absent)}"
            )
        groups = defaultdict(list)
        for entry in entries:
            groups[entry.tier, entry.budget].append(entry)
        for (tier, budget), group in groups.items():
            if note := diverged_note(group):
                found.append(f"{name}, {tier}, {budget}: {note}")
            have = {entry.seed for entry in group}
            if lacking := [seed for seed in experiment.seeds.get(budget, ()) if seed not in have]:
                listed = ", ".join(map(str, lacking))
                found.append(f"{name}, {tier}, {budget}: no method has the declared seeds {listed}")
    return found
