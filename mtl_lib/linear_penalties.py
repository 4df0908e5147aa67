"""Norms of a matrix of weights, with all that a proximal method needs: dual norm, proximal step, sub-gradient.

Every norm here takes ``W`` as ``[D, T]``: one row per feature, one column per task.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "D T"]

GRAM_CUTOFF = 1e-4
"""Singular values are read from the Gram matrix only where the threshold is above this share of the largest:
squaring loses half of the digits, and below the cut-off the loss would show."""


def l21_norm(w: Matrix) -> float:
    """Sum of the lengths of the rows, :math:`\\sum_d \\lVert W_{d,:} \\rVert_2`: one term per feature.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.

    Returns
    -------
    float

    Examples
    --------
    >>> l21_norm(np.array([[3.0, 4.0], [0.0, 0.0]]))
    5.0
    """
    return float(np.linalg.norm(w, axis=1).sum())


def prox_l21(w: Matrix, tau: float | int) -> Matrix:
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

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.

    Returns
    -------
    float

    Examples
    --------
    >>> round(trace_norm(np.diag([3.0, 4.0])), 6)
    7.0
    """
    return float(np.linalg.svd(w, compute_uv=False).sum())


def spectral_norm(w: Matrix) -> float:
    """Largest singular value: the dual norm of the trace norm.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.

    Returns
    -------
    float

    Examples
    --------
    >>> round(spectral_norm(np.diag([3.0, 4.0])), 6)
    4.0
    """
    size = np.abs(w).max(initial=0.0)
    if size == 0:
        return 0.0
    w = w / size  # squares neither overflow nor vanish
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    return float(size * np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


def prox_trace_norm(w: Matrix, tau: float | int) -> Matrix:
    """Lower every singular value by `tau`; those not above `tau` become zero.

    The minimiser of :math:`\\tfrac12 \\lVert Z - W \\rVert_F^2 + \\tau \\lVert Z \\rVert_*` over Z.

    A matrix at least twice as long as wide is thresholded through its Gram matrix, several times faster than
    through its singular value decomposition, unless `tau` is so small that this would cost accuracy.

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
    rows, columns = w.shape
    if max(rows, columns) >= 2 * min(rows, columns) and tau > 0:
        wide = w if rows <= columns else w.T
        squares, u = np.linalg.eigh(wide @ wide.T)
        if tau**2 >= GRAM_CUTOFF**2 * squares[-1]:
            alive = squares > tau**2
            u, s = u[:, alive], np.sqrt(squares[alive])
            shrunk = (u * (1 - tau / s)) @ (u.T @ wide)
            return shrunk if rows <= columns else np.ascontiguousarray(shrunk.T)
    u, s, vh = np.linalg.svd(w, full_matrices=False)
    rank = int((s > tau).sum())
    return (u[:, :rank] * (s[:rank] - tau)) @ vh[:rank]


def polar_factor(w: Matrix, cutoff: float = 1e-12) -> Matrix:
    """Minimum-norm sub-gradient of the trace norm: :math:`U V^{\\mathsf T}` over the singular values that are not zero.

    Parameters
    ----------
    w : ndarray
        ``[D, T]``.
    cutoff : float
        Singular values up to this share of the largest count as zero.

    Returns
    -------
    ndarray
        ``[D, T]``.

    Examples
    --------
    >>> polar_factor(np.diag([3.0, 0.0])).round(6)
    array([[1., 0.],
           [0., 0.]])
    """
    u, s, vh = np.linalg.svd(w, full_matrices=False)
    rank = int((s > cutoff * s[0]).sum())
    return u[:, :rank] @ vh[:rank]


def _directions(w: np.ndarray) -> np.ndarray:
    """Rows at length 1, zero rows left at zero: the minimum-norm sub-gradient of the l2,1 norm."""
    length = np.linalg.norm(w, axis=1, keepdims=True)
    return np.divide(w, length, out=np.zeros_like(w), where=length > 0)


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
    subgradient : callable, optional
        The sub-gradient of least Frobenius norm at W; only the sub-gradient method asks for it.

    Examples
    --------
    >>> round(TRACE_NORM.dual_norm(np.diag([3.0, 4.0])), 6)
    4.0
    """

    norm: Callable[[np.ndarray], float]
    dual_norm: Callable[[np.ndarray], float]
    prox: Callable[[np.ndarray, float], np.ndarray]
    subgradient: Callable[[np.ndarray], np.ndarray] | None = None


L21 = Penalty(l21_norm, lambda g: float(np.linalg.norm(g, axis=1).max()), prox_l21, _directions)
"""Few features for all tasks: whole rows are zero."""

TRACE_NORM = Penalty(trace_norm, spectral_norm, prox_trace_norm, polar_factor)
"""Few directions for all tasks: W has low rank."""

COLUMN_NORMS = Penalty(
    lambda w: l21_norm(w.T),
    lambda g: float(np.linalg.norm(g, axis=0).max()),
    lambda w, tau: prox_l21(w.T, tau).T,
    lambda w: _directions(w.T).T,
)
"""Nothing shared: every task's own length. What the trace norm does to orthogonal tasks; the control for it."""
