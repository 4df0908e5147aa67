"""Linear models of several tasks, as scikit-learn estimators.

All minimise :math:`\\sum_t \\tfrac{1}{2 n_t} \\lVert y_t - X_t w_t \\rVert^2 + \\alpha\\, \\Omega(W)` by FISTA and stop
at a proven distance from the minimum (:mod:`mtl_lib.linear_solvers`).  They differ in the norm:

- :class:`MultiTaskL21`: rows; the tasks use the same few features (`MultiTaskLasso` of scikit-learn).
- :class:`MultiTaskTraceNorm`: singular values; the tasks lie in the same few directions.
- :class:`MultiTaskColumnNorms`: columns; nothing is shared. The control for the others.
- :class:`MultiTaskOverlappedTraceNorm`: tasks with several indices; low rank in every mode at once.
- :class:`MultiTaskScaledLatentTraceNorm`: the same; a mixture of tensors each of low rank in one mode.
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
from mtl_lib.linear_admm import consensus_admm, sharing_admm
from mtl_lib.linear_losses import SquaredLoss
from mtl_lib.linear_penalties import COLUMN_NORMS, L21, TRACE_NORM, Penalty
from mtl_lib.linear_solvers import fista
from mtl_lib.linear_tensor_penalties import (
    MixtureOfNorms,
    SumOfNorms,
    checked_task_shape,
    latent_trace_norm,
    overlapped_trace_norm,
)


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
        self._solve(SquaredLoss(groups), means, None)
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
        loss, state = SquaredLoss(groups), None
        if alphas is None:
            largest = self._penalty(*loss.correlations.shape).dual_norm(loss.correlations)
            alphas = largest * np.logspace(0, np.log10(eps), n_alphas)
        alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        models = []
        for alpha in alphas:
            model = type(self)(**{**self.get_params(), "alpha": float(alpha)})
            model.n_features_in_, model._one_column = self.n_features_in_, self._one_column
            state = model._solve(loss, means, state)
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

    def _penalty(self, features: int, tasks: int) -> Penalty | SumOfNorms | MixtureOfNorms:
        return self.penalty

    def _solve(self, loss: SquaredLoss, means, state):
        """Set the fitted attributes; return what the problem for the next alpha starts from."""
        penalty = self._penalty(*loss.correlations.shape)
        if isinstance(penalty, SumOfNorms):
            w, gap, steps, state = consensus_admm(loss, penalty, self.alpha, state, self.tol, self.max_iter)
        elif isinstance(penalty, MixtureOfNorms):
            v, gap, steps, state = sharing_admm(loss, penalty, self.alpha, state, self.tol, self.max_iter)
            w = v.sum(axis=0)
            self.components_ = np.ascontiguousarray(v.swapaxes(1, 2))
        else:
            start = np.zeros_like(loss.correlations) if state is None else state
            w, gap, steps = fista(loss, penalty, self.alpha, start, self.tol, self.max_iter)
            state = w
        if gap > self.tol * loss.at_zero:
            warnings.warn(
                f"stopped after {steps} steps at a duality gap of {gap:.2g}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.dual_gap_, self.n_iter_ = gap, max(steps, 1)
        self._keep(w, means)
        return state

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


class _TensorLinear(_MultiTaskLinear):
    """Tasks with several indices."""

    def __init__(
        self, alpha=1.0, *, task_shape=None, weights=None, fit_intercept=True, tol=1e-6, max_iter=5000
    ):
        super().__init__(alpha, fit_intercept=fit_intercept, tol=tol, max_iter=max_iter)
        self.task_shape = task_shape
        self.weights = weights

    @property
    def coef_tensor_(self):
        """Weights as a tensor ``[D, *task_shape]``."""
        check_is_fitted(self)
        tasks, features = self.coef_.shape
        return self.coef_.T.reshape(features, *checked_task_shape(self.task_shape, tasks))


_TENSOR_PARAMETERS = _PARAMETERS.replace(
    """    fit_intercept : bool""",
    """    task_shape : tuple of int, optional
        Numbers of values of the task indices, ``(T_1, T_2, ...)``; their product is T. The tasks (columns of y, or
        entries of the lists) are in C order, the last index fastest, as ``np.ndindex(task_shape)`` counts them.
        By default ``(T,)``: one index, the modes are features and tasks.
    weights : sequence of float, optional
        One weight per mode, the features first, then the task indices in order; by default all 1.
    fit_intercept : bool""",
).replace(
    """    intercept_ : array""",
    """    coef_tensor_ : array ``[D, T_1, T_2, ...]``
        The same as a tensor.
    intercept_ : array""",
)


class MultiTaskOverlappedTraceNorm(_TensorLinear):
    __doc__ = f"""Low rank in every mode at once: :math:`\\Omega(\\mathcal W) = \\sum_k \\gamma_k \\lVert W_{{(k)}} \\rVert_*`.

    The sum of the trace norms of all mode unfoldings of the ``D x T_1 x T_2 x ...`` tensor of weights
    (Tomioka et al., 2011; for multi-task learning Romera-Paredes et al., 2013), by ADMM.  A weight may be 0,
    which leaves its mode out.
    {_TENSOR_PARAMETERS}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> W = np.einsum("d,i,j->dij", rng.normal(size=6), [1.0, 2.0], [1.0, -1.0, 2.0])  # a task for every i, j
    >>> X = rng.normal(size=(40, 6))
    >>> model = MultiTaskOverlappedTraceNorm(alpha=0.1, task_shape=(2, 3)).fit(X, X @ W.reshape(6, 6))
    >>> model.coef_.shape, model.coef_tensor_.shape
    ((6, 6), (6, 2, 3))
    >>> [int(np.linalg.matrix_rank(np.moveaxis(model.coef_tensor_, k, 0).reshape(n, -1))) for k, n in enumerate((6, 2, 3))]
    [1, 1, 1]
    """

    def _penalty(self, features, tasks):
        return overlapped_trace_norm((features, *checked_task_shape(self.task_shape, tasks)), self.weights)


class MultiTaskScaledLatentTraceNorm(_TensorLinear):
    __doc__ = f"""A mixture of tensors, each of low rank in one mode.

    :math:`\\Omega(\\mathcal W) = \\min \\sum_k \\gamma_k n_k^{{-1/2}} \\lVert W^{{(k)}}_{{(k)}} \\rVert_*` over
    :math:`\\mathcal W = \\sum_k \\mathcal W^{{(k)}}`, :math:`n_k` the size of mode k (Wimalawarne, Sugiyama and Tomioka, 2014).
    With ``scaled=False`` the factor :math:`n_k^{{-1/2}}` is left out (Tomioka and Suzuki, 2013).
    {_TENSOR_PARAMETERS}    components_ : array ``[K, T, D]``
        The components, one per mode, each laid out as ``coef_``, which is their sum.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> W = np.repeat(np.eye(8, 5), 2, axis=1)  # ten tasks, (5, 2): the second index makes no difference
    >>> X = rng.normal(size=(40, 8))
    >>> model = MultiTaskScaledLatentTraceNorm(alpha=0.1, task_shape=(5, 2)).fit(X, X @ W)
    >>> [bool(part.any()) for part in model.components_]  # the last mode, of rank 1, does it alone
    [False, False, True]
    """

    def __init__(
        self,
        alpha=1.0,
        *,
        task_shape=None,
        weights=None,
        scaled=True,
        fit_intercept=True,
        tol=1e-6,
        max_iter=5000,
    ):
        super().__init__(
            alpha,
            task_shape=task_shape,
            weights=weights,
            fit_intercept=fit_intercept,
            tol=tol,
            max_iter=max_iter,
        )
        self.scaled = scaled

    def _penalty(self, features, tasks):
        shape = (features, *checked_task_shape(self.task_shape, tasks))
        return latent_trace_norm(shape, self.weights, self.scaled)
