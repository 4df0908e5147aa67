"""What a run is expected to need, against what is counted in other ways."""

import pytest
import torch
from torch import nn
from toy_faces import toy_config, toy_sets

from mtl_lib import costs, tasks
from mtl_lib.backbones import resnet34
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.loaders import TaskBatches
from mtl_lib.run_folder import read_log
from mtl_lib.train import fit

SETS = toy_sets()


def memory_of(**overrides):
    config = toy_config(**overrides)
    found = tasks.make_tasks(config, SETS)
    networks = tasks.Networks(config, found)
    batches = TaskBatches([SETS[name] for name in config.tasks], config.batch_size).batch(0)
    return costs.predict_memory(config, networks, found, batches), networks


def test_weights_gradients_and_momentum_are_counted_once_each():
    memory, networks = memory_of()
    count = sum(p.numel() for p in networks.parameters()) * 4 / 2**20
    assert memory.weights == memory.gradients == memory.momentum == pytest.approx(count)
    assert memory_of(momentum=0.0)[0].momentum == 0
    hard, _ = memory_of(sharing="hard", hard_after=8)
    assert hard.weights < 0.85 * memory.weights  # one trunk for most layers, two for the last


def test_activations_are_those_of_the_whole_batch():
    for overrides in ({}, {"sharing": "cross_stitch"}, {"tasks": ("landmarks",), "ada": 0.0}):
        config = toy_config(batch_size=24, **overrides)
        predicted, networks = memory_of(batch_size=24, **overrides)
        found = tasks.make_tasks(config, SETS)
        batches = TaskBatches([SETS[name] for name in config.tasks], 24).batch(0)
        own = [*networks.parameters(), *networks.buffers(), *(batch.images for batch in batches)]
        whole = costs.saved_bytes(lambda: total(networks, found, batches), own) / 2**20  # noqa: B023
        assert predicted.activations == pytest.approx(whole, rel=0.02)
        pieces = memory_of(batch_size=24, accumulate=4, **overrides)[0].activations
        assert 0.2 * whole < pieces < 0.35 * whole


def total(networks, found, batches):
    outputs, domain, _ = networks([batch.images for batch in batches], 0.5)
    return domain + sum(t.loss(o, b) for t, o, b in zip(found, outputs, batches, strict=True))


def test_saved_bytes_of_a_layer_counted_by_hand():
    x = torch.randn(4, 3, 8, 8)
    layer = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
    own = [x, *layer.parameters()]
    # The convolution keeps its input and weight, which are there anyway; ReLU keeps its output.
    assert costs.saved_bytes(lambda: layer(x).sum(), own) == 4 * 5 * 8 * 8 * 4
    assert costs.saved_bytes(lambda: layer(x).sum(), [*layer.parameters()]) == 4 * (5 + 3) * 8 * 8 * 4
    with torch.no_grad():
        assert costs.saved_bytes(lambda: layer(x).sum(), own) == 0


def test_sixteen_bits_keep_less():
    net, x = resnet34(width=8, blocks=(1, 1, 1, 1)), torch.randn(16, 1, 48, 48)

    def forward():
        with torch.autocast("cpu", torch.bfloat16):
            return net(x).sum()

    half, full = (costs.saved_bytes(f, [x, *net.parameters()]) for f in (forward, lambda: net(x).sum()))
    assert 0.5 * full < half < 0.75 * full


def test_a_run_tells_before_and_after_and_is_not_touched_by_the_looking(tmp_path, monkeypatch):
    fit(toy_config(steps=5), SETS, out=tmp_path / "with", accelerator="cpu", progress=False)
    monkeypatch.setattr(
        "mtl_lib.run.Run._predict", lambda run, held: {"memory": 1.0, "seconds_per_step": 1.0}
    )
    result = fit(toy_config(steps=5), SETS, out=tmp_path / "without", accelerator="cpu", progress=False)
    states = [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("with", "without")]
    assert states[0][1] == states[1][1]
    assert all(torch.equal(value, states[1][0][key]) for key, value in states[0][0].items())
    assert result.predicted["memory"] == 1.0 and "1 MiB were expected" in str(result)
    log = read_log(tmp_path / "with")
    before = next(line for line in log if line["event"] == "predicted")
    after = log[-1]
    assert set(before["memory_parts"]) == {"weights", "gradients", "momentum", "activations", "data", "base"}
    assert before["memory"] == pytest.approx(sum(before["memory_parts"].values()), abs=1)
    assert after["memory_expected"] == before["memory"] and after["memory"] > 0
    assert after["seconds_per_step"] > 0 and before["seconds_per_step"] > 0
