"""Small multi-task problems, and the same convex programmes written for cvxpy."""

import cvxpy as cp
import numpy as np

from mtl_lib import linear, linear_classifiers
from mtl_lib.linear_norm_sums import mode_unfolding

FEATURES, TASK_SHAPE = 4, (3, 2)
SHAPE = (FEATURES, *TASK_SHAPE)
TASKS = 6

REGRESSORS = {
    "l21": linear.MultiTaskL21,
    "trace norm": linear.MultiTaskTraceNorm,
    "column norms": linear.MultiTaskColumnNorms,
    "overlapped": linear.MultiTaskOverlappedTraceNorm,
    "latent": linear.MultiTaskScaledLatentTraceNorm,
}
CLASSIFIERS = {
    "l21": linear_classifiers.MultiTaskL21Classifier,
    "trace norm": linear_classifiers.MultiTaskTraceNormClassifier,
    "column norms": linear_classifiers.MultiTaskColumnNormsClassifier,
    "overlapped": linear_classifiers.MultiTaskOverlappedTraceNormClassifier,
    "latent": linear_classifiers.MultiTaskScaledLatentTraceNormClassifier,
}
ESTIMATORS = {"squared": REGRESSORS, "logistic": CLASSIFIERS}


def make(loss, norm, alpha=0.1, **arguments):
    """An estimator by the names of its loss and its norm; the tensor norms get the task shape."""
    if norm in ("overlapped", "latent"):
        arguments.setdefault("task_shape", TASK_SHAPE)
    return ESTIMATORS[loss][norm](alpha, **arguments)


def problem(seed, loss="squared", features=FEATURES, tasks=TASKS, noise=0.5):
    """Lists of examples and targets; every task has its own number of examples, and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(features, 2)) @ rng.normal(size=(2, tasks))
    X = [rng.normal(size=(8 + 3 * t, features)) + rng.normal(size=features) for t in range(tasks)]
    scores = [x @ w[:, t] + noise * rng.normal(size=len(x)) for t, x in enumerate(X)]
    if loss == "squared":
        return X, scores
    return X, [np.where(s > np.median(s), "b", "a") for s in scores]  # both classes, in every task


def loss_value(loss, model, X, y):
    """Written out from the definition, from what predict and decision_function say."""
    if loss == "squared":
        return sum(np.mean((got - true) ** 2) / 2 for got, true in zip(model.predict(X), y, strict=True))
    signs = [np.where(true == two[1], 1, -1) for true, two in zip(y, model.classes_, strict=True)]
    scores = model.decision_function(X)
    return sum(np.mean(np.logaddexp(0, -s * z)) for s, z in zip(signs, scores, strict=True))


def norm_value(norm, model, scaled=True):
    """Value of the norm at the fitted weights, by NumPy's singular values."""
    w = model.coef_.T
    if norm == "l21":
        return np.linalg.norm(w, axis=1).sum()
    if norm == "trace norm":
        return np.linalg.norm(w, "nuc")
    if norm == "column norms":
        return np.linalg.norm(w, axis=0).sum()
    shape = model.coef_tensor_.shape
    if norm == "overlapped":
        return sum(np.linalg.norm(mode_unfolding(w, shape, k), "nuc") for k in range(len(shape)))
    return sum(
        np.linalg.norm(mode_unfolding(part.T, shape, k), "nuc") / (np.sqrt(shape[k]) if scaled else 1)
        for k, part in enumerate(model.components_)
    )


def objective(loss, norm, model, X, y):
    return loss_value(loss, model, X, y) + model.alpha * norm_value(norm, model)


def _unfolded(w, k):
    index = mode_unfolding(np.arange(w.size).reshape(w.shape), SHAPE, k)
    return cp.reshape(cp.vec(w, order="C")[index.ravel()], index.shape, order="C")


def cvxpy_minimum(loss, norm, alpha, X, y, scaled=True):
    """Minimum of the objective by an interior-point method."""
    w, b = cp.Variable((X[0].shape[1], len(X))), cp.Variable(len(X))
    terms, constraints = [], []
    for t, (x, target) in enumerate(zip(X, y, strict=True)):
        score = x @ w[:, t] + b[t]
        if loss == "squared":
            terms.append(cp.sum_squares(score - target) / (2 * len(x)))
        else:
            terms.append(cp.sum(cp.logistic(cp.multiply(np.where(target == "b", -1, 1), score))) / len(x))
    if norm == "l21":
        penalty = cp.sum(cp.norm(w, axis=1))
    elif norm == "trace norm":
        penalty = cp.normNuc(w)
    elif norm == "column norms":
        penalty = cp.sum(cp.norm(w, axis=0))
    elif norm == "overlapped":
        penalty = sum(cp.normNuc(_unfolded(w, k)) for k in range(len(SHAPE)))
    else:
        parts = [cp.Variable(w.shape) for _ in SHAPE]
        constraints = [sum(parts) == w]
        factors = [n**-0.5 if scaled else 1 for n in SHAPE]
        penalty = sum(
            f * cp.normNuc(_unfolded(v, k)) for k, (f, v) in enumerate(zip(factors, parts, strict=True))
        )
    return cp.Problem(cp.Minimize(sum(terms) + alpha * penalty), constraints).solve(solver=cp.CLARABEL)
