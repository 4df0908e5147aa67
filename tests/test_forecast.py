"""A sweep says what it will cost here: from runs on this device, else from small batches; narrow networks take one thread."""

import pytest
import torch

from mtl_lib import costs
from mtl_lib.config import TrainConfig
from mtl_lib.experiments import forecast as module
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import FRACTIONS, run_config
from mtl_lib.experiments.forecast import FACES, Forecast, forecast, measured
from mtl_lib.experiments.sweep import sweep
from mtl_lib.experiments.threads import NARROW, few_threads
from mtl_lib.faces.splits import split_faces
from mtl_lib.ledger import Entry
from mtl_lib.tasks import split_sets


def job(method="single", budget="smoke", **settings) -> Job:
    config = run_config("open", budget, 0, {"sharing": "single", "ada": 0.0, **settings})
    return Job(experiment="demo", method=method, seed=0, tier="open", budget=budget, config=config)


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def inside(*arguments) -> int:
    with few_threads(*arguments):
        return torch.get_num_threads()


def test_narrow_networks_take_one_thread_and_give_the_others_back(two_threads, monkeypatch):
    assert inside(job(width=NARROW), "cpu") == 1 and torch.get_num_threads() == 2
    assert inside(job(width=NARROW + 1), "cpu") == 2
    bare = Job(experiment="demo", method="lbp", seed=0, tier="open", budget="cpu", config={"cells": 4})
    assert inside(bare, "cpu") == 2
    with pytest.raises(ZeroDivisionError), few_threads(job(), "cpu"):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert inside(job(), "cpu") == 2


def recorded(device: str, seconds: float, method="single") -> Entry:
    return Entry(
        experiment="demo", method=method, seed=0, tier="open", budget="cpu", metrics={}, config={},
        device=device, seconds=seconds, memory=1.0, code="0",
    )  # fmt: skip


def test_runs_of_this_device_count_and_of_others_do_not(two_threads, monkeypatch):
    asked = []

    def timed(job, accelerator):
        asked.append(job.method)
        return {"single": 10.0, "laf": 20.0, "tt": 30.0}[job.method], {
            "single": 1.0,
            "laf": 2.0,
            "tt": 900.0,
        }[job.method]

    monkeypatch.setattr(module, "measured", timed)
    jobs = [
        job("single", "cpu"), job("single", "cpu"), job("laf", "cpu", sharing="soft", norm="laf"),
        job("tt", "cpu", sharing="soft", norm="tt"), job("tt", "cpu", sharing="soft", norm="tt"),
    ]  # fmt: skip
    elsewhere = [recorded("NVIDIA T4", 1.0)]
    found = forecast(jobs, elsewhere, "cpu")
    assert (found.seconds, found.memory, found.device) == (100.0, 900.0, "1 thread of a CPU")
    assert sorted(asked) == ["laf", "single", "tt"]  # one of each form, not one of each job
    assert forecast(jobs, elsewhere, "cpu", measure=False) is None
    here = forecast(jobs, [*elsewhere, recorded("1 thread of a CPU", 7.0)], "cpu")
    assert (here.seconds, here.how, here.memory) == (35.0, "by recorded runs", None)
    assert forecast([], elsewhere, "cpu") is None
    assert len(asked) == 3


def test_the_words_say_hours_where_minutes_would_be_many():
    assert (
        str(Forecast(600.0, "NVIDIA T4", "by recorded runs"))
        == "about 10.0 minutes to go on NVIDIA T4, by recorded runs"
    )
    assert ", 1.0 GiB" in str(Forecast(36_000.0, "a CPU", "so", 1024.0)), "memory is counted in MiB"
    assert str(Forecast(36_000.0, "a CPU", "so", 1234.0)) == "about 10.0 hours, 1.3 GiB to go on a CPU, so"


def test_small_batches_tell_the_seconds_of_all_steps(monkeypatch):
    monkeypatch.setattr(costs, "predict_seconds", lambda *a, **k: 0.5)
    seconds, memory = measured(job(steps=40), "cpu")
    assert seconds == 20.0 and memory > 1


def test_the_faces_that_are_timed_serve_every_split_of_the_sweeps():
    sets = module._faces(32)
    assert all(len(faces) == FACES for faces in sets.values())
    for seed in (0, 1, 2, 3, 4, 100, 101):
        for part in split_faces(list(sets.values()), FRACTIONS, seed):
            assert all(len(index) >= 8 for index in part), seed
    whole = split_sets(TrainConfig.from_dict(job().config["train"]), sets)
    assert set(whole["train"]["expression"].labels.tolist()) == set(range(13))


def test_a_sweep_tells_it_before_it_starts(tmp_path, capsys, two_threads, monkeypatch):
    threads = []

    def work(job, *rest):
        threads.append(torch.get_num_threads())
        return Outcome(metrics={"accuracy": 1.0}, device="1 thread of a CPU", memory=1.0)

    monkeypatch.setattr(module, "measured", lambda job, accelerator: (7200.0, 100.0))
    jobs = [job("single", "cpu"), job("laf", "cpu", sharing="soft", norm="laf")]
    toy = Experiment(
        name="demo",
        title="a toy",
        seeds={"cpu": (0,)},
        jobs=lambda *arguments: jobs,
        run=work,
        tiers=("open",),
    )
    sweep(toy, "open", "cpu", workspace=tmp_path / "runs", folder=tmp_path / "ledger", accelerator="cpu")
    first, second, _ = capsys.readouterr().err.splitlines()
    assert (
        "2 of 2 runs to do; about 4.0 hours, 0.1 GiB to go on 1 thread of a CPU, by a few small batches"
        in first
    )
    assert "by recorded runs" in second  # of the run that was just made
    assert threads == [1, 1]
