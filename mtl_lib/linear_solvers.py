"""Convex multi-task learning: FISTA, and how far from the minimum a solution can be (the duality gap).

Everything here minimises

.. math:: P(W) = f(W) + \\alpha\\, \\Omega(W), \\qquad W = [w_1 \\dots w_T] \\in \\mathbb{R}^{D \\times T},

the paper's matrix-based multi-task learning (Sec. 2.1) with :math:`\\lambda = \\alpha`; with squared loss
:math:`f(W) = \\sum_{t=1}^{T} \\frac{1}{2 n_t} \\lVert y_t - X_t w_t \\rVert^2`.
Dividing by :math:`n_t` makes every task count alike, and makes :math:`\\alpha` that of
scikit-learn's ``MultiTaskLasso`` when all tasks share their examples.

Losses are in :mod:`mtl_lib.linear_losses`, norms in :mod:`mtl_lib.linear_penalties` and
:mod:`mtl_lib.linear_tensor_penalties`; sums of norms need :mod:`mtl_lib.linear_admm`.
"""

import numpy as np

from mtl_lib.linear_losses import Loss, SquaredLoss
from mtl_lib.linear_norm_sums import MixtureOfNorms, SumOfNorms
from mtl_lib.linear_penalties import (
    COLUMN_NORMS,
    L21,
    TRACE_NORM,
    Penalty,
    l21_norm,
    prox_l21,
    prox_trace_norm,
    trace_norm,
)

__all__ = [
    "COLUMN_NORMS",
    "L21",
    "TRACE_NORM",
    "Penalty",
    "SquaredLoss",
    "fista",
    "l21_norm",
    "objective_and_gap",
    "prox_l21",
    "prox_trace_norm",
    "total",
    "trace_norm",
]


def total(penalty: Penalty | SumOfNorms | MixtureOfNorms, v: np.ndarray) -> np.ndarray:
    """W from what the penalty acts on: itself, or for a mixture the sum of its components.

    Parameters
    ----------
    penalty : Penalty, SumOfNorms or MixtureOfNorms
        The norm.
    v : ndarray
        ``[D, T]``, or ``[K, D, T]`` for a mixture.

    Returns
    -------
    ndarray
        ``[D, T]``.

    Examples
    --------
    >>> total(L21, np.ones((2, 1))).tolist()
    [[1.0], [1.0]]
    """
    return v.sum(axis=0) if isinstance(penalty, MixtureOfNorms) else v


def objective_and_gap(
    loss: Loss, penalty: Penalty | MixtureOfNorms, alpha: float | int, w: np.ndarray
) -> tuple[float, float]:
    """Return P(W), and a bound on how far it is above the minimum.

    The dual problem is to maximise :math:`D(u) = \\sum_t u_t^{\\mathsf T} y_t - \\tfrac{n_t}{2} \\lVert u_t \\rVert^2`
    (squared loss) over u with :math:`\\Omega^\\circ([X_1^{\\mathsf T} u_1 \\dots]) \\le \\alpha`.  Every such u gives D(u) at most the
    minimum of P.  The residuals :math:`(y_t - X_t w_t)/n_t` are the best u at the minimum; before it, they are
    scaled until they are allowed.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The examples.
    penalty : Penalty or MixtureOfNorms
        The norm.
    alpha : float
        Its weight, above 0.
    w : ndarray
        ``[D, T]``, or the components ``[K, D, T]`` of a mixture.

    Returns
    -------
    tuple of float
        The objective and the gap ``P(W) - D(u)``, never negative but for rounding.

    Examples
    --------
    >>> loss = SquaredLoss([(np.eye(2), np.array([[2.0], [0.0]]))])
    >>> objective_and_gap(loss, L21, 1.0, np.zeros((2, 1)))  # alpha is large enough for W = 0 to be best
    (1.0, 0.0)
    """
    value, minus_gradient, dual_value = loss.dual(total(penalty, w))
    primal = value + alpha * penalty.norm(w)
    size = penalty.dual_norm(minus_gradient)
    return primal, primal - dual_value(alpha / size if size > 0 else np.inf)


def _lies_above(loss, penalty, steepness, at, gradient, moved) -> bool:
    """Whether the quadratic that touches f at one point is not below f at another one."""
    here, there = total(penalty, at), total(penalty, moved)
    change = moved - at
    bound = loss(here) + (gradient * (there - here)).sum() + steepness / 2 * (change**2).sum()
    return bool(loss(there) <= bound + 1e-14 * loss.at_zero)


def fista(
    loss: Loss,
    penalty: Penalty | MixtureOfNorms,
    alpha: float | int,
    start: np.ndarray,
    tolerance: float | int = 1e-6,
    max_iter: int = 5000,
    look_every: int = 10,
) -> tuple[np.ndarray, float, int]:
    """Accelerated proximal gradient method (Beck and Teboulle, 2009) with restarts.

    The momentum is dropped whenever it points uphill (O'Donoghue and Candès, 2015), which makes it as fast as
    it can be without knowing how curved the problem is.  Where the second derivative depends on W (logistic
    loss), steps are as long as the loss allows at the place, found by halving and doubling (Scheinberg,
    Goldfarb and Bai, 2014).

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The smooth part.
    penalty : Penalty or MixtureOfNorms
        The other part.
    alpha : float
        Its weight, above 0.
    start : ndarray
        ``[D, T]``, or components ``[K, D, T]`` of a mixture; the solution for a neighbouring alpha, or zeros.
    tolerance : float
        Stop when the duality gap is below this share of the objective at W = 0.
    max_iter : int
        Largest number of steps.
    look_every : int
        Steps between two looks at the gap, which costs as much as a step.

    Returns
    -------
    tuple
        The weights as in `start`, their duality gap, the number of steps.

    Examples
    --------
    >>> loss = SquaredLoss([(np.eye(2), np.array([[2.0], [0.5]]))])
    >>> w, gap, steps = fista(loss, L21, 0.5, np.zeros((2, 1)))
    >>> w.ravel().round(6).tolist(), gap < 1e-6
    ([1.0, 0.0], True)
    """
    enough = tolerance * loss.at_zero
    # Moving all K components at once moves their sum K times as far.
    count = len(penalty.parts) if isinstance(penalty, MixtureOfNorms) else 1
    steepest = loss.lipschitz * count if loss.lipschitz > 0 else 1.0
    steepness = min(loss.steepness(total(penalty, start)) * count, steepest) or steepest
    w, ahead, momentum = start, start, 1.0
    gap = objective_and_gap(loss, penalty, alpha, w)[1]
    taken = 0
    while gap > enough and taken < max_iter:
        before = steepness
        if loss.varies and taken and taken % look_every == 0:  # it may be flatter here: try longer steps
            steepness = max(steepness / 2, 1e-6 * steepest)
        gradient = loss.gradient(total(penalty, ahead))
        while True:
            w_next = penalty.prox(ahead - gradient / steepness, alpha / steepness)
            if steepness >= steepest or _lies_above(loss, penalty, steepness, ahead, gradient, w_next):
                break
            steepness = min(2 * steepness, steepest)
        if ((ahead - w_next) * (w_next - w)).sum() > 0:
            momentum = 1.0
        momentum_next = (1 + np.sqrt(1 + 4 * steepness / before * momentum**2)) / 2
        ahead = w_next + (momentum - 1) / momentum_next * (w_next - w)
        w, momentum, taken = w_next, momentum_next, taken + 1
        if taken % look_every == 0 or taken == max_iter:
            gap = objective_and_gap(loss, penalty, alpha, w)[1]
    return w, gap, taken
