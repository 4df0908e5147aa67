"""The sub-gradient method on the convex problems: the paper's way, to compare the others with."""

import numpy as np

from mtl_lib.linear_losses import Loss
from mtl_lib.linear_norm_sums import MixtureOfNorms, SumOfNorms
from mtl_lib.linear_penalties import Penalty
from mtl_lib.linear_solvers import objective_and_gap, total


def subgradient_method(
    loss: Loss,
    penalty: Penalty | SumOfNorms | MixtureOfNorms,
    alpha: float | int,
    start: np.ndarray,
    tolerance: float | int = 1e-6,
    max_iter: int = 5000,
    look_every: int = 10,
) -> tuple[np.ndarray, float, int]:
    """Step against the gradient of the loss plus a sub-gradient of the norm (Sec. 2.3 of the paper).

    The k-th step has the length :math:`1 / (L \\sqrt{k})`, L the steepest second derivative of the loss: it must
    fall to 0, or the iterates circle the minimum for ever; it must not fall faster than :math:`1/k`, or they stop
    before it.  The error falls like :math:`1/\\sqrt{k}`.  The iterates pass by the points where the norm has its
    corners, so that rows and singular values get small but **never exactly zero**: for a low rank, use
    another method or cut small singular values off.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The smooth part.
    penalty : Penalty, SumOfNorms or MixtureOfNorms
        The norm.
    alpha : float
        Its weight, above 0.
    start : ndarray
        ``[D, T]``, or components ``[K, D, T]`` of a mixture.
    tolerance : float
        Stop when the duality gap is below this share of the objective at W = 0.
    max_iter : int
        Largest number of steps.
    look_every : int
        Steps between two looks at objective and gap.

    Returns
    -------
    tuple
        The best of the weights looked at, a bound on how far they are above the minimum, the number of steps.

    Examples
    --------
    >>> from mtl_lib.linear_losses import SquaredLoss
    >>> from mtl_lib.linear_penalties import TRACE_NORM
    >>> loss = SquaredLoss([(np.eye(2), np.diag([2.0, 0.2]))])
    >>> w, gap, steps = subgradient_method(loss, TRACE_NORM, 0.5, np.zeros((2, 2)), max_iter=1000)
    >>> bool(abs(w[0, 0] - 1) < 0.01), bool(w[1, 1] != 0)  # fista gives 1 and 0
    (True, True)
    """
    count = len(penalty.parts) if isinstance(penalty, MixtureOfNorms) else 1
    length = 1 / (loss.lipschitz * count) if loss.lipschitz > 0 else 1.0
    v, best, lowest, bound = start, start, np.inf, -np.inf
    for step in range(max_iter + 1):
        if step % look_every == 0 or step == max_iter:
            primal, gap = _objective_and_gap(loss, penalty, alpha, v)
            bound = max(bound, primal - gap)  # every look bounds the minimum from below; keep the best
            if primal < lowest:
                lowest, best = primal, v
            if lowest - bound <= tolerance * loss.at_zero:
                break
        if step < max_iter:
            slope = loss.gradient(total(penalty, v)) + alpha * penalty.subgradient(v)
            v = v - length / np.sqrt(step + 1) * slope
    return best, lowest - bound, step


def _objective_and_gap(loss, penalty, alpha, v) -> tuple[float, float]:
    if not isinstance(penalty, SumOfNorms):
        return objective_and_gap(loss, penalty, alpha, v)
    value, minus_gradient, dual_value = loss.dual(v)
    primal = value + alpha * penalty.norm(v)
    guess = alpha * np.stack([part.subgradient(v) for part in penalty.parts])
    size = penalty.dual_bound(minus_gradient, guess)
    return primal, primal - dual_value(alpha / size if size > 0 else np.inf)
