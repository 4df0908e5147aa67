r"""Tensor trace norms of the paper: LAF (Eq. 1), Tucker (Eq. 2), TT (Eq. 3), and the penalty built on them.

====== ============================================= =========================================
kind   sum over                                      what it makes low-rank
====== ============================================= =========================================
laf    the last mode only                            the tasks
tucker every mode unfolding :math:`W_{(i)}`          height, width, channels, filters, tasks
tt     every split :math:`W_{[k]}` of the axes       the links of a tensor train
====== ============================================= =========================================

Autograd through a singular value decomposition is undefined where singular values coincide or vanish, which
is where a trace norm takes the weights.  So the sub-gradient is written down by hand: the weighted sum of
the polar factors of the unfoldings (:mod:`mtl_lib.polar`), folded back.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mtl_lib import task_rows
from mtl_lib.arguments import at_least_zero, floating
from mtl_lib.arguments import layers as checked_layers
from mtl_lib.constants import constant
from mtl_lib.errors import ConfigError
from mtl_lib.methods import checked_null, known_method, penalty_null
from mtl_lib.mode_gram import checked_precision
from mtl_lib.norm_terms import mode_norms, of_stacks, of_tensor
from mtl_lib.polar import Method
from mtl_lib.sharing_measures import (
    Measures,
    layer_norms,
    measures_of,
    scale_free_norm,
    task_cosine,
    tndr,
)
from mtl_lib.unfolded_norms import KINDS, checked_kind, checked_weights, weights_for

__all__ = [
    "KINDS",
    "Measures",
    "TraceNormPenalty",
    "layer_norms",
    "mode_norms",
    "scale_free_norm",
    "task_cosine",
    "tensor_trace_norm",
    "tndr",
]


def _weighted(terms: Tensor, weights: Sequence[float | int]) -> Tensor:
    """The weighted sum of a layer's terms."""
    return (terms * constant(tuple(weights), terms.dtype, terms.device)).sum()


class _TensorTraceNorm(torch.autograd.Function):
    """Value and hand-written sub-gradient; there is no second derivative."""

    @staticmethod
    def forward(ctx, x, kind, weights, method, null):
        terms, gradient = of_tensor(x, kind, weights, method, null, ctx.needs_input_grad[0])
        if gradient is not None:
            ctx.save_for_backward(gradient.to(x.dtype))
        return _weighted(terms, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (upstream * gradient).to(gradient.dtype), None, None, None, None


def tensor_trace_norm(
    x: Float[Tensor, "..."],
    kind: str = "laf",
    weights: Sequence[float | int] | None = None,
    method: Method = "auto",
    null: str = "minimum",
) -> Float[Tensor, ""]:
    r"""Tensor trace norm of a stack of tasks, differentiable; Eqs. (1) to (3) of the paper.

    Parameters
    ----------
    x : Tensor
        Any number of axes from two up, the tasks on the **last** (the paper's order; see
        :func:`mtl_lib.unfold.paper_order`).
    kind : {"laf", "tucker", "tt"}
        :math:`\|W_{(N)}\|_*`, :math:`\sum_{i=1}^N \gamma_i \|W_{(i)}\|_*` or
        :math:`\sum_{i=1}^{N-1} \gamma_i \|W_{[i]}\|_*`.
    weights : sequence of float, optional
        The :math:`\gamma_i`, in the order of the sum: one for laf, N for tucker, N - 1 for tt; default 1.
    method : str, Randomized or NewtonSchulz
        See :mod:`mtl_lib.polar`; ``closed`` serves unfoldings with two rows, the others then go by ``gram``.
    null : {"minimum", "full"}
        The sub-gradient of least length, or the paper's :math:`U V^\top`; see
        :func:`mtl_lib.polar.value_and_polar`.

    Returns
    -------
    Tensor
        A scalar, float32 or float64.

    Raises
    ------
    ConfigError
        For an `x` that is no real tensor of at least two axes, a kind, method or null that does not exist, or
        weights that are no numbers or of a wrong count.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 3.0], [4.0, 4.0]], requires_grad=True)  # two tasks, alike
    >>> norm = tensor_trace_norm(x)
    >>> norm.backward()
    >>> norm.item(), x.grad
    (7.071..., tensor([[0.4243, 0.4243],
            [0.5657, 0.5657]]))
    """
    x, kind, null = floating(x, "x"), checked_kind(kind), checked_null(null)
    return _TensorTraceNorm.apply(x, kind, weights_for(kind, x.ndim, weights), method, null)


class _StackPenalty(torch.autograd.Function):
    """The weighted trace norm of one layer as a function of the T tasks' separate tensors."""

    @staticmethod
    def forward(ctx, penalty, weights, *tensors):
        wanted = any(ctx.needs_input_grad[2:])
        gradients = [torch.zeros_like(t) for t in tensors] if wanted else None
        into = None if gradients is None else [gradients]
        (terms,) = of_stacks(
            [tensors],
            penalty.kind,
            [weights],
            into,
            1.0,
            penalty.method,
            penalty.precision,
            null=penalty.null,
        )
        if gradients is not None:
            ctx.save_for_backward(*gradients)
        return _weighted(terms.values, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        gradients = [(upstream * g).to(g.dtype) for g in ctx.saved_tensors]
        return None, None, *gradients


class TraceNormPenalty:
    r"""Gamma times the tensor trace norms of a network's layers, with T tasks' weights at each.

    Either add it to the loss (``loss + penalty(stacks)``), or, cheaper and unaffected by mixed precision, call
    :meth:`add_gradient_` once per optimiser step, after the loss's own gradients are complete and unscaled;
    or replace the sub-gradient by :meth:`prox_` after the optimiser's step, which reaches exact low rank.

    Parameters
    ----------
    kind : {"laf", "tucker", "tt"}
        The tensor trace norm; see :func:`tensor_trace_norm`.
    gamma : float
        Strength, at least 0.  The same number means different things to different kinds: a ResNet-34 with
        two independent tasks starts near 1342 (laf), 26740 (tt) and 34280 (tucker) at gamma 1.
    weights : sequence of float, optional
        The :math:`\gamma_i` of every layer's unfoldings, relative to gamma; default 1.
    method : str, Randomized or NewtonSchulz
        See :mod:`mtl_lib.polar`.
    precision : {"accurate", "fast"}
        How far float32 sums are trusted.  "accurate": to a relative error of the value, an overshoot of the
        spectral norm and a duality gap of 1e-6, for every unfolding.  "fast": to 1e-5, and in return two
        tasks are compared in float32 sums, and long sides decomposed in float32.  Where tasks are too much
        alike for that, or a matrix is ill conditioned, and for more than two tasks, of which float32 sums
        are no faster, it does what "accurate" does.  Weights in float64 know no difference.
    null : {"minimum", "full"}
        What the sub-gradient does where an unfolding's rank is not full.  "minimum": nothing, the sub-gradient of
        least length.  "full": the paper's :math:`U V^\top` over all min(m, n) singular vectors, which pushes along
        directions that LAPACK happened to choose; an SVD of every unfolding in float64, far slower.  Values do
        not depend on it, nor does the proximal step.  See :func:`mtl_lib.polar.value_and_polar`.

    Raises
    ------
    ConfigError
        For a kind, method, precision or null that does not exist, a method that knows no null space with "full",
        weights that are no numbers, or a gamma that is no number, negative or not finite.

    Examples
    --------
    >>> nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    >>> stacks = {"weight": [net.weight for net in nets]}
    >>> penalty = TraceNormPenalty("laf", gamma=0.01)
    >>> penalty
    TraceNormPenalty(kind='laf', gamma=0.01, weights=None, method='auto', precision='accurate', null='minimum')
    >>> value = penalty.add_gradient_(stacks)
    >>> bool(torch.isclose(value, penalty(stacks))), nets[0].weight.grad.shape
    (True, torch.Size([2, 3]))
    """

    def __init__(
        self,
        kind: str = "laf",
        gamma: float | int = 1e-3,
        weights: Sequence[float | int] | None = None,
        method: Method = "auto",
        precision: str = "accurate",
        null: str = "minimum",
    ):
        self.kind = checked_kind(kind)
        self.gamma = at_least_zero(gamma, "gamma")
        self.weights = None if weights is None else tuple(checked_weights(weights))
        self.method = known_method(method)
        self.precision = checked_precision(precision)
        self.null = penalty_null(null, method)

    def __repr__(self) -> str:
        return (
            f"TraceNormPenalty(kind={self.kind!r}, gamma={self.gamma}, weights={self.weights}, "
            f"method={self.method!r}, precision={self.precision!r}, null={self.null!r})"
        )

    def _layers(self, stacks: Mapping[str, Sequence[Tensor]]):
        """Name, tensors and weights of every layer, checked."""
        for name, tensors in checked_layers(stacks).items():
            task_rows.check(name, tensors)
            try:
                yield name, tuple(tensors), weights_for(self.kind, tensors[0].ndim + 1, self.weights)
            except ConfigError as error:
                raise ConfigError(f"layer {name!r}: {error}") from None

    def __call__(self, stacks: Mapping[str, Sequence[Tensor]]) -> Float[Tensor, ""]:
        """Value of the penalty, differentiable with respect to every tensor in `stacks`.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights, in PyTorch's layout and of one shape.

        Returns
        -------
        Tensor
            A scalar; 0 for gamma 0 (and every gradient then 0).

        Raises
        ------
        ConfigError
            For tensors that do not fit together, or a wrong number of weights for a layer's axes.

        Examples
        --------
        >>> w = torch.ones(2, 3, requires_grad=True)
        >>> TraceNormPenalty(gamma=0.5)({"fc": [w, w]}).backward()
        >>> w.grad[0, 0].item()
        0.2886...
        """
        values = [
            _StackPenalty.apply(self, weights, *tensors) for _, tensors, weights in self._layers(stacks)
        ]
        return self.gamma * torch.stack(values).sum() if values else torch.zeros(())

    def _found(self, layers, into, alpha: float, factors: bool = False):
        tensors, weights = [layer[1] for layer in layers], [layer[2] for layer in layers]
        settings = self.method, self.precision, factors, self.null
        return of_stacks(tensors, self.kind, weights, into, alpha, *settings)

    @torch.no_grad()
    def add_gradient_(
        self, stacks: Mapping[str, Sequence[Tensor]], measures: dict[str, Measures] | None = None
    ) -> Float[Tensor, ""]:
        """Add gamma times the sub-gradient to every ``.grad``; the fast way, once per optimiser step.

        Call it after ``backward`` (and after a gradient scaler's ``unscale_``), not inside the loop over
        micro-batches.  With gamma 0 nothing is touched, not even a ``.grad`` that is None.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.  Tensors that need no gradient get none.
        measures : dict, optional
            Filled with every layer's :class:`Measures`, for a log: nearly free, as they fall off the same
            pass over the weights (gamma 0 takes one of its own).

        Returns
        -------
        Tensor
            The penalty's value, a detached scalar on the weights' device.

        Raises
        ------
        ConfigError
            For tensors that do not fit together, are not leaves, or a wrong number of weights.

        Examples
        --------
        >>> w = [torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2)]
        >>> log = {}
        >>> TraceNormPenalty(gamma=0.5).add_gradient_({"fc": w}, measures=log)
        tensor(1.7321)
        >>> w[1].grad[0, 0].item()
        0.1443...
        >>> log["fc"].terms, log["fc"].scale_free, log["fc"].cosine[0, 1]
        (tensor([3.4641]), tensor(1.), tensor(1.))
        """
        layers = list(self._layers(stacks))
        if self.gamma == 0 and measures is not None:
            measures.update(self.measures(stacks))
        if not layers or self.gamma == 0:
            return layers[0][1][0].new_zeros((), dtype=torch.float32) if layers else torch.zeros(())
        targets = [task_rows.gradients(name, tensors) for name, tensors, _ in layers]
        found = self._found(layers, targets, self.gamma, measures is not None)
        if measures is not None:
            measures |= self._measured(layers, found)
        totals = [
            _weighted(terms.values, weights) for terms, (_, _, weights) in zip(found, layers, strict=True)
        ]
        return self.gamma * torch.stack(totals).sum()

    def _measured(self, layers, found) -> dict[str, Measures]:
        return {
            name: measures_of(terms.values, tensors, terms.factor)
            for (name, tensors, _), terms in zip(layers, found, strict=True)
        }

    @torch.no_grad()
    def measures(self, stacks: Mapping[str, Sequence[Tensor]]) -> dict[str, Measures]:
        """Every layer's trace norms and measures of sharing, from one pass over the weights, for a log.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.

        Returns
        -------
        dict of str to Measures

        Examples
        --------
        >>> w = [torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0])]
        >>> found = TraceNormPenalty().measures({"fc": w})["fc"]
        >>> found.scale_free, found.cosine[0, 1]
        (tensor(1.), tensor(-1.))
        """
        layers = list(self._layers(stacks))
        return self._measured(layers, self._found(layers, None, 0.0, True))

    @torch.no_grad()
    def terms(self, stacks: Mapping[str, Sequence[Tensor]]) -> dict[str, Float[Tensor, " terms"]]:
        """Every layer's trace norms, one per unfolding, without gamma and weights: for logging.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.

        Returns
        -------
        dict of str to Tensor
            For every layer ``[terms]``; see :func:`mode_norms`.

        Examples
        --------
        >>> w = [torch.ones(2, 3), torch.ones(2, 3)]
        >>> TraceNormPenalty("tt").terms({"fc": w})
        {'fc': tensor([3.4641, 3.4641])}
        """
        layers = list(self._layers(stacks))
        found = self._found(layers, None, 0.0)
        return {name: terms.values for (name, _, _), terms in zip(layers, found, strict=True)}

    @torch.no_grad()
    def prox_(self, stacks: Mapping[str, Sequence[Tensor]], step_size: float | int) -> None:
        r"""Proximal step in place: every singular value of every layer shrinks by ``step_size * gamma``.

        For LAF a T x T mixing of the tasks; the sums over several unfoldings have no such step.  Call it
        after the optimiser's step with the learning rate of that step.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights; changed in place.
        step_size : float
            At least 0.

        Raises
        ------
        ConfigError
            For a kind other than ``laf``, a negative step size, or tensors that do not fit together.

        Examples
        --------
        >>> w = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])]
        >>> TraceNormPenalty(gamma=2.0).prox_({"fc": w}, step_size=0.5)
        >>> [row.round(decimals=6).abs() for row in w]
        [tensor([2., 0.]), tensor([0., 0.])]
        """
        if self.kind != "laf":
            raise ConfigError(
                f"the proximal step exists for kind 'laf' only, and this penalty's is {self.kind!r}"
            )
        step_size = at_least_zero(step_size, "step_size")
        layers = list(self._layers(stacks))
        tau = (
            step_size * self.gamma * (layers[0][2][0] if layers else 0.0)
        )  # LAF has one weight, for all layers
        if tau:
            task_rows.shrink_([tensors for _, tensors, _ in layers], tau, self.method)
