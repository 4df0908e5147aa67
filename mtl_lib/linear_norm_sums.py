"""Norms put together from norms of mode unfoldings: their sum, and their mixture (infimal convolution).

A tensor of weights of shape :math:`D \\times T_1 \\times T_2 \\times \\dots` is kept as the matrix ``[D, T]``, whose columns run over the
task indices in C order, the last index fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_lib.linear_penalties import Penalty, polar_factor, prox_trace_norm, spectral_norm, trace_norm


def mode_unfolding(w: np.ndarray, shape: tuple[int, ...], mode: int) -> np.ndarray:
    """Mode unfolding of a tensor that is kept as a matrix: axis `mode` is the rows.

    Parameters
    ----------
    w : ndarray
        ``[shape[0], the product of the others]``.
    shape : tuple of int
        Shape of the tensor.
    mode : int
        From 0.

    Returns
    -------
    ndarray
        ``[shape[mode], the product of the others]``.

    Examples
    --------
    >>> mode_unfolding(np.arange(6).reshape(1, 6), (1, 2, 3), 2)
    array([[0, 3],
           [1, 4],
           [2, 5]])
    """
    return np.moveaxis(w.reshape(shape), mode, 0).reshape(shape[mode], -1)


def mode_folding(m: np.ndarray, shape: tuple[int, ...], mode: int) -> np.ndarray:
    """Inverse of :func:`mode_unfolding`.

    Parameters
    ----------
    m : ndarray
        ``[shape[mode], the product of the others]``.
    shape : tuple of int
        Shape of the tensor.
    mode : int
        From 0.

    Returns
    -------
    ndarray
        ``[shape[0], the product of the others]``.

    Examples
    --------
    >>> w = np.arange(24).reshape(2, 12)
    >>> bool((mode_folding(mode_unfolding(w, (2, 3, 4), 1), (2, 3, 4), 1) == w).all())
    True
    """
    others = shape[:mode] + shape[mode + 1 :]
    return np.moveaxis(m.reshape((shape[mode], *others)), 0, mode).reshape(shape[0], -1)


def mode_trace_norm(shape: Sequence[int], mode: int, weight: float | int = 1.0) -> Penalty:
    """Trace norm of one mode unfolding, times a weight above 0.

    Parameters
    ----------
    shape : sequence of int
        Shape of the tensor, ``(D, T_1, T_2, ...)``.
    mode : int
        The axis that becomes the rows, from 0.
    weight : float
        Above 0.

    Returns
    -------
    Penalty
        On ``[D, T]`` matrices.

    Examples
    --------
    >>> w = np.array([[3.0, 0.0, 0.0, 4.0]])  # a 1 x 2 x 2 tensor
    >>> [round(mode_trace_norm((1, 2, 2), mode).norm(w), 6) for mode in range(3)]
    [5.0, 7.0, 7.0]
    """
    shape = tuple(shape)

    def unfold(w):
        return mode_unfolding(w, shape, mode)

    def fold(m):
        return mode_folding(m, shape, mode)

    return Penalty(
        lambda w: weight * trace_norm(unfold(w)),
        lambda g: spectral_norm(unfold(g)) / weight,
        lambda w, tau: fold(prox_trace_norm(unfold(w), tau * weight)),
        lambda w: weight * fold(polar_factor(unfold(w))),
    )


@dataclass(frozen=True)
class SumOfNorms:
    """:math:`\\Omega(W) = \\sum_k \\Omega_k(W)`: every part sees the same W.

    The proximal step has no closed form, and the dual norm is itself a minimum,
    :math:`\\Omega^\\circ(G) = \\min_{G_1 + G_2 + \\dots = G} \\max_k \\Omega_k^\\circ(G_k)`.  Any splitting of G bounds it from above.

    Parameters
    ----------
    parts : tuple of Penalty
        The norms.
    shape : tuple of int, optional
        Shape of the tensor when the parts are trace norms of its unfoldings.
    modes : tuple of int, optional
        The mode of each part.

    Examples
    --------
    >>> both = SumOfNorms((mode_trace_norm((2, 2), 0), mode_trace_norm((2, 2), 1)))
    >>> round(both.norm(np.diag([3.0, 4.0])), 6)  # of a matrix: twice the trace norm
    14.0
    """

    parts: tuple[Penalty, ...]
    shape: tuple[int, ...] | None = None
    modes: tuple[int, ...] | None = None

    def norm(self, w: np.ndarray) -> float:
        """:math:`\\sum_k \\Omega_k(W)`."""
        return float(sum(part.norm(w) for part in self.parts))

    def subgradient(self, w: np.ndarray) -> np.ndarray:
        """Sum of the parts' sub-gradients."""
        return sum(part.subgradient(w) for part in self.parts)

    def dual_bound(self, g: np.ndarray, guess: np.ndarray) -> float:
        """An upper bound of the dual norm from a splitting `guess` ``[K, D, T]``, corrected so that it sums to g."""
        split = self.corrected(g, guess)
        return max(part.dual_norm(piece) for part, piece in zip(self.parts, split, strict=True))

    def corrected(self, g: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """`guess` with what is missing to g spread evenly."""
        return guess + (g - guess.sum(axis=0)) / len(self.parts)

    def low_rank(self, w: np.ndarray, copies: np.ndarray) -> np.ndarray:
        """W projected, in every mode, on the space that the mode's copy spans.

        A copy that has been through a proximal step has an exact low rank, W only nearly so.  The projection
        raises none of the trace norms.
        """
        if self.shape is None:
            return w
        for mode, copy in zip(self.modes, copies, strict=True):
            rows = mode_unfolding(copy, self.shape, mode)
            squares, u = np.linalg.eigh(rows @ rows.T)
            u = u[:, squares > 1e-14 * squares[-1]]  # a zero singular value squared is noise of this size
            if u.shape[1] < u.shape[0]:
                w = mode_folding(u @ (u.T @ mode_unfolding(w, self.shape, mode)), self.shape, mode)
        return w

    def dual_norm(self, g: np.ndarray) -> float:
        """The dual norm of a ``[D, T]`` matrix, at most 0.1 % too large, never too small."""
        return self.best_split(g)[0]

    def best_split(
        self, g: np.ndarray, tolerance: float | int = 1e-3, max_iter: int = 500
    ) -> tuple[float, np.ndarray]:
        """The dual norm of a ``[D, T]`` matrix, at most `tolerance` (relative) too large, and a splitting that has it.

        By ADMM on :math:`\\min \\{\\Omega(W) : \\langle G, W \\rangle = 1\\}`, whose value is the reciprocal of the dual norm and
        whose multipliers are the best splitting.
        """
        size = float(np.linalg.norm(g))
        if size == 0:
            return 0.0, np.zeros((len(self.parts), *g.shape))
        g, count = g / size, len(self.parts)
        best = self.even_split(g)
        upper, lower = self.dual_bound(g, best), 1 / self.norm(g)
        rho = self.norm(g) / 20  # springs of the multipliers' size over that of W; measured: 20 to 50 steps
        copies = np.repeat(g[None], count, axis=0)
        multipliers = best / upper
        for step in range(1, max_iter + 1):
            w = (copies - multipliers / rho).mean(axis=0)
            w = w + (1 - (g * w).sum()) * g
            ahead = 1.6 * w - 0.6 * copies + multipliers / rho
            copies = np.stack([part.prox(v, 1 / rho) for part, v in zip(self.parts, ahead, strict=True)])
            multipliers = rho * (ahead - copies)
            if step % 5 == 0:
                share = float((multipliers.sum(axis=0) * g).sum())
                if share > 0:
                    split = self.corrected(g, multipliers / share)
                    bound = self.dual_bound(g, split)
                    if bound < upper:
                        upper, best = bound, split
                lower = max(lower, 1 / self.norm(w))
                if upper <= lower * (1 + tolerance):
                    break
        return size * upper, size * best

    def even_split(self, g: np.ndarray) -> np.ndarray:
        """The best splitting into multiples of G itself: a start."""
        sizes = np.array([part.dual_norm(g) for part in self.parts])
        if not (sizes > 0).all():
            return np.zeros((len(self.parts), *g.shape))
        shares = (1 / sizes) / (1 / sizes).sum()
        return shares[:, None, None] * g


@dataclass(frozen=True)
class MixtureOfNorms:
    """:math:`\\Omega(W) = \\min_{W^{(1)} + W^{(2)} + \\dots = W} \\sum_k \\Omega_k(W^{(k)})`: every part has a component of its own.

    In the language of convex analysis the infimal convolution.  Methods take the components ``[K, D, T]``; in
    them the norm is a plain sum, and the proximal step one of each part.  The dual norm is the largest of the parts'.

    Parameters
    ----------
    parts : tuple of Penalty
        The norms.
    shape, modes
        As for :class:`SumOfNorms`.

    Examples
    --------
    >>> either = MixtureOfNorms((mode_trace_norm((2, 2), 0), mode_trace_norm((2, 2), 1)))
    >>> round(either.dual_norm(np.diag([3.0, 4.0])), 6)
    4.0
    """

    parts: tuple[Penalty, ...]
    shape: tuple[int, ...] | None = None
    modes: tuple[int, ...] | None = None

    def norm(self, v: np.ndarray) -> float:
        """:math:`\\sum_k \\Omega_k(V_k)`: the norm of the sum if the components are the best ones, else a bound from above."""
        return float(sum(part.norm(piece) for part, piece in zip(self.parts, v, strict=True)))

    def dual_norm(self, g: np.ndarray) -> float:
        """:math:`\\max_k \\Omega_k^\\circ(G)`, of a ``[D, T]`` matrix."""
        return max(part.dual_norm(g) for part in self.parts)

    def prox(self, v: np.ndarray, tau: float) -> np.ndarray:
        """Proximal step of every part on its own component."""
        return np.stack([part.prox(piece, tau) for part, piece in zip(self.parts, v, strict=True)])

    def subgradient(self, v: np.ndarray) -> np.ndarray:
        """Sub-gradients of the parts, ``[K, D, T]``."""
        return np.stack([part.subgradient(piece) for part, piece in zip(self.parts, v, strict=True)])

    def best_parts(
        self, w: np.ndarray, tolerance: float | int = 1e-3, max_iter: int = 2000
    ) -> tuple[float, np.ndarray]:
        """The norm of a ``[D, T]`` matrix, at most `tolerance` (relative) too large, and components that have it.

        By ADMM on the components that add up to W; its multiplier G bounds the norm from below by
        :math:`\\langle G, W \\rangle / \\Omega^\\circ(G)`.

        Examples
        --------
        >>> shape = (1, 2, 2)
        >>> either = MixtureOfNorms(tuple(mode_trace_norm(shape, mode) for mode in range(3)))
        >>> round(either.best_parts(np.array([[3.0, 0.0, 0.0, 4.0]]))[0], 2)  # 5, 7 or 7: the first mode alone
        5.0
        """
        size, count = self.dual_norm(w), len(self.parts)
        parts = np.repeat(w[None] / count, count, axis=0)
        if size == 0:
            return 0.0, parts
        rho, multipliers = 2 / size, np.zeros_like(w)
        upper, lower, best = self.norm(parts), 0.0, parts
        for step in range(1, max_iter + 1):
            parts = self.prox(parts + (w - parts.sum(axis=0)) / count + multipliers / rho, 1 / rho)
            multipliers = multipliers + rho * 1.6 * (w - parts.sum(axis=0)) / count
            if step % 5 == 0:
                whole = parts + (w - parts.sum(axis=0)) / count
                value, slope = self.norm(whole), self.dual_norm(multipliers)
                if value < upper:
                    upper, best = value, whole
                if slope > 0:
                    lower = max(lower, float((multipliers * w).sum()) / slope)
                if upper <= lower * (1 + tolerance):
                    break
        return upper, best
