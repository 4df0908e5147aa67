"""What the estimators for tasks with several indices have in common, and the docstrings of all estimators."""

from sklearn.utils.validation import check_is_fitted

from mtl_lib.linear_tensor_penalties import checked_task_shape, latent_trace_norm, overlapped_trace_norm


class TensorTasks:
    """Mixin: tasks with several indices."""

    def __init__(
        self,
        alpha=1.0,
        *,
        task_shape=None,
        weights=None,
        fit_intercept=True,
        solver="auto",
        tol=1e-6,
        max_iter=5000,
    ):
        super().__init__(alpha, fit_intercept=fit_intercept, solver=solver, tol=tol, max_iter=max_iter)
        self.task_shape = task_shape
        self.weights = weights

    @property
    def coef_tensor_(self):
        """Weights as a tensor ``[D, *task_shape]``."""
        check_is_fitted(self)
        tasks, features = self.coef_.shape
        return self.coef_.T.reshape(features, *checked_task_shape(self.task_shape, tasks))

    def _shape(self, features: int, tasks: int) -> tuple[int, ...]:
        return (features, *checked_task_shape(self.task_shape, tasks))


class OverlappedTraceNorm(TensorTasks):
    """Mixin: low rank in every mode."""

    def _penalty(self, features, tasks):
        return overlapped_trace_norm(self._shape(features, tasks), self.weights)


class ScaledLatentTraceNorm(TensorTasks):
    """Mixin: a mixture of tensors of low rank in one mode."""

    def __init__(
        self,
        alpha=1.0,
        *,
        task_shape=None,
        weights=None,
        scaled=True,
        fit_intercept=True,
        solver="auto",
        tol=1e-6,
        max_iter=5000,
    ):
        super().__init__(
            alpha,
            task_shape=task_shape,
            weights=weights,
            fit_intercept=fit_intercept,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
        )
        self.scaled = scaled

    def _penalty(self, features, tasks):
        return latent_trace_norm(self._shape(features, tasks), self.weights, self.scaled)


PARAMETERS = """

    Parameters
    ----------
    alpha : float
        Weight of the penalty, above 0, in units of the gradient of the mean loss.
    fit_intercept : bool
        Add a constant to every task, which is not penalised.
    solver : str
        "auto" takes the fastest that applies. "fista": every norm but the overlapped one. "admm": every norm.
        "subgradient": every norm; slow, and never exactly zero or of exactly low rank; to compare with.
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
"""Docstring of the parameters and attributes of the estimators for a matrix of weights."""

TENSOR_PARAMETERS = PARAMETERS.replace(
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
"""The same for a tensor of weights."""

CLASSES = """    classes_ : array ``[2]``, or list of T of them
        The two labels of every task, sorted; the second one is predicted where the decision function is above 0.
"""
"""What classifiers have besides."""
