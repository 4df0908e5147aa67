"""Convex multi-task learning with a quadratic loss: penalties, their proximal steps, FISTA, the duality gap.

Everything here minimises

.. math:: P(W) = \\sum_{t=1}^{T} \\frac{1}{2 n_t} \\lVert y_t - X_t w_t \\rVert^2 + \\alpha\\, \\Omega(W),
   \\qquad W = [w_1 \\dots w_T] \\in \\mathbb{R}^{D \\times T},

the paper's matrix-based multi-task learning (Sec. 2.1) with squared loss and :math:`\\lambda = \\alpha`.
Dividing by :math:`n_t` makes every task count alike, and makes :math:`\\alpha` that of
scikit-learn's ``MultiTaskLasso`` when all tasks share their examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "D T"]


def l21_norm(w: Matrix) -> float:
    """Sum of the lengths of the rows, :math:`\\sum_d \\lVert W_{d,:} \\rVert_2`: one term per feature.

    Examples
    --------
    >>> l21_norm(np.array([[3.0, 4.0], [0.0, 0.0]]))
    5.0
    """
    return float(np.linalg.norm(w, axis=1).sum())


def prox_l21(w: Matrix, tau: float) -> Matrix:
    """Shorten every row by `tau`; rows not longer than `tau` become zero.

    The minimiser of :math:`\\tfrac12 \\lVert Z - W \\rVert_F^2 + \\tau \\lVert Z \\rVert_{2,1}` over Z.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.
    tau : float
        At least 0.

    Returns
    -------
    ndarray
        ``[D, T]``.

    Examples
    --------
    >>> prox_l21(np.array([[3.0, 4.0], [0.6, 0.8]]), tau=2.5)
    array([[1.5, 2. ],
           [0. , 0. ]])
    """
    length = np.linalg.norm(w, axis=1, keepdims=True)
    return w * np.divide(np.maximum(length - tau, 0), length, out=np.zeros_like(length), where=length > 0)


def trace_norm(w: Matrix) -> float:
    """Sum of the singular values, :math:`\\lVert W \\rVert_*`.

    Examples
    --------
    >>> round(trace_norm(np.diag([3.0, 4.0])), 6)
    7.0
    """
    return float(np.linalg.svd(w, compute_uv=False).sum())


def prox_trace_norm(w: Matrix, tau: float) -> Matrix:
    """Lower every singular value by `tau`; those not above `tau` become zero.

    The minimiser of :math:`\\tfrac12 \\lVert Z - W \\rVert_F^2 + \\tau \\lVert Z \\rVert_*` over Z.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.
    tau : float
        At least 0.

    Returns
    -------
    ndarray
        ``[D, T]``.

    Examples
    --------
    >>> prox_trace_norm(np.diag([3.0, 0.5]), tau=1.0).round(6)
    array([[2., 0.],
           [0., 0.]])
    """
    u, s, vh = np.linalg.svd(w, full_matrices=False)
    return (u * np.maximum(s - tau, 0)) @ vh


@dataclass(frozen=True)
class Penalty:
    """A norm on ``[D, T]`` matrices with all that a proximal method needs to know about it.

    Parameters
    ----------
    norm : callable
        :math:`\\Omega(W)`.
    dual_norm : callable
        :math:`\\Omega^\\circ(G) = \\max \\{\\langle G, W \\rangle : \\Omega(W) \\le 1\\}`; at ``alpha`` equal to this
        norm of the gradient at 0, and above, the minimiser is 0.
    prox : callable
        ``prox(W, tau)``.

    Examples
    --------
    >>> TRACE_NORM.dual_norm(np.diag([3.0, 4.0]))
    4.0
    """

    norm: Callable[[np.ndarray], float]
    dual_norm: Callable[[np.ndarray], float]
    prox: Callable[[np.ndarray, float], np.ndarray]


L21 = Penalty(l21_norm, lambda g: float(np.linalg.norm(g, axis=1).max()), prox_l21)
"""Few features for all tasks: whole rows are zero."""

TRACE_NORM = Penalty(trace_norm, lambda g: float(np.linalg.norm(g, 2)), prox_trace_norm)
"""Few directions for all tasks: W has low rank."""

COLUMN_NORMS = Penalty(
    lambda w: l21_norm(w.T), lambda g: float(np.linalg.norm(g, axis=0).max()), lambda w, tau: prox_l21(w.T, tau).T
)  # fmt: skip
"""Nothing shared: every task's own length. What the trace norm does to orthogonal tasks; the control for it."""


class SquaredLoss:
    """The smooth part of P, kept as inner products: :math:`f(W) = \\tfrac12 (c - 2\\langle B, W\\rangle + \\langle W, A(W)\\rangle)`.

    Tasks that have their examples in common form one group.  A group with fewer examples than features keeps
    its examples, another one their second moments, whichever is smaller.

    Parameters
    ----------
    groups : sequence of (X, Y)
        X is ``[n, D]``, Y is ``[n, T_g]``; the columns of all Y, in order, are the tasks.

    Examples
    --------
    >>> loss = SquaredLoss([(np.eye(2), np.array([[2.0], [0.0]]))])
    >>> loss(np.zeros((2, 1))), loss.gradient(np.zeros((2, 1))).ravel().tolist()
    (1.0, [-1.0, 0.0])
    """

    def __init__(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]):
        self.groups, first = [], 0
        for x, y in groups:
            small = len(x) < x.shape[1]
            # The factors of X^T X / n, as they are multiplied: one matrix or two.
            factors = (x.T / len(x), x) if small else (x.T @ x / len(x),)
            self.groups.append((slice(first, first + y.shape[1]), factors))
            first += y.shape[1]
        self.correlations = np.hstack([x.T @ y / len(x) for x, y in groups])  # B, [D, T]
        self.power = float(sum((y**2).sum() / len(y) for _, y in groups))  # c
        self.lipschitz = max(float(np.linalg.norm(x, 2) ** 2 / len(x)) for x, _ in groups)

    def times(self, w: Matrix) -> Matrix:
        """A(W): every task's weights times the second moments of its examples."""
        product = np.empty_like(w)
        for columns, factors in self.groups:
            part = w[:, columns]
            for factor in reversed(factors):
                part = factor @ part
            product[:, columns] = part
        return product

    def __call__(self, w: Matrix) -> float:
        return float(self.power / 2 - (self.correlations * w).sum() + (w * self.times(w)).sum() / 2)

    def gradient(self, w: Matrix) -> Matrix:
        """Gradient of f at W, ``[D, T]``."""
        return self.times(w) - self.correlations


def objective_and_gap(
    loss: SquaredLoss, penalty: Penalty, alpha: float, w: np.ndarray
) -> tuple[float, float]:
    """Return P(W), and a bound on how far it is above the minimum.

    The dual problem is to maximise :math:`D(u) = \\sum_t u_t^{\\mathsf T} y_t - \\tfrac{n_t}{2} \\lVert u_t \\rVert^2`
    over u with :math:`\\Omega^\\circ([X_1^{\\mathsf T} u_1 \\dots]) \\le \\alpha`.  Every such u gives D(u) at most the
    minimum of P.  The residuals :math:`(y_t - X_t w_t)/n_t` are the best u at the minimum; before it, they are
    scaled until they are allowed.

    Parameters
    ----------
    loss : SquaredLoss
        The examples.
    penalty : Penalty
        The norm.
    alpha : float
        Its weight, above 0.
    w : ndarray
        ``[D, T]``.

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
    minus_gradient = -loss.gradient(w)  # [X_t^T r_t / n_t], r the residuals
    fitted = float((loss.correlations * w).sum())
    residual_times_y = loss.power - fitted
    residual_power = residual_times_y - float((minus_gradient * w).sum())
    primal = residual_power / 2 + alpha * penalty.norm(w)
    if residual_power <= 0:  # a perfect fit
        return primal, primal
    size = penalty.dual_norm(minus_gradient)
    allowed = alpha / size if size > 0 else np.inf
    scale = min(max(residual_times_y / residual_power, -allowed), allowed)
    return primal, primal - (scale * residual_times_y - scale**2 * residual_power / 2)


def fista(
    loss: SquaredLoss,
    penalty: Penalty,
    alpha: float,
    start: np.ndarray,
    tolerance: float = 1e-6,
    max_iter: int = 5000,
    look_every: int = 10,
) -> tuple[np.ndarray, float, int]:
    """Accelerated proximal gradient method (Beck and Teboulle, 2009) with restarts.

    The momentum is dropped whenever it points uphill (O'Donoghue and Candès, 2015), which makes it as fast as
    it can be without knowing how curved the problem is.

    Parameters
    ----------
    loss : SquaredLoss
        The smooth part.
    penalty : Penalty
        The other part.
    alpha : float
        Its weight, above 0.
    start : ndarray
        ``[D, T]``; the solution for a neighbouring alpha, or zeros.
    tolerance : float
        Stop when the duality gap is below this share of the objective at W = 0.
    max_iter : int
        Largest number of steps.
    look_every : int
        Steps between two looks at the gap, which costs as much as a step.

    Returns
    -------
    tuple
        The weights ``[D, T]``, their duality gap, the number of steps.

    Examples
    --------
    >>> loss = SquaredLoss([(np.eye(2), np.array([[2.0], [0.5]]))])
    >>> w, gap, steps = fista(loss, L21, 0.5, np.zeros((2, 1)))
    >>> w.ravel().round(6).tolist(), gap < 1e-6
    ([1.0, 0.0], True)
    """
    enough = tolerance * loss.power / 2
    step = 1 / loss.lipschitz if loss.lipschitz > 0 else 1.0
    w, ahead, momentum = start, start, 1.0
    gap = objective_and_gap(loss, penalty, alpha, w)[1]
    taken = 0
    while gap > enough and taken < max_iter:
        w_next = penalty.prox(ahead - step * loss.gradient(ahead), step * alpha)
        if ((ahead - w_next) * (w_next - w)).sum() > 0:
            momentum = 1.0
        momentum_next = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = w_next + (momentum - 1) / momentum_next * (w_next - w)
        w, momentum, taken = w_next, momentum_next, taken + 1
        if taken % look_every == 0 or taken == max_iter:
            gap = objective_and_gap(loss, penalty, alpha, w)[1]
    return w, gap, taken
