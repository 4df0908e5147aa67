r"""Factorised sharing: stacked weights that *are* products of learnt factors (Yang and Hospedales, ICLR 2017).

Deep multi-task representation learning by tensor factorisation is what the paper's trace norms descend from, and
argue against.  Each layer's stack :math:`\mathcal W`, with the axes :math:`D_1 \times \dots \times D_N` and the tasks
last, is never stored.  Stored and learnt are the factors of a decomposition of fixed rank:

====== ============================================================= ==========================================
kind   :math:`\mathcal W`                                            shared; and a task's own
====== ============================================================= ==========================================
laf    :math:`W_{(N)} = S\,B`                                        K basis kernels B; row t of S, K numbers
tucker :math:`\mathcal C \times_1 U_1 \cdots \times_N U_N`           core and :math:`U_1 \dots U_{N-1}`; row t of :math:`U_N`
tt     :math:`G_1 G_2 \cdots G_N`                                    all links; slice t of the last
====== ============================================================= ==========================================

The ranks are chosen once, before training: those of a truncated decomposition of T *single-task networks* (best: trained
ones) that keeps a relative error.  The paper objects that this is a hard choice at every layer, and that it "prevents
knowledge sharing when working with only two tasks, as it increases rather than decreases the number of parameters": two
kernels are two numbers per weight, a LAF factorisation of rank 2 is the same plus S, and of rank 1 it ties the
kernels up to a factor.  A trace norm leaves the rank to the training.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtl_lib.errors import ConfigError
from mtl_lib.sharing import Layers, reinitialise, select_weights
from mtl_lib.tensor_factors import compose, decompose
from mtl_lib.unfold import paper_order, torch_order
from mtl_lib.unfolded_norms import checked_kind


class FactorisedShared(nn.Module):
    """T networks whose stacked weights are products; made by :func:`factorise`.

    Parameters
    ----------
    nets : sequence of Module
        One network per task; the named weights are taken out of them.
    names : sequence of str
        Names of the factorised parameters.
    kind : {"laf", "tucker", "tt"}
        The decomposition.
    tolerance : float
        Relative error that may be made of each stack, which decides its ranks.

    Attributes
    ----------
    nets : ModuleList
        The networks, with what is private: biases, norms and all that is not factorised.
    factors : ModuleList of ParameterList
        For every name its factors, those with more than three axes as matrices; see :meth:`factors_of`.
    """

    def __init__(self, nets: Sequence[nn.Module], names: Sequence[str], kind: str, tolerance: float | int):
        super().__init__()
        self.names, self.kind = tuple(names), checked_kind(kind)
        self.factors = nn.ModuleList()
        self._shapes: list[list[torch.Size]] = []
        self._places: list[
            list[list[tuple[str, str]]]
        ] = []  # layer, task, every place where the weight is used
        for name in self.names:
            weights = [net.get_parameter(name) for net in nets]
            stack = paper_order(torch.stack([w.detach() for w in weights]))
            found = decompose(stack, self.kind, tolerance)
            self._shapes.append([f.shape for f in found])
            # As matrices where they have more axes than three, which a change to channels last would mistake.
            flat = [f.flatten(1) if f.ndim > 3 else f for f in found]
            self.factors.append(nn.ParameterList([nn.Parameter(f) for f in flat]))
            self._places.append([_take_out(net, w) for net, w in zip(nets, weights, strict=True)])
        self.nets = nn.ModuleList(nets)

    @property
    def tasks(self) -> int:
        """The number of tasks, T."""
        return len(self.nets)

    def factors_of(self, layer: int) -> list[Tensor]:
        """Return one layer's factors in the shapes that :func:`decompose` gives."""
        return [f.view(shape) for f, shape in zip(self.factors[layer], self._shapes[layer], strict=True)]

    def weight(self, layer: int, task: int) -> Tensor:
        """Return one layer's weight of one task, in PyTorch's layout; differentiable by the factors."""
        # In full precision: a product of rounded factors would be a rounded weight.
        with torch.autocast(self.factors[layer][0].device.type, enabled=False):
            return torch_order(compose(self.factors_of(layer), self.kind, task))[0]

    def forward(self, x: Any, task: int) -> Any:
        """Return the output of task ``task``'s network for ``x``."""
        net = self.nets[task]
        try:
            for layer, places in enumerate(self._places):
                weight = self.weight(layer, task)
                for module, key in places[task]:
                    net.get_submodule(module).__dict__[key] = weight
            return net(x)
        finally:
            for places in self._places:
                for module, key in places[task]:
                    net.get_submodule(module).__dict__[key] = None

    def stacks(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Return nothing: there are no weights for a penalty to act on; :meth:`joined` multiplies them out."""
        return {}

    @torch.no_grad()
    def joined(self) -> dict[str, Tensor]:
        """Return name -> the stack [T, ...], multiplied out, for measures of sharing."""
        return {
            name: torch_order(compose(self.factors_of(layer), self.kind))
            for layer, name in enumerate(self.names)
        }

    def ranks(self) -> dict[str, tuple[int, ...]]:
        """Return name -> ranks: K for laf, one per axis for tucker, one per link for tt."""
        found = {}
        for name, shapes in zip(self.names, self._shapes, strict=True):
            if self.kind == "tt":
                found[name] = tuple(shape[2] for shape in shapes[:-1])
            else:
                found[name] = tuple(shape[1] for shape in shapes[1:])
        return found

    def extra_repr(self) -> str:
        """Show what is factorised in ``repr``."""
        return f"tasks={self.tasks}, kind={self.kind!r}, factorised weights={len(self.names)}"


def _take_out(net: nn.Module, weight: nn.Parameter) -> list[tuple[str, str]]:
    """Remove a parameter wherever it is used; return (module, name) of these places."""
    places = []
    for name, module in net.named_modules():
        for key in [k for k, p in module._parameters.items() if p is weight]:
            del module._parameters[key]
            module.__dict__[key] = None  # a plain attribute, filled in while the network runs
            places.append((name, key))
    return places


def factorise(
    nets: nn.Module | Sequence[nn.Module],
    tasks: int | None = None,
    layers: Layers = None,
    kind: Literal["laf", "tucker", "tt"] = "laf",
    tolerance: float | int = 0.1,
    initialise: Callable[[nn.Module], Any] | None = None,
) -> FactorisedShared:
    """Share T networks by factorising their stacked weights.

    Parameters
    ----------
    nets : Module, or sequence of Module
        T networks of one architecture, best trained by themselves: their stacks decide the ranks and are the start.
        Or one network, which is copied; tasks 1 ... T-1 then draw new weights, since copies have rank one.
    tasks : int, optional
        T, with one network.
    layers : names, types, predicate or None, optional
        What to factorise; see :func:`mtl_lib.sharing.select_weights`.
    kind : {"laf", "tucker", "tt"}, optional
        The decomposition.
    tolerance : float, optional
        Relative error of every stack's decomposition; Yang and Hospedales take a tenth.
    initialise : callable, optional
        Draws new weights for a network in place, instead of :func:`mtl_lib.sharing.reinitialise`.

    Returns
    -------
    FactorisedShared
        ``tasks``, ``forward(x, task)`` and ``stacks()``, as soft sharing has them (the latter empty).

    Raises
    ------
    ConfigError
        For fewer than one task, an unknown kind, or a tolerance outside [0, 1).

    Examples
    --------
    >>> nets = [nn.Linear(6, 4) for _ in range(3)]
    >>> nets[2].weight.data = nets[0].weight.data - 2 * nets[1].weight.data  # rank two
    >>> shared = factorise(nets, kind="laf", tolerance=1e-3)
    >>> shared.ranks(), torch.allclose(shared(torch.eye(6), 2), nets[2](torch.eye(6)), atol=1e-5)
    ({'weight': (2,)}, True)
    """
    if isinstance(nets, nn.Module):
        if tasks is None or tasks < 1:
            raise ConfigError(f"tasks is {tasks}; one network needs their number, at least 1")
        copies = [copy.deepcopy(nets) for _ in range(tasks)]
        for net in copies[1:]:
            (initialise or reinitialise)(net)
    else:
        if not nets or tasks not in (None, len(nets)):
            raise ConfigError(f"tasks is {tasks} and there are {len(nets)} networks; give one per task")
        copies = [copy.deepcopy(net) for net in nets]
    return FactorisedShared(copies, select_weights(copies[0], layers), kind, tolerance)


def count_parameters(trunk: nn.Module) -> int:
    """Return how many numbers a trunk learns, shared ones once.

    Examples
    --------
    >>> two = [nn.Linear(10, 10, bias=False) for _ in range(2)]
    >>> sum(count_parameters(net) for net in two), count_parameters(factorise(two, kind="laf"))
    (200, 204)
    """
    return sum(p.numel() for p in trunk.parameters())
