"""Learning curves and landmark weights: one setting moves, nothing else, and no run is made twice."""

from pathlib import Path

import pytest

from mtl_lib.errors import DataError
from mtl_lib.experiments import table4, variations
from mtl_lib.experiments.arms import ARMS
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.experiments.search import SEARCH_SEEDS, TRIALS, trials, tuned_arms
from mtl_lib.experiments.table4 import SEARCH, TABLE_EXPERIMENT
from mtl_lib.experiments.variations import (
    LANDMARK_FRONT,
    LEARNING_CURVE,
    by_value,
    crossings,
    duels,
    spreads,
    varied_jobs,
)
from mtl_lib.ledger import Entry, record

SEEDS = (0, 1)


def entry(experiment, method, seed, train, **metrics) -> Entry:
    return Entry(
        experiment=experiment, method=method, seed=seed, tier="open", budget="cpu", metrics=metrics,
        config={"train": train}, device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A search in which trial t of every arm scores t: the last one is chosen."""
    folder = tmp_path_factory.mktemp("ledger")
    for arm in tuned_arms():
        for t, tried in enumerate(trials(arm, TRIALS["cpu"])):
            for seed in SEARCH_SEEDS["cpu"]:
                record(entry(SEARCH, f"{arm}.{t}", seed, tried, validation_score=float(t)), folder)
    return folder


@pytest.mark.parametrize("variation", [LEARNING_CURVE, LANDMARK_FRONT], ids=lambda each: each.name)
def test_one_setting_differs_from_table_4_and_its_own_value_is_not_run_again(variation, ledger):
    table = {
        (job.method, job.seed): job.config["train"]
        for job in TABLE_EXPERIMENT.jobs("open", "cpu", SEEDS, ledger)
    }
    jobs = varied_jobs(variation, "open", "cpu", SEEDS, ledger)
    values = variation.values["cpu"]
    for job in jobs:
        arm, value = job.method.rstrip(")").split("(")
        mine, own = job.config["train"], table[arm, job.seed]
        assert {key for key in mine if mine[key] != own[key]} == {variation.setting}
        assert mine[variation.setting] == float(value)
    # Every value of every arm and seed is there exactly once, here or in Table 4.
    here = [(job.method.partition("(")[0], job.seed, job.config["train"][variation.setting]) for job in jobs]
    there = [(arm, seed, config[variation.setting]) for (arm, seed), config in table.items()]
    for arm in variation.arms:
        for seed in SEEDS:
            for value in values:
                assert here.count((arm, seed, value)) + there.count((arm, seed, value)) == 1
    assert len({job.key for job in jobs}) == len(jobs)
    assert set(variation.arms) <= set(ARMS) and EXPERIMENTS[variation.name].needs == (SEARCH,)


def test_runs_of_both_experiments_stand_on_one_curve_paired_by_seed():
    table = [entry("table4", "single", s, {"per_class": 60}, nme=10.0 + s) for s in SEEDS]
    table += [entry("table4", "laf", s, {"per_class": 60}, nme=9.0 + s) for s in SEEDS]
    table += [entry("table4", "tt", 0, {"per_class": 60}, nme=1.0)]  # is no arm of the curve
    fewer = [entry("learning_curve", "laf(20)", s, {"per_class": 20}, nme=20.0) for s in SEEDS]
    fewer += [entry("learning_curve", "single(20)", 1, {"per_class": 20}, nme=21.0)]
    values = by_value(LEARNING_CURVE, fewer, table, "nme")
    assert values == {
        "single": {20.0: {1: 21.0}, 60.0: {0: 10.0, 1: 11.0}},
        "laf": {20.0: {0: 20.0, 1: 20.0}, 60.0: {0: 9.0, 1: 10.0}},
    }
    assert list(values["laf"]) == [20.0, 60.0]
    differences = spreads(values, minus="single")
    assert set(differences) == {"laf"}
    assert (differences["laf"][20.0].mean, differences["laf"][20.0].n) == (-1.0, 1)
    assert (differences["laf"][60.0].mean, differences["laf"][60.0].sd) == (-1.0, 0.0)
    with pytest.raises(DataError, match="two runs of seed 1"):
        by_value(
            LEARNING_CURVE,
            [*fewer, entry("learning_curve", "laf(60)", 1, {"per_class": 60}, nme=1.0)],
            table,
            "nme",
        )


def test_the_best_of_each_side_meet_and_a_crossing_lies_where_the_sign_turns():
    values = {
        "laf": {20.0: {0: 10.0, 1: 12.0}, 60.0: {0: 20.0, 1: 21.0}, 150.0: {0: 30.0}},
        "deviation": {20.0: {0: 13.0, 1: 9.5}, 60.0: {0: 20.0, 1: 23.0}},
        "hard4_private": {20.0: {0: 12.0, 1: 13.0}, 60.0: {0: 19.0, 1: 20.0}, 150.0: {1: 31.0}},
        "single": {20.0: {0: 99.0, 1: 99.0}, 60.0: {0: 99.0, 1: 99.0}},
    }
    found = duels(values, ("laf", "deviation"), ("hard2_private", "hard4_private"))
    assert list(found) == [20.0, 60.0]  # at 150 no seed is common
    assert [(d.first, d.second) for d in found.values()] == [("deviation", "hard4_private")] * 2
    assert [d.difference.mean for d in found.values()] == [-1.25, 2.0]
    assert crossings(found) == [(20.0, 60.0)]
    assert crossings({v: d for v, d in found.items() if v > 20}) == []
    lower = duels(values, ("laf", "deviation"), ("hard4_private",), less_is_better=True)
    assert [d.first for d in lower.values()] == ["laf", "laf"]
    assert crossings(lower) == [(20.0, 60.0)]


@pytest.mark.parametrize("budget", ["t4", "full"])
def test_the_page_on_computing_counts_the_runs_of_a_gpu(budget, tmp_path, monkeypatch):
    def chosen(arm, budget, found):
        return {"lr": 0.05, "landmark_weight": 10.0}

    monkeypatch.setattr(variations, "choose", chosen)
    monkeypatch.setattr(table4, "choose", chosen)
    names = (SEARCH, "table4", "learning_curve", "landmark_front")
    count = sum(
        len(EXPERIMENTS[name].jobs("open", budget, EXPERIMENTS[name].seeds[budget], tmp_path))
        for name in names
    )
    page = (Path(__file__).parents[1] / "chapters/appendix/computed.md").read_text(encoding="utf-8")
    assert f"{count} " + ("runs at `t4`" if budget == "t4" else "at `full`") in page
