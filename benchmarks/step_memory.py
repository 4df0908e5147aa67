"""Memory of a training step, computed from shapes, and checked on a small case that is measured."""

import functools
import math
import os
import subprocess
import sys

import torch
from step_arms import Clock, LibraryArm, Setting, toy_sets

from mtl_lib.backbones import resnet34
from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.loaders import TaskBatches
from mtl_lib.transforms import augment

MIB = 2**20


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


def memory_of_a_step(config: TrainConfig, precision: str, grown: float) -> dict:
    """Compare the MiB by which a step of two plain networks has grown with what the formula says of it."""
    parts = memory_rows(config, config.batch_size, precision != "fp32")["two plain networks, or LAF"]
    computed = parts["activations"] + parts["in flight"]
    print(f"memory: a step grows by {grown:.0f} MiB, computed {computed:.0f}; ratio {grown / computed:.2f}")
    return {"table": "memory check", "arm": "two plain networks, or LAF", "tasks": 2, "width": config.width,
            "batch": config.batch_size, "precision": precision, "megabytes": f"{grown:.1f}",
            "ratio": f"{grown / computed:.3f}"}  # fmt: skip


def peak_of_a_step(batch: int) -> float:
    """Peak MiB of a process of its own that takes two LAF steps of a width-16 network."""
    command = [sys.executable, __file__, str(batch)]
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


if __name__ == "__main__":
    probe(int(sys.argv[1]))
