"""The central contrasts stay what they were named, with Table 4's settings and seeds that nothing else used."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_lib.errors import DataError
from mtl_lib.experiments.arms import ARMS as ALL_ARMS
from mtl_lib.experiments.central import ARMS, CENTRAL, CONTRASTS, METRIC, SEEDS, central_contrasts
from mtl_lib.experiments.confirmation import SEEDS as CONFIRMATION_SEEDS
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.experiments.search import SEARCH_SEEDS
from mtl_lib.experiments.table4 import TABLE_EXPERIMENT
from mtl_lib.ledger import default_folder, read
from mtl_lib.power import power


def test_its_seeds_are_new_and_enough_for_two_points_at_the_spread_that_small_runs_had():
    assert EXPERIMENTS["central"] is CENTRAL and set(ARMS) <= set(ALL_ARMS)
    for budget, seeds in SEEDS.items():
        used = {*TABLE_EXPERIMENT.seeds[budget], *SEARCH_SEEDS[budget], *CONFIRMATION_SEEDS[budget]}
        assert not set(seeds) & used
    assert power(2.0, 2.6, len(SEEDS["cpu"])) > 0.8


def test_every_arm_is_table_4s_with_nothing_but_another_seed():
    table = read("table4", default_folder(), tier="open", budget="cpu")
    jobs = CENTRAL.jobs("open", "cpu", SEEDS["cpu"], default_folder())
    assert len(jobs) == len(ARMS) * len(SEEDS["cpu"])
    for job in jobs[: len(ARMS)]:
        recorded = next(run for run in table if run.method == job.method)
        seed = {"seed": job.seed, "split_seed": job.seed}
        wanted = {**recorded.config, "train": {**recorded.config["train"], **seed}}
        moved = replace(recorded, experiment=job.experiment, seed=job.seed, config=wanted)
        assert CENTRAL.is_record_of(moved, job)


def test_a_control_has_the_settings_of_what_it_controls():
    jobs = {job.method: job.config["train"] for job in CENTRAL.jobs("open", "cpu", (30,), default_folder())}
    for control, arm, differs in (
        ("norm_only", "laf", {"norm"}),
        ("laf+placebo", "laf+ada", {"ada_placebo"}),
    ):
        changed = {name for name in jobs[arm] if jobs[arm][name] != jobs[control][name]}
        assert changed == differs, (control, changed)


def test_without_a_search_nothing_is_chosen(tmp_path):
    with pytest.raises(DataError, match="search"):
        CENTRAL.jobs("open", "cpu", (30,), tmp_path)


def test_a_contrast_is_the_mean_of_the_differences_of_equal_seeds():
    base = read("table4", default_folder(), tier="open", budget="cpu")[0]
    chance = np.random.default_rng(0)
    first, second = chance.normal(50, 3, 16), chance.normal(48, 3, 16)
    runs = [
        replace(base, experiment="central", method=arm, seed=30 + k, metrics={METRIC: float(value)})
        for arm, values in (("laf", first), ("single", second[:12]))
        for k, value in enumerate(values)
    ]
    found = central_contrasts(runs)
    assert list(found) == ["sharing by the trace norm"]
    assert found["sharing by the trace norm"].mean == pytest.approx(np.mean(first[:12] - second[:12]))
    assert {name for pair in CONTRASTS.values() for name in pair} == set(ARMS)


def test_nothing_but_the_declared_seeds_is_recorded():
    for tier in ("open", "synthetic"):
        runs = read("central", default_folder(), tier=tier, budget="cpu")
        for arm in {run.method for run in runs}:
            seeds = {run.seed for run in runs if run.method == arm}
            assert seeds == set(SEEDS["cpu"]), "a part of them is no result"
