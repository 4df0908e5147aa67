"""Losses of a linear model of several tasks: value, gradient, dual value, and a cheap bound on the curvature.

A loss is the smooth part f of :math:`P(W) = f(W) + \\alpha\\, \\Omega(W)`, with the mean over every task's own
examples and the sum over tasks, :math:`f(W) = \\sum_t \\tfrac{1}{n_t} \\sum_i \\ell(y_{ti}, x_{ti}^{\\mathsf T} w_t)`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "D T"]


class _Examples:
    """Second moments of the examples, as they are multiplied, and the inverse of any shifted multiple of them.

    Tasks that have their examples in common form one group.
    """

    def __init__(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]):
        self.groups, self._spectra, first = [], None, 0
        self._examples = [x for x, _ in groups]
        for x, y in groups:
            small = len(x) < x.shape[1]
            # The factors of X^T X / n, as they are multiplied: one matrix or two.
            factors = (x.T / len(x), x) if small else (x.T @ x / len(x),)
            self.groups.append((slice(first, first + y.shape[1]), factors))
            first += y.shape[1]
        self.largest = max(float(np.linalg.norm(x, 2) ** 2 / len(x)) for x, _ in groups)

    def times(self, w: Matrix) -> Matrix:
        """A(W): every task's weights times the second moments of its examples."""
        product = np.empty_like(w)
        for columns, factors in self.groups:
            part = w[:, columns]
            for factor in reversed(factors):
                part = factor @ part
            product[:, columns] = part
        return product

    def solve(self, r: Matrix, scale: float, shift: float) -> Matrix:
        """The W with ``scale * A(W) + shift * W = r``."""
        if self._spectra is None:
            self._spectra = []
            for x in self._examples:
                _, s, vh = np.linalg.svd(x, full_matrices=False)
                self._spectra.append((s**2 / len(x), vh))
        solution = r / shift
        for (columns, _), (values, vh) in zip(self.groups, self._spectra, strict=True):
            # On the span of the examples 1 / (scale * value + shift), off it 1 / shift.
            change = 1 / (scale * values + shift) - 1 / shift
            solution[:, columns] += vh.T @ (change[:, None] * (vh @ r[:, columns]))
        return solution


class SquaredLoss(_Examples):
    """Half the mean squared residual: :math:`f(W) = \\tfrac12 (c - 2\\langle B, W\\rangle + \\langle W, A(W)\\rangle)`.

    Kept as inner products: a group with fewer examples than features keeps its examples, another one their
    second moments, whichever is smaller.

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

    curvature = 1.0
    """The Hessian is at most (here: is) this many times A."""

    def __init__(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]):
        super().__init__(groups)
        self.correlations = np.hstack([x.T @ y / len(x) for x, y in groups])  # B, [D, T]
        self.power = float(sum((y**2).sum() / len(y) for _, y in groups))  # c
        self.at_zero = self.power / 2
        self.lipschitz = self.largest

    def __call__(self, w: Matrix) -> float:
        return float(self.power / 2 - (self.correlations * w).sum() + (w * self.times(w)).sum() / 2)

    def gradient(self, w: Matrix) -> Matrix:
        """Gradient of f at W, ``[D, T]``."""
        return self.times(w) - self.correlations

    def dual(self, w: Matrix) -> tuple[float, Matrix, Callable[[float], float]]:
        """f(W), minus its gradient, and the dual value when the residuals are scaled by at most a limit.

        The residuals :math:`u_t = (y_t - X_t w_t)/n_t` are the best dual point at the minimum; with
        :math:`X_t^{\\mathsf T} u_t` equal to minus the gradient, :math:`s u` is allowed for
        :math:`|s| \\le \\alpha / \\Omega^\\circ(-\\nabla f)`, and the dual value there is
        :math:`s \\langle u, y \\rangle - \\tfrac{s^2}{2} \\sum_t n_t \\lVert u_t \\rVert^2`.
        """
        minus_gradient = -self.gradient(w)  # [X_t^T r_t / n_t], r the residuals
        residual_times_y = self.power - float((self.correlations * w).sum())
        residual_power = residual_times_y - float((minus_gradient * w).sum())

        def value(limit: float) -> float:
            if residual_power <= 0:  # a perfect fit, but for rounding
                return 0.0
            scale = min(max(residual_times_y / residual_power, -limit), limit)
            return scale * residual_times_y - scale**2 * residual_power / 2

        return residual_power / 2, minus_gradient, value
