"""The training steps that the benchmark compares: the package's, and what a user would write without it."""

import contextlib
import time
from collections.abc import Callable

import torch
from norm_ways import unfoldings
from torch import nn

from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches
from mtl_lib.regularisers import make_regulariser
from mtl_lib.tasks import Networks, make_tasks
from mtl_lib.transforms import augment
from mtl_lib.unfold import paper_order

PARTS = ("data", "forward", "backward", "penalty", "optimiser")
YARDSTICK = "two plain networks"
FORKS = (6, 14, 26, 32)

PENALTIES = {
    "LAF": {},
    "Tucker": {"norm": "tucker"},
    "TT": {"norm": "tt"},
    "norm-only": {"norm": "norm_only"},
    "deviation": {"norm": "deviation"},
    "LAF, proximal": {"penalty_step": "proximal"},
    "deviation, proximal": {"norm": "deviation", "penalty_step": "proximal"},
    "LAF, pinned": {"pinned": True},
}
OTHERS = {
    "soft, gamma 0": {"gamma": 0.0},
    **{f"hard after {k}": {"sharing": "hard", "hard_after": k} for k in FORKS},
    "cross-stitch": {"sharing": "cross_stitch"},
    "factorised, LAF": {"sharing": "factorised"},
    "factorised, TT": {"sharing": "factorised", "factorisation": "tt"},
}
WITH_ADA = (
    "LAF",
    "Tucker",
    "TT",
    "norm-only",
    "deviation",
    *(f"hard after {k}" for k in FORKS),
    "cross-stitch",
)
EAGER = ("laf", "tucker", "tt")


def toy_sets(tasks: int, pixels: int, count: int) -> list[FaceSet]:
    """Noise in the format of faces: expressions and landmarks in turn."""
    g = torch.Generator().manual_seed(0)
    sets = []
    for t in range(tasks):
        images = torch.randint(0, 256, (count, 1, pixels, pixels), dtype=torch.uint8, generator=g)
        who = tuple(f"p{i}" for i in range(count))
        if t % 2 == 0:
            classes = tuple(f"state {i}" for i in range(13))
            sets.append(FaceSet(images, torch.arange(count) % 13, classes, None, who, "noise"))
        else:
            points = pixels * torch.rand(count, 68, 2, generator=g)
            sets.append(FaceSet(images, None, (), points, who, "noise"))
    return sets


class Clock:
    """Splits a step into parts; on a GPU the host waits at every seam if ``split`` is set."""

    def __init__(self, device: str, split: bool = True):
        self.device, self.split = device, split
        self.now = time.process_time if device == "cpu" else time.perf_counter

    def start(self) -> None:
        self.parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.last = self._read(True)
        self.began = self.last

    def end(self, part: str) -> None:
        now = self._read(self.split)
        self.parts[part] += now - self.last
        self.last = now

    def total(self) -> float:
        return self._read(True) - self.began

    def _read(self, wait: bool) -> float:
        if wait and self.device != "cpu":
            torch.cuda.synchronize()
        return self.now()


class Setting:
    """What all arms of a comparison have in common."""

    def __init__(self, config: TrainConfig, tasks: int, device: str, precision: str):
        self.config, self.count, self.device, self.precision = config, tasks, device, precision
        self.sets = toy_sets(tasks, config.pixels, max(64, 2 * config.batch_size))
        # Which of the two tasks of the book a set is for; more than two are the same two again.
        names = ["expression" if s.labels is not None else "landmarks" for s in self.sets]
        pair = dict(zip(names, self.sets, strict=True))
        self.tasks = [make_tasks(TrainConfig(tasks=(name,)), pair)[0] for name in names]
        self.batches = TaskBatches(self.sets, config.batch_size, 0, device, augment)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.half)


class LibraryArm:
    """The package's networks, regulariser and alignment, in the order of its loop."""

    def __init__(self, setting: Setting, **changes):
        self.setting = setting
        values = {"ada": 0.0, "gamma": 1e-3, "init": "independent", "compile": False, **changes}
        self.config = TrainConfig.from_dict({**setting.config.to_dict(), **values})
        self.networks = Networks(self.config, setting.tasks).to(setting.device).train()
        self.optimiser = torch.optim.SGD(self.networks.parameters(), lr=1e-4, momentum=0.9)
        self.regulariser = make_regulariser(self.config, self.networks.net.stacks())
        if self.config.compile:
            self.networks.net.trunk.compile()

    def step(self, number: int, clock: Clock) -> None:
        setting = self.setting
        clock.start()
        batches = setting.batches.batch(number)
        clock.end("data")
        self.optimiser.zero_grad()
        clock.end("optimiser")
        with setting.autocast():
            outputs, domain, _ = self.networks([b.images for b in batches], 0.5)
            total = domain + sum(
                t.loss(o, b) for t, o, b in zip(setting.tasks, outputs, batches, strict=True)
            )
        clock.end("forward")
        total.backward()
        clock.end("backward")
        stacks = self.networks.net.stacks()
        self.regulariser.add_gradient_(stacks)
        clock.end("penalty")
        self.optimiser.step()
        clock.end("optimiser")
        self.regulariser.after_step_(stacks, 1e-4)
        clock.end("penalty")


class PlainArm:
    """What a user would write without the package: T networks, T heads; at most a nuclear norm in the loss."""

    def __init__(
        self, setting: Setting, tasks: int | None = None, eager: str | None = None, ada: bool = False
    ):
        self.setting, self.eager = setting, eager
        self.tasks = setting.count if tasks is None else tasks
        config = setting.config
        self.nets = nn.ModuleList(resnet34(1, config.width, config.blocks) for _ in range(self.tasks))
        features = self.nets[0].out_features
        self.heads = nn.ModuleList(nn.Linear(features, t.outputs) for t in setting.tasks[: self.tasks])
        self.classifier = nn.Sequential(
            nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, self.tasks)
        )
        self.ada = ada
        modules = nn.ModuleList([self.nets, self.heads] + [self.classifier] * ada)
        modules.to(setting.device, memory_format=setting.layout).train()
        self.names = shareable_layers(self.nets[0])
        self.optimiser = torch.optim.SGD(modules.parameters(), lr=1e-4, momentum=0.9)

    def step(self, number: int, clock: Clock) -> None:
        setting = self.setting
        clock.start()
        batches = setting.batches.batch(number)[: self.tasks]
        clock.end("data")
        self.optimiser.zero_grad()
        clock.end("optimiser")
        with setting.autocast():
            total, features = 0.0, []
            for net, head, task, batch in zip(self.nets, self.heads, setting.tasks, batches, strict=False):
                features.append(net(batch.images.contiguous(memory_format=setting.layout)))
                total = total + task.loss(head(features[-1]), batch)
            if self.ada:
                # f - 0.1 (f - f.detach()) ... written the short way: value f, gradient times -0.1.
                turned = [1.1 * f.detach() - 0.1 * f for f in features]
                domains = torch.cat([torch.full((len(f),), t) for t, f in enumerate(features)]).to(
                    setting.device
                )
                total = total + nn.functional.cross_entropy(
                    self.classifier(torch.cat(turned)).float(), domains
                )
        if self.eager:
            for name in self.names:
                stack = paper_order(torch.stack([net.get_parameter(name) for net in self.nets]))
                for matrix, _ in unfoldings(stack, self.eager):
                    total = total + 1e-3 * torch.linalg.matrix_norm(matrix, ord="nuc")
        clock.end("forward")
        total.backward()
        clock.end("backward")
        self.optimiser.step()
        clock.end("optimiser")


def arms(setting: Setting, eager: tuple[str, ...]) -> dict[str, Callable]:
    """Everything that is compared, by name."""
    found: dict[str, Callable] = {
        "single task": lambda: PlainArm(setting, 1),
        f"{YARDSTICK} + ADA": lambda: PlainArm(setting, ada=True),
    }
    for name, changes in {**OTHERS, **PENALTIES}.items():
        if name.startswith("hard") and setting.config.hard_after < changes["hard_after"]:
            continue  # the toy network has not so many layers
        found[name] = lambda c=changes: LibraryArm(setting, **c)
        if name in WITH_ADA:
            found[f"{name} + ADA"] = lambda c=changes: LibraryArm(setting, **c, ada=0.1)
    if setting.config.compile:
        found["LAF, compiled"] = lambda: LibraryArm(setting, compile=True)
    for kind in eager:
        found[f"eager {kind}"] = lambda k=kind: PlainArm(setting, eager=k)
        found[f"eager {kind} + ADA"] = lambda k=kind: PlainArm(setting, eager=k, ada=True)
    return found
