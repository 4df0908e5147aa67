"""All jobs of an experiment, listed where nothing is recorded."""

from pathlib import Path

from mtl_lib.experiments.base import Job
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.ledger import Entry, change

MADE_UP = dict.fromkeys(("validation_score", "validation_macro_recall", "validation_nme"), 1.0)


def jobs_of(name: str, tier: str, budget: str, folder: Path) -> list[Job]:
    """The jobs of an experiment's own seeds; the searches that it builds on are made up in ``folder``."""
    experiment = EXPERIMENTS[name]
    for search in experiment.needs:
        found = [
            Entry(
                experiment=search, method=job.method, seed=job.seed, tier=tier, budget=budget, metrics=MADE_UP,
                config=dict(job.config), device="CPU", seconds=1.0, memory=1.0, code="0",
            )
            for job in jobs_of(search, tier, budget, folder)
        ]  # fmt: skip
        change(search, lambda _, found=found: found, folder)
    return experiment.jobs(tier, budget, experiment.seeds[budget], folder)
