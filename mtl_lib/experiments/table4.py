"""Table 4 of the paper, with the controls and rivals that it lacks: who recognises expressions best?

Two experiments.  ``table4_search`` tunes every arm with the same number of trials on validation people;
``table4`` trains every arm with its choice, on other seeds, and measures the test people.
"""

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

from mtl_lib.experiments.arms import ARMS, arm_settings
from mtl_lib.experiments.base import Experiment, Job, jobs_of_arms
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, run_config, run_faces
from mtl_lib.experiments.search import SEARCH_SEEDS, TRIALS, choose, trials, tuned_arms
from mtl_lib.ledger import read

SEARCH, TABLE = "table4_search", "table4"


def search_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the trials of all arms that are tuned."""
    blocks = SCALES[budget]["blocks"]
    return [
        Job(
            experiment=SEARCH, method=f"{arm}.{t}", seed=seed, tier=tier, budget=budget,
            config=run_config(tier, budget, seed, {**arm_settings(arm, blocks), **trial}),
        )
        for seed in seeds
        for t in range(TRIALS[budget])
        for arm in tuned_arms()
        for trial in [trials(arm, TRIALS[budget])[t]]
    ]  # fmt: skip


def tuned_jobs(
    experiment: str, arms: Collection[str], tier: str, budget: str, seeds: Sequence[int], folder: Path
) -> list[Job]:
    """List runs of some arms, each with the settings that the recorded search chose for it.

    Parameters
    ----------
    experiment : str
        Whose runs they are.
    arms : collection of str
        Of :data:`~mtl_lib.experiments.arms.ARMS`.
    tier, budget : str
    seeds : sequence of int
    folder : Path
        The ledger, where the search is recorded.

    Raises
    ------
    DataError
        If the search is not recorded.
    """
    blocks, found = SCALES[budget]["blocks"], read(SEARCH, folder, tier=tier, budget=budget)
    settings = {arm: {**arm_settings(arm, blocks), **choose(arm, budget, found)} for arm in arms}
    return jobs_of_arms(
        experiment,
        lambda seed: {arm: run_config(tier, budget, seed, own) for arm, own in settings.items()},
        tier,
        budget,
        seeds,
    )


SEARCH_EXPERIMENT = Experiment(
    name=SEARCH,
    title="every arm of Table 4 tuned on validation people, the same trials for all",
    seeds=SEARCH_SEEDS,
    jobs=search_jobs,
    run=functools.partial(run_faces, test=False),
    defaults=DEFAULTS,
)
TABLE_EXPERIMENT = Experiment(
    name=TABLE,
    title="Table 4: sharing and alignment, with controls and rivals, on test people",
    seeds={"smoke": (0,), "cpu": (0, 1, 2), "t4": (0, 1, 2, 3, 4), "full": (0, 1, 2)},
    jobs=functools.partial(tuned_jobs, TABLE, ARMS),
    run=run_faces,
    needs=(SEARCH,),
    defaults=DEFAULTS,
)
