"""Every mistake shows its symptom, and its healthy twin does not."""

import math
from pathlib import Path

import pytest

from mtl_lib.errors import DataError
from mtl_lib.experiments.failures import (
    FAILURE_EXPERIMENT,
    FAILURES,
    HEALTHY,
    detected,
    failure_of,
    jobs,
    run,
)
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.experiments.sweep import sweep
from mtl_lib.ledger import read

QUICK = ("reversed_sign", "task_axis_first", "test_for_choice")


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in FAILURES if n not in QUICK)]
)
def test_the_symptom_is_seen_in_the_mistake_and_not_in_its_twin(name, tmp_path):
    scale = "smoke" if name in QUICK else "cpu"
    for method in (name, name + HEALTHY):
        failure, faulty = failure_of(method)
        found = failure.run(faulty, 5, scale, tmp_path / method).numbers  # a seed that is not recorded
        assert all(math.isfinite(value) for value in found.values()) and set(failure.shown) <= set(found)
        assert failure.detect(found) == faulty, found


def test_every_recorded_mistake_shows_its_symptom_and_no_twin_does():
    recorded = [entry for entry in read("failures") if entry.budget == "cpu"]
    assert recorded, "nothing is recorded: mtl sweep failures --budget cpu"
    seeds: dict[str, set[int]] = {}
    for entry in recorded:
        failure, faulty = failure_of(entry.method)
        assert failure.detect(entry.metrics) == faulty, (entry.method, entry.seed, entry.metrics)
        assert entry.metrics["detected"] == float(faulty)
        seeds.setdefault(entry.method, set()).add(entry.seed)
    wanted = {name + suffix for name in FAILURES for suffix in ("", HEALTHY)}
    assert set(seeds) == wanted and all(each == {0, 1, 2} for each in seeds.values())


def test_the_sweep_makes_each_by_name_and_records_what_was_seen(tmp_path):
    assert EXPERIMENTS["failures"] is FAILURE_EXPERIMENT
    listed = jobs("synthetic", "smoke", (0,), Path("nowhere"))
    assert len(listed) == len({job.key for job in listed}) == 2 * len(FAILURES)
    methods = ["test_for_choice", "test_for_choice.healthy"]
    done = sweep(
        FAILURE_EXPERIMENT,
        "synthetic",
        "smoke",
        methods=methods,
        workspace=tmp_path,
        folder=tmp_path,
        tell=False,
    )
    assert len(done.done) == 2 and not done.failed
    found = {entry.method: entry.metrics for entry in read("failures", tmp_path)}
    assert [found[method]["detected"] for method in methods] == [1.0, 0.0]
    assert detected(methods[0], found[methods[0]]) and not detected(methods[1], found[methods[1]])


def test_a_mistake_repeats_exactly(tmp_path):
    job = next(job for job in jobs("synthetic", "smoke", (3,), tmp_path) if job.method == "task_axis_first")
    assert run(job, tmp_path, None, "cpu").metrics == run(job, tmp_path, None, "cpu").metrics


def test_a_name_that_is_no_mistake_is_refused():
    with pytest.raises(DataError, match="no failure 'gamma_too_small'"):
        failure_of("gamma_too_small")
