"""Soft sharing: T networks of one architecture whose weights lie stacked, layer by layer (Section 2.2).

Nothing is tied.  Each task has a whole network of its own; what is shared is decided by a penalty on the
stacks, one tensor [T, ...] per layer.  The T weights of a layer live side by side in one piece of memory,
so that the stack (and its T x rest unfolding, of which the penalty needs the singular values) is a view
and costs nothing.  Biases and batch norm are private: they are in no stack and no penalty touches them.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtl_lib.errors import ConfigError

Layers = Iterable[str | type[nn.Module]] | Callable[[str, nn.Module], bool] | None
"""Which layers to stack: names, module types, a predicate (name, module), or None for the default."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DEFAULT_TYPES = (*CONVOLUTIONS, nn.Linear, nn.MultiheadAttention)


def _own_weights(name: str, module: nn.Module) -> list[str]:
    """Names of the parameters that a module itself holds and that have at least two axes."""
    own = module.named_parameters(recurse=False)
    # Attention's bias_k and bias_v are 1 x 1 x E: biases, whatever their axes.
    return [
        f"{name}.{key}" if name else key
        for key, value in own
        if not nn.parameter.is_lazy(value) and value.ndim >= 2 and not key.startswith("bias")
    ]


def select_weights(module: nn.Module, layers: Layers = None) -> list[str]:
    """Name the weights that ``layers`` selects, in the module's own order.

    Parameters
    ----------
    module : Module
        Any network.
    layers : names, types, predicate or None, optional
        Names may be of layers (``"layer1.0.conv1"``: its parameters with two or more axes) or of parameters
        (``"layer1.0.conv1.weight"``).  Types select every module that is an instance.  A predicate gets
        (name, module).  None selects all convolutions, linear layers and attention projections.

    Returns
    -------
    list of str
        Parameter names.

    Raises
    ------
    ConfigError
        If a name is unknown (near names are suggested), or nothing is selected.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(4, 2))
    >>> select_weights(net), select_weights(net, [nn.Linear]), select_weights(net, ["0"])
    (['0.weight', '3.weight'], ['3.weight'], ['0.weight'])
    """
    modules, parameters = dict(module.named_modules()), dict(module.named_parameters())
    lazy = [key for key, value in parameters.items() if nn.parameter.is_lazy(value)]
    if lazy:
        raise ConfigError(f"{lazy[0]} has no shape yet; pass an input through the network before sharing it")
    if isinstance(layers, str):
        layers = [layers]
    wanted: set[str] = set()
    if layers is None or callable(layers) and not isinstance(layers, type):
        for name, part in modules.items():
            if isinstance(part, DEFAULT_TYPES) if layers is None else layers(name, part):
                wanted.update(_own_weights(name, part))
    else:
        for item in [layers] if isinstance(layers, type) else layers:
            if isinstance(item, type):
                found = [_own_weights(n, m) for n, m in modules.items() if isinstance(m, item)]
                wanted.update(key for keys in found for key in keys)
            elif item in parameters:
                wanted.add(item)
            elif item in modules and _own_weights(item, modules[item]):
                wanted.update(_own_weights(item, modules[item]))
            elif item in modules:
                raise ConfigError(f"the layer {item!r} has no weight of its own with two or more axes")
            else:
                near = [n for n in [*modules, *parameters] if n.endswith(item.rsplit(".", 1)[-1])][:4]
                hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
                raise ConfigError(f"the network has no layer {item!r}{hint}")
    selected = [key for key in parameters if key in wanted]
    if not selected:
        raise ConfigError(
            "no layer is selected; name layers or types that hold weights with two or more axes"
        )
    return selected


def reinitialise(module: nn.Module) -> None:
    """Draw new values for every parameter of ``module`` with the layers' own ``reset_parameters``.

    Children come first, so that a network with a ``reset_parameters`` of its own has the last word.

    Parameters
    ----------
    module : Module
        Changed in place; uses the global random state of torch.

    Raises
    ------
    ConfigError
        If a layer holds parameters and has no ``reset_parameters``.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> before = layer.weight.clone()
    >>> reinitialise(layer)
    >>> torch.equal(before, layer.weight)
    False
    """
    covered = False
    for child in module.children():
        reinitialise(child)
    for method in ("reset_parameters", "_reset_parameters"):  # nn.MultiheadAttention has the second
        if callable(getattr(module, method, None)):
            getattr(module, method)()
            covered = True
    if not covered and next(module.parameters(recurse=False), None) is not None:
        raise ConfigError(
            f"{type(module).__name__} has parameters but no reset_parameters(); give soft_share an"
            " `initialise` function, or use init='same'"
        )


class SoftShared(nn.Module):
    """T networks and the stacks of their weights; made by :func:`soft_share`.

    Parameters
    ----------
    nets : sequence of Module
        One network per task, of one architecture.
    names : sequence of str
        Names of the stacked parameters.

    Attributes
    ----------
    nets : ModuleList
        The networks.
    names : tuple of str
        The stacked parameters, in order.
    """

    def __init__(self, nets: Sequence[nn.Module], names: Sequence[str]):
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.names = tuple(names)
        self.stacks()

    @property
    def tasks(self) -> int:
        """The number of tasks, T."""
        return len(self.nets)

    def forward(self, x: Any, task: int) -> Any:
        """Return the output of task ``task``'s network for ``x``."""
        return self.nets[task](x)

    def stacks(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Return name -> the T tasks' parameters of that layer, side by side in memory.

        Returns
        -------
        dict of str to tuple of Parameter
            What the penalties of :mod:`mtl_lib.trace_norm` take.
        """
        found = self._parameters_by_name()
        for weights in found.values():
            if not _side_by_side(weights):
                _lay_side_by_side(weights)
        return found

    def joined(self) -> dict[str, Tensor]:
        """Return name -> the stack [T, ...] itself, as a view that shares the parameters' memory.

        Moving the networks to a device, casting or copying them gives every parameter memory of its own.
        This method notices, and lays them side by side again; gradients, optimiser state and the identity
        of the parameters are untouched.
        """
        result = {}
        for name, weights in self.stacks().items():
            first = weights[0].detach()
            shape, stride = (len(weights), *first.shape), (first.numel(), *first.stride())
            result[name] = first.as_strided(shape, stride)
        return result

    def _parameters_by_name(self) -> dict[str, tuple[nn.Parameter, ...]]:
        return {name: tuple(net.get_parameter(name) for net in self.nets) for name in self.names}

    def extra_repr(self) -> str:
        """Show what is stacked in ``repr``."""
        return f"tasks={self.tasks}, stacked weights={len(self.names)}"


def _side_by_side(weights: Sequence[Tensor]) -> bool:
    first = weights[0]
    memory, numel = first.untyped_storage().data_ptr(), first.numel()
    return all(
        w.untyped_storage().data_ptr() == memory
        and w.storage_offset() == first.storage_offset() + t * numel
        and w.stride() == first.stride()
        for t, w in enumerate(weights)
    )


@torch.no_grad()
def _lay_side_by_side(weights: Sequence[nn.Parameter]) -> None:
    first = weights[0]
    # empty_like keeps a dense layout (channels last, say), so that convolutions keep their fast kernels.
    stride = torch.empty_like(first, memory_format=torch.preserve_format).stride()
    memory = torch.empty(len(weights) * first.numel(), dtype=first.dtype, device=first.device)
    for t, weight in enumerate(weights):
        place = memory.as_strided(first.shape, stride, t * first.numel())
        weight.data = place.copy_(weight)


def soft_share(
    module: nn.Module,
    tasks: int,
    layers: Layers = None,
    init: Literal["same", "independent"] = "same",
    initialise: Callable[[nn.Module], Any] | None = None,
) -> SoftShared:
    """Copy a network once per task and stack the copies' weights.

    Stacks have PyTorch's axes.  TT, which alone minds their order, takes the second for channels and the first
    for filters; in a *transposed* convolution these two have changed places.  The projections of an attention
    layer's queries, keys and values are one weight to PyTorch, and one stack here.

    Parameters
    ----------
    module : Module
        Any architecture.  It is copied, not changed.
    tasks : int
        T, at least 1.
    layers : names, types, predicate or None, optional
        What to stack; see :func:`select_weights`.  By default all convolutions, linear layers and
        attention projections.
    init : {"same", "independent"}, optional
        "same": all networks start from ``module``'s weights (every stack starts at rank 1).  "independent":
        the networks of tasks 1 ... T-1 are drawn anew.  The paper does not say which it used; trace norms
        of independently drawn networks that batch norm follows mostly shrink them, without aligning them.
    initialise : callable, optional
        For "independent": draws new weights for a network in place, instead of :func:`reinitialise`.

    Returns
    -------
    SoftShared
        The networks, ``forward(x, task)`` and ``stacks()``.

    Raises
    ------
    ConfigError
        If ``tasks < 1``, ``init`` is unknown, a named layer does not exist or nothing is selected.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> shared = soft_share(net, tasks=3, init="independent")
    >>> shared(torch.zeros(2, 4), task=1).shape
    torch.Size([2, 3])
    >>> {name: (len(ws), tuple(ws[0].shape)) for name, ws in shared.stacks().items()}
    {'0.weight': (3, (8, 4)), '2.weight': (3, (3, 8))}
    """
    if tasks < 1:
        raise ConfigError(f"tasks is {tasks}; it must be at least 1")
    if init not in ("same", "independent"):
        raise ConfigError(f"init is {init!r}; it must be 'same' or 'independent'")
    names = select_weights(module, layers)
    nets = [copy.deepcopy(module) for _ in range(tasks)]
    if init == "independent":
        for net in nets[1:]:
            (initialise or reinitialise)(net)
    return SoftShared(nets, names)


class MultiTaskNet(nn.Module):
    """A shared trunk and one head per task.

    Parameters
    ----------
    trunk : Module
        Called as ``trunk(x, task)``; a :class:`SoftShared` for soft sharing.
    heads : sequence of Module
        One per task; head t maps the trunk's features to task t's output.

    Raises
    ------
    ConfigError
        If the trunk is known to have another number of tasks than there are heads.

    Examples
    --------
    >>> trunk = soft_share(nn.Linear(4, 8), tasks=2)
    >>> net = MultiTaskNet(trunk, [nn.Linear(8, 13), nn.Linear(8, 136)])
    >>> net(torch.zeros(5, 4), task=1).shape
    torch.Size([5, 136])
    """

    def __init__(self, trunk: nn.Module, heads: Sequence[nn.Module]):
        super().__init__()
        tasks = getattr(trunk, "tasks", len(heads))
        if tasks != len(heads):
            raise ConfigError(f"the trunk has {tasks} tasks and there are {len(heads)} heads")
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def features(self, x: Any, task: int) -> Any:
        """Return the trunk's output for ``x``: what the domain classifier sees."""
        return self.trunk(x, task)

    def forward(self, x: Any, task: int) -> Any:
        """Return task ``task``'s output for ``x``."""
        return self.heads[task](self.features(x, task))

    def stacks(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Return the trunk's stacks, with names as the trunk gives them; empty if it has none."""
        return self.trunk.stacks() if hasattr(self.trunk, "stacks") else {}
