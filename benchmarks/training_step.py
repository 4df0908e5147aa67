r"""Time and memory of one training step, for every way of sharing, with and without adversarial alignment.

Run from the root of the repository::

    python benchmarks/training_step.py            # on a GPU the paper's batch; on a CPU two small ones: ten minutes
    python benchmarks/training_step.py --quick    # a toy network: under a minute
    python benchmarks/training_step.py --record   # also writes data/results/training_step_benchmark.csv
    python benchmarks/training_step.py --paper-batch    # on a CPU: few arms, two steps each of 256 + 256 pictures
    python benchmarks/training_step.py --tables step --only LAF "hard after" --compile    # some arms; LAF compiled too

The yardstick is *two plain ResNet-34s*, written as a user would write them: two networks, two heads, two losses, SGD.
Every other arm is timed in turn with it (one step of the one, one of the other, ...), so that a machine that gets
slower or faster does so for both; ``ratio`` is the median over these pairs, with half their range beside it.  Seconds and
parts are those of the arm's best step.  With ``--paper-batch`` all arms take turns, and eight pictures warm up each.  *eager* arms are the plain loop with ``torch.linalg.matrix_norm(..., ord="nuc")``
of the reshaped stacks added to the loss and left to autograd.

A step falls into five parts: ``data`` (drawing, augmenting and normalising the batches, from pictures kept on the
device), ``forward`` (with the losses and the domain classifier), ``backward``, ``penalty`` (all that the regulariser does),
``optimiser``.  The eager arms' penalty is hidden in forward and backward.  On a CPU processor times of one thread; on a
GPU wall times, the parts with the host waiting at each seam, the total without.  Half precision is without loss scaling.

All networks start independently: equal ones are the special case in which autograd of a nuclear norm is undefined.
"""

import argparse
import contextlib
import csv
import dataclasses
import datetime
import functools
import io
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mtl_lib import atomic
from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory, start_memory_record
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches
from mtl_lib.regularisers import make_regulariser
from mtl_lib.tasks import Networks, make_tasks
from mtl_lib.transforms import augment
from mtl_lib.unfold import paper_order, tt_unfold, unfold

PARTS = ("data", "forward", "backward", "penalty", "optimiser")
YARDSTICK = "two plain networks"
TARGET_STEP = 1.05  # LAF + ADA, in steps of two plain networks; a GPU target
TARGET_LAF = 0.03  # share of LAF in its step; a GPU target
RESULTS = Path("data/results/training_step_benchmark.csv")
COLUMNS = f"table arm tasks width batch precision {' '.join(PARTS)} seconds ratio spread repeats share syncs megabytes torch machine date"
MIB = 2**20

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
    **{f"hard after {k}": {"sharing": "hard", "hard_after": k} for k in (6, 14, 26, 32)},
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
    *(f"hard after {k}" for k in (6, 14, 26, 32)),
    "cross-stitch",
)
EAGER = ("laf", "tucker", "tt")
PAPER_ARMS = ("single task", "soft, gamma 0", "LAF", "LAF + ADA")


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


# --- Arms.  Each is made for a setting and takes one step at a time.


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
                for matrix in matrices(stack, self.eager):
                    total = total + 1e-3 * torch.linalg.matrix_norm(matrix, ord="nuc")
        clock.end("forward")
        total.backward()
        clock.end("backward")
        self.optimiser.step()
        clock.end("optimiser")


def matrices(x: torch.Tensor, kind: str) -> list[torch.Tensor]:
    """The unfoldings that a kind sums over."""
    if kind == "tt":
        return [tt_unfold(x, k) for k in range(1, x.ndim)]
    return [unfold(x, i) for i in ([x.ndim - 1] if kind == "laf" else range(x.ndim))]


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


# --- Time.


def timed_pair(arm, yardstick, device: str, repeats: int) -> tuple[dict[str, float], float, list[float]]:
    """Parts and total of the arm's best step, and the ratios of all pairs of steps, taken in turn."""
    clock = Clock(device)
    best, parts, ratios = math.inf, {}, []
    for number in range(repeats + 1):
        yardstick.step(number, clock)
        reference = clock.total()
        arm.step(number, clock)
        spent = clock.total()
        if number:  # the first step warms up
            ratios.append(spent / reference)
            if spent < best:
                best, parts = spent, clock.parts
    if device != "cpu":  # again, in rounds of ten steps, without waiting at the seams
        clock, ratios, best = Clock(device, split=False), [], math.inf
        for number in range(repeats):
            rounds = []
            for each in (yardstick, arm):
                torch.cuda.synchronize()
                began = time.perf_counter()
                for inner in range(10):
                    each.step(10 * number + inner, clock)
                torch.cuda.synchronize()
                rounds.append((time.perf_counter() - began) / 10)
            ratios.append(rounds[1] / rounds[0])
            best = min(best, rounds[1])
    return parts, best, ratios


def host_waits(arm) -> int:
    """How often a step makes the host wait for the GPU."""
    clock = Clock("cpu")  # one that does not wait itself
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            arm.step(0, clock)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(w.message) for w in caught)


def head(setting: Setting) -> None:
    """Print what is timed, and the names of the columns."""
    batch = " + ".join([str(setting.config.batch_size)] * setting.count)
    print(f"\nOne step, width {setting.config.width}, batch {batch}, {setting.precision}, {setting.device}")
    print(f"{'':24}{'seconds':>9}{'ratio':>8}{'':9}" + "".join(f"{part:>11}" for part in PARTS))


def told(
    name: str, setting: Setting, parts: dict[str, float], spent: float, ratios: list[float], syncs=""
) -> dict:
    """Print an arm's line, and return its row."""
    whole = sum(parts.values())
    ratio, spread = statistics.median(ratios), (max(ratios) - min(ratios)) / 2
    shares = "".join(f"{parts[part] / whole:>11.1%}" for part in PARTS)
    waits = f"   {syncs} waits for the GPU" if syncs != "" else ""
    print(f"{name:24}{spent:9.4f}{ratio:8.3f} +-{spread:6.3f}{shares}{waits}", flush=True)
    return {"table": "step", "arm": name, "tasks": setting.count, "width": setting.config.width,
            "batch": setting.config.batch_size, "precision": setting.precision,
            **{part: f"{parts[part]:.4g}" for part in PARTS}, "seconds": f"{spent:.4g}", "ratio": f"{ratio:.4g}",
            "spread": f"{spread:.2g}", "repeats": len(ratios), "share": f"{parts['penalty'] / whole:.4g}",
            "syncs": syncs}  # fmt: skip


def step_table(
    setting: Setting, eager: tuple[str, ...], repeats: int, only: list[str], rows: list[dict]
) -> None:
    """Print and keep the step time of every arm."""
    head(setting)
    torch.manual_seed(0)
    yardstick = PlainArm(setting)
    found = {YARDSTICK: lambda: PlainArm(setting), **arms(setting, eager)}
    ratios, shares, noise = {}, {}, 0.0
    for name, make in found.items():
        if only and not any(part in name for part in only):
            continue
        torch.manual_seed(0)
        began = os.times()
        arm = make()
        if "compiled" in name:
            rows.append(first_step(name, setting, arm, began))
        parts, spent, pairs = timed_pair(arm, yardstick, setting.device, repeats)
        syncs = host_waits(arm) if setting.device != "cpu" else ""
        del arm
        rows.append(told(name, setting, parts, spent, pairs, syncs))
        ratios[name], shares[name] = statistics.median(pairs), parts["penalty"] / sum(parts.values())
        noise = max(noise, (max(pairs) - min(pairs)) / 2 / ratios[name])
    if ratios:
        print(f"  +- is half the range of {repeats} pairs of steps; at most {noise:.0%} of a ratio")
    judge(ratios, shares, setting.device)


def first_step(name: str, setting: Setting, arm, began) -> dict:
    """Take an arm's first step, in which it is compiled; a row with the seconds of processors since ``began``."""
    arm.step(0, Clock(setting.device))
    now = os.times()  # the compiler's own processes included
    spent = sum(now[:4]) - sum(began[:4])
    print(
        f"{name}: {spent:.0f} s of processor time, {now.elapsed - began.elapsed:.0f} s by the clock, with the first step"
    )
    return {"table": "first step", "arm": name, "tasks": setting.count, "width": setting.config.width,
            "batch": setting.config.batch_size, "precision": setting.precision, "seconds": f"{spent:.4g}"}  # fmt: skip


def paper_batch(
    device: str, precision: str, repeats: int, warm: int, base: TrainConfig, keep: Callable
) -> list[dict]:
    """Time the arms of ``PAPER_ARMS`` in turn, few steps of each, and the memory of the first.

    Parameters
    ----------
    device, precision
        As everywhere.
    repeats : int
        Steps of every arm.
    warm : int
        Pictures per task of the step that warms up.
    base : TrainConfig
        The paper's batch and width.
    keep : callable
        Called with the rows after every round, so that an interruption loses no more than one.
    """
    setting = Setting(base, 2, device, precision)
    small = Setting(TrainConfig.from_dict({**base.to_dict(), "batch_size": warm}), 2, device, precision)
    found = {YARDSTICK: lambda: PlainArm(setting), **arms(setting, ())}
    made = {}
    for name in (YARDSTICK, *PAPER_ARMS):
        torch.manual_seed(0)
        made[name] = found[name]()
        made[name].setting = small
        made[name].step(0, Clock(device))
        made[name].setting = setting
    clock, seen, rows, memory = Clock(device), {name: [] for name in made}, [], []
    for number in range(repeats):
        head(setting)
        rows = list(memory)
        for name, arm in made.items():
            held = start_memory_record(torch.device(device))
            arm.step(number, clock)
            seen[name].append((clock.total(), clock.parts))
            if not memory:  # the very first: later ones use again what it has freed
                grown = peak_memory(torch.device(device)) - held
                memory.append(memory_of_a_step(base, precision, grown))
                rows = list(memory)
            pairs = [mine[0] / its[0] for mine, its in zip(seen[name], seen[YARDSTICK], strict=True)]
            spent, parts = min(seen[name], key=lambda each: each[0])
            rows.append(told(name, setting, parts, spent, pairs))
        keep(rows)
    return rows


def memory_of_a_step(config: TrainConfig, precision: str, grown: float) -> dict:
    """Compare the MiB by which a step of two plain networks has grown with what the formula says of it."""
    parts = memory_rows(config, config.batch_size, precision != "fp32")["two plain networks, or LAF"]
    computed = parts["activations"] + parts["in flight"]
    print(f"memory: a step grows by {grown:.0f} MiB, computed {computed:.0f}; ratio {grown / computed:.2f}")
    return {"table": "memory check", "arm": "two plain networks, or LAF", "tasks": 2, "width": config.width,
            "batch": config.batch_size, "precision": precision, "megabytes": f"{grown:.1f}",
            "ratio": f"{grown / computed:.3f}"}  # fmt: skip


def judge(ratios: dict[str, float], shares: dict[str, float], device: str) -> None:
    """Print the ratios that have a target; the targets are for a large GPU at the paper's batch."""
    note = "" if device != "cpu" else "  (a target for a GPU at batch 256; here a CPU)"

    def tell(what: str, found: float, target: float) -> None:
        print(f"  {what}: {found:.3f}, target {target:.2f}{' MISSED' if found > target else ''}{note}")

    if "LAF + ADA" in ratios:
        tell("LAF + ADA over two plain networks", ratios["LAF + ADA"], TARGET_STEP)
    if "LAF" in shares:
        tell("share of LAF in its step", shares["LAF"], TARGET_LAF)
    for kind in EAGER:
        pair = [
            f"eager {kind} + ADA",
            f"{'LAF' if kind == 'laf' else kind.title() if kind == 'tucker' else 'TT'} + ADA",
        ]
        if all(name in ratios for name in pair):
            print(f"  {pair[1]} over the eager loop: {ratios[pair[1]] / ratios[pair[0]]:.3f}, to be below 1")


def growth_table(base: TrainConfig, counts: list[int], widths: list[int], device: str, repeats: int,
                 precision: str, rows: list[dict]) -> None:  # fmt: skip
    """Print how a LAF step and its penalty grow with the number of tasks and with the width."""
    print("\nGrowth of a LAF step; per task and weight, relative to the first line of each block")
    settings = [(t, base.width) for t in counts] + [(2, w) for w in widths]
    first: tuple[float, float] | None = None
    for place, (tasks, width) in enumerate(settings):
        setting = Setting(TrainConfig.from_dict({**base.to_dict(), "width": width}), tasks, device, precision)
        torch.manual_seed(0)
        arm, clock, best = LibraryArm(setting), Clock(device), None
        for number in range(repeats + 1):
            arm.step(number, clock)
            spent = clock.total(), clock.parts
            if number and (best is None or spent[0] < best[0]):
                best = spent
        weights = sum(w.numel() for ws in arm.networks.net.stacks().values() for w in ws)
        step, penalty = best[0] / weights, best[1]["penalty"] / weights
        if place in (0, len(counts)):
            first = step, penalty
        print(f"T = {tasks}, width {width:3}: {weights / 1e6:7.2f} M weights, step {best[0]:8.4f} s ({step / first[0]:.2f}), "
              f"penalty {1e3 * best[1]['penalty']:8.2f} ms ({penalty / first[1]:.2f})", flush=True)  # fmt: skip
        rows.append({"table": "growth", "arm": "LAF", "tasks": tasks, "width": width, "batch": base.batch_size,
                     "precision": precision, **{part: f"{best[1][part]:.4g}" for part in PARTS},
                     "seconds": f"{best[0]:.4g}"})  # fmt: skip


# --- Memory, computed from shapes.


def saved_per_picture(width: int, blocks: tuple[int, ...], pixels: int, size: int) -> int:
    """Bytes that one ResNet keeps of one picture for its backward pass.

    A convolution keeps its input, batch norm its input, an in-place ReLU its result, which is the next
    convolution's input; the pool keeps 8-byte places.  So two maps per convolution, and the picture.

    Parameters
    ----------
    width, blocks, pixels
        Of the network.
    size : int
        Bytes of a number: 4, or 2 under mixed precision.
    """
    side = math.ceil(pixels / 2)
    total = size * pixels**2 + 2 * size * width * side**2  # picture; stem before and after batch norm
    side = math.ceil(side / 2)
    total += (size + 8) * width * side**2  # pooled map and places
    for stage, count in enumerate(blocks):
        side = math.ceil(side / 2) if stage else side
        total += count * 4 * size * width * 2**stage * side**2
    return total


@functools.lru_cache
def count(width: int, blocks: tuple[int, ...]) -> int:
    """Parameters of one ResNet."""
    with torch.device("meta"):
        return sum(p.numel() for p in resnet34(1, width, blocks).parameters())


def memory_rows(config: TrainConfig, batch: int, mixed: bool) -> dict[str, dict[str, float]]:
    """MiB of weights, gradients, momentum, activations and what is passing, for two tasks, by arm."""
    size = 2 if mixed else 4
    one = count(config.width, config.blocks)
    kept = batch * saved_per_picture(config.width, config.blocks, config.pixels, size) / MIB
    # In flight: the gradients of the two maps around the largest batch norm, and its result.
    largest = 3 * batch * size * config.width * math.ceil(config.pixels / 2) ** 2 / MIB
    found = {}
    for name, nets, passes in (
        ("single task", 1, 1), ("two plain networks, or LAF", 2, 2), ("hard after 32", 1, 2), ("cross-stitch", 2, 4)
    ):  # fmt: skip
        weights = nets * one * 4 / MIB
        found[name] = {
            # Mixed precision keeps a 16-bit copy of the weights through the step.
            "weights": weights * (1.5 if mixed else 1), "gradients": weights, "momentum": weights,
            "activations": passes * kept, "in flight": largest,
        }  # fmt: skip
    return found


def memory_table(rows: list[dict], check: bool) -> None:
    """Print the computed peak at the paper's batch, and check the formula on a small case that is measured."""
    config = TrainConfig.for_budget("full")
    print(
        "\nMemory at the paper's batch (256 pictures per task, width 64, 96 x 96), computed, not measured; a T4 has 15 GB"
    )
    for mixed in (False, True):
        for name, parts in memory_rows(config, 256, mixed).items():
            total = sum(parts.values())
            listed = ", ".join(f"{key} {value:.0f}" for key, value in parts.items())
            precision = "fp16" if mixed else "fp32"
            print(f"{precision} {name:28}{total:7.0f} MiB  ({listed})")
            rows.append({"table": "memory", "arm": name, "tasks": 2, "width": config.width, "batch": 256,
                         "precision": precision, "megabytes": f"{total:.0f}"})  # fmt: skip
    print(
        "not counted: buffers of convolution algorithms, the allocator's reserve, the CUDA context (about 0.5 GB)"
    )
    if check:
        small = TrainConfig(width=16)
        few, many = (peak_of_a_step(batch) for batch in (32, 96))
        measured = (many - few) / 64
        parts = [memory_rows(small, batch, False)["two plain networks, or LAF"] for batch in (32, 96)]
        computed = sum(parts[1].values()) - sum(parts[0].values())
        kept = (parts[1]["activations"] - parts[0]["activations"]) / 64
        print(
            f"check at width 16 on the CPU: from 32 + 32 to 96 + 96 pictures a process grows by {measured:.3f} MiB for"
            f" every two pictures; computed {computed / 64:.3f}, of which {kept:.3f} kept; ratio {(many - few) / computed:.2f}"
        )
        rows.append({"table": "memory check", "arm": "two plain networks, or LAF", "tasks": 2, "width": 16, "batch": 96,
                     "precision": "fp32", "megabytes": f"{many - few:.1f}", "ratio": f"{(many - few) / computed:.3f}"})  # fmt: skip


def peak_of_a_step(batch: int) -> float:
    """Peak MiB of a process of its own that takes two LAF steps of a width-16 network."""
    command = [sys.executable, __file__, "--probe", str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def probe(batch: int) -> None:
    """What :func:`peak_of_a_step` starts."""
    torch.set_num_threads(1)
    setting = Setting(TrainConfig(width=16, batch_size=batch), 2, "cpu", "fp32")
    # All pictures that any of the probes needs, so that their number does not count.
    setting.batches = TaskBatches(toy_sets(2, 96, 192), batch, 0, "cpu", augment)
    arm = LibraryArm(setting)
    for number in range(2):
        arm.step(number, Clock("cpu"))
    print(
        peak_memory(torch.device("cpu"))
    )  # not ru_maxrss, which on Linux a process inherits from its parent


# --- The rest.


def machine(device: str) -> str:
    """The device, in words."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 0.0
    busy = f", busy with other work ({load:.0f} processes per core)" if load > 1.5 else ""
    return f"one thread of a {cores}-core {platform.machine().replace('_', '-')} CPU{busy}"


def record(rows: list[dict], where: str, some: bool = False) -> None:
    """Write the rows with versions and date, the whole file or nothing; rows of other tables and settings stay.

    With ``some`` those of other arms stay too.
    """

    def key(row: dict) -> tuple[str, ...]:
        return row["table"], str(row["width"]), str(row["batch"]), row["precision"]

    def old(row: dict) -> bool:
        return any(key(row) == key(new) and (not some or row["arm"] == new["arm"]) for new in rows)

    kept = []
    if RESULTS.exists():
        with RESULTS.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if not old(row)]
    common = {"torch": torch.__version__, "machine": where, "date": datetime.date.today().isoformat()}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS.split(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(kept + [{**row, **common} for row in rows], key=key))
    atomic.write_text(RESULTS, text.getvalue())
    print(f"written: {RESULTS}", flush=True)


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a toy network, one table each")
    parser.add_argument(
        "--only", nargs="+", default=[], help="arms whose name contains one of these, such as LAF"
    )
    parser.add_argument("--width", type=int, help="on a CPU: 16 or 64 alone")
    parser.add_argument(
        "--compile", action="store_true", help="also LAF with compiled networks: some minutes"
    )
    parser.add_argument(
        "--paper-batch", action="store_true",
        help="on a CPU, too: the paper's batch and width, few arms, nothing else (half a minute a step of one core)",
    )  # fmt: skip
    parser.add_argument(
        "--tables", nargs="+", default=["step", "growth", "memory"], choices=["step", "growth", "memory"]
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of everything (default: 5)")
    parser.add_argument(
        "--precision", choices=["fp32", "bf16", "fp16"], help="default: bf16 on a GPU, fp32 on a CPU"
    )
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        probe(arguments.probe)
        return
    torch.set_num_threads(1)
    device, repeats = arguments.device, arguments.repeats
    if device != "cpu":
        torch.set_float32_matmul_precision("high")
    precision = arguments.precision or ("fp32" if device == "cpu" else "bf16")
    where = machine(device)
    print(f"torch {torch.__version__}, {where}")
    if arguments.quick:
        toy = TrainConfig.for_budget("smoke", channels_last=True, hard_after=0)
        settings = [(toy, EAGER)]
        growth = toy, [2, 3], [4, 8]
    elif device == "cpu":
        # Eager Tucker and TT take minutes a step at width 64: an SVD with a thousand rows at every layer.
        settings = [
            (TrainConfig(width=16, batch_size=32, hard_after=32), EAGER),
            (TrainConfig(width=64, batch_size=8, hard_after=32), ("laf",)),
        ]
        growth = TrainConfig(width=16, batch_size=8), [2, 3, 5, 10], [8, 16, 32]
    else:
        settings = [(TrainConfig(width=64, batch_size=256, hard_after=32), EAGER)]
        growth = TrainConfig(width=64, batch_size=128), [2, 3, 5], [16, 32, 64]
    rows: list[dict] = []
    if arguments.paper_batch:
        full = TrainConfig(width=64, batch_size=256, hard_after=32)
        keep = functools.partial(record, where=where, some=True) if arguments.record else lambda rows: None
        paper_batch(device, precision, min(repeats, 2), 8, full, keep)
        return
    if arguments.width:
        settings = [(config, eager) for config, eager in settings if config.width == arguments.width]
    for config, eager in settings if "step" in arguments.tables else ():
        setting = Setting(dataclasses.replace(config, compile=arguments.compile), 2, device, precision)
        step_table(setting, eager, repeats, arguments.only, rows)
        if arguments.record:  # as it comes: an interruption loses nothing
            record(rows, where, some=bool(arguments.only))
    if "growth" in arguments.tables:
        growth_table(*growth, device, repeats, precision, rows)
    if "memory" in arguments.tables:
        memory_table(rows, not arguments.quick)
    if arguments.record:
        record(rows, where, some=bool(arguments.only))


if __name__ == "__main__":
    main()
