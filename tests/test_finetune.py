"""A fine-tuning starts with the source's trunk and a head of its own, and is otherwise a run like any other."""

from dataclasses import replace

import pytest
import torch
from toy_faces import toy_config, toy_sets

from mtl_lib import finetune as module
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.finetune import finetune
from mtl_lib.run_folder import LAST
from mtl_lib.train import fit

ALONE = {"sharing": "single", "ada": 0.0, "tasks": ("expression",)}
QUIET = {"accelerator": "cpu", "progress": False}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A pair of networks that have been trained a little."""
    out = tmp_path_factory.mktemp("source") / "pair"
    fit(toy_config(steps=4), toy_sets(), out=out, **QUIET)
    return out


@pytest.fixture(scope="module")
def target():
    """Other faces, with two classes instead of three."""
    faces = toy_sets(seed=5)["expression"]
    faces = faces.select(faces.labels < 2)
    return {"expression": replace(faces, classes=faces.classes[:2], name="two kinds")}


def weights(path):
    tensors, meta = load_checkpoint(path)
    return {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}, meta


class Stopped(Exception):
    pass


def stopped(*args, **kwargs):
    raise Stopped


@pytest.mark.parametrize("task", ["expression", "landmarks"])
def test_before_the_first_step_the_trunk_is_the_sources_and_the_head_is_new(
    tmp_path, source, target, monkeypatch, task
):
    config = toy_config(**ALONE)
    with monkeypatch.context() as patch:
        patch.setattr(module, "fit", stopped)  # nothing is trained
        with pytest.raises(Stopped):
            finetune(source, config, target, out=tmp_path / "new", starts={"expression": task}, **QUIET)
    new, meta = weights(tmp_path / "new" / LAST)
    old, _ = weights(source / "best.safetensors")
    number = ["expression", "landmarks"].index(task)
    trunk = {name for name in new if ".trunk." in name}
    assert meta["step"] == 0 and any("running_mean" in name for name in trunk)
    for name in trunk:
        torch.testing.assert_close(new[name], old[name.replace("nets.0.", f"nets.{number}.")], rtol=0, atol=0)
    # The head is the one that a run without a source begins with.
    assert new["net.heads.0.weight"].shape[0] == 2
    fit(toy_config(**ALONE, lr=0.0), target, out=tmp_path / "still", **QUIET)
    still, _ = weights(tmp_path / "still" / LAST)
    assert torch.equal(new["net.heads.0.weight"], still["net.heads.0.weight"])


def stop_after(steps):
    def look(step):
        if step == steps:
            raise Stopped

    return look


def test_a_fine_tuning_that_was_killed_ends_as_one_that_was_not(tmp_path, source, target, monkeypatch):
    config = toy_config(**ALONE)
    finetune(source, config, target, out=tmp_path / "whole", **QUIET)
    whole, _ = weights(tmp_path / "whole" / LAST)
    with monkeypatch.context() as patch:
        patch.setattr(module, "fit", lambda *a, **k: fit(*a, **k, on_step=stop_after(5)))
        with pytest.raises(Stopped):
            finetune(source, config, target, out=tmp_path / "killed", **QUIET)
    finetune(source, config, target, out=tmp_path / "killed", **QUIET)
    killed, meta = weights(tmp_path / "killed" / LAST)
    assert meta["step"] == config.steps
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    # It is not what random weights come to, so the source was not lost on the way.
    fit(config, target, out=tmp_path / "scratch", **QUIET)
    scratch, _ = weights(tmp_path / "scratch" / LAST)
    assert not torch.equal(whole["net.trunk.nets.0.conv1.weight"], scratch["net.trunk.nets.0.conv1.weight"])


def test_what_a_pinned_run_remembers_of_its_start_is_the_source(tmp_path, source):
    """Norms are pinned to the source's, not to those of weights that were drawn and thrown away."""
    config = toy_config(pinned=True, gamma=0.1)
    finetune(
        source, config, toy_sets(), out=tmp_path / "new", which="last",
        starts={"expression": "expression", "landmarks": "landmarks"}, **QUIET,
    )  # fmt: skip
    new, _ = weights(tmp_path / "new" / LAST)
    old, _ = weights(source / LAST)
    name = "net.trunk.nets.1.layer2.0.conv1.weight"
    assert not torch.equal(new[name], old[name])
    torch.testing.assert_close(new[name].norm(), old[name].norm())


def test_a_source_that_does_not_fit_is_named_with_what_to_do(tmp_path, source, target):
    out = tmp_path / "new"
    with pytest.raises(CheckpointError, match=r"best\.safetensors.*width 2 there, 4 here.*set width=2"):
        finetune(source, toy_config(**ALONE, width=4), target, out=out, **QUIET)
    with pytest.raises(ConfigError, match="'hard'.*stands alone"):
        finetune(source, toy_config(sharing="hard"), toy_sets(), out=out, **QUIET)
    with pytest.raises(ConfigError, match="'expression' cannot start from 'pose'"):
        finetune(source, toy_config(**ALONE), target, out=out, starts={"expression": "pose"}, **QUIET)
    with pytest.raises(ConfigError, match="best, last"):
        finetune(source, toy_config(**ALONE), target, out=out, which="first", **QUIET)
    with pytest.raises(CheckpointError, match="nowhere"):
        finetune(tmp_path / "nowhere", toy_config(**ALONE), target, out=out, **QUIET)
    assert not out.exists()


def test_a_run_does_not_go_on_from_another_source(tmp_path, source, target):
    config = toy_config(**ALONE)
    fit(config, target, out=tmp_path / "scratch", **QUIET)
    with pytest.raises(CheckpointError, match="random weights"):
        finetune(source, config, target, out=tmp_path / "scratch", **QUIET)
    finetune(source, config, target, out=tmp_path / "new", **QUIET)
    with pytest.raises(CheckpointError, match="started from"):
        finetune(
            source,
            config,
            target,
            out=tmp_path / "new",
            which="last",
            starts={"expression": "landmarks"},
            **QUIET,
        )
