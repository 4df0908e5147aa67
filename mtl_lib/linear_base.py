"""What all estimators of linear multi-task models have in common: fit, path, choice of the solver."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.linear_admm import consensus_admm, sharing_admm
from mtl_lib.linear_data import is_list_of_tasks, task_examples
from mtl_lib.linear_losses import Loss
from mtl_lib.linear_norm_sums import MixtureOfNorms, SumOfNorms
from mtl_lib.linear_penalties import Penalty
from mtl_lib.linear_solvers import fista, total
from mtl_lib.linear_subgradient import subgradient_method

SOLVERS = ("auto", "fista", "admm", "subgradient")


@dataclass
class Problem:
    """A loss on centred examples, and what leads back to the examples as they were.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        On centred examples if there are intercepts.
    means : ndarray
        Means of every task's examples, ``[T, D]``; zeros without intercept.
    constants : callable
        From W to the best constants for centred examples, ``[T]``.
    """

    loss: Loss
    means: np.ndarray
    constants: Callable[[np.ndarray], np.ndarray]


def minimise(loss: Loss, penalty: Penalty | SumOfNorms | MixtureOfNorms, alpha, solver, state, tol, max_iter):
    """Solve by the named method, or the fastest one that applies.

    Parameters
    ----------
    loss : SquaredLoss or LogisticLoss
        The smooth part.
    penalty : Penalty, SumOfNorms or MixtureOfNorms
        The norm.
    alpha : float
        Its weight.
    solver : str
        One of :data:`SOLVERS`.
    state : object
        None, or the last entry of what this returned for a neighbouring alpha and the same solver.
    tol, max_iter
        As for the solvers.

    Returns
    -------
    tuple
        Weights (or the components of a mixture), duality gap, steps, state.

    Raises
    ------
    ConfigError
        If there is no such solver, or it does not apply to the norm.

    Examples
    --------
    >>> from mtl_lib.linear_losses import SquaredLoss
    >>> from mtl_lib.linear_penalties import L21
    >>> loss = SquaredLoss([(np.eye(2), np.array([[2.0], [0.5]]))])
    >>> minimise(loss, L21, 0.5, "auto", None, 1e-6, 100)[0].ravel().round(6).tolist()
    [1.0, 0.0]
    """
    if solver not in SOLVERS:
        raise ConfigError(f"solver is {solver!r}; it may be one of {', '.join(SOLVERS)}")
    if solver == "auto":
        # ADMM needs some three times fewer steps than FISTA for mixtures, about as many for a single norm.
        solver = "fista" if isinstance(penalty, Penalty) else "admm"
    if solver == "admm":
        method = consensus_admm if isinstance(penalty, SumOfNorms) else sharing_admm
        return method(loss, penalty, alpha, state, tol, max_iter)
    if solver == "fista" and isinstance(penalty, SumOfNorms):
        raise ConfigError(
            "solver is 'fista', but a sum of trace norms over several modes has no proximal step in closed form; "
            "use 'admm' ('auto' does), or 'subgradient' to see how slow it is"
        )
    if state is None:
        zero = np.zeros_like(loss.correlations)
        state = np.stack([zero] * len(penalty.parts)) if isinstance(penalty, MixtureOfNorms) else zero
    method = fista if solver == "fista" else subgradient_method
    v, gap, steps = method(loss, penalty, alpha, state, tol, max_iter)
    return v, gap, steps, v


class MultiTaskLinear(BaseEstimator, ABC):
    """Base of the estimators; a subclass names its penalty and makes a :class:`Problem` of data."""

    penalty: ClassVar[Penalty | None] = None

    def __init__(self, alpha=1.0, *, fit_intercept=True, solver="auto", tol=1e-6, max_iter=5000):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y):
        """Fit all tasks together.

        Parameters
        ----------
        X : array ``[n, D]``, or list of T arrays ``[n_t, D]``
            Examples that all tasks share, or every task's own.
        y : array ``[n, T]`` or ``[n]``, or list of T arrays ``[n_t]``
            Targets; for a classifier labels, two classes per task.

        Returns
        -------
        self

        Raises
        ------
        ConfigError
            If `alpha`, `tol` or `max_iter` is out of range, the solver does not exist or does not apply, or
            `task_shape` or `weights` do not fit the tasks.
        DataError
            If the lists do not fit together, or a task does not have two classes; the task is named (counted from 0).
        """
        self._solve(self._problem(X, y), None)
        return self

    def path(self, X, y, alphas=None, n_alphas=20, eps=1e-2):
        """Fit for a descending row of alphas, each started from the solution before it.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        alphas : sequence of float, optional
            The row; by default `n_alphas` values, equally spaced on a logarithmic scale, from the smallest alpha
            at which all weights are zero (for a sum of norms up to 0.1 % above it) down to `eps` times that.
        n_alphas : int
            How many.
        eps : float
            Last alpha over first.

        Returns
        -------
        alphas : array ``[n_alphas]``
            Descending.
        models : list
            One fitted estimator per alpha.

        Raises
        ------
        ConfigError, DataError
            As for :meth:`fit`.
        """
        template = copy.copy(self)  # what the data say about the model is written here, not on self
        problem, state = template._problem(X, y), None
        loss = problem.loss
        if alphas is None:
            largest = self._penalty(*loss.correlations.shape).dual_norm(loss.correlations)
            alphas = largest * np.logspace(0, np.log10(eps), n_alphas)
        alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        models = []
        for alpha in alphas:
            model = copy.copy(template).set_params(alpha=float(alpha))
            state = model._solve(problem, state)
            models.append(model)
        return alphas, models

    @abstractmethod
    def _problem(self, X, y) -> Problem:
        """Check the data, centre them, note on self what they say about the model."""

    def _penalty(self, features: int, tasks: int) -> Penalty | SumOfNorms | MixtureOfNorms:
        return self.penalty

    def _centred(self, groups: list[tuple[np.ndarray, np.ndarray]]):
        """Groups with the means of the examples taken away, and the means, one row per task."""
        if not self.fit_intercept:
            tasks = sum(targets.shape[1] for _, targets in groups)
            return groups, np.zeros((tasks, self.n_features_in_))
        means = [np.tile(x.mean(axis=0), (targets.shape[1], 1)) for x, targets in groups]
        return [(x - x.mean(axis=0), targets) for x, targets in groups], np.vstack(means)

    def _solve(self, problem: Problem, state: Any):
        """Set the fitted attributes; return what the problem for the next alpha starts from."""
        if not self.alpha > 0:
            raise ConfigError(f"alpha is {self.alpha}; it must be above 0 (without a penalty the tasks part)")
        if not self.tol >= 0 or not self.max_iter >= 1:
            raise ConfigError(
                f"tol is {self.tol} and max_iter {self.max_iter}; they must be at least 0 and at least 1"
            )
        loss = problem.loss
        penalty = self._penalty(*loss.correlations.shape)
        v, gap, steps, state = minimise(
            loss, penalty, self.alpha, self.solver, state, self.tol, self.max_iter
        )
        if gap > self.tol * loss.at_zero:
            warnings.warn(
                f"stopped after {steps} steps at a duality gap of {gap:.2g}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        w = total(penalty, v)
        if isinstance(penalty, MixtureOfNorms):
            self.components_ = np.ascontiguousarray(v.swapaxes(1, 2))
        self.dual_gap_, self.n_iter_ = gap, max(steps, 1)
        self.coef_ = np.ascontiguousarray(w.T)
        self.intercept_ = problem.constants(w) - (self.coef_ * problem.means).sum(axis=1)
        return state

    def _scores(self, X):
        """Linear function of every example for every task: ``[n, T]``, or a list of ``[n_t]``."""
        check_is_fitted(self)
        if not is_list_of_tasks(X):
            return validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_
        if len(X) != len(self.coef_):
            raise DataError(f"{len(X)} arrays of examples for {len(self.coef_)} tasks")
        return [
            task_examples(x, task, self.n_features_in_) @ w + b
            for task, (x, w, b) in enumerate(zip(X, self.coef_, self.intercept_, strict=True))
        ]
