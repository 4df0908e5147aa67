"""A run that was interrupted ends in the same bits; what is no continuation of a run is refused."""

import dataclasses
import os
import signal

import pytest
import torch
from toy_faces import toy_config, toy_sets
from toy_runs import SETS, Crash, assert_same_run, run, weights

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.errors import CheckpointError, ConfigError, Interrupted
from mtl_lib.train import fit


@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_resume_after_a_crash_equals_the_uninterrupted_run(tmp_path, whole, step):
    def crash(done):
        if done == step:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "run", on_step=crash)
    result = run(tmp_path / "run", resume=True)
    assert result.finished and result.step == 8
    assert_same_run(tmp_path / "run", whole())


@pytest.mark.parametrize(
    "overrides",
    [
        {"pinned": True, "gamma": 0.3},
        {"norm": "tucker", "init": "independent", "schedule": "constant", "momentum": 0.0},
        {"tasks": ("landmarks",), "channels_last": False, "clip": 0.5, "landmark_loss": "l2"},
    ],
)
def test_resume_is_exact_for_other_settings_too(tmp_path, whole, overrides):
    def crash(done):
        if done == 5:
            raise Crash

    config = toy_config(**overrides)
    with pytest.raises(Crash):
        run(tmp_path / "run", config, on_step=crash)
    run(tmp_path / "run", dataclasses.replace(config, save_every=2), resume=True)
    assert_same_run(tmp_path / "run", whole(**overrides))


def test_ctrl_c_ends_after_the_step_with_a_checkpoint(tmp_path, whole):
    def interrupt(done):
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    result = run(tmp_path / "run", on_step=interrupt)
    assert not result.finished and result.step == 5 and result.signal == signal.SIGINT
    with pytest.raises(Interrupted, match="stopped at step 5"):
        result.completed()
    assert load_checkpoint(tmp_path / "run/last.safetensors")[1]["step"] == 5
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    result = run(tmp_path / "run", resume=True)
    assert result.finished and result.completed() is result
    assert_same_run(tmp_path / "run", whole())


def test_resuming_a_finished_run_changes_nothing(tmp_path, whole):
    before = weights(whole())
    result = run(whole(), resume=True)
    assert result.finished and result.step == 8 and result.validation
    assert all(torch.equal(before[key], value) for key, value in weights(whole()).items())


def test_a_folder_with_a_run_is_not_overwritten(tmp_path, whole):
    before = weights(whole())
    with pytest.raises(ConfigError, match="holds a run already"):
        run(whole())
    assert all(torch.equal(before[key], value) for key, value in weights(whole()).items())


def test_resuming_with_other_settings_or_faces_is_refused(whole):
    with pytest.raises(CheckpointError, match=r"gamma: 0\.01 -> 0\.2"):
        run(whole(), toy_config(gamma=0.2), resume=True)
    with pytest.raises(CheckpointError, match="made with other faces for 'expression'"):
        run(whole(), sets=toy_sets(seed=1), resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    run(tmp_path / "run", toy_config(steps=3))
    path = tmp_path / "run/last.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"last\.safetensors: damaged"):
        run(tmp_path / "run", toy_config(steps=3), resume=True)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_resume_on_a_gpu(tmp_path, precision):
    config = toy_config(precision=precision)
    fit(config, SETS, out=tmp_path / "whole", accelerator="cuda", progress=False)

    def crash(done):
        if done == 5:
            raise Crash

    with pytest.raises(Crash):
        fit(config, SETS, out=tmp_path / "run", accelerator="cuda", progress=False, on_step=crash)
    assert fit(config, SETS, out=tmp_path / "run", accelerator="cuda", progress=False, resume=True).finished
    one, two = weights(tmp_path / "whole", start="model"), weights(tmp_path / "run", start="model")
    for key in one:
        # A GPU adds in an order that may vary; bits are promised on the CPU only.
        torch.testing.assert_close(one[key], two[key], rtol=1e-2, atol=1e-3)
