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
parts are those of the arm's best step.  With ``--paper-batch`` all arms take turns, and a small batch warms up each.  *eager* arms are the plain loop with ``torch.linalg.matrix_norm(..., ord="nuc")``
of the reshaped stacks added to the loss and left to autograd.

A step falls into five parts: ``data`` (drawing, augmenting and normalising the batches, from pictures kept on the
device), ``forward`` (with the losses and the domain classifier), ``backward``, ``penalty`` (all that the regulariser does),
``optimiser``.  The eager arms' penalty is hidden in forward and backward.  On a CPU processor times of one thread; on a
GPU wall times, the parts with the host waiting at each seam, the total without.  Half precision is without loss scaling.

All networks start independently: equal ones are the special case in which autograd of a nuclear norm is undefined.
"""

import argparse
import dataclasses
import functools
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import machine, synchronisations, write_rows
from step_arms import EAGER, PARTS, YARDSTICK, Clock, LibraryArm, PlainArm, Setting, arms
from step_memory import memory_of_a_step, memory_table

from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory, start_memory_record

TARGET_STEP = 1.05  # LAF + ADA, in steps of two plain networks; a GPU target
TARGET_LAF = 0.03  # share of LAF in its step; a GPU target
RESULTS = Path("data/results/training_step_benchmark.csv")
COLUMNS = f"table arm tasks width batch precision {' '.join(PARTS)} seconds ratio spread repeats share syncs megabytes torch machine date"
KEY = ("table", "width", "batch", "precision")
PAPER_ARMS = ("single task", "soft, gamma 0", "LAF", "LAF + ADA")


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
        syncs = synchronisations(lambda a=arm: a.step(0, Clock("cpu"))) if setting.device != "cpu" else ""
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


def keep_rows(where: str, some: bool, rows: list[dict]) -> None:
    """Record the rows; with ``some``, other arms of the same table and setting stay."""

    def order(row: dict) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in KEY)

    write_rows(RESULTS, COLUMNS, rows, (*KEY, "tasks", "arm") if some else KEY, where, order)


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
    arguments = parser.parse_args()
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
    some = bool(arguments.only) or arguments.paper_batch
    keep = functools.partial(keep_rows, where, some) if arguments.record else lambda rows: None
    if arguments.paper_batch:
        full = TrainConfig(width=64, batch_size=256, hard_after=32)
        paper_batch(device, precision, min(repeats, 2), 8, full, keep)
        return
    if arguments.width:
        settings = [(config, eager) for config, eager in settings if config.width == arguments.width]
    rows: list[dict] = []
    for config, eager in settings if "step" in arguments.tables else ():
        setting = Setting(dataclasses.replace(config, compile=arguments.compile), 2, device, precision)
        step_table(setting, eager, repeats, arguments.only, rows)
        keep(rows)  # as it comes: an interruption loses nothing
    if "growth" in arguments.tables:
        growth_table(*growth, device, repeats, precision, rows)
    if "memory" in arguments.tables:
        memory_table(rows, not arguments.quick)
    keep(rows)


if __name__ == "__main__":
    main()
