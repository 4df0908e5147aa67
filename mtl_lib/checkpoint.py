"""Checkpoints: one safetensors file each, written whole or not at all, never unpickled.

A checkpoint holds everything that the next step depends on: weights, batch-norm statistics, momentum and
random states as tensors; step, configuration, versions and whatever else is small as JSON in the file's
metadata.  A digest over all tensors and the metadata tells a damaged file from a good one (the format itself
would not notice a flipped bit).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mtl_lib import __version__, atomic
from mtl_lib.config import TrainConfig, differences
from mtl_lib.errors import CheckpointError

FORMAT = "mtl-checkpoint-1"


def _digest(tensors: Mapping[str, Tensor], metadata: str) -> str:
    digest = hashlib.blake2b(metadata.encode(), digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()


def save_checkpoint(path: str | os.PathLike, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """Write tensors and metadata to one file, atomically.

    Parameters
    ----------
    path : path-like
        The file; a crash leaves the old one or the new one.
    tensors : mapping of str to Tensor
        From any device, in any layout.
    meta : mapping
        What JSON can hold.  Format and version of the package are added.

    Returns
    -------
    pathlib.Path
        ``path``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(f"{folder}/last.safetensors", {"w": torch.ones(2)}, {"step": 3})
    ...     tensors, meta = load_checkpoint(path)
    >>> tensors["w"], meta["step"]
    (tensor([1., 1.]), 3)
    """
    # clone: safetensors refuses tensors that share memory, as the T tasks' stacked weights do.
    plain = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
    text = json.dumps({**meta, "format": FORMAT, "version": __version__}, sort_keys=True)
    metadata = {"mtl": text, "digest": _digest(plain, text)}
    return atomic.write_bytes(path, save(plain, metadata=metadata))


def load_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint and verify it.

    Parameters
    ----------
    path : path-like
        A file that :func:`save_checkpoint` wrote.

    Returns
    -------
    tensors : dict of str to Tensor
        On the CPU.
    meta : dict
        The metadata.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if "mtl" not in metadata:
                raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of this package")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or not a safetensors file ({error})") from None
    if metadata.get("digest") != _digest(tensors, metadata["mtl"]):
        raise CheckpointError(
            f"{path}: damaged, its content does not match its digest; use another checkpoint"
        )
    meta = json.loads(metadata["mtl"])
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {meta.get('format')}, written by version {meta.get('version')}; this is version"
            f" {__version__}, which reads {FORMAT}"
        )
    return tensors, meta


def check_config(path: str | os.PathLike, meta: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuse a checkpoint of another configuration.

    Raises
    ------
    CheckpointError
        Naming every setting that differs and matters.
    """
    different = differences(meta.get("config", {}), config.to_dict())
    if different:
        raise CheckpointError(
            f"{path}: made with another configuration ({'; '.join(different)}); use the stored settings, or"
            " start a new run in another folder"
        )


def collect(model: nn.Module, *optimisers: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights, buffers and the optimisers' tensors under readable names.

    Parameters
    ----------
    model : Module
        All that is trained.
    *optimisers : Optimizer
        Over (some of) the model's parameters, each parameter in at most one of them; any whose state consists
        of tensors (SGD, Adam).

    Returns
    -------
    dict of str to Tensor
        ``model/<name>`` and ``optimiser/<parameter>/<state>``.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> sorted(collect(net, torch.optim.SGD(net.parameters(), lr=0.1)))
    ['model/bias', 'model/weight']
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for optimiser in optimisers:
            for key, value in optimiser.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimiser/{name}/{key}"] = value
    return tensors


def restore(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    *optimisers: torch.optim.Optimizer,
) -> None:
    """Put what :func:`collect` gave back into a model and its optimisers, in place.

    Parameters
    ----------
    path : path-like
        For messages.
    tensors : mapping of str to Tensor
        From :func:`load_checkpoint`.
    model : Module
        Of the same architecture.
    *optimisers : Optimizer
        Over the same parameters.  With none, only the model is restored.

    Raises
    ------
    CheckpointError
        If names or shapes do not fit the model.
    """
    state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    own = model.state_dict()
    wrong = [
        f"{name} ({tuple(state[name].shape) if name in state else 'missing'} in the file,"
        f" {tuple(own[name].shape) if name in own else 'missing'} in the model)"
        for name in sorted(set(state) | set(own))
        if name not in state or name not in own or state[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"{path}: does not fit the model: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(state)
    if not optimisers:
        return
    parameters = dict(model.named_parameters())
    owners = {id(p): o for o in optimisers for group in o.param_groups for p in group["params"]}
    for key, value in tensors.items():
        if key.startswith("optimiser/"):
            name, entry = key.removeprefix("optimiser/").rsplit("/", 1)
            if name not in parameters:
                raise CheckpointError(f"{path}: has an optimiser state for {name}, which the model lacks")
            parameter = parameters[name]
            if id(parameter) not in owners:
                raise CheckpointError(f"{path}: has an optimiser state for {name}, which nothing trains here")
            if value.shape == parameter.shape:  # momentum lies in memory as its weight does
                value = torch.empty_like(parameter, requires_grad=False).copy_(value)
            owners[id(parameter)].state[parameter][entry] = value
