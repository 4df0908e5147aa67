"""Two processes train as one does: same pictures, same steps, one penalty, one folder."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_faces import toy_config, toy_sets
from two_processes import RUNS, SETTINGS, Watched

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.loaders import TaskBatches
from mtl_lib.processes import SynchronisedBatchNorm2d, check_batch, shard
from mtl_lib.run_folder import read_log
from mtl_lib.train import fit

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """The folder in which two processes have done everything in two_processes.py."""
    out = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(HERE / "two_processes.py"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def tensors_of(out, start="model/"):
    tensors, _ = load_checkpoint(out / "last.safetensors")
    return {key: value for key, value in tensors.items() if key.startswith(start)}


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_equal_one_with_the_joint_batch(tmp_path, by_two, name):
    without, settings, _ = RUNS[name]
    Watched(without).fit(toy_config(**SETTINGS, **settings), toy_sets(), out=tmp_path / "one")
    one, two = tensors_of(tmp_path / "one"), tensors_of(by_two / name)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(
            two[key], value, rtol=1e-4, atol=2e-5, msg=lambda m, key=key: f"{key}: {m}"
        )
    # The losses are those of the joint batch, and the penalty was added once.
    for a, b in zip(train_lines(tmp_path / "one"), train_lines(by_two / name), strict=True):
        for key in ("loss", "penalty", "expression", "landmarks", "domain", "gradient_norm"):
            assert b[key] == pytest.approx(a[key], rel=1e-3), (key, a["step"])


def train_lines(out):
    return [line for line in read_log(out) if line["event"] == "train"]


def test_the_comparison_above_can_fail(by_two, tmp_path):
    without, settings, _ = RUNS["plain"]
    Watched(without).fit(toy_config(**SETTINGS, **{**settings, "gamma": 0.2}), toy_sets(), out=tmp_path / "x")
    one, two = tensors_of(tmp_path / "x"), tensors_of(by_two / "plain")
    kernels = [key for key in one if "trunk" in key and one[key].ndim == 4]
    assert all((one[key] - two[key]).abs().max() > 1e-4 for key in kernels)


def test_the_processes_stay_identical_and_only_the_first_writes(by_two):
    told = [json.loads((by_two / f"told-by-{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1] and set(RUNS) < set(told[0])
    assert not list(by_two.glob("*-by-rank-*"))
    for name in RUNS:
        steps = [line["step"] for line in train_lines(by_two / name)]
        assert steps == [1, 2, 3]  # each line once


def test_two_processes_resume_exactly(by_two):
    whole, broken = tensors_of(by_two / "whole", ""), tensors_of(by_two / "broken", "")
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_a_loss_that_is_not_finite_in_one_process_stops_all(by_two):
    told = [json.loads((by_two / f"told-by-{rank}.json").read_text())["error"] for rank in (0, 1)]
    assert "diverged" in told[0] and told[0] == told[1]


def test_a_run_of_two_processes_is_not_resumed_by_one(by_two):
    config = toy_config(**SETTINGS, gamma=0.1)
    with pytest.raises(CheckpointError, match=r"made by 2 process\(es\), now there are 1"):
        fit(config, toy_sets(), out=by_two / "whole", resume=True, progress=False, accelerator="cpu")


def test_pieces_are_the_batch_cut_up():
    batches = TaskBatches(toy_sets(), 8).batch(3)
    for parts in (1, 2, 4, 8):
        pieces = [shard(batches, part, parts) for part in range(parts)]
        for t, batch in enumerate(batches):
            for field in dataclasses.fields(batch):
                whole = getattr(batch, field.name)
                cut = [getattr(piece[t], field.name) for piece in pieces]
                assert cut == [None] * parts if whole is None else torch.equal(torch.cat(cut), whole)


def test_batches_that_do_not_fall_into_equal_parts_are_refused():
    with pytest.raises(ConfigError, match="batch_size is 8.*multiple of 6"):
        check_batch(toy_config(batch_size=8, accumulate=2), processes=3)


def test_synchronised_statistics_in_one_process_are_batch_norm():
    torch.manual_seed(0)
    ours, theirs = SynchronisedBatchNorm2d(3).double(), torch.nn.BatchNorm2d(3).double()
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            norm.bias.copy_(torch.tensor([0.1, -1.0, 0.0]))
    for _ in range(3):
        x = 5 + 2 * torch.randn(4, 3, 5, 5, dtype=torch.double)
        found = []
        for norm in (ours, theirs):
            leaf = x.clone().requires_grad_(True)
            out = norm(leaf)
            (out**3).sum().backward()
            found.append((out.detach(), leaf.grad))
        torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
