r"""What a call asks of a GPU, counted without one: kernels, bytes of memory traffic, and waits of the host.

Run from the root of the repository::

    python benchmarks/device_counts.py            # LAF over the 33 layers of ResNet-34, for 2 and 3 tasks: seconds

Everything runs on tensors of the device ``meta``, which have shapes and no data.  The library takes the same
branches there as on a GPU, and every operation passes by here.

* *kernels*: operations that do something; views are free.  An operation on a list of tensors (``_foreach``)
  counts once: PyTorch fuses it into few launches.
* *bytes*: of all tensors that an operation reads or writes, each counted where it occurs: what traffic there
  would be if no cache held anything.  An operation that PyTorch does in several launches, or with a buffer of its
  own, costs more than is counted.
* *waits*: tensors made from Python numbers on the device, copies between the devices, questions to which the
  host needs the answer, and decompositions by a library.

The byte floor of LAF is its weights read twice, and its gradients read and written once.  **These are counts,
not times**: what fraction of a GPU's bandwidth the kernels reach, they do not say.
"""

import argparse
import contextlib
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mtl_lib import task_rows

MADE_FROM_PYTHON = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
ASKED = (Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.numpy)
FREE = (
    "view permute transpose unbind slice select detach expand unsqueeze as_strided t.default alias empty "
    "squeeze diagonal reshape split unflatten movedim mT profiler prim. set_. lift_fresh resize_"
).split()
WAITING = ("linalg_eigh", "linalg_svd", "nonzero", "masked_select")
"""Operations that make the host wait on a GPU, whatever their result is used for."""


def _tensors(*parts) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(parts) if isinstance(leaf, Tensor)]


def _size(tensor: Tensor) -> int:
    """Bytes that a tensor covers; an expanded one counts what lies in memory."""
    held = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        held *= size if stride or size == 0 else 1
    return held * tensor.element_size()


class Watch(TorchDispatchMode):
    """Counts kernels, bytes and waits on a device while it is the active mode.

    Attributes
    ----------
    kernels, bytes : Counter
        By operation.
    waits : list of str
        What would have made the host wait, in order.
    """

    def __init__(self, device: str = "meta"):
        super().__init__()
        self.device = device
        self.kernels: Counter = Counter()
        self.bytes: Counter = Counter()
        self.waits: list[str] = []
        self._functions = _Functions(self)

    def __enter__(self):
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name, given, made = str(function), _tensors(args, kwargs), _tensors(result)
        here = [t for t in (*given, *made) if t.device.type == self.device]
        there = [t for t in (*given, *made) if t.device.type != self.device and not _is_free_scalar(name, t)]
        if here and there:
            self.waits.append(f"{name}: {[str(t.device) for t in given]} -> {[str(t.device) for t in made]}")
        if here and any(part in name for part in WAITING):
            self.waits.append(f"waits for its result: {name}")
        if here and not any(part in name for part in FREE):
            self.kernels[name] += 1
            # What is written in place, or into a given tensor, is read or handed in as well: the result is the write.
            outputs = {id(t) for t in _tensors((kwargs or {}).get("out"))}
            if "copy_." in name:
                outputs.add(id(given[0]))
            read = [t for t in given if id(t) not in outputs]
            self.bytes[name] += sum(_size(t) for t in read) + sum(_size(t) for t in made or given[:1])
        return result


def _is_free_scalar(name: str, tensor: Tensor) -> bool:
    """A number in a CPU tensor goes along as an argument of a kernel; only copying it is a copy."""
    return tensor.ndim == 0 and "copy" not in name


class _Functions(TorchFunctionMode):
    """Sees what no operation shows: tensors made from Python numbers, and questions."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, function, types, args=(), kwargs=None):
        on_device = any(t.device.type == self.watch.device for t in _tensors(args, kwargs))
        if function in ASKED and on_device:
            self.watch.waits.append(f"asked: {function.__name__}")
            if function is Tensor.__bool__:
                return False  # there are no data; either answer lets the rest be watched
        result = function(*args, **(kwargs or {}))
        if function in MADE_FROM_PYTHON and result.device.type == self.watch.device:
            self.watch.waits.append(f"made from Python numbers: {function.__name__}")
        return result


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Let code that switches autocast off run on a device for which there is none."""
    with mock.patch("torch.autocast", lambda *_, **__: contextlib.nullcontext()):
        yield


def laf(shapes: list[tuple[int, ...]], tasks: int, dtype: torch.dtype = torch.float32) -> tuple[Watch, int]:
    """Count LAF's value and sub-gradient over all layers; return the counts and the byte floor.

    Parameters
    ----------
    shapes : list of tuple of int
        Of the layers' weights, in PyTorch's layout.
    tasks : int
        Their number.
    dtype : torch.dtype
        Of the weights.
    """

    def stacks():
        return [[torch.empty(shape, device="meta", dtype=dtype) for _ in range(tasks)] for shape in shapes]

    weights, gradients = stacks(), stacks()
    size = sum(_size(t) for layer in weights for t in layer)
    with without_autocast():
        task_rows.add_polars(weights, gradients, 1e-3, "auto")  # constants are made once
        with Watch() as watch:
            task_rows.add_polars(weights, gradients, 1e-3, "auto")
    return watch, 4 * size


def main() -> None:
    """Print the counts."""
    from trace_norm import resnet34_shapes  # beside this file

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--operations", type=int, default=6, help="list so many of the costliest operations")
    args = parser.parse_args()
    for tasks in args.tasks:
        watch, floor = laf(resnet34_shapes(), tasks)
        moved = watch.bytes.total()
        print(
            f"T = {tasks}: {moved / 1e6:.0f} MB moved, floor {floor / 1e6:.0f} MB, ratio {moved / floor:.2f}; "
            f"{watch.kernels.total()} kernels, {len(watch.waits)} waits (counted, not timed)"
        )
        for name, count in watch.bytes.most_common(args.operations):
            print(f"    {name:40}{watch.kernels[name]:6}{count / 1e6:10.0f} MB")
        for wait in sorted(set(watch.waits)):
            print(f"    waits: {wait}")


if __name__ == "__main__":
    main()
