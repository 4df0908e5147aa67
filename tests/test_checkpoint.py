"""A checkpoint comes back bit for bit, or is refused with a reason."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from toy_faces import unhooked

from mtl_lib import checkpoint as ck
from mtl_lib.config import TrainConfig, differences
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.sharing import soft_share

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_tensors_come_back_bit_for_bit(tmp_path_factory, data):
    chance = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    tensors = {}
    for i in range(data.draw(st.integers(0, 4))):
        dtype = data.draw(st.sampled_from(DTYPES))
        shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
        raw = torch.from_numpy(np.asarray(chance.standard_normal(shape) * 100))
        tensors[f"a/{i}"] = raw.to(dtype)
    tensors["odd"] = torch.tensor([float("nan"), float("inf"), -0.0])
    path = tmp_path_factory.mktemp("ck") / "x.safetensors"
    ck.save_checkpoint(path, tensors, {"step": 4, "note": "γ"})
    back, meta = ck.load_checkpoint(path)
    assert back.keys() == tensors.keys() and meta["step"] == 4 and meta["note"] == "γ"
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype and back[name].shape == value.shape
        assert (
            back[name].numpy(force=True).tobytes() == value.numpy(force=True).tobytes()
            if (value.dtype != torch.bfloat16)
            else torch.equal(back[name], value)
        )


def adam_and_sgd(parameters):
    parameters = list(parameters)
    return [torch.optim.SGD(parameters, lr=0.1, momentum=0.9), torch.optim.AdamW(parameters, lr=0.01)]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_training_continues_as_if_it_had_not_been_interrupted(tmp_path, which, layout):
    def make():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        net(torch.zeros(2, 3, 6, 6))
        shared = soft_share(net, 2).to(memory_format=layout)
        return shared, adam_and_sgd(shared.parameters())[which]

    def train(net, optimiser, steps):
        for step in steps:
            x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(step))
            optimiser.zero_grad()
            (net(x, 0).square().sum() + net(x, 1).abs().sum()).backward()
            optimiser.step()

    whole, optimiser = make()
    train(whole, optimiser, range(6))
    first, optimiser = make()
    train(first, optimiser, range(3))
    path = ck.save_checkpoint(tmp_path / "x.safetensors", ck.collect(first, optimiser), {})
    second, optimiser = make()
    ck.restore(path, ck.load_checkpoint(path)[0], second, optimiser)
    train(second, optimiser, range(3, 6))
    for (name, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
        assert a.stride() == b.stride(), name


@pytest.fixture
def path(tmp_path):
    tensors = {"w": torch.arange(64.0), "b": torch.ones(3)}
    return ck.save_checkpoint(tmp_path / "x.safetensors", tensors, {"config": TrainConfig().to_dict()})


def test_missing_foreign_and_cut_files_are_refused(path, tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors: no such checkpoint"):
        ck.load_checkpoint(tmp_path / "nothing.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(2)}, foreign)
    with pytest.raises(CheckpointError, match="not a checkpoint of this package"):
        ck.load_checkpoint(foreign)
    content = path.read_bytes()
    for length in (0, 5, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"x\.safetensors: damaged"):
            ck.load_checkpoint(path)


def test_every_flipped_bit_is_noticed(path):
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match="damaged|not a checkpoint|format"):
            ck.load_checkpoint(path)


def test_other_formats_name_their_version(path, monkeypatch):
    monkeypatch.setattr(ck, "FORMAT", "mtl-checkpoint-0")
    ck.save_checkpoint(path, {}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format mtl-checkpoint-0, written by version"):
        ck.load_checkpoint(path)


def test_a_crash_while_writing_leaves_the_old_checkpoint(path, monkeypatch):
    before = path.read_bytes()

    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="disk full"):
        ck.save_checkpoint(path, {"w": torch.zeros(3)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_another_configuration_is_named(path):
    meta = ck.load_checkpoint(path)[1]
    ck.check_config(path, meta, TrainConfig(log_every=99, save_every=98))
    changed = rf"gamma: 0\.01 -> 0\.5; lr: {TrainConfig().lr} -> 0\.1\)"
    with pytest.raises(CheckpointError, match=changed):
        ck.check_config(path, meta, TrainConfig(gamma=0.5, lr=0.1))


def test_a_model_that_does_not_fit_is_named(path):
    tensors = ck.collect(nn.Linear(3, 2), torch.optim.SGD(nn.Linear(1, 1).parameters()))
    with pytest.raises(CheckpointError, match=r"weight \(\(2, 3\) in the file, \(2, 4\) in the model\)"):
        ck.restore(path, tensors, nn.Linear(4, 2))
    with pytest.raises(CheckpointError, match=r"bias \(\(2,\) in the file, missing in the model\)"):
        ck.restore(path, tensors, nn.Linear(3, 2, bias=False))
    tensors["optimiser/nobody/momentum_buffer"] = torch.ones(1)
    net = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match="optimiser state for nobody"):
        ck.restore(path, tensors, net, torch.optim.SGD(net.parameters()))


def test_configurations_survive_json_and_their_hash_sees_every_setting():
    # Without the checks of type hints that the tests switch on: users do not have them.
    plain = unhooked("mtl_lib/config.py").TrainConfig
    config = plain.for_budget("t4", lr=1, blocks=[2, 2, 2, 2])
    assert plain.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert isinstance(config.lr, float) and config.blocks == (2, 2, 2, 2)
    base = TrainConfig()
    changes = {"lr": 0.1, "gamma": 0.5, "seed": 1, "tasks": ("expression",), "pinned": True, "clip": 1.0}
    assert len({base.digest(), *(TrainConfig(**{k: v}).digest() for k, v in changes.items())}) == 7
    assert base.digest() == TrainConfig(log_every=1, save_every=2).digest()
    assert differences(base.to_dict(), TrainConfig(log_every=1).to_dict()) == []
    with pytest.raises(CheckpointError, match="unknown settings: novel"):
        TrainConfig.from_dict({**base.to_dict(), "novel": 1})


def test_a_configuration_from_before_a_setting_was_added_has_its_default():
    stored = TrainConfig(lr=0.3, landmark_loss="l2").to_dict()
    for added in ("landmark_targets", "clip"):
        del stored[added]
    assert TrainConfig.from_dict(stored) == TrainConfig(lr=0.3, landmark_loss="l2")
    assert differences(stored, TrainConfig(lr=0.3, landmark_loss="l2").to_dict()) == []
    changed = differences(stored, TrainConfig(lr=0.3, landmark_loss="l2", landmark_targets="shape").to_dict())
    assert changed == ["landmark_targets: coordinate -> shape"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gamma": -1.0}, "gamma is -1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"tasks": ()}, "tasks is"),
        ({"tasks": ("expression", "expression")}, "each once"),
        ({"tasks": ("age",)}, "expression, landmarks"),
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"pixels": 16}, "at least 32"),
        ({"steps": 0}, "steps is 0"),
        ({"clip": 0.0}, "clip is 0"),
        ({"norm": "nuclear"}, "laf, tucker, tt"),
        ({"precision": "64"}, "bf16-mixed"),
    ],
)
def test_settings_that_are_not_allowed_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        unhooked("mtl_lib/config.py").TrainConfig(**setting)


def test_unknown_budgets_and_settings_are_named():
    with pytest.raises(ConfigError, match="smoke, cpu, t4, full"):
        TrainConfig.for_budget("huge")
    with pytest.raises(ConfigError, match="no setting gama"):
        TrainConfig.for_budget("cpu", gama=0.1)
