"""Runs that cannot be, or come to nothing, end in one clear message."""

import math

import pytest
from toy_faces import toy_config
from toy_runs import SETS, run, weights

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.errors import ConfigError, DataError, DivergenceError
from mtl_lib.train import fit, read_log


def test_divergence_is_reported_and_the_last_good_state_kept(tmp_path):
    out = tmp_path / "run"

    def spoil(done):
        if done == 5:  # step 6 divides by it
            spoiled.networks.net.heads[0].weight.data[0, 0] = math.nan

    from mtl_lib import train

    made = train.Run.__init__

    def remember(self, *arguments):
        nonlocal spoiled
        made(self, *arguments)
        spoiled = self

    spoiled = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "__init__", remember)
        with pytest.raises(DivergenceError, match=r"step 6.*last\.safetensors.*smaller lr"):
            run(out, on_step=spoil)
    tensors, meta = load_checkpoint(out / "last.safetensors")
    assert meta["step"] == 4
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    assert run(out, resume=True).finished


def test_a_learning_rate_far_too_large_diverges_with_one_message(tmp_path):
    with pytest.raises(DivergenceError, match="not finite"):
        run(tmp_path / "run", toy_config(lr=1e30, steps=20))
    assert (
        all(v.isfinite().all() for v in weights(tmp_path / "run").values() if v.is_floating_point())
        if (tmp_path / "run/last.safetensors").exists()
        else True
    )


def test_a_loss_that_explodes_is_divergence_before_it_is_infinite(tmp_path, monkeypatch):
    from mtl_lib import train

    monkeypatch.setattr(train, "EXPLODED", 1.2)
    config = toy_config(lr=0.5, momentum=0.0, gamma=0.0, steps=40)
    with pytest.raises(DivergenceError, match="times the first"):
        run(tmp_path / "run", config)
    losses = [line["loss"] for line in read_log(tmp_path / "run") if line["event"] == "train"]
    assert losses and all(loss <= 1.2 * losses[0] for loss in losses)  # the last line was not written


def test_faces_that_do_not_serve_the_task_are_named(tmp_path):
    with pytest.raises(DataError, match="no faces for the task 'landmarks'"):
        run(tmp_path / "a", sets={"expression": SETS["expression"]})
    with pytest.raises(DataError, match="'stripes' has no landmarks"):
        run(tmp_path / "b", sets={"expression": SETS["expression"], "landmarks": SETS["expression"]})
    with pytest.raises(DataError, match="32 pixels; the configuration says 48"):
        run(tmp_path / "c", toy_config(pixels=48))
    assert not any((tmp_path / name).exists() for name in "abc")


def test_devices_and_precisions_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ConfigError, match="32-true"):
        run(tmp_path / "a", toy_config(precision="16-mixed"))
    with pytest.raises(ConfigError, match="quantum"):
        fit(toy_config(), SETS, out=tmp_path / "b", accelerator="quantum")
