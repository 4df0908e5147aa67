"""Hard sharing: one trunk that forks after k layers, the usual way and the rival of soft sharing.

The first layers exist once and see the pictures of all tasks; the later ones exist once per task.  Shared
layers receive the sum of the tasks' gradients.

**Counting.**  The paper shares "the first 6, 14, 26 or 32 convolutional layers" of ResNet-34 and says that
these are the ends of its four stages.  They are, if the stem is not counted.  ``count="blocks"`` (default) reads it
so: the stem and the first k convolutions of the blocks, RN(32) being the whole trunk.  ``"literal"`` counts the
stem as the first: RN(6) then cuts the third block in two, and RN(32) leaves one convolution to each task.

**Batch norm.**  The tasks' batches go through the shared layers one after the other, each normalised by its own
batch statistics.  ``"private"``: scale, shift and running statistics of every task are its own;
``"statistics"``: the running statistics only; ``"shared"``: nothing, so that the running statistics are a mixture
of the tasks' which fits none of them at test time.  The paper says nothing about it.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_lib.errors import ConfigError
from mtl_lib.sharing import reinitialise, select_weights

BatchNorm = Literal["private", "statistics", "shared"]


def shared_layers(after: int, count: str = "blocks", stem: int = 1, layers: int = 33) -> int:
    """Return how many numbered layers "RN(k)" shares.

    Parameters
    ----------
    after : int
        The paper's k; 0 shares nothing under either reading.
    count : {"blocks", "literal"}, optional
        Whether the stem comes on top of k, or is one of the k.
    stem : int, optional
        Layers before the first block: 1 for ResNet, 0 for networks that have no stem, for which both readings
        are one.
    layers : int, optional
        Layers that there are.

    Raises
    ------
    ConfigError
        If there are not so many layers.

    Examples
    --------
    >>> [shared_layers(k) for k in (0, 6, 14, 26, 32)], shared_layers(6, "literal")
    ([0, 7, 15, 27, 33], 6)
    """
    if count not in ("blocks", "literal"):
        raise ConfigError(f"count is {count!r}; it must be 'blocks' or 'literal'")
    extra = stem if count == "blocks" and after > 0 else 0
    if not 0 <= after <= layers - extra:
        raise ConfigError(
            f"hard sharing after {after} layers (counting {count}): the network has {layers - extra}"
        )
    return after + extra


class HardShared(nn.Module):
    """T networks whose first layers are one; made by :func:`hard_share`.

    Parameters
    ----------
    nets : sequence of Module
        T networks of one architecture; those layers of the later ones that are shared are replaced by the
        first one's.
    names : sequence of str
        Parameter names of the layers that are counted, in forward order.
    after : int
        How many of them are shared, with everything that stands before the next.
    batch_norm : {"private", "statistics", "shared"}, optional
        What of the batch norm between shared layers is one for all tasks.

    Attributes
    ----------
    nets : ModuleList
        One whole network per task.  A shared layer is the same object in all of them; ``parameters()`` has it
        once, ``state_dict()`` under every task's name.
    names : tuple of str
        The counted parameters.
    after : int
        How many of them are shared.
    """

    def __init__(
        self, nets: Sequence[nn.Module], names: Sequence[str], after: int, batch_norm: BatchNorm = "private"
    ):
        super().__init__()
        if batch_norm not in ("private", "statistics", "shared"):
            raise ConfigError(f"batch_norm is {batch_norm!r}; it must be one of private, statistics, shared")
        self.nets, self.names = nn.ModuleList(nets), tuple(names)
        self.after, self.batch_norm = after, batch_norm
        self._tie()
        self.register_load_state_dict_post_hook(_tie_again)

    @property
    def tasks(self) -> int:
        """The number of tasks, T."""
        return len(self.nets)

    def forward(self, x: Any, task: int) -> Any:
        """Return the output of task ``task``'s path through the trunk for ``x``."""
        return self.nets[task](x)

    def stacks(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Return name -> the layer's parameters: one where it is shared, T where it is not."""
        return {
            name: tuple(net.get_parameter(name) for net in self.nets[: 1 if i < self.after else None])
            for i, name in enumerate(self.names)
        }

    def _shared_modules(self) -> list[str]:
        """Names of the modules with state of their own that stand before the fork."""
        counted, passed, found = set(self.names), 0, []
        for name, module in self.nets[0].named_modules():
            own = [key for key, _ in module.named_parameters(prefix=name, recurse=False)]
            passed += len(counted.intersection(own))
            # What stands before the first layer goes with it; what follows a layer (its norm) goes with that.
            if max(passed, 1) <= self.after and (
                own or next(module.buffers(recurse=False), None) is not None
            ):
                found.append(name)
        return found

    def _tie(self) -> None:
        for name in self._shared_modules():
            first = self.nets[0].get_submodule(name)
            norm = isinstance(first, _BatchNorm)
            if norm and self.batch_norm == "private":
                continue
            for net in self.nets[1:]:
                parent, _, child = name.rpartition(".")
                leaf = next(first.children(), None) is None
                if child and leaf and not (norm and self.batch_norm == "statistics"):
                    net.get_submodule(parent)._modules[child] = first
                else:
                    own = net.get_submodule(name)
                    for key, parameter in first._parameters.items():
                        own._parameters[key] = parameter

    def extra_repr(self) -> str:
        """Show what is shared in ``repr``."""
        return f"tasks={self.tasks}, shared layers={self.after}/{len(self.names)}, norm={self.batch_norm}"


def _tie_again(trunk: HardShared, _: Any) -> None:
    """Loading may have given every task's layer a parameter of its own (``assign=True``)."""
    trunk._tie()


def hard_share(
    module: nn.Module,
    tasks: int,
    after: int,
    layers: Sequence[str] | None = None,
    batch_norm: BatchNorm = "private",
    init: Literal["same", "independent"] = "same",
    initialise: Callable[[nn.Module], Any] | None = None,
) -> HardShared:
    """Copy a network once per task and make the first layers of the copies one.

    Parameters
    ----------
    module : Module
        Any architecture whose modules are defined in the order in which they are used.  It is copied.
    tasks : int
        T, at least 1.
    after : int
        How many of ``layers`` are shared, with all that stands before the next one.  0: T networks that have
        nothing in common; all: one trunk.
    layers : sequence of str, optional
        Parameter names of the layers to count, in the module's order; by default all convolutions, linear
        layers and attention projections.  For the book's networks: ``shareable_layers``.
    batch_norm : {"private", "statistics", "shared"}, optional
        See the module's text.
    init : {"same", "independent"}, optional
        Whether the layers after the fork start from ``module``'s weights or, from task 1 on, anew.
    initialise : callable, optional
        Draws new weights for a network in place, instead of :func:`mtl_lib.sharing.reinitialise`.

    Returns
    -------
    HardShared
        ``tasks``, ``forward(x, task)`` and ``stacks()``, as soft sharing has them.

    Raises
    ------
    ConfigError
        If there are not so many layers, names are unknown or out of order, or another argument is not one
        of the above.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> shared = hard_share(net, tasks=2, after=1)
    >>> shared(torch.zeros(5, 4), task=1).shape
    torch.Size([5, 3])
    >>> [len(ws) for ws in shared.stacks().values()], sum(p.numel() for p in shared.parameters())
    ([1, 2], 94)
    """
    if tasks < 1:
        raise ConfigError(f"tasks is {tasks}; it must be at least 1")
    if init not in ("same", "independent"):
        raise ConfigError(f"init is {init!r}; it must be 'same' or 'independent'")
    ordered = select_weights(module, layers)
    names = ordered if layers is None else list(layers)
    if names != ordered:
        raise ConfigError("layers must name parameters, each once, in the order of the network's modules")
    if not 0 <= after <= len(names):
        raise ConfigError(f"hard sharing after {after} layers: the network has {len(names)}")
    nets = [copy.deepcopy(module) for _ in range(tasks)]
    if init == "independent":
        for net in nets[1:]:
            (initialise or reinitialise)(net)
    return HardShared(nets, names, after, batch_norm)
