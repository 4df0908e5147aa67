"""Several processes, one run: who sees which pictures, what they agree on, and batch norm over all of them.

Every process (one per GPU, started by ``torchrun``) holds all networks and takes its share of every batch.
Lightning Fabric averages the gradients of the data terms before anyone steps; the penalty is a function of
the weights alone, so that every process adds the same one and nobody adds it twice.
"""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError
from mtl_lib.loaders import Batch


def shard(batches: Sequence[Batch], part: int, parts: int) -> list[Batch]:
    """Return part ``part`` of ``parts`` equal, consecutive pieces of every task's batch.

    Which pictures a batch holds, and how they are augmented, does not depend on ``parts``: all processes draw
    the whole batch from the same seed and keep their piece.  That costs each the augmentation of all pictures
    and makes a run on eight GPUs see exactly what a run on one would.

    Parameters
    ----------
    batches : sequence of Batch
        One per task.
    part, parts : int
        Which piece, counted from 0, of how many.

    Examples
    --------
    >>> batch = Batch(torch.arange(4.0).view(4, 1, 1, 1), torch.arange(4), None, torch.arange(4))
    >>> shard([batch], 1, 2)[0].labels
    tensor([2, 3])
    """
    pieces = []
    for batch in batches:
        size = len(batch.index) // parts  # check_batch has seen to it that nothing is left over
        own = slice(part * size, (part + 1) * size)
        values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        pieces.append(Batch(**{name: None if v is None else v[own] for name, v in values.items()}))
    return pieces


def agreed(fabric: Fabric, flag: bool | Tensor) -> bool:
    """Whether any process says so; all get the same answer, and wait for it.

    Examples
    --------
    >>> agreed(Fabric(accelerator="cpu", devices=1), True)
    True
    """
    if fabric.world_size == 1:
        return bool(flag)
    value = torch.as_tensor(flag, device=fabric.device).float()
    return bool(fabric.all_reduce(value, reduce_op="max") > 0)


def averaged(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the mean over the processes: of means over equal pieces, so the mean over the whole batch.

    Examples
    --------
    >>> averaged(Fabric(accelerator="cpu", devices=1), torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return values if fabric.world_size == 1 else fabric.all_reduce(values, reduce_op="mean")


def check_batch(config: TrainConfig, processes: int) -> None:
    """Refuse a batch that does not fall into equal parts.

    Raises
    ------
    ConfigError
        Naming the numbers.

    Examples
    --------
    >>> check_batch(TrainConfig(batch_size=32, accumulate=4), processes=2)
    """
    parts = processes * config.accumulate
    if config.batch_size % parts:  # a mean of means over unequal parts is not the mean over the batch
        raise ConfigError(
            f"batch_size is {config.batch_size}, which {processes} process(es) times accumulate"
            f" {config.accumulate} do not divide; choose a multiple of {parts}"
        )


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' pictures together; for CPUs.

    PyTorch's own ``SyncBatchNorm`` does this on GPUs and refuses CPUs.  Here mean and variance are
    averaged by a sum that autograd knows, so that the gradient crosses the processes as well.  With one
    process it is batch norm.

    Examples
    --------
    >>> x = torch.randn(4, 3, 5, 5)
    >>> torch.allclose(SynchronisedBatchNorm2d(3)(x), nn.BatchNorm2d(3)(x), atol=1e-5)
    True
    """

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Return the normalised maps; running statistics are updated as ``BatchNorm2d`` does."""
        if not self.training:
            return super().forward(x)
        wide = x.to(self.weight.dtype)
        mean = _mean_of_all(wide.mean((0, 2, 3)))[:, None, None]
        variance = _mean_of_all((wide - mean).square().mean((0, 2, 3)))[:, None, None]
        count = x.numel() // x.shape[1] * _processes()
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return ((wide - mean) * scale + self.bias[:, None, None]).to(x.dtype)


def _processes() -> int:
    distributed = torch.distributed
    known = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if known else 1


def _mean_of_all(values: Tensor) -> Tensor:
    """Mean over the processes, whose gradient flows back to all of them; all hold equally many pictures."""
    if _processes() == 1:
        return values
    from torch.distributed.nn.functional import all_reduce  # not in builds without distributed

    return all_reduce(values) / _processes()


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every ``BatchNorm2d`` in a network by one that counts the pictures of all processes.

    Parameters
    ----------
    module : Module
        Changed in place; parameters and buffers keep their names and identity.
    device : torch.device
        Where it will run: on GPUs PyTorch's ``SyncBatchNorm`` is taken.

    Examples
    --------
    >>> net = synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), torch.device("cpu"))
    >>> type(net[0]).__name__
    'SynchronisedBatchNorm2d'
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            # Same parameters, same buffers, another forward: nothing has to be copied.
            child.__class__ = SynchronisedBatchNorm2d
    return module
