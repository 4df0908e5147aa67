"""Losses of a linear model of several tasks: value, gradient, dual value, and a cheap bound on the curvature.

A loss is the smooth part f of :math:`P(W) = f(W) + \\alpha\\, \\Omega(W)`, with the mean over every task's own
examples and the sum over tasks, :math:`f(W) = \\sum_t \\tfrac{1}{n_t} \\sum_i \\ell(y_{ti}, x_{ti}^{\\mathsf T} w_t)`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import expit, xlog1py, xlogy

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

    def solve(self, r: Matrix, scale: np.ndarray, shift: float) -> Matrix:
        """The W with ``scale * A(W) + shift * W = r``; a scale for every task, ``[T]``."""
        if self._spectra is None:
            self._spectra = []
            for x in self._examples:
                _, s, vh = np.linalg.svd(x, full_matrices=False)
                self._spectra.append((s**2 / len(x), vh))
        solution = r / shift
        for (columns, _), (values, vh) in zip(self.groups, self._spectra, strict=True):
            # On the span of the examples 1 / (scale * value + shift), off it 1 / shift.
            change = 1 / (values[:, None] * scale[columns] + shift) - 1 / shift
            solution[:, columns] += vh.T @ (change * (vh @ r[:, columns]))
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

    varies = False
    """Whether the second derivative depends on W."""

    def __init__(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]):
        super().__init__(groups)
        self.correlations = np.hstack([x.T @ y / len(x) for x, y in groups])  # B, [D, T]
        self.power = float(sum((y**2).sum() / len(y) for _, y in groups))  # c
        self.at_zero = self.power / 2
        self.lipschitz = self.largest
        self._ones = np.ones(self.correlations.shape[1])

    def __call__(self, w: Matrix) -> float:
        return float(self.power / 2 - (self.correlations * w).sum() + (w * self.times(w)).sum() / 2)

    def gradient(self, w: Matrix) -> Matrix:
        """Gradient of f at W, ``[D, T]``."""
        return self.times(w) - self.correlations

    def steepness(self, w: Matrix) -> float:
        """Largest second derivative: the same everywhere."""
        return self.lipschitz

    def step(self, w: Matrix, pull: Matrix, shift: float) -> Matrix:
        """Minimiser of :math:`f(Z) - \\langle P, Z \\rangle + \\tfrac{s}{2} \\lVert Z - W \\rVert_F^2` over Z, P the pull and s the shift."""
        return w + self.solve(pull - self.gradient(w), self._ones, shift)

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


class LogisticLoss(_Examples):
    """Mean of :math:`\\log(1 + e^{-y (x^{\\mathsf T} w_t + b_t)})`, y being -1 or 1, with the best constants :math:`b_t` put in.

    As a function of W alone, :math:`f(W) = \\min_b f(W, b)` is convex and smooth, its gradient is the one at the best
    b, and its Hessian is at most a quarter of the second moments of the *centred* examples.  So centred
    examples are what this expects.  The best b of all tasks are found together by Newton's method between brackets.

    Parameters
    ----------
    groups : sequence of (X, Y)
        X is ``[n, D]``, its columns of mean 0 if there is an intercept; Y is ``[n, T_g]`` of -1 and 1.
    fit_intercept : bool
        Whether there are constants; every task then needs examples of both classes.

    Examples
    --------
    >>> loss = LogisticLoss([(np.array([[-1.0], [1.0]]), np.array([[-1.0], [1.0]]))])
    >>> round(loss(np.zeros((1, 1))), 6), loss.gradient(np.zeros((1, 1))).tolist()  # log 2
    (0.693147, [[-0.5]])
    """

    varies = True
    curvature = 0.25
    """The Hessian is at most this many times A."""

    def __init__(self, groups: Sequence[tuple[np.ndarray, np.ndarray]], fit_intercept: bool = True):
        super().__init__(groups)
        self.fit_intercept = fit_intercept
        # All examples in a row, task by task, so that one call serves tasks of any number of examples.
        self._y = np.concatenate([y.T.ravel() for _, y in groups])
        counts = np.concatenate([np.full(y.shape[1], len(y)) for _, y in groups])
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._task = np.repeat(np.arange(len(counts)), counts)
        self._counts = counts
        self._positive = self._y > 0
        self._odds = self._log_odds()
        self._b = self._odds.copy()
        self.lipschitz = self.largest * self.curvature
        zero = np.zeros((self._examples[0].shape[1], len(counts)))
        self.at_zero, self.correlations = self(zero), -self.gradient(zero)

    def _log_odds(self) -> np.ndarray:
        if not self.fit_intercept:
            return np.zeros(len(self._counts))
        positive = self._sums(self._positive.astype(np.float64))
        return np.log(positive) - np.log(self._counts - positive)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over every task's examples, ``[T]``."""
        return np.add.reduceat(values, self._starts)

    def _scores(self, w: Matrix) -> np.ndarray:
        parts = zip(self._examples, self.groups, strict=True)
        return np.concatenate([(x @ w[:, columns]).T.ravel() for x, (columns, _) in parts])

    def _back(self, u: np.ndarray) -> Matrix:
        """:math:`[X_1^{\\mathsf T} u_1 \\dots]`, ``[D, T]``."""
        product, first = np.empty((self._examples[0].shape[1], len(self._counts))), 0
        for x, (columns, _) in zip(self._examples, self.groups, strict=True):
            tasks = columns.stop - columns.start
            product[:, columns] = x.T @ u[first : first + tasks * len(x)].reshape(tasks, len(x)).T
            first += tasks * len(x)
        return product

    def _best_constants(self, scores: np.ndarray) -> np.ndarray:
        """b with as many examples called positive, in expectation, as there are."""
        low = self._odds - np.maximum.reduceat(scores, self._starts)
        high = self._odds - np.minimum.reduceat(scores, self._starts)
        positive = self._sums(self._positive.astype(np.float64))
        b = np.clip(self._b, low, high)
        for _ in range(100):
            p = expit(scores + b[self._task])
            excess = self._sums(p) - positive
            if (np.abs(excess) <= 1e-13 * self._counts).all() or (high - low <= 1e-15).all():
                break
            low, high = np.where(excess < 0, b, low), np.where(excess > 0, b, high)
            slope = self._sums(p * (1 - p))
            newton = b - np.divide(excess, slope, out=np.full_like(b, np.inf), where=slope > 0)
            b = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
        self._b = b  # the next W is near: start from here
        return b

    def _at(self, w: Matrix) -> tuple[np.ndarray, np.ndarray]:
        """Margins :math:`y (x^{\\mathsf T} w + b)` of all examples, and the constants."""
        scores = self._scores(w)
        b = self._best_constants(scores) if self.fit_intercept else self._b
        return self._y * (scores + b[self._task]), b

    def constants(self, w: Matrix) -> np.ndarray:
        """The best :math:`b_t` for W, ``[T]``."""
        return self._at(w)[1]

    def _value(self, margins: np.ndarray) -> float:
        return float((self._sums(np.logaddexp(0, -margins)) / self._counts).sum())

    def __call__(self, w: Matrix) -> float:
        return self._value(self._at(w)[0])

    def gradient(self, w: Matrix) -> Matrix:
        """Gradient of f at W, ``[D, T]``."""
        return -self._back(self._y * expit(-self._at(w)[0]) / self._counts[self._task])

    def steepness(self, w: Matrix) -> float:
        """A guess of the largest second derivative near W, at most ``lipschitz``."""
        p = expit(self._at(w)[0])
        return float(self.largest * max((self._sums(p * (1 - p)) / self._counts).max(), 1e-6))

    def step(self, w: Matrix, pull: Matrix, shift: float) -> Matrix:
        """As for the squared loss, with f replaced by a quadratic above it that touches it at W.

        A quarter of the second moments is always steep enough.  Where the model is sure of itself
        a small part of that will do, so every task starts low and is doubled until its quadratic lies above f.
        """
        margins, _ = self._at(w)
        p, scores = expit(-margins), self._scores(w)
        u = self._y * p / self._counts[self._task]
        value = self._sums(np.logaddexp(0, -margins)) / self._counts
        scale = np.minimum(self._sums(p * (1 - p)) / self._counts + 1e-6, self.curvature)
        force = pull + self._back(u)
        while True:
            moved = w + self.solve(force, scale, shift)
            margins, _ = self._at(moved)
            change = self._scores(moved) - scores
            above = value - self._sums(u * change) + scale / 2 * self._sums(change**2) / self._counts
            low = self._sums(np.logaddexp(0, -margins)) / self._counts > above + 1e-14
            low &= scale < self.curvature
            if not low.any():
                return moved
            scale = np.where(low, np.minimum(2 * scale, self.curvature), scale)

    def dual(self, w: Matrix) -> tuple[float, Matrix, Callable[[float], float]]:
        """f(W), minus its gradient, and the dual value when the doubts are scaled by at most a limit.

        With :math:`p_{ti}` between 0 and 1 and :math:`u_{ti} = y_{ti} p_{ti} / n_t`, the dual value is the mean entropy
        :math:`\\sum_t \\tfrac{1}{n_t} \\sum_i -p \\log p - (1 - p) \\log(1 - p)`; the u are allowed if
        :math:`\\Omega^\\circ(X^{\\mathsf T} u) \\le \\alpha` and, where there are constants, they sum to 0 over every task.
        At the minimum p is the probability that the model gives to the wrong class.
        """
        margins, _ = self._at(w)
        p = expit(-margins)
        if self.fit_intercept:  # the sums are 0 but for rounding; make it exact
            upper, lower = self._sums(p * self._positive), self._sums(p * ~self._positive)
            least = np.minimum(upper, lower)
            shares = [
                np.divide(least, side, out=np.zeros_like(side), where=side > 0) for side in (upper, lower)
            ]
            p = p * np.where(self._positive, shares[0][self._task], shares[1][self._task])
        minus_gradient = self._back(self._y * p / self._counts[self._task])

        def value(limit: float) -> float:
            q = min(limit, 1.0) * p
            return float((self._sums(-xlogy(q, q) - xlog1py(1 - q, -q)) / self._counts).sum())

        return self._value(margins), minus_gradient, value


Loss = SquaredLoss | LogisticLoss
"""Either of them: what the solvers take."""
