"""The experiment on stacks that lack rank: what is added in full, the nudge, and what a run records."""

import json

import pytest
import torch
from toy_faces import toy_sets

from mtl_lib.config import TrainConfig
from mtl_lib.experiments.base import same_settings
from mtl_lib.experiments.null_space import ARMS, NULL_SPACE, added_in_full, arm_config, jobs, run, watch
from mtl_lib.run_folder import read_log
from mtl_lib.train import fit


@pytest.mark.parametrize("tasks", [2, 3])
def test_equal_tasks_get_a_push_as_long_as_the_ranks_that_they_lack(tasks):
    """Norm root of T - 1 beside 1, spectral norm 1, and another one when the weights are listed backwards."""
    row = torch.randn(300, generator=torch.Generator().manual_seed(0))
    found = added_in_full({"fc": [row] * tasks})
    assert found["added"] == pytest.approx((tasks - 1) ** 0.5) and found["spectral"] == pytest.approx(1)
    assert 0 < found["peak"] <= 1 and found["same"] < 0.9
    # Where a stack has its full rank there is nothing to choose.
    assert added_in_full({"fc": torch.randn(tasks, 300).unbind()})["added"] < 1e-12
    # The axes of the choice are known exactly if only one is left.
    plane = torch.tensor([3.0, 4.0])
    assert added_in_full({"fc": [plane, plane]})["same"] == pytest.approx(1)


def test_arms_differ_from_the_first_in_one_thing(tmp_path):
    listed = jobs("synthetic", "cpu", (0, 1), tmp_path)
    assert len({job.key for job in listed}) == 2 * len(ARMS) == 6
    base, full, nudged = (json.loads(json.dumps(arm_config(arm, "open", "cpu", 3))) for arm in ARMS)
    changed = {key for key in base["train"] if base["train"][key] != full["train"][key]}
    assert changed == {"penalty_null"} and full["nudge"] == base["nudge"] == 0 < nudged["nudge"] < 1e-5
    assert nudged["train"] == base["train"] and base["train"]["init"] == "same"
    older = {**base, "train": {k: v for k, v in base["train"].items() if k != "penalty_null"}}
    assert same_settings(older, base, NULL_SPACE.defaults)
    assert not same_settings(older, full, NULL_SPACE.defaults)


def test_the_papers_factor_parts_the_tasks_at_once_and_a_nudge_leaves_them_equal(tmp_path):
    first = {}
    for null, nudge in (("minimum", 0.0), ("full", 0.0), ("minimum", 1e-6)):
        config = TrainConfig.for_budget(
            "smoke", gamma=0.5, lr=0.1, steps=2, width=2, pixels=32, validate_every=2, save_every=2, ada=0.0,
            penalty_null=null, landmark_weight=1e-9, expression_weight=1e-9,
        )  # fmt: skip
        out = tmp_path / f"{null}{nudge}"
        fit(
            config,
            toy_sets(),
            out=out,
            accelerator="cpu",
            progress=False,
            watch=lambda r, n=nudge: watch(r, n),
        )
        log = read_log(out)
        (start,) = (line for line in log if line["event"] == "completion")
        assert start["added"] == pytest.approx(1, abs=1e-6)  # equal tasks, nudged or not
        apart = [line for line in log if line["event"] == "apart"]
        assert [line["step"] for line in apart] == [1, 2]
        first[null, nudge] = apart[0]["ratio"]
    assert first["full", 0.0] > 1e-3 > 1e-6 > first["minimum", 0.0]
    assert first["minimum", 1e-6] < 1e-6 and first["minimum", 1e-6] != first["minimum", 0.0]


def test_a_run_records_start_first_step_and_end(tmp_path):
    (job,) = (job for job in jobs("synthetic", "smoke", (0,), tmp_path) if job.method == "nudged")
    metrics = run(job, tmp_path / "run", None, "cpu").metrics
    assert {"accuracy", "nme", "start_added", "start_same", "first_cosine", "last_ratio"} <= set(metrics)
    assert metrics["start_added"] == pytest.approx(1, abs=1e-5)
    assert metrics["first_cosine"] >= metrics["last_cosine"] - 1e-3
