"""Linear models of several tasks, as scikit-learn regressors.

All minimise :math:`\\sum_t \\tfrac{1}{2 n_t} \\lVert y_t - X_t w_t \\rVert^2 + \\alpha\\, \\Omega(W)`, by FISTA or ADMM, and stop
at a proven distance from the minimum (:mod:`mtl_lib.linear_solvers`).  They differ in the norm:

- :class:`MultiTaskL21`: rows; the tasks use the same few features (`MultiTaskLasso` of scikit-learn).
- :class:`MultiTaskTraceNorm`: singular values; the tasks lie in the same few directions.
- :class:`MultiTaskColumnNorms`: columns; nothing is shared. The control for the others.
- :class:`MultiTaskOverlappedTraceNorm`: tasks with several indices; low rank in every mode at once.
- :class:`MultiTaskScaledLatentTraceNorm`: the same; a mixture of tensors each of low rank in one mode.

The same with logistic loss: :mod:`mtl_lib.linear_classifiers`.
"""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import validate_data

from mtl_lib.errors import DataError
from mtl_lib.linear_base import MultiTaskLinear, Problem
from mtl_lib.linear_data import is_list_of_tasks, task_lists
from mtl_lib.linear_losses import SquaredLoss
from mtl_lib.linear_penalties import COLUMN_NORMS, L21, TRACE_NORM
from mtl_lib.linear_tensor_base import (
    PARAMETERS,
    TENSOR_PARAMETERS,
    OverlappedTraceNorm,
    ScaledLatentTraceNorm,
)

__all__ = [
    "MultiTaskColumnNorms",
    "MultiTaskL21",
    "MultiTaskOverlappedTraceNorm",
    "MultiTaskScaledLatentTraceNorm",
    "MultiTaskTraceNorm",
]


class _Regressor(RegressorMixin, MultiTaskLinear):
    """Squared loss."""

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
        predicted = self._scores(X)
        if is_list_of_tasks(X):
            return predicted
        return predicted[:, 0] if self._one_column else predicted

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination, averaged over the tasks; lists are allowed."""
        if not is_list_of_tasks(X):
            return super().score(X, y, sample_weight)
        return float(np.mean([r2_score(true, got) for true, got in zip(y, self.predict(X), strict=True)]))

    def _problem(self, X, y) -> Problem:
        if is_list_of_tasks(X):
            groups = [
                (x, _finite(targets, task)[:, None]) for task, (x, targets) in enumerate(task_lists(X, y))
            ]
            self.n_features_in_ = groups[0][0].shape[1]
            self._one_column = False
        else:
            X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
            self._one_column = y.ndim == 1
            groups = [(X, y.reshape(len(y), -1).astype(np.float64))]
        groups, means = self._centred(groups)
        constants = np.concatenate(
            [y.mean(axis=0) if self.fit_intercept else np.zeros(y.shape[1]) for _, y in groups]
        )
        first = 0
        for group, (x, targets) in enumerate(groups):
            groups[group] = (x, targets - constants[first : first + targets.shape[1]])
            first += targets.shape[1]
        return Problem(SquaredLoss(groups), means, lambda w: constants)


def _finite(targets: np.ndarray, task: int) -> np.ndarray:
    try:
        targets = targets.astype(np.float64)
    except ValueError as error:
        raise DataError(f"task {task} has targets that are not numbers: {error}") from None
    if not np.isfinite(targets).all():
        raise DataError(f"task {task} has targets that are not finite")
    return targets


class MultiTaskL21(_Regressor):
    __doc__ = f"""Few features for all tasks: :math:`\\Omega(W) = \\sum_d \\lVert W_{{d,:}} \\rVert_2`.

    The same problem, and the same `alpha`, as scikit-learn's ``MultiTaskLasso``; tasks may also have
    examples of their own, in different numbers.
    {PARAMETERS}
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


class MultiTaskTraceNorm(_Regressor):
    __doc__ = f"""Few directions for all tasks: :math:`\\Omega(W) = \\lVert W \\rVert_* = \\sum_i \\sigma_i`.
    {PARAMETERS}
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


class MultiTaskColumnNorms(_Regressor):
    __doc__ = f"""Nothing shared: :math:`\\Omega(W) = \\sum_t \\lVert w_t \\rVert_2`, every task shrunk by itself.

    The norm-only control: what the trace norm does to tasks that are orthogonal. A gain of
    :class:`MultiTaskTraceNorm` over this one is due to sharing; one over no penalty need not be.
    {PARAMETERS}
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


class MultiTaskOverlappedTraceNorm(OverlappedTraceNorm, _Regressor):
    __doc__ = f"""Low rank in every mode at once: :math:`\\Omega(\\mathcal W) = \\sum_k \\gamma_k \\lVert W_{{(k)}} \\rVert_*`.

    The sum of the trace norms of all mode unfoldings of the ``D x T_1 x T_2 x ...`` tensor of weights
    (Tomioka et al., 2011; for multi-task learning Romera-Paredes et al., 2013), by ADMM.  A weight may be 0,
    which leaves its mode out.
    {TENSOR_PARAMETERS}
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


class MultiTaskScaledLatentTraceNorm(ScaledLatentTraceNorm, _Regressor):
    __doc__ = f"""A mixture of tensors, each of low rank in one mode.

    :math:`\\Omega(\\mathcal W) = \\min \\sum_k \\gamma_k n_k^{{-1/2}} \\lVert W^{{(k)}}_{{(k)}} \\rVert_*` over
    :math:`\\mathcal W = \\sum_k \\mathcal W^{{(k)}}`, :math:`n_k` the size of mode k (Wimalawarne, Sugiyama and Tomioka, 2014).
    With ``scaled=False`` the factor :math:`n_k^{{-1/2}}` is left out (Tomioka and Suzuki, 2013).
    {TENSOR_PARAMETERS}    components_ : array ``[K, T, D]``
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
