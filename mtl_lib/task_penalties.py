r"""Two penalties on a stack of tasks that are not trace norms: a control, and a candidate to replace them.

============= =================================================================== ==================================
class         one layer's :math:`R(w_1, \dots, w_T)`                               what it presses on
============= =================================================================== ==================================
`NormOnly`    :math:`\sum_t \lVert w_t \rVert`                                     every task's length, by itself
`Deviation`   :math:`\sqrt T\,\lVert D \rVert_F / \sum_t \lVert w_t \rVert`         differences between the tasks
============= =================================================================== ==================================

Here :math:`w_t` is task t's weight as one long vector, :math:`\bar w` the mean over tasks and :math:`D` the
matrix with the rows :math:`d_t = w_t - \bar w`.  For two tasks :math:`\sqrt 2\,\lVert D \rVert_F = \lVert w_1 -
w_2 \rVert`, so that the deviation penalty is :math:`\lVert w_1 - w_2 \rVert / (\lVert w_1 \rVert + \lVert w_2
\rVert)`.

`NormOnly` is what LAF's penalty comes to for tasks that have nothing in common (the trace norm of orthogonal
rows is the sum of their lengths), and knows nothing of the other tasks: whatever a trace norm gains over it at
the same gamma is due to coupling, the rest is due to shrinking.
"""

import abc
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib import task_rows
from mtl_lib.arguments import at_least_zero, layers
from mtl_lib.gram import blocks

Stacks = Mapping[str, Sequence[Tensor]]

BLOCK = 4096
"""Numbers that are summed in one go in float32; the sums of blocks are added up in float64."""


def length(row: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Euclidean length of a vector, in float64; plain float32 sums of a million squares lose five digits.

    Examples
    --------
    >>> length(torch.tensor([3.0, 4.0]))
    tensor(5., dtype=torch.float64)
    """
    whole = len(row) // BLOCK * BLOCK
    parts = [row[:whole].view(-1, BLOCK).norm(dim=1), row[whole:].norm().view(1)]
    return torch.cat(parts).double().norm()


def _inverse(x: Tensor) -> Tensor:
    """1 / x, and 0 for 0: the sub-gradient of least length of a norm at the origin is 0."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)


class TaskPenalty(abc.ABC):
    """What both penalties have in common: the walk over the layers.  Use one of the two below.

    Parameters
    ----------
    gamma : float
        Strength, at least 0.

    Raises
    ------
    ConfigError
        If gamma is no number, negative or not finite.
    """

    def __init__(self, gamma: float | int = 1e-3):
        self.gamma = at_least_zero(gamma, "gamma")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(gamma={self.gamma})"

    @torch.no_grad()
    def __call__(self, stacks: Stacks) -> Float[Tensor, ""]:
        """Return the value, times gamma: a detached scalar (float32, on the weights' device).

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.
        """
        return self._walk(stacks, lambda tensors: self._value(task_rows.flat(tensors)[0]))

    @torch.no_grad()
    def add_gradient_(self, stacks: Stacks) -> Float[Tensor, ""]:
        """Add gamma times a sub-gradient to every ``.grad``; once per optimiser step, after unscaling.

        With gamma 0 nothing is touched.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.

        Returns
        -------
        Tensor
            The value, times gamma.

        Raises
        ------
        ConfigError
            For tensors that do not fit together or are not leaves.
        """
        if self.gamma == 0:
            return self._walk({}, lambda tensors: tensors[0])

        def add(tensors: Sequence[Tensor]) -> Tensor:
            rows = task_rows.flat(tensors)[0]
            targets, scattered = _flat_targets(tensors, rows)
            value = self._add_gradient_(rows, targets)
            for place, target in scattered:
                place.add_(target.view(place.shape))
            return value

        return self._walk(stacks, add)

    @torch.no_grad()
    def prox_(self, stacks: Stacks, step_size: float | int) -> None:
        """Take the proximal step in place, with ``step_size * gamma``; see the class.

        Call it after the optimiser's step, with that step's learning rate.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights; changed in place.
        step_size : float
            At least 0.

        Raises
        ------
        ConfigError
            For a negative step size, or tensors that do not fit together.
        """
        tau = at_least_zero(step_size, "step_size") * self.gamma
        for name, tensors in layers(stacks).items():
            task_rows.check(name, tensors)
            if tau == 0:
                continue
            rows, own = task_rows.flat(tensors)
            self._shrink_(rows, tau)
            if not own:  # the rows are copies of weights that are not dense in memory
                for tensor, row in zip(tensors, rows, strict=True):
                    tensor.copy_(row.view(tensor.shape))

    def _walk(self, stacks: Stacks, each) -> Tensor:
        values = []
        for name, tensors in layers(stacks).items():
            task_rows.check(name, tensors)
            values.append(each(tensors))
        return (self.gamma * torch.stack(values).sum()).float() if values else torch.zeros(())

    @abc.abstractmethod
    def _value(self, rows: Sequence[Tensor]) -> Tensor:
        """Value of one layer, without gamma."""

    @abc.abstractmethod
    def _add_gradient_(self, rows: Sequence[Tensor], into: Sequence[Tensor | None]) -> Tensor:
        """Add gamma times the gradient to flat rows, and return the value without gamma."""

    @abc.abstractmethod
    def _shrink_(self, rows: Sequence[Tensor], tau: float) -> None:
        """Take the proximal step of tau times one layer's value, in place."""


class NormOnly(TaskPenalty):
    r"""Gamma times the sum of every task's Frobenius norm: shrinking without coupling, the control.

    The sub-gradient is :math:`w_t / \lVert w_t \rVert`, and 0 at 0.

    **Proximal step.**  It minimises :math:`\tfrac12 \lVert u - w_t \rVert^2 + \tau \lVert u \rVert` for every
    task.  For a given length of u both terms are least if u points along :math:`w_t`; what remains is
    :math:`\tfrac12 (s - \lVert w_t \rVert)^2 + \tau s` over :math:`s \ge 0`, hence :math:`s = \max(\lVert w_t
    \rVert - \tau, 0)`: every task's kernel gets shorter by :math:`\tau`, whatever the others do.

    Parameters
    ----------
    gamma : float
        Strength, at least 0.

    Examples
    --------
    >>> w = [torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.tensor([0.0, 1.0]))]
    >>> NormOnly(gamma=0.5).add_gradient_({"fc": w}), w[0].grad
    (tensor(3.), tensor([0.3000, 0.4000]))
    >>> NormOnly(gamma=0.5).prox_({"fc": w}, step_size=2.0)
    >>> [row.tolist() for row in w]
    [[2.4000..., 3.2000...], [0.0, 0.0]]
    """

    def _value(self, rows: Sequence[Tensor]) -> Tensor:
        return torch.stack([length(row) for row in rows]).sum()

    def _add_gradient_(self, rows: Sequence[Tensor], into: Sequence[Tensor | None]) -> Tensor:
        lengths = [length(row) for row in rows]
        for row, size, target in zip(rows, lengths, into, strict=True):
            if target is not None:
                target.addcmul_(row, (self.gamma * _inverse(size)).to(row.dtype))
        return torch.stack(lengths).sum()

    def _shrink_(self, rows: Sequence[Tensor], tau: float) -> None:
        for row in rows:
            row.mul_((1 - tau * _inverse(length(row))).clamp_min(0).to(row.dtype))


class Deviation(TaskPenalty):
    r"""Gamma times the tasks' distance from their mean, relative to their lengths.

    :math:`R = \sqrt T\,\lVert D \rVert_F / S` with :math:`S = \sum_t \lVert w_t \rVert`.  Between tasks of equal
    lengths R is 0 for equal ones, :math:`\sqrt{(T - 1)/T}` for orthogonal ones (0.71 for two) and 1 where they
    cancel.  It is signed, unlike a trace norm: two opposite tasks are as far apart as can be.

    **Gradient.**  Taking the mean away is an orthogonal projection, so that the derivative of
    :math:`\lVert D \rVert_F` along task t is :math:`d_t / \lVert D \rVert_F`; by the quotient rule

    .. math:: \nabla_t R = \frac{\sqrt T\, d_t}{\lVert D \rVert_F\, S} - \frac{R}{S} \frac{w_t}{\lVert w_t \rVert},

    and 0 where D is 0.  R does not change when all tasks are scaled together, so :math:`\sum_t \langle w_t,
    \nabla_t R \rangle = 0`: it pulls at directions, and cannot gain by shrinking.

    **Proximal step.**  R is not convex; the step keeps S at its present value and minimises

    .. math:: \tfrac12 \sum_t \lVert u_t - w_t \rVert^2 + \frac{\tau \sqrt T}{S} \lVert D(u) \rVert_F .

    Mean and deviations are orthogonal, :math:`\sum_t \lVert u_t - w_t \rVert^2 = T \lVert \bar u - \bar w
    \rVert^2 + \lVert D(u) - D(w) \rVert_F^2`, and the second term knows only the deviations.  So :math:`\bar u =
    \bar w`, and D shrinks as one long vector does (see :class:`NormOnly`):

    .. math:: u_t = \bar w + \max\Bigl(1 - \frac{\tau \sqrt T}{S \lVert D \rVert_F}, 0\Bigr)\, d_t .

    Within reach of :math:`\tau \sqrt T / S` of each other all tasks become *equal, to the last bit*.

    With kernel norms pinned S is a constant, and R convex but for the projection that pins.  For two tasks of one
    length step and projection together are even the exact proximal step of :math:`\tau R` on the sphere: with an
    angle of :math:`2\theta` between the tasks both end at :math:`\tan\theta' = \max(\sin\theta - \tau/2\rho^2, 0)
    / \cos\theta`, :math:`\rho` being the length.  Exactly opposite tasks have the mean 0: they move along their own line,
    and from :math:`\tau = 2\rho^2` on both end at zeros, which have no direction and stay so.

    Parameters
    ----------
    gamma : float
        Strength, at least 0.

    Examples
    --------
    >>> w = [torch.nn.Parameter(torch.tensor([1.0, 0.5])), torch.nn.Parameter(torch.tensor([1.0, -0.5]))]
    >>> Deviation(gamma=2.0).add_gradient_({"fc": w})  # 2 x 1 / (1.118 + 1.118)
    tensor(0.8944)
    >>> Deviation(gamma=2.0).prox_({"fc": w}, step_size=0.5)
    >>> [[round(x, 4) for x in row.tolist()] for row in w]
    [[1.0, 0.0528], [1.0, -0.0528]]
    >>> Deviation(gamma=2.0).prox_({"fc": w}, step_size=0.5)
    >>> torch.equal(*w)
    True
    """

    @staticmethod
    def _sizes(rows: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Length of all deviations together, and the rows' lengths."""
        lengths = [length(row) for row in rows]
        if len(rows) == 1:
            return torch.zeros_like(lengths[0]), lengths
        sums = []
        for columns in blocks(rows):
            seen = _seen_from_first(rows, columns)
            # |D|^2 of what is seen from the first task: sum of squares minus the square of the sum over T.
            total = seen[0] if len(seen) == 1 else torch.stack(seen).sum(0)
            squares = torch.stack([length(each) for each in (*seen, total)]).square()
            sums.append(squares[:-1].sum() - squares[-1] / len(rows))
        return torch.stack(sums).sum().clamp_min(0).sqrt(), lengths

    def _value(self, rows: Sequence[Tensor]) -> Tensor:
        spread, lengths = self._sizes(rows)
        return math.sqrt(len(rows)) * spread * _inverse(torch.stack(lengths).sum())

    def _add_gradient_(self, rows: Sequence[Tensor], into: Sequence[Tensor | None]) -> Tensor:
        spread, lengths = self._sizes(rows)
        root, by_total = math.sqrt(len(rows)), _inverse(torch.stack(lengths).sum())
        value = root * spread * by_total
        outward = (self.gamma * root * _inverse(spread) * by_total).to(rows[0].dtype)
        inward = [(-self.gamma * value * by_total * _inverse(size)).to(rows[0].dtype) for size in lengths]
        for columns in blocks(rows):
            _, deviations = _mean_and_deviations(rows, columns)
            for row, target, deviation, back in zip(rows, into, deviations, inward, strict=True):
                if target is not None:
                    target[columns].addcmul_(deviation, outward).addcmul_(row[columns], back)
        return value

    def _shrink_(self, rows: Sequence[Tensor], tau: float) -> None:
        spread, lengths = self._sizes(rows)
        reach = tau * math.sqrt(len(rows)) * _inverse(torch.stack(lengths).sum())
        factor = (1 - reach * _inverse(spread)).clamp_min(0).to(rows[0].dtype)
        for columns in blocks(rows):
            mean, deviations = _mean_and_deviations(rows, columns)
            for row, deviation in zip(rows, deviations, strict=True):
                torch.addcmul(mean, deviation, factor, out=row[columns])


def _seen_from_first(rows: Sequence[Tensor], columns: slice) -> list[Tensor]:
    """Differences from the first task: exactly 0 between equal tasks, which deviations from a mean need not be."""
    first = rows[0][columns]
    return [row[columns] - first for row in rows[1:]]


def _mean_and_deviations(rows: Sequence[Tensor], columns: slice) -> tuple[Tensor, list[Tensor]]:
    """Mean over tasks, and every task's deviation from it, of a block of columns."""
    seen = _seen_from_first(rows, columns)
    shift = torch.zeros_like(rows[0][columns])
    for each in seen:
        shift.add_(each, alpha=1 / len(rows))
    return rows[0][columns] + shift, [-shift, *(each.sub_(shift) for each in seen)]


def _flat_targets(
    tensors: Sequence[Tensor], rows: Sequence[Tensor]
) -> tuple[list[Tensor | None], list[tuple[Tensor, Tensor]]]:
    """Gradients as flat rows in the order of the weights' rows.

    Where a gradient lies in memory in another order: a row of zeros, and the pair (gradient, row) that is to be
    added up at the end.
    """
    own = rows[0].data_ptr() == tensors[0].data_ptr()
    order = task_rows.memory_order(tensors[0]) if own else tuple(range(tensors[0].ndim))
    targets: list[Tensor | None] = []
    scattered = []
    for gradient, row in zip(task_rows.gradients("", tensors), rows, strict=True):
        place = None if gradient is None else gradient.permute(order)
        if place is None or place.is_contiguous():
            targets.append(None if place is None else place.view(-1))
        else:
            targets.append(torch.zeros_like(row))
            scattered.append((place, targets[-1]))
    return targets, scattered
