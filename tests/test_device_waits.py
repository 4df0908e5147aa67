"""A training step gives a GPU its work and waits for nothing: shown on tensors without data, where no GPU is needed."""

import contextlib
import importlib.util
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from toy_faces import toy_config, toy_sets

from mtl_lib import loaders, tasks, train
from mtl_lib.constants import Copies, constant
from mtl_lib.faces.base import FaceSet
from mtl_lib.landmarks import LandmarkScaler
from mtl_lib.loaders import TaskBatches
from mtl_lib.regularisers import make_regulariser
from mtl_lib.run import LOOKS, Run
from mtl_lib.train import fit, train_step

META = torch.device("meta")
SETS = toy_sets()


@pytest.fixture(scope="module")
def counts():
    path = Path(__file__).parents[1] / "benchmarks" / "device_counts.py"
    spec = importlib.util.spec_from_file_location("bench_device_counts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class OnDevice(torch.Generator):
    """Stands for a generator of the device, which ``meta`` has not got."""

    device = META


class OneProcess:
    """What a step asks of Lightning Fabric, for a device that Fabric does not know."""

    world_size, global_rank = 1, 0

    def no_backward_sync(self, *_, **__):
        return contextlib.nullcontext()

    def backward(self, loss):
        loss.backward()

    def clip_gradients(self, model, _, max_norm, error_if_nonfinite):
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def make_run(config, monkeypatch):
    """All of a run that a step touches, on the device ``meta``."""
    real = loaders.generator
    monkeypatch.setattr(
        loaders, "generator", lambda on, *key: OnDevice() if on == META else real("cpu", *key)
    )
    parts = tasks.split_sets(config, SETS)
    run = object.__new__(Run)
    run.config, run.fabric, run.step = config, OneProcess(), 0
    run.tasks = tasks.make_tasks(config, parts["train"])
    run.weights = [1.0, 1.0]
    looks = [LOOKS["full"], LOOKS["crop"]]
    # A set looks at its labels when it is made; here they are not there.
    monkeypatch.setattr(FaceSet, "__post_init__", lambda self: None)
    run.batches = TaskBatches(parts["train"], config.batch_size, 0, META, looks, keep="device")
    run.networks = run.model = tasks.Networks(config, run.tasks).to(META)
    run.regulariser = make_regulariser(config, run.networks.net.stacks())
    run.optimiser = torch.optim.SGD(run.networks.parameters(), lr=0.1, momentum=0.9)
    run._stepped = False
    run.optimiser.register_step_post_hook(run._has_stepped)
    run.bad = torch.zeros((), dtype=torch.bool, device=META)
    return run


def waits_of_second_step(config, counts, monkeypatch):
    with counts.without_autocast():
        run = make_run(config, monkeypatch)
        train_step(run)
        with counts.Watch() as watch:
            train_step(run)
    assert watch.kernels.total() > 100  # it was the device that was watched
    return watch.waits


@pytest.mark.parametrize(
    "overrides",
    [
        {"norm": "laf", "gamma": 0.1},
        {"norm": "laf", "gamma": 0.1, "ada": 1.0, "accumulate": 2},
        {"norm": "laf", "gamma": 0.1, "pinned": True, "landmark_targets": "shape", "landmark_loss": "l2"},
        {"norm": "laf", "gamma": 0.1, "penalty_step": "proximal"},
        {"norm": "norm_only", "gamma": 0.1},
        {"norm": "deviation", "gamma": 0.1, "penalty_step": "proximal", "pinned": True},
        {"sharing": "single"},
        {"sharing": "hard", "hard_after": 4},
        {"sharing": "cross_stitch"},
        {"norm": "laf", "gamma": 0.1, "ada": 1.0, "ada_form": "alternating"},
    ],
    ids=lambda o: ", ".join(f"{k}={v}" for k, v in o.items()),
)
def test_a_step_after_the_first_makes_the_host_wait_for_nothing(overrides, counts, monkeypatch):
    overrides = {"class_weights": "sqrt", **overrides}
    assert waits_of_second_step(toy_config(**overrides), counts, monkeypatch) == []


def test_the_watch_sees_every_kind_of_waiting(counts):
    x, order = torch.zeros(3, device=META), torch.tensor([1, 0, 2])
    calls = {
        "tensor": lambda: torch.tensor([1.0, 2.0], device=META),
        "new_tensor": lambda: x.new_tensor([1.0]),
        "_to_copy": lambda: torch.ones(3).to(META),
        "_to_copy ": lambda: torch.ones(()).to(META),
        "index": lambda: x[order],
        "__bool__": lambda: bool(x.sum() > 0),
        "linalg_eigh": lambda: torch.linalg.eigh(torch.zeros(2, 2, device=META)),
    }
    for name, call in calls.items():
        with counts.Watch() as watch:
            call()
        assert len(watch.waits) == 1 and name.strip() in watch.waits[0], name
    with counts.Watch() as watch:
        torch.where(x > 0, x, 1) * torch.ones(()) + 2
    assert watch.waits == []  # numbers that go along with a kernel are no copies


def test_constants_are_made_once_and_follow_what_they_copy():
    assert constant((1, 2), torch.int64, META) is constant((1, 2), torch.int64, META)
    copies, mean = Copies(), torch.arange(3.0)
    first = copies.of(mean, torch.device("cpu"), torch.float64)
    assert first is copies.of(mean, torch.device("cpu"), torch.float64)
    mean += 1
    assert copies.of(mean, torch.device("cpu"), torch.float64).tolist() == [1, 2, 3]
    scaler = LandmarkScaler(torch.zeros(136), torch.ones(136), 2)
    points = torch.rand(1, 68, 2).double()
    scaler.transform(points)
    scaler.mean = torch.ones(136)  # another tensor, not the copy of the old one
    assert torch.equal(
        scaler.transform(points), LandmarkScaler(torch.ones(136), torch.ones(136), 2).transform(points)
    )


class Scaled(MixedPrecision):
    """Loss scaling without autocast, which makes it run on a CPU."""

    def __init__(self, scale):
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))

    def forward_context(self):
        return contextlib.nullcontext()

    def convert_input(self, data):
        return data


@pytest.mark.parametrize("pinned", [False, True])
def test_a_step_that_overflows_leaves_the_stacked_weights_alone_and_counts_for_nothing(
    tmp_path, monkeypatch, pinned
):
    monkeypatch.setattr(
        train, "make_fabric", lambda *_: Fabric(accelerator="cpu", devices=1, plugins=Scaled(2.0**127))
    )
    config = toy_config(steps=8, penalty_step="proximal", norm="laf", gamma=0.1, pinned=pinned, momentum=0.9)
    seen, taken = [], []

    def watch(run):
        if run.step == 0:
            run.optimiser.optimizer.register_step_post_hook(lambda *_: taken.append(run.step))
        weights = [t.detach().clone() for layer in run.networks.net.stacks().values() for t in layer]
        seen.append((len(taken), run.regulariser.steps, run.regulariser.push, weights))

    fit(config, SETS, out=tmp_path / "run", progress=False, accelerator="cpu", watch=watch)
    assert 0 < len(taken) < config.steps  # some steps overflowed, some did not
    push = 0.0
    for (before, _, _, old), (after, steps, now, new) in zip(seen, seen[1:], strict=False):
        assert steps == after
        if after > before:
            push = 0.9 * push + 0.1
            assert not all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        else:
            assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        assert now == pytest.approx(push)
