"""Linear models of several tasks, as scikit-learn estimators.

All minimise :math:`\\sum_t \\tfrac{1}{2 n_t} \\lVert y_t - X_t w_t \\rVert^2 + \\alpha\\, \\Omega(W)` by FISTA and stop
at a proven distance from the minimum (:mod:`mtl_lib.linear_solvers`).  They differ in the norm:

- :class:`MultiTaskL21`: rows; the tasks use the same few features (`MultiTaskLasso` of scikit-learn).
- :class:`MultiTaskTraceNorm`: singular values; the tasks lie in the same few directions.
- :class:`MultiTaskColumnNorms`: columns; nothing is shared. The control for the other two.
"""

import warnings
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.linear_solvers import COLUMN_NORMS, L21, TRACE_NORM, Penalty, SquaredLoss, fista


def _is_list_of_tasks(X) -> bool:
    return isinstance(X, (list, tuple)) and len(X) > 0 and getattr(X[0], "ndim", 0) == 2


class _MultiTaskLinear(RegressorMixin, BaseEstimator):
    """What the estimators have in common; a subclass names its penalty."""

    penalty: ClassVar[Penalty]

    def __init__(self, alpha=1.0, *, fit_intercept=True, tol=1e-6, max_iter=5000):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
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
            Targets.

        Returns
        -------
        self

        Raises
        ------
        ConfigError
            If `alpha` is not above 0.
        DataError
            If the lists do not fit together; the task is named (counted from 0).
        """
        groups, means = self._prepare(X, y)
        loss = SquaredLoss(groups)
        start = np.zeros_like(loss.correlations)
        w, self.dual_gap_, self.n_iter_ = self._solve(loss, self.alpha, start)
        self._keep(w, means)
        return self

    def path(self, X, y, alphas=None, n_alphas=20, eps=1e-2):
        """Fit for a descending row of alphas, each started from the solution before it.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        alphas : sequence of float, optional
            The row; by default `n_alphas` values, equally spaced on a logarithmic scale, from the smallest alpha
            at which all weights are zero down to `eps` times that.
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
        groups, means = self._prepare(X, y)
        loss = SquaredLoss(groups)
        w = np.zeros_like(loss.correlations)
        if alphas is None:
            largest = self.penalty.dual_norm(loss.correlations)
            alphas = largest * np.logspace(0, np.log10(eps), n_alphas)
        alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        models = []
        for alpha in alphas:
            model = type(self)(**{**self.get_params(), "alpha": float(alpha)})
            w, model.dual_gap_, model.n_iter_ = model._solve(loss, model.alpha, w)
            model.n_features_in_ = self.n_features_in_
            model._one_column = self._one_column
            model._keep(w, means)
            models.append(model)
        return alphas, models

    def predict(self, X):
        """Predict all tasks for every example, or each task for its own examples.

        Parameters
        ----------
        X : array ``[n, D]``, or list of T arrays ``[n_t, D]``
            Examples.

        Returns
        -------
        array ``[n, T]`` (``[n]`` if y had one axis), or list of T arrays ``[n_t]``

        Raises
        ------
        DataError
            If the list does not have one array per task.
        """
        check_is_fitted(self)
        if not _is_list_of_tasks(X):
            predicted = validate_data(self, X, reset=False) @ self.coef_.T + self.intercept_
            return predicted[:, 0] if self._one_column else predicted
        if len(X) != len(self.coef_):
            raise DataError(f"{len(X)} arrays of examples for {len(self.coef_)} tasks")
        return [
            _examples(x, task, self.n_features_in_) @ w + b
            for task, (x, w, b) in enumerate(zip(X, self.coef_, self.intercept_, strict=True))
        ]

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination, averaged over the tasks; lists are allowed."""
        if not _is_list_of_tasks(X):
            return super().score(X, y, sample_weight)
        return float(np.mean([r2_score(true, got) for true, got in zip(y, self.predict(X), strict=True)]))

    def _prepare(self, X, y):
        """Centred groups of examples, and the means that were taken away (of X per group, of y)."""
        if not self.alpha > 0:
            raise ConfigError(
                f"alpha is {self.alpha}; it must be above 0 (without a penalty, use LinearRegression)"
            )
        if _is_list_of_tasks(X):
            groups = _lists(X, y)
            self.n_features_in_ = groups[0][0].shape[1]
            self._one_column = False
        else:
            X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
            self._one_column = y.ndim == 1
            groups = [(X, y.reshape(len(y), -1).astype(np.float64))]
        tasks = sum(targets.shape[1] for _, targets in groups)
        if not self.fit_intercept:
            return groups, (np.zeros((tasks, self.n_features_in_)), np.zeros(tasks))
        x_means = [np.tile(x.mean(axis=0), (targets.shape[1], 1)) for x, targets in groups]
        y_means = [targets.mean(axis=0) for _, targets in groups]
        centred = [(x - x.mean(axis=0), targets - targets.mean(axis=0)) for x, targets in groups]
        return centred, (np.vstack(x_means), np.concatenate(y_means))

    def _solve(self, loss: SquaredLoss, alpha: float, start: np.ndarray):
        w, gap, steps = fista(loss, self.penalty, alpha, start, self.tol, self.max_iter)
        if gap > self.tol * loss.power / 2:
            warnings.warn(
                f"stopped after {steps} steps at a duality gap of {gap:.2g}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return w, gap, max(steps, 1)

    def _keep(self, w: np.ndarray, means: tuple[np.ndarray, np.ndarray]) -> None:
        x_means, y_means = means
        self.coef_ = np.ascontiguousarray(w.T)
        self.intercept_ = y_means - (self.coef_ * x_means).sum(axis=1)


def _examples(x, task: int, features: int | None = None) -> np.ndarray:
    try:
        x = check_array(x, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"task {task}: {error}") from None
    if features is not None and x.shape[1] != features:
        raise DataError(f"task {task} has {x.shape[1]} features, the tasks before it {features}")
    return x


def _lists(X: Sequence, y: Sequence) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of one task each from lists, or an error that names the task."""
    if len(X) != len(y):
        raise DataError(
            f"{len(X)} arrays of examples but {len(y)} of targets; there must be one of each per task"
        )
    groups, features = [], None
    for task, (x, targets) in enumerate(zip(X, y, strict=True)):
        x = _examples(x, task, features)
        features = x.shape[1]
        targets = np.asarray(targets, dtype=np.float64)
        if targets.shape != (len(x),):
            raise DataError(f"task {task} has {len(x)} examples but targets of shape {targets.shape}")
        if not np.isfinite(targets).all():
            raise DataError(f"task {task} has targets that are not finite")
        groups.append((x, targets[:, None]))
    return groups


_PARAMETERS = """

    Parameters
    ----------
    alpha : float
        Weight of the penalty, above 0, in units of the gradient of the mean loss.
    fit_intercept : bool
        Add a constant to every task, which is not penalised.
    tol : float
        Stop at a duality gap below this share of the objective at W = 0: the objective is then
        at most that much above the minimum.
    max_iter : int
        Largest number of steps; a warning says when it was not enough.

    Attributes
    ----------
    coef_ : array ``[T, D]``
        The weights, one task per row as in scikit-learn: W of the text is ``coef_.T``.
    intercept_ : array ``[T]``
        The constants.
    dual_gap_ : float
        A bound on how far the objective is above its minimum.
    n_iter_ : int
        Number of steps.
"""


class MultiTaskL21(_MultiTaskLinear):
    __doc__ = f"""Few features for all tasks: :math:`\\Omega(W) = \\sum_d \\lVert W_{{d,:}} \\rVert_2`.

    The same problem, and the same `alpha`, as scikit-learn's ``MultiTaskLasso``; tasks may also have
    examples of their own, in different numbers.
    {_PARAMETERS}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 4))
    >>> Y = X[:, :1] @ [[1.0, -2.0, 3.0]]  # three tasks, all on the first feature
    >>> (MultiTaskL21(alpha=0.1).fit(X, Y).coef_ != 0).any(axis=0)
    array([ True, False, False, False])
    """
    penalty = L21


class MultiTaskTraceNorm(_MultiTaskLinear):
    __doc__ = f"""Few directions for all tasks: :math:`\\Omega(W) = \\lVert W \\rVert_* = \\sum_i \\sigma_i`.
    {_PARAMETERS}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> direction = rng.normal(size=6)
    >>> X = [rng.normal(size=(n, 6)) for n in (20, 30, 40)]  # every task has its own examples
    >>> y = [x @ direction * scale for x, scale in zip(X, (1.0, 2.0, -1.0))]
    >>> int(np.linalg.matrix_rank(MultiTaskTraceNorm(alpha=0.1).fit(X, y).coef_))
    1
    """
    penalty = TRACE_NORM


class MultiTaskColumnNorms(_MultiTaskLinear):
    __doc__ = f"""Nothing shared: :math:`\\Omega(W) = \\sum_t \\lVert w_t \\rVert_2`, every task shrunk by itself.

    The norm-only control: what the trace norm does to tasks that are orthogonal. A gain of
    :class:`MultiTaskTraceNorm` over this one is due to sharing; one over no penalty need not be.
    {_PARAMETERS}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, y = [rng.normal(size=(20, 6))], [rng.normal(size=20)]
    >>> one, same = MultiTaskColumnNorms(0.1).fit(X, y), MultiTaskTraceNorm(0.1).fit(X, y)
    >>> bool(np.allclose(one.coef_, same.coef_, atol=1e-3))  # for one task the two are the same
    True
    """
    penalty = COLUMN_NORMS
