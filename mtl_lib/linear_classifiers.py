"""Linear classifiers of several tasks, two classes each, as scikit-learn estimators.

All minimise :math:`\\sum_t \\tfrac{1}{n_t} \\sum_i \\log(1 + e^{-y_{ti} (x_{ti}^{\\mathsf T} w_t + b_t)}) + \\alpha\\, \\Omega(W)` over W and b,
by FISTA or ADMM, and stop at a proven distance from the minimum.  The norms are those of :mod:`mtl_lib.linear`.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from mtl_lib.errors import DataError
from mtl_lib.linear_base import MultiTaskLinear, Problem
from mtl_lib.linear_data import is_list_of_tasks, task_lists
from mtl_lib.linear_losses import LogisticLoss
from mtl_lib.linear_penalties import COLUMN_NORMS, L21, TRACE_NORM
from mtl_lib.linear_tensor_base import (
    CLASSES,
    PARAMETERS,
    TENSOR_PARAMETERS,
    OverlappedTraceNorm,
    ScaledLatentTraceNorm,
)

__all__ = [
    "LabelError",
    "MultiTaskColumnNormsClassifier",
    "MultiTaskL21Classifier",
    "MultiTaskOverlappedTraceNormClassifier",
    "MultiTaskScaledLatentTraceNormClassifier",
    "MultiTaskTraceNormClassifier",
]


class LabelError(DataError, ValueError):
    """A task does not have two classes; a `ValueError` too, which is what scikit-learn promises for bad labels."""


def _two_classes(labels: np.ndarray, task: int) -> tuple[np.ndarray, np.ndarray]:
    """The two classes of a task, and its labels as -1 and 1."""
    try:
        check_classification_targets(labels)
    except ValueError as error:
        raise LabelError(f"task {task}: {error}") from None
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise LabelError(
            f"task {task} has only one class, {classes.tolist()}; every task needs examples of two"
        )
    if len(classes) > 2:
        raise LabelError(
            f"Only binary classification is supported. The type of the target is {type_of_target(labels)}: "
            f"task {task} has {len(classes)} classes, {classes[:5].tolist()}{' ...' if len(classes) > 5 else ''}; "
            "make one task of each class against the others"
        )
    return classes, 2.0 * index - 1.0


class _Classifier(ClassifierMixin, MultiTaskLinear):
    """Logistic loss."""

    def __init__(self, alpha=0.1, *, fit_intercept=True, solver="auto", tol=1e-6, max_iter=5000):
        super().__init__(alpha, fit_intercept=fit_intercept, solver=solver, tol=tol, max_iter=max_iter)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def decision_function(self, X):
        """Log-odds of the second class, for all tasks or, given a list, for each task's own examples.

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
        scores = self._scores(X)
        if is_list_of_tasks(X):
            return scores
        return scores[:, 0] if self._one_column else scores

    def predict_proba(self, X):
        """Probabilities of the two classes.

        Parameters
        ----------
        X : array ``[n, D]``, or list of T arrays ``[n_t, D]``
            Examples.

        Returns
        -------
        array ``[n, 2]`` if y had one axis, else list of T arrays ``[n_t, 2]``
        """
        scores = self.decision_function(X)
        if self._one_column and not is_list_of_tasks(X):
            return np.column_stack([expit(-scores), expit(scores)])
        tasks = scores if is_list_of_tasks(X) else scores.T
        return [np.column_stack([expit(-score), expit(score)]) for score in tasks]

    def predict(self, X):
        """The likelier class.

        Parameters
        ----------
        X : array ``[n, D]``, or list of T arrays ``[n_t, D]``
            Examples.

        Returns
        -------
        array ``[n, T]`` (``[n]`` if y had one axis), or list of T arrays ``[n_t]``, of labels
        """
        scores = self.decision_function(X)
        if self._one_column and not is_list_of_tasks(X):
            return self.classes_[(scores > 0).astype(int)]
        classes = [self.classes_] if self._one_column else self.classes_
        tasks = scores if is_list_of_tasks(X) else scores.T
        labels = [two[(score > 0).astype(int)] for two, score in zip(classes, tasks, strict=True)]
        return labels if is_list_of_tasks(X) else np.column_stack(labels)

    def score(self, X, y, sample_weight=None):
        """Accuracy, averaged over the tasks; lists are allowed."""
        predicted = self.predict(X)
        if is_list_of_tasks(X):
            return float(np.mean([np.mean(true == got) for true, got in zip(y, predicted, strict=True)]))
        right = (np.asarray(y).reshape(predicted.shape) == predicted).reshape(len(predicted), -1).mean(axis=1)
        return float(np.average(right, weights=sample_weight))

    def _problem(self, X, y) -> Problem:
        if is_list_of_tasks(X):
            pairs = task_lists(X, y)
            found = [_two_classes(labels, task) for task, (_, labels) in enumerate(pairs)]
            groups = [(x, signs[:, None]) for (x, _), (_, signs) in zip(pairs, found, strict=True)]
            self.n_features_in_ = groups[0][0].shape[1]
            self._one_column = False
        else:
            X, y = validate_data(self, X, y, multi_output=True, dtype=np.float64)
            self._one_column = y.ndim == 1
            found = [_two_classes(labels, task) for task, labels in enumerate(y.reshape(len(y), -1).T)]
            groups = [(X, np.column_stack([signs for _, signs in found]))]
        classes = [two for two, _ in found]
        self.classes_ = classes[0] if self._one_column else classes
        groups, means = self._centred(groups)
        loss = LogisticLoss(groups, self.fit_intercept)
        return Problem(loss, means, loss.constants)


class MultiTaskL21Classifier(_Classifier):
    __doc__ = f"""Few features for all tasks: :math:`\\Omega(W) = \\sum_d \\lVert W_{{d,:}} \\rVert_2`, logistic loss.
    {PARAMETERS}{CLASSES}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> Y = X[:, :1] * [1.0, -2.0, 3.0] > 0  # three tasks, all on the first feature
    >>> model = MultiTaskL21Classifier(alpha=0.2).fit(X, Y)
    >>> (model.coef_ != 0).any(axis=0)
    array([ True, False, False, False])
    """
    penalty = L21


class MultiTaskTraceNormClassifier(_Classifier):
    __doc__ = f"""Few directions for all tasks: :math:`\\Omega(W) = \\lVert W \\rVert_* = \\sum_i \\sigma_i`, logistic loss.
    {PARAMETERS}{CLASSES}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> direction = rng.normal(size=6)
    >>> X = [rng.normal(size=(n, 6)) for n in (40, 50, 60)]  # every task has its own examples
    >>> y = [np.where(x @ direction > 0, "yes", "no") for x in X]
    >>> model = MultiTaskTraceNormClassifier(alpha=0.1).fit(X, y)
    >>> int(np.linalg.matrix_rank(model.coef_)), model.predict([X[0][:2], X[1][:1], X[2][:1]])[1].dtype.kind
    (1, 'U')
    """
    penalty = TRACE_NORM


class MultiTaskColumnNormsClassifier(_Classifier):
    __doc__ = f"""Nothing shared: :math:`\\Omega(W) = \\sum_t \\lVert w_t \\rVert_2`, logistic loss; the norm-only control.
    {PARAMETERS}{CLASSES}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 3))
    >>> y = np.where(X[:, 0] > 0, 1, 0)  # one task: y may have one axis
    >>> model = MultiTaskColumnNormsClassifier(alpha=0.1).fit(X, y)
    >>> model.classes_.tolist(), model.predict_proba(X).shape, model.score(X, y) > 0.9
    ([0, 1], (50, 2), True)
    """
    penalty = COLUMN_NORMS


class MultiTaskOverlappedTraceNormClassifier(OverlappedTraceNorm, _Classifier):
    __doc__ = f"""Low rank in every mode at once, :math:`\\sum_k \\gamma_k \\lVert W_{{(k)}} \\rVert_*`, logistic loss.

    See :class:`mtl_lib.linear.MultiTaskOverlappedTraceNorm`.
    {TENSOR_PARAMETERS}{CLASSES}
    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> Y = X @ np.repeat(rng.normal(size=(5, 2)), 3, axis=1) > 0  # six tasks, (2, 3): the second index does nothing
    >>> model = MultiTaskOverlappedTraceNormClassifier(alpha=0.02, task_shape=(2, 3)).fit(X, Y)
    >>> int(np.linalg.matrix_rank(model.coef_tensor_.reshape(-1, 3)))
    1
    """

    def __init__(
        self,
        alpha=0.1,
        *,
        task_shape=None,
        weights=None,
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


class MultiTaskScaledLatentTraceNormClassifier(ScaledLatentTraceNorm, _Classifier):
    __doc__ = f"""A mixture of tensors, each of low rank in one mode, logistic loss.

    See :class:`mtl_lib.linear.MultiTaskScaledLatentTraceNorm`.
    {TENSOR_PARAMETERS}{CLASSES}    components_ : array ``[K, T, D]``
        The components, one per mode, each laid out as ``coef_``, which is their sum.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> Y = X @ rng.normal(size=(5, 6)) > 0
    >>> model = MultiTaskScaledLatentTraceNormClassifier(alpha=0.02, task_shape=(2, 3)).fit(X, Y)
    >>> model.components_.shape, model.coef_.shape, len(model.predict_proba(X))
    ((3, 6, 5), (6, 5), 6)
    """

    def __init__(
        self,
        alpha=0.1,
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
            scaled=scaled,
            fit_intercept=fit_intercept,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
        )
