"""Table 5's rows see the same faces, are tuned alike, and stand beside the paper's numbers."""

import csv
from pathlib import Path

import pytest

from mtl_lib import cli
from mtl_lib.config import TrainConfig
from mtl_lib.errors import DataError, DivergenceError
from mtl_lib.experiments import rate_search, table5, table6
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.baseline_table import COUNTED, PAPER, table5_text
from mtl_lib.experiments.face_runs import face_sets, run_config
from mtl_lib.experiments.rate_search import RATES, SEARCH_SEEDS, best_rate, run_trial
from mtl_lib.experiments.recorded import file_of, values_of
from mtl_lib.experiments.table5 import (
    CONSTANT,
    NETWORKS,
    PENALTIES,
    SEARCH_EXPERIMENT,
    network_settings,
    run_row,
    search_jobs,
    table_jobs,
)
from mtl_lib.features import KINDS, LinearBaseline
from mtl_lib.ledger import Entry, read, record
from mtl_lib.metrics import accuracy, macro_recall
from mtl_lib.tasks import split_sets

ROOT = Path(__file__).parents[1]


def entry(method, seed=0, config=None, **metrics) -> Entry:
    return Entry(
        experiment="table5", method=method, seed=seed, tier="open", budget="cpu", metrics=metrics,
        config=config or {}, device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


def searched(folder, budget="cpu", tier="open"):
    """A recorded search in which the middle rate is best for every network."""
    for job in search_jobs(tier, budget, SEARCH_SEEDS[budget], folder):
        rate = job.config["train"]["lr"]
        record(
            Entry(
                experiment=job.experiment, method=job.method, seed=job.seed, tier=tier, budget=budget,
                metrics={"validation_macro_recall": 40.0 + (rate == 0.03)}, config=dict(job.config), device="CPU",
                seconds=1.0, memory=1.0, code="0",
            ),
            folder,
        )  # fmt: skip


@pytest.mark.parametrize("budget", ["smoke", "cpu", "t4", "full"])
def test_all_rows_of_a_seed_have_one_split_one_size_of_pictures_and_one_number_of_training_faces(
    budget, tmp_path
):
    searched(tmp_path, budget)
    jobs = table_jobs("open", budget, (0, 1), tmp_path)
    assert {job.method for job in jobs} == {*CONSTANT, *KINDS, *NETWORKS}
    for seed in (0, 1):
        trains = [job.config["train"] for job in jobs if job.seed == seed]
        alike = (
            "split_seed",
            "fractions",
            "pixels",
            "per_class",
            "class_weights",
            "steps",
            "batch_size",
            "seed",
        )
        for name in alike:
            assert len({str(train[name]) for train in trains}) == 1, name
    assert len({job.key for job in jobs}) == len(jobs)
    rates = {job.config["train"]["lr"] for job in jobs if job.method in NETWORKS}
    assert rates == {0.03}
    # A descriptor has as many values of C to choose from as a network has rates.
    assert len(PENALTIES) == len(RATES["cpu"])


@pytest.mark.parametrize("method", NETWORKS)
def test_every_network_can_be_built_at_every_budget(method):
    for budget in ("smoke", "cpu", "t4", "full"):
        config = TrainConfig.from_dict(
            run_config("open", budget, 0, network_settings(method, budget))["train"]
        )
        assert config.ada == (0.1 if method == "resnet+laf+ada" else 0.0)


def test_the_best_mean_rate_is_chosen_from_a_whole_search_and_ties_go_to_the_smallest():
    def run(t, rate, value, seed=100):
        return entry(f"net.{t}", seed, {"train": {"lr": rate}}, score=value)

    rates = (0.01, 0.03, 0.1)
    runs = [run(0, 0.01, 30.0), run(1, 0.03, 31.0), run(2, 0.1, 31.0)]
    assert best_rate("net", runs, rates, 1, "score") == 0.03
    assert best_rate("net", runs, rates, 1, "score", lowest=True) == 0.01
    lucky = [*runs, run(0, 0.01, 40.0, 101), run(1, 0.03, 31.0, 101), run(2, 0.1, 41.0, 101)]
    assert best_rate("net", lucky, rates, 2, "score") == 0.1  # the mean over seeds decides
    with pytest.raises(DataError, match=r"'net' lacks the rates 0\.1"):
        best_rate("net", runs[:2], rates, 1, "score")
    with pytest.raises(DataError, match="'other' lacks"):
        best_rate("other", runs, rates, 1, "score")


def test_a_rate_at_which_a_network_diverges_loses_and_does_not_stop_the_search(monkeypatch, tmp_path):
    def explode(*arguments, **options):
        raise DivergenceError("the loss is not finite")

    monkeypatch.setattr(rate_search, "run_faces", explode)
    job = search_jobs("synthetic", "smoke", (100,), tmp_path)[0]
    outcome = SEARCH_EXPERIMENT.run(job, tmp_path, None, "cpu")
    assert outcome.metrics == {"validation_macro_recall": 0.0, "diverged": 1.0}
    assert run_trial(job, tmp_path, None, "cpu", diverged={"nme": 100.0}).metrics["nme"] == 100.0


def job_of(method, tmp_path) -> Job:
    searched(tmp_path, "smoke", "synthetic")
    return next(j for j in table_jobs("synthetic", "smoke", (3,), tmp_path) if j.method == method)


def test_answers_that_look_at_nothing_are_counted_from_the_test_labels(tmp_path):
    jobs = {name: job_of(name, tmp_path / name) for name in CONSTANT}
    found = {name: run_row(job, tmp_path, None, "cpu").metrics for name, job in jobs.items()}
    job = jobs["majority"]
    test = split_sets(TrainConfig.from_dict(job.config["train"]), face_sets(job))["test"]["expression"]
    counts = test.counts()
    assert found["majority"]["accuracy"] == pytest.approx(100 * max(counts.values()) / len(test), abs=1e-3)
    largest = max(counts, key=counts.get)
    assert {k: v for k, v in found["majority"].items() if k.startswith("recall/") and v} == {
        f"recall/{largest}": 100.0
    }
    for name in CONSTANT:
        assert found[name]["macro_recall"] == pytest.approx(100 / 13, abs=1e-3)
    assert found["chance"]["accuracy"] == pytest.approx(100 / 13, abs=1e-3)


def test_a_descriptors_row_is_the_svm_on_the_training_faces_of_the_networks(tmp_path):
    job = job_of("eoh", tmp_path)
    found = run_row(job, tmp_path, None, "cpu").metrics
    parts = split_sets(TrainConfig.from_dict(job.config["train"]), face_sets(job))
    train, validation, test = (parts[name]["expression"] for name in ("train", "validation", "test"))
    assert max(train.counts().values()) == 4  # per_class of the budget limits it, as it does the networks
    model = LinearBaseline("eoh").fit(train.images, train.labels, validation.images, validation.labels)
    predicted = model.predict(test.images)
    assert found["accuracy"] == pytest.approx(100 * accuracy(test.labels, predicted), abs=1e-3)
    assert found["macro_recall"] == pytest.approx(100 * macro_recall(test.labels, predicted), abs=1e-3)
    assert found["C"] == model.chosen
    shares = [value for name, value in found.items() if name.startswith("recall/")]
    assert sum(shares) / len(shares) == pytest.approx(found["macro_recall"], abs=1e-3)


def test_the_papers_numbers_are_those_of_its_table_and_the_others_are_counted():
    with (ROOT / "data/paper/table5_soa_lsemsw.csv").open(encoding="utf-8", newline="") as file:
        printed = {row["method"]: float(row["accuracy_percent"]) for row in csv.DictReader(file)}
    names = {"LPQ": "lpq", "LBP": "lbp", "EOH": "eoh", "AlexNet": "alexnet", "VGGNet": "vgg16_bn", "RN": "resnet",
             "RN+LAF+ADA": "resnet+laf+ada"}  # fmt: skip
    assert {names[method]: value for method, value in printed.items()} == PAPER
    with (ROOT / "data/paper/table2_expression_distribution.csv").open(encoding="utf-8", newline="") as file:
        images = {row["expression"]: int(row["images"]) for row in csv.DictReader(file)}
    assert COUNTED["majority"] == pytest.approx(100 * images["Thinking"] / images["Total"])
    # The remark that the chapter turns on: three rows of the paper lie below this one.
    assert sum(value < COUNTED["majority"] for value in PAPER.values()) == 3


def test_the_table_pairs_by_seed_and_prints_the_papers_numbers():
    runs = [
        entry("resnet", s, accuracy=30.0 + s, macro_recall=20.0 + 5 * s, majority_rate=18.0) for s in range(3)
    ]
    runs += [
        entry("lpq", s, accuracy=12.0, macro_recall=15.0 + 5 * s + 0.1 * s, majority_rate=18.0)
        for s in range(3)
    ]
    runs.append(entry("majority", 0, accuracy=18.0, macro_recall=7.7))
    text = table5_text(runs)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "-4.9*   -5.1 to -4.7" in lines["lpq"] and lines["lpq"].endswith("10.86")
    assert "31.0 ± 1.0" in lines["resnet"] and "*" not in lines["resnet"]
    assert lines["majority"].endswith("18.01'")
    assert max(map(len, text.splitlines())) <= 88
    with pytest.raises(DataError, match="two runs of seed 0"):
        values_of([*runs, entry("lpq", 0, {"other": 1}, accuracy=1.0)], "accuracy")
    with pytest.raises(DataError, match="no file 'ced'"):
        file_of(runs[0], "ced")


def test_the_command_sweeps_and_prints_it(tmp_path, capsys):
    options = ["--tier", "synthetic", "--budget", "smoke"]
    where = [
        "--workspace",
        str(tmp_path / "runs"),
        "--accelerator",
        "cpu",
        "--methods",
        "majority",
        "lbp",
        "resnet",
    ]
    assert cli.main(["sweep", "table5", *options, *where]) == 0
    assert "3 runs recorded" in capsys.readouterr().out
    assert cli.main(["table", "5", *options, "--ledger", str(tmp_path / "runs/ledger")]) == 0
    printed = capsys.readouterr().out
    assert "28.39" in printed and "majority" in printed


def test_the_recorded_searches_of_tables_5_and_6_are_still_their_jobs():
    """Whatever is tidied up in the code: a changed setting would run every recorded search again."""
    for table in (table5, table6):
        name = table.SEARCH_EXPERIMENT.name
        for entry in read(name):
            jobs = table.SEARCH_EXPERIMENT.jobs(entry.tier, entry.budget, [entry.seed], Path())
            assert any(table.SEARCH_EXPERIMENT.is_record_of(entry, job) for job in jobs), entry.method
