"""ADMM: splitting a problem into a quadratic step and proximal steps, tied together by multipliers.

Two forms, for the two ways in which norms are put together (Boyd et al., 2011, Sec. 7.1 and 7.3):

- *consensus*, for a sum of norms: :math:`\\min f(W) + \\alpha \\sum_k \\Omega_k(Z_k)` subject to :math:`Z_k = W`;
- *sharing*, for a mixture: :math:`\\min f(W) + \\alpha \\sum_k \\Omega_k(V_k)` subject to :math:`\\sum_k V_k = W`.

With squared loss the step in W is solved exactly.  With another loss f is replaced in it by the quadratic
above f that touches it at the present W (majorised ADMM; Li, Sun and Toh, 2016), so that a step costs the same.
"""

from dataclasses import dataclass

import numpy as np

from mtl_lib.linear_losses import Loss
from mtl_lib.linear_norm_sums import MixtureOfNorms, SumOfNorms
from mtl_lib.linear_penalties import Penalty
from mtl_lib.linear_solvers import objective_and_gap

RELAX = 1.6
"""Over-relaxation; between 1.5 and 1.8 is usual (Boyd et al., 2011, Sec. 3.4.3)."""


@dataclass
class AdmmState:
    """Where ADMM stands: the start for a neighbouring alpha.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.
    parts : ndarray
        Copies of W, or components of it, one per norm, ``[K, D, T]``.
    multipliers : ndarray
        ``[K, D, T]`` (consensus; in the limit a splitting of minus the gradient) or ``[D, T]`` (sharing).
    rho : float
        Stiffness of the springs between W and its parts.
    alpha : float
        The weight of the penalty to which the multipliers belong.
    """

    w: np.ndarray
    parts: np.ndarray
    multipliers: np.ndarray
    rho: float | int
    alpha: float | int


def _better_rho(rho: float, step: int, apart, w, moved, multipliers) -> float:
    """Balance how far the parts are from agreeing with how much they still move, each relative to its size.

    Only ever fewer changes, so that ADMM's proof of convergence holds after the last.
    """
    if step % 10 or (step > 100 and step & (step - 1)):  # 10, 20, ... 100
        return rho
    primal = np.linalg.norm(apart) / max(np.linalg.norm(w), 1e-300)
    dual = rho * np.linalg.norm(moved) / max(np.linalg.norm(multipliers), 1e-300)
    ratio = np.sqrt(min(max(primal, 1e-12), 1e12) / min(max(dual, 1e-12), 1e12))
    return rho * min(max(ratio, 0.2), 5.0) if not 0.5 <= ratio <= 2 else rho


def consensus_admm(
    loss: Loss,
    penalty: SumOfNorms,
    alpha: float | int,
    start: AdmmState | None = None,
    tolerance: float | int = 1e-6,
    max_iter: int = 5000,
    look_every: int = 10,
) -> tuple[np.ndarray, float, int, AdmmState]:
    """Minimise a loss plus a sum of norms; every norm has its own copy of W.

    The multipliers are a splitting of minus the gradient into pieces that the single norms allow, but for a
    residual that vanishes.  Spread over the pieces and scaled, it gives a dual point, hence a true bound.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The smooth part.
    penalty : SumOfNorms
        The norms.
    alpha : float
        Their weight, above 0.
    start : AdmmState, optional
        From a neighbouring alpha.
    tolerance : float
        Stop when the duality gap is below this share of the objective at W = 0.
    max_iter : int
        Largest number of steps.
    look_every : int
        Steps between two looks at the gap.

    Returns
    -------
    tuple
        The weights ``[D, T]``, their duality gap, the number of steps, the state to start the next alpha from.

    Examples
    --------
    >>> from mtl_lib.linear_losses import SquaredLoss
    >>> from mtl_lib.linear_tensor_penalties import overlapped_trace_norm
    >>> loss = SquaredLoss([(np.eye(2), np.diag([2.0, 0.2]))])
    >>> w, gap, steps, _ = consensus_admm(loss, overlapped_trace_norm((2, 2)), alpha=0.25)
    >>> w.round(2).tolist(), gap < 1e-6
    ([[1.0, 0.0], [0.0, 0.0]], True)
    """
    count, enough = len(penalty.parts), tolerance * loss.at_zero
    if start is None:
        zero = np.zeros((count, *loss.correlations.shape))
        size, split = penalty.best_split(loss.correlations)  # the multipliers at the largest useful alpha
        split *= min(1.0, alpha / size) if size > 0 else 1.0
        start = AdmmState(zero[0], zero, split, max(loss.lipschitz, 1e-12), alpha)
    w, copies, rho = start.w, start.parts, start.rho
    multipliers = start.multipliers * (alpha / start.alpha)
    step = 0
    while True:
        if step % look_every == 0 or step == max_iter:
            low = penalty.low_rank(w, copies)
            value, minus_gradient, dual_value = loss.dual(low)
            size = penalty.dual_bound(minus_gradient, multipliers)
            gap = value + alpha * penalty.norm(low) - dual_value(alpha / size if size > 0 else np.inf)
            if gap <= enough or step >= max_iter:
                break
        step += 1
        pull = rho * (copies - w).sum(axis=0) - multipliers.sum(axis=0)
        w = loss.step(w, pull, rho * count)
        ahead = RELAX * w + (1 - RELAX) * copies + multipliers / rho
        before = copies
        copies = np.stack([part.prox(v, alpha / rho) for part, v in zip(penalty.parts, ahead, strict=True)])
        multipliers = rho * (ahead - copies)
        rho = _better_rho(rho, step, w - copies, copies, copies - before, multipliers)
    return low, gap, step, AdmmState(w, copies, multipliers, rho, alpha)


def sharing_admm(
    loss: Loss,
    penalty: MixtureOfNorms | Penalty,
    alpha: float | int,
    start: AdmmState | None = None,
    tolerance: float | int = 1e-6,
    max_iter: int = 5000,
    look_every: int = 10,
) -> tuple[np.ndarray, float, int, AdmmState]:
    """Minimise a loss plus a mixture of norms (or plus a single norm); the components add up to W.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The smooth part.
    penalty : MixtureOfNorms or Penalty
        The norms.
    alpha, start, tolerance, max_iter, look_every
        As for :func:`consensus_admm`.

    Returns
    -------
    tuple
        The components ``[K, D, T]`` (for a single norm the weights ``[D, T]``), and the rest as for
        :func:`consensus_admm`.

    Examples
    --------
    >>> from mtl_lib.linear_losses import SquaredLoss
    >>> from mtl_lib.linear_penalties import TRACE_NORM
    >>> loss = SquaredLoss([(np.eye(2), np.diag([2.0, 0.2]))])
    >>> w, gap, steps, _ = sharing_admm(loss, TRACE_NORM, alpha=0.5)
    >>> w.round(3).tolist(), gap < 1e-6
    ([[1.0, 0.0], [0.0, 0.0]], True)
    """
    mixture = penalty if isinstance(penalty, MixtureOfNorms) else MixtureOfNorms((penalty,))
    count, enough = len(mixture.parts), tolerance * loss.at_zero
    if start is None:
        zero = np.zeros((count, *loss.correlations.shape))
        start = AdmmState(zero[0], zero, zero[0], max(loss.lipschitz, 1e-12) / count, alpha)
    w, parts, rho = start.w, start.parts, start.rho
    multipliers = start.multipliers * (alpha / start.alpha)
    matched = parts - parts.mean(axis=0) + w / count  # the nearest components that add up to w
    step = 0
    while True:
        if step % look_every == 0 or step == max_iter:
            gap = objective_and_gap(loss, mixture, alpha, parts)[1]
            if gap <= enough or step >= max_iter:
                break
        step += 1
        parts = mixture.prox(matched - multipliers / rho, alpha / rho)
        mean = RELAX * parts.mean(axis=0) + (1 - RELAX) * w / count
        pull = multipliers + rho * (mean - w / count)
        w = loss.step(w, pull, rho / count)
        multipliers = multipliers + rho * (mean - w / count)
        before, matched = matched, parts - parts.mean(axis=0) + w / count
        rho = _better_rho(rho, step, parts - matched, parts, matched - before, np.sqrt(count) * multipliers)
    solution = parts if isinstance(penalty, MixtureOfNorms) else parts[0]
    return solution, gap, step, AdmmState(w, parts, multipliers, rho, alpha)
