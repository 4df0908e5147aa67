"""Table 7's folds, its pairing, and its sources that have never met the people they are tested on."""

import inspect
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from toy_faces import toy_sets

from mtl_lib.errors import ConfigError, DataError, Interrupted
from mtl_lib.experiments import transfer_runs, transfer_sets
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.table7 import (
    RATES,
    SEARCH,
    by_fold,
    chosen_rates,
    curve_jobs,
    over_folds,
    paper_accuracies,
    search_jobs,
    table7_text,
    table_jobs,
)  # fmt: skip
from mtl_lib.experiments.transfer_runs import STARTS, run_transfer, transfer_config
from mtl_lib.experiments.transfer_sets import FOLDS, TARGETS, source_sets, target_folds, with_roles
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.splits import split_faces
from mtl_lib.faces.twins import ckplus as ckplus_twin
from mtl_lib.faces.twins import oulu as oulu_twin
from mtl_lib.ledger import Entry, record
from mtl_lib.train import FitResult

TWINS = (ckplus_twin, oulu_twin)


def entry(method, seed, experiment="table7", **metrics):
    return Entry(
        experiment=experiment, method=method, seed=seed, tier="synthetic", budget="cpu", metrics=metrics, config={},
        device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


def faces(people, classes=2, each=2):
    who = tuple(f"p{i:02}" for i in range(people) for _ in range(each * classes))
    labels = torch.arange(classes).repeat_interleave(each).repeat(people)
    images = torch.zeros(len(who), 1, 8, 8, dtype=torch.uint8)
    return FaceSet(images, labels, tuple("abcdef"[:classes]), None, who, "toy")


def test_the_people_of_a_fold_are_tested_and_never_trained_or_chosen_on():
    made = faces(20)
    for name in ("oulu", "photographs"):
        tested = []
        for fold in target_folds(name, made, seed=3):
            [(train, validation, test)] = split_faces([with_roles(made, fold.test)], (0.75, 0.2, 0.05), 3)
            assert test.tolist() == fold.test.tolist() and len(validation)
            parts = [{made.persons[i] for i in part.tolist()} for part in (train, validation, test)]
            assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
            assert len(train) + len(validation) == len(fold.train)
            tested += test.tolist()
        assert sorted(tested) == list(range(len(made)))


def test_a_source_on_photographs_has_none_of_the_targets_people_or_classes(monkeypatch):
    sets = toy_sets(count=60, persons=15)
    labels = torch.arange(60) % 2  # classes that everybody shows ...
    labels[:9] = 2  # ... and one that is rare
    sets["expression"] = replace(sets["expression"], labels=labels, classes=("happiness", "neutral", "anger"))
    monkeypatch.setattr(transfer_sets, "RARE", ("anger",))
    monkeypatch.setattr(transfer_sets, "face_sets", lambda job, root: sets)
    job = Job(experiment="table7", method="x", seed=0, tier="open", budget="cpu", config={})
    source = source_sets(job, None, ("expression", "landmarks"), shuffle=False)
    target = transfer_sets._rare(sets["expression"], True)
    assert target.counts()["anger"] == 9 and len(set(target.persons)) < 15
    for one in source.values():
        assert len(one) and not set(one.persons) & set(target.persons)
    assert source["expression"].classes == ("happiness", "neutral")
    assert len(source["expression"]) + len(target) == 60
    wrong = source_sets(job, None, ("expression",), shuffle=True)["expression"]
    assert not torch.equal(wrong.labels, source["expression"].labels)
    assert wrong.counts() == source["expression"].counts() and wrong.persons == source["expression"].persons


def test_the_interval_is_that_of_nadeau_and_bengio_and_pairs_by_seed_and_fold():
    chance = np.random.default_rng(0)
    hard = {(s, f): float(chance.normal(0, 20)) for s in range(3) for f in range(1, 6)}
    gain = {key: float(chance.normal(5, 1)) for key in hard}
    better = {key: value + gain[key] for key, value in reversed(hard.items())}
    found = over_folds(better, 5, hard)
    x = np.array(list(gain.values()))
    assert found.mean == pytest.approx(x.mean()) and found.n == found.positive == 15
    # By its definition: the variance of the mean is (1/J + n_test / n_train) s^2, here with 1/15 and 1/4.
    half = stats.t.ppf(0.975, 14) * math.sqrt((1 / 15 + 0.25) * x.var(ddof=1))
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half))
    assert found.clear and found.p < 0.05
    assert not over_folds(better, 5, {key: better[key] - chance.normal(0, 5) for key in better}).clear
    # Only what both have is compared.
    few = {key: value for key, value in hard.items() if key[0] == 1}
    assert over_folds(better, 5, few).n == 5
    with pytest.raises(DataError, match="no folds in common"):
        over_folds(better, 5, {(9, 1): 0.0})


def test_intervals_cover_where_plain_ones_do_not():
    """Values of folds that have a part in common, as overlapping training sets give: correlation 1/k."""
    chance, k, seeds = np.random.default_rng(1), 5, 3
    covered = plain = 0
    for _ in range(400):
        common = chance.normal(0, math.sqrt(1 / k))
        x = common + chance.normal(0, math.sqrt(1 - 1 / k), k * seeds)
        found = over_folds({(i // k, i % k): float(v) for i, v in enumerate(x)}, k)
        half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
        covered += found.low < 0 < found.high
        plain += abs(x.mean()) < half
    assert plain < 0.75 * 400 and 0.92 * 400 < covered


def searched(best, tmp_path):
    entries = [
        entry(f"{start}.{rate:g}", 100, SEARCH, validation_macro_recall=50.0 + (rate == best[start]))
        for start in best
        for rate in RATES
    ]
    for each in entries:
        record(each, tmp_path)
    return entries


BEST = {"single": 0.06, "landmarks": 0.2, "shuffled": 0.02, "scratch": 0.2}


def test_every_kind_of_start_has_its_own_rate_and_the_papers_rows_have_one(tmp_path):
    entries = searched(BEST, tmp_path)
    rates = chosen_rates(entries)
    assert set(rates) == set(STARTS)
    assert {name for name, rate in rates.items() if rate == 0.2} == {
        "scratch", "scratch,joint", "scratch,long", "landmarks",
    }  # fmt: skip
    assert {name for name, rate in rates.items() if rate == 0.02} == {"shuffled"}
    with pytest.raises(DataError, match="lacks single.0.06"):
        chosen_rates([each for each in entries if each.method != "single.0.06"])


def test_sources_are_weaker_than_any_face_of_the_twins():
    for budget in ("smoke", "cpu", "t4", "full"):
        found = transfer_config("synthetic", budget, 0, "ckplus", "laf", 0.06)["data"]["intensity"]
        assert found[1] <= min(
            inspect.signature(twin.write).parameters["intensity"].default[0] for twin in TWINS
        )
        assert transfer_config("open", budget, 0, "photographs", "laf", 0.06)["data"] == {}


def test_longer_and_plain_starts_differ_from_their_twin_in_one_thing():
    def train(start):
        return transfer_config("synthetic", "cpu", 0, "ckplus", start, 0.06)["train"]

    def different(a, b):
        return {key for key in a if a[key] != b[key]}

    assert different(train("scratch"), train("scratch,long")) == {"steps", "validate_every"}
    assert train("scratch,long")["steps"] == 4 * train("scratch")["steps"]
    assert different(train("laf+ada"), train("laf+ada,plain")) == {"expression_augment"}
    assert train("laf+ada")["expression_augment"] == "crop"


@pytest.mark.parametrize("budget", ["smoke", "cpu", "t4", "full"])
def test_jobs_are_different_and_the_control_differs_in_the_labels_alone(budget, tmp_path):
    for each in searched(BEST, tmp_path):
        record(replace(each, budget=budget, seed=101), tmp_path)
    for list_jobs in (search_jobs, table_jobs, curve_jobs):
        jobs = list_jobs("synthetic", budget, [0, 1], tmp_path)
        assert len({(job.method, job.seed) for job in jobs}) == len({job.key for job in jobs}) == len(jobs)
    single, wrong = (
        transfer_config("open", budget, 0, "photographs", name, 0.03) for name in ("single", "shuffled")
    )
    assert {key for key in single["source"] if single["source"][key] != wrong["source"][key]} == {"tasks"}
    assert single["train"] == wrong["train"]
    scratch = transfer_config("open", budget, 0, "photographs", "scratch", 0.03)
    assert scratch["source"] is None and scratch["train"] == single["train"]


def test_every_row_of_the_papers_own_has_a_start_and_stands_beside_it():
    rows = set(paper_accuracies()["CK+"]) & set(paper_accuracies()["OCNV"])
    assert {start.paper for start in STARTS.values() if start.paper} == rows
    assert set(FOLDS) == {name for names in TARGETS.values() for name in names}
    runs = []
    for seed in range(3):
        folds = {f"fold_{i}": 80.0 + i + seed for i in range(1, 6)}
        better = {name: value + 5 + 0.1 * seed for name, value in folds.items()}
        runs += [entry("ckplus.scratch", seed, accuracy=0.0, **folds), entry("ckplus.laf", seed, **better)]
    text = table7_text(runs)
    (line,) = [each for each in text.splitlines() if each.startswith("laf")]
    assert "89.1 ± 1.7" in line and "+5.1*" in line and line.endswith("95.3")
    assert max(map(len, text.splitlines())) <= 88 and "5 folds by person, 3 seeds" in text
    fewer = [replace(run, metrics={k: v for k, v in run.metrics.items() if k != "fold_5"}) for run in runs]
    assert "5 folds by person (4 of them run), 3 seeds" in table7_text(fewer)
    with pytest.raises(DataError, match="two runs of seed 0"):
        by_fold([*runs, runs[0]], "ckplus.scratch")


def test_targets_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no target 'oulu'; it has photographs"):
        transfer_sets.load_target("oulu", "open", 48, tmp_path, tmp_path, "full")
    with pytest.raises(ConfigError, match="--root"):
        transfer_sets.load_target("ckplus", "paper", 48, tmp_path, None, "full")
    json.dumps(transfer_config("paper", "full", 0, "ckplus", "laf+ada,joint", 0.03))


def test_those_who_hold_the_sets_run_the_table_by_naming_a_folder(tmp_path):
    """The targets are read from the folder; the source is rendered, as nobody can hold LSEMSW."""
    root = tmp_path / "held"
    root.mkdir()
    ckplus_twin.write(root / "CK+", size=100, seed=3, pixels=64, frames=2)
    oulu_twin.write(
        root / "Oulu-CASIA", size=90, seed=3, pixels=80, frames=3, lightings=("Strong", "Weak"), original=None
    )
    job = Job(
        experiment="table7", method="ckplus.single", seed=0, tier="paper", budget="smoke",
        config=transfer_config("paper", "smoke", 0, "ckplus", "single", 0.06, folds=1),
    )  # fmt: skip
    found = run_transfer(job, tmp_path / "work" / "table7" / job.slug, root, "cpu").metrics
    assert {"accuracy", "fold_1"} <= set(found) and not {"fold_2", "weak_accuracy"} & set(found)
    other = transfer_sets.load_target("oulu", "paper", 32, tmp_path, root, None)
    assert len(set(other.faces.persons)) == 5 and set(other.weak.persons) == set(other.faces.persons)


def test_half_a_source_is_no_source(tmp_path, monkeypatch):
    """A signal while the source trains must end the job: fine-tuning would start from what there is."""
    half = FitResult(tmp_path, 1, False, -1, {}, 1.0, 1.0, {}, 1.0, signal=15)
    monkeypatch.setattr(transfer_runs, "fit", lambda *a, **k: half)
    monkeypatch.setattr(transfer_runs, "source_sets", lambda *a: toy_sets())
    config = transfer_config("synthetic", "smoke", 0, "ckplus", "laf", 0.05)
    job = Job(experiment="demo", method="laf", seed=0, tier="synthetic", budget="smoke", config=config)
    with pytest.raises(Interrupted):
        transfer_runs.train_source(job, tmp_path, None, "cpu")
