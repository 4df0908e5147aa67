"""Everything that the next step depends on, as tensors and a little JSON: what a checkpoint keeps.

A step is a function of the configuration, the data, the number of steps done, and what is collected here:
weights and batch statistics, the optimisers' momentum, the tasks' own numbers (class weights, the scaling of
landmarks), what the penalty remembers, the random states, and the scale of 16-bit gradients.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mtl_lib import checkpoint
from mtl_lib.tasks import Networks, Task


def gather(
    networks: Networks,
    optimisers: Sequence[torch.optim.Optimizer],
    tasks: Sequence[Task],
    kept: Mapping[str, Tensor],
    fabric: Fabric,
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint.

    Parameters
    ----------
    networks : Networks
        All that is trained.
    optimisers : sequence of Optimizer
        Whatever moves it.
    tasks : sequence of Task
        Whose :meth:`state` is kept under ``task/<name>/``.
    kept : mapping of str to Tensor
        Anything else, under ``kept/``.
    fabric : Fabric
        Whose device says which random states there are.
    """
    tensors = checkpoint.collect(networks, *optimisers)
    tensors |= {f"task/{task.name}/{key}": v for task in tasks for key, v in task.state().items()}
    tensors |= {f"kept/{name}": value for name, value in kept.items()}
    tensors["rng/cpu"] = torch.get_rng_state()
    if fabric.device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(fabric.device)
    return tensors


def scatter(
    path: Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    networks: Networks,
    optimisers: Sequence[torch.optim.Optimizer],
    fabric: Fabric,
) -> dict[str, Tensor]:
    """Put a checkpoint back in place, and return what was ``kept`` (on the CPU).

    Raises
    ------
    CheckpointError
        If it does not fit the networks or the optimisers.
    """
    checkpoint.restore(path, tensors, networks, *optimisers)
    torch.set_rng_state(tensors["rng/cpu"])
    if "rng/cuda" in tensors and fabric.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng/cuda"], fabric.device)
    fabric.strategy.precision.load_state_dict(meta["scaler"])
    return {k.removeprefix("kept/"): v for k, v in tensors.items() if k.startswith("kept/")}
