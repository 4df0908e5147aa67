r"""Cross-stitch: T networks that mix their maps, with mixing weights that are learnt (Misra et al., CVPR 2016).

After every segment of the networks (ResNet: the stem with its pool, and each of the four stages) stands a unit

.. math:: \tilde x_t = \sum_s \alpha_{ts}\, x_s ,

with :math:`x_s` the map of network s and a matrix :math:`\alpha` for every channel (or one for all).  It starts
convex: :math:`\alpha_{tt}` = ``start`` and the other tasks share the rest.

**Disjoint data.**  Misra et al. have pictures with the labels of all tasks.  Here a picture belongs to one task, and
still *every network must look at it*, since the task's own network needs the others' maps of the same picture.  A
step that takes a batch of every task so costs T x T network passes instead of T, and as much memory for
activations.  Weights and units learn from all of them.  Batch norm keeps running statistics for every pair of
network and task, because the T streams of pictures are normalised each by itself.

At identity (``start=1``, ``rate=0``) the networks are T single ones, to the last bit.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtl_lib.backbones import ResNet
from mtl_lib.errors import ConfigError
from mtl_lib.hard_sharing import HardShared
from mtl_lib.sharing import reinitialise, select_weights

Segment = Callable[[Any], Any]


def segments(module: nn.Module) -> list[Segment]:
    """Cut a network into parts that follow each other, with a unit to stand between every two.

    Parameters
    ----------
    module : Module
        A ResNet (stem with pool, four stages, average); a network of ``features`` and ``classifier`` such as
        AlexNet and VGG (after every pool and every hidden layer); or an ``nn.Sequential``, child by child.

    Returns
    -------
    list of callable
        Their composition is the network.

    Raises
    ------
    ConfigError
        For another network.

    Examples
    --------
    >>> len(segments(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))), len(segments(ResNet(width=2)))
    (2, 6)
    """
    if isinstance(module, ResNet):
        # Bound to this module, and late: its layers may still be replaced.
        def stem(x: Tensor) -> Tensor:
            return module.maxpool(module.relu(module.bn1(module.conv1(x))))

        stages = [getattr(module, f"layer{i}") for i in range(1, 5)]
        return [stem, *stages, lambda x: x.mean(dim=(2, 3))]
    parts = [getattr(module, name, None) for name in ("features", "classifier")]
    if all(isinstance(part, nn.Sequential) for part in parts):
        maps = _cut(parts[0], nn.MaxPool2d)
        vectors = _cut(parts[1], nn.ReLU)
        first = vectors[0]
        return [*maps, lambda x: first(x.flatten(1)), *vectors[1:]]
    if isinstance(module, nn.Sequential):
        return list(module)
    raise ConfigError(
        f"cross-stitch does not know where to cut {type(module).__name__}; give `cut`, a function from the"
        " network to its segments"
    )


def _cut(layers: nn.Sequential, after: type[nn.Module]) -> list[nn.Sequential]:
    """Pieces of a sequence that end with a layer of a type; what is left goes with the last."""
    ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, after)]
    starts = [0, *ends[:-1]]
    return [
        layers[a:b] for a, b in zip(starts, [*ends[:-1], len(layers)] if ends else [len(layers)], strict=True)
    ]


class CrossStitchUnit(nn.Module):
    r"""Mix the maps of T networks.

    What is learnt is the change from the start, in units that make the learning rate of :math:`\alpha` ``rate`` times the
    optimiser's: with :math:`\alpha = \alpha_0 + \sqrt{r}\,\theta` a step of SGD moves :math:`\alpha` by :math:`r\,\eta\,
    \partial L / \partial \alpha`.

    Parameters
    ----------
    tasks : int
        T.
    channels : int, optional
        For a matrix per channel (axis 1 of the maps); by default one for all.
    start : float, optional
        Weight of a task's own map at the start, 0 to 1.
    rate : float, optional
        How many times the learning rate the mixing takes; 0: it stays as it is.

    Examples
    --------
    >>> CrossStitchUnit(3, start=0.8).weights().round(decimals=2)[0].tolist()
    [0.800000..., 0.100000..., 0.100000...]
    """

    def __init__(
        self, tasks: int, channels: int | None = None, start: float | int = 0.9, rate: float | int = 1.0
    ):
        super().__init__()
        if not 0 <= start <= 1:
            raise ConfigError(f"the start of a cross-stitch unit is {start}; a convex mixture needs 0 to 1")
        if not 0 <= rate < math.inf:
            raise ConfigError(f"the rate of a cross-stitch unit is {rate}; it must be at least 0 and finite")
        first = torch.full((tasks, tasks), (1 - start) / max(tasks - 1, 1)).fill_diagonal_(
            start if tasks > 1 else 1
        )
        self.rate = rate
        self.register_buffer("first", first if channels is None else first[..., None].repeat(1, 1, channels))
        self.learnt = nn.Parameter(torch.zeros_like(self.first))

    def weights(self) -> Tensor:
        r"""Return :math:`\alpha`, ``[T, T]`` or ``[T, T, channels]``: row t mixes what task t gets."""
        return self.first + math.sqrt(self.rate) * self.learnt

    def forward(self, maps: Sequence[Tensor], wanted: Sequence[int] | None = None) -> list[Tensor]:
        """Return the mixtures for all networks, or for the ``wanted`` ones.

        Parameters
        ----------
        maps : sequence of Tensor
            One per network, of one shape.
        wanted : sequence of int, optional
            Numbers of networks.
        """
        alpha = self.weights().to(maps[0].dtype)
        if alpha.ndim == 3:
            alpha = alpha.view(*alpha.shape, *[1] * (maps[0].ndim - 2))
        mixed = []
        for t in range(len(maps)) if wanted is None else wanted:
            total = alpha[t, 0] * maps[0]
            for s in range(1, len(maps)):
                total = torch.addcmul(total, alpha[t, s], maps[s])
            mixed.append(total)
        return mixed


class CrossStitched(nn.Module):
    """T networks and the units between their segments; made by :func:`cross_stitch`.

    Parameters
    ----------
    nets : sequence of Module
        One network per task, of one architecture.
    names : sequence of str
        Parameter names of the layers that ``stacks()`` lists.
    cut : callable
        From a network to its segments.
    channels : sequence of int or None
        For every unit its number of channels, or None for one matrix; one less than there are segments.
    start, rate : float, optional
        See :class:`CrossStitchUnit`.

    Attributes
    ----------
    nets : ModuleList
        For every network T views of it, which differ in the running statistics of batch norm only: view t sees
        the pictures of task t.
    units : ModuleList of CrossStitchUnit
        In forward order.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        names: Sequence[str],
        cut: Callable[[nn.Module], list[Segment]],
        channels: Sequence[int | None],
        start: float | int = 0.9,
        rate: float | int = 1.0,
    ):
        super().__init__()
        self.names, self.cut = tuple(names), cut
        self.nets = nn.ModuleList(
            HardShared(
                [net, *(copy.deepcopy(net) for _ in nets[1:])], self.names, len(self.names), "statistics"
            )
            for net in nets
        )
        self.units = nn.ModuleList(CrossStitchUnit(len(nets), c, start, rate) for c in channels)

    @property
    def tasks(self) -> int:
        """The number of tasks, T."""
        return len(self.nets)

    def forward(self, x: Any, task: int) -> Any:
        """Return task ``task``'s output for its pictures ``x``, at which all networks look."""
        parts = [self.cut(net.nets[task]) for net in self.nets]
        maps = [x] * self.tasks
        last = len(self.units) - 1
        for place, unit in enumerate(self.units):
            maps = [net[place](each) for net, each in zip(parts, maps, strict=True)]
            # Behind the last unit only the task's own network goes on.
            maps = unit(maps, [task] if place == last else None)
        return parts[task][-1](maps[0] if len(self.units) else x)

    def stacks(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Return name -> the T networks' parameters of that layer."""
        return {name: tuple(net.nets[0].get_parameter(name) for net in self.nets) for name in self.names}

    def extra_repr(self) -> str:
        """Show the size in ``repr``."""
        return f"tasks={self.tasks}, units={len(self.units)}"


def cross_stitch(
    module: nn.Module,
    tasks: int,
    example: Tensor | None = None,
    layers: Sequence[str] | None = None,
    start: float | int = 0.9,
    rate: float | int = 1.0,
    init: Literal["same", "independent"] = "same",
    cut: Callable[[nn.Module], list[Segment]] = segments,
    initialise: Callable[[nn.Module], Any] | None = None,
) -> CrossStitched:
    """Copy a network once per task and put cross-stitch units between the copies' segments.

    Parameters
    ----------
    module : Module
        Any architecture that ``cut`` can cut.  It is copied.
    tasks : int
        T, at least 1.
    example : Tensor, optional
        An input (two pictures will do; its values do not matter), from which the numbers of channels are
        learnt: every unit then has a mixing matrix per channel.  Without it every unit has one.
    layers : sequence of str, optional
        What ``stacks()`` lists; see :func:`mtl_lib.sharing.select_weights`.
    start, rate : float, optional
        Weight of a task's own map at the start (1: identity), and how many times the optimiser's learning rate
        the mixing takes.
    init : {"same", "independent"}, optional
        As for :func:`mtl_lib.sharing.soft_share`.
    cut : callable, optional
        From a network to its segments.
    initialise : callable, optional
        Draws new weights for a network in place, instead of :func:`mtl_lib.sharing.reinitialise`.

    Returns
    -------
    CrossStitched
        ``tasks``, ``forward(x, task)`` and ``stacks()``, as soft sharing has them.

    Raises
    ------
    ConfigError
        If the network cannot be cut, or an argument is not one of the above.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> stitched = cross_stitch(net, tasks=2, example=torch.zeros(2, 4))
    >>> stitched(torch.zeros(5, 4), task=1).shape, [tuple(u.learnt.shape) for u in stitched.units]
    (torch.Size([5, 3]), [(2, 2, 8), (2, 2, 8)])
    """
    if tasks < 1:
        raise ConfigError(f"tasks is {tasks}; it must be at least 1")
    if init not in ("same", "independent"):
        raise ConfigError(f"init is {init!r}; it must be 'same' or 'independent'")
    names = select_weights(module, layers)
    channels: list[int | None] = [None] * (len(cut(module)) - 1)
    if example is not None:
        probe = copy.deepcopy(
            module
        ).eval()  # in training mode it would draw random numbers and keep statistics
        with torch.no_grad():
            for i, part in enumerate(cut(probe)[:-1]):
                example = part(example)
                channels[i] = example.shape[1]
    nets = [copy.deepcopy(module) for _ in range(tasks)]
    if init == "independent":
        for net in nets[1:]:
            (initialise or reinitialise)(net)
    return CrossStitched(nets, names, cut, channels, start, rate)
