"""The one contrast that was named beforehand stays what it was named."""

from dataclasses import replace

import pytest

from mtl_lib.errors import DataError
from mtl_lib.experiments.confirmation import CONFIRMATION, METRIC, SEEDS
from mtl_lib.experiments.proposal import PROPOSED, STRONG
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.experiments.search import SEARCH_SEEDS
from mtl_lib.experiments.table4 import TABLE_EXPERIMENT
from mtl_lib.ledger import default_folder, read
from mtl_lib.power import power


def test_it_is_an_experiment_of_two_arms_and_new_seeds():
    assert EXPERIMENTS["confirmation"] is CONFIRMATION and METRIC == "macro_recall"
    for budget, seeds in SEEDS.items():
        looked_at = {*TABLE_EXPERIMENT.seeds[budget], *SEARCH_SEEDS[budget]}
        assert not set(seeds) & looked_at
    assert power(2.0, 2.2, len(SEEDS["cpu"])) > 0.8


def test_both_arms_are_table_4s_with_nothing_but_another_seed():
    table = read("table4", default_folder(), tier="open", budget="cpu")
    jobs = CONFIRMATION.jobs("open", "cpu", SEEDS["cpu"], default_folder())
    assert len(jobs) == 2 * len(SEEDS["cpu"]) and {job.method for job in jobs} == {PROPOSED, STRONG}
    for job in jobs[:2]:
        recorded = next(run for run in table if run.method == job.method)
        seed = {"seed": job.seed, "split_seed": job.seed}
        wanted = {**recorded.config, "train": {**recorded.config["train"], **seed}}
        moved = replace(recorded, experiment=job.experiment, seed=job.seed, config=wanted)
        assert CONFIRMATION.is_record_of(moved, job)


def test_without_a_search_nothing_is_chosen(tmp_path):
    with pytest.raises(DataError, match="search"):
        CONFIRMATION.jobs("open", "cpu", (10,), tmp_path)


def test_nothing_but_the_declared_seeds_is_recorded():
    for tier in ("open", "synthetic"):
        runs = read("confirmation", default_folder(), tier=tier, budget="cpu")
        assert {run.seed for run in runs} in (set(), set(SEEDS["cpu"])), "a part of them is no result"
