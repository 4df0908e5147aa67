"""Multi-task classifiers: loss and gradient, scikit-learn's logistic regression as an oracle, labels, shapes, errors."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import check_grad, minimize
from sklearn.linear_model import LogisticRegression

from mtl_lib.linear_classifiers import LabelError, MultiTaskL21Classifier, MultiTaskTraceNormClassifier
from mtl_lib.linear_losses import LogisticLoss, SquaredLoss
from tests.linear_problems import CLASSIFIERS, make, problem

quick = settings(derandomize=True, max_examples=20, deadline=None)
each_norm = pytest.mark.parametrize("norm", sorted(CLASSIFIERS))


def groups(seed, kind="logistic"):
    """Three tasks; the last two have their examples in common. The examples are centred."""
    rng = np.random.default_rng(seed)
    made = []
    for n, tasks in ((7, 1), (12, 2)):
        x = rng.normal(size=(n, 3))
        y = rng.normal(size=(n, tasks))
        made.append(
            (
                x - x.mean(axis=0),
                y - y.mean(axis=0) if kind == "squared" else np.where(y > np.median(y, 0), 1.0, -1.0),
            )
        )
    return made


@quick
@given(st.integers(0, 999), st.booleans(), st.sampled_from(["squared", "logistic"]))
def test_gradients_are_those_of_finite_differences(seed, fit_intercept, kind):
    data = groups(seed, kind)
    loss = SquaredLoss(data) if kind == "squared" else LogisticLoss(data, fit_intercept)
    w = np.random.default_rng(seed).normal(size=9)
    error = check_grad(lambda v: loss(v.reshape(3, 3)), lambda v: loss.gradient(v.reshape(3, 3)).ravel(), w)
    assert error < 1e-5
    np.testing.assert_allclose(loss.correlations, -loss.gradient(np.zeros((3, 3))), atol=1e-12)
    assert loss.at_zero == pytest.approx(loss(np.zeros((3, 3))))


@quick
@given(st.integers(0, 999), st.floats(0, 30))
def test_constants_are_the_best_ones(seed, size):
    data = groups(seed)
    loss = LogisticLoss(data)
    w = size * np.random.default_rng(seed).normal(size=(3, 3))
    b = loss.constants(w)
    for task, (x, y) in enumerate([(data[0][0], data[0][1][:, 0]), *((data[1][0], t) for t in data[1][1].T)]):
        scores = x @ w[:, task]
        best = minimize(
            lambda c, s=scores, y=y: np.logaddexp(0, -y * (s + c[0])).mean(), [b[task]], tol=1e-12
        )
        assert np.logaddexp(0, -y * (scores + b[task])).mean() <= best.fun + 1e-10


@quick
@given(st.integers(0, 999), st.sampled_from(["squared", "logistic"]), st.floats(0, 3))
def test_a_step_of_admm_lowers_what_it_is_to_minimise(seed, kind, shift):
    data = groups(seed, kind)
    loss = SquaredLoss(data) if kind == "squared" else LogisticLoss(data)
    rng = np.random.default_rng(seed)
    w, pull, shift = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), shift + 0.01
    moved = loss.step(w, pull, shift)

    def value(v):
        return loss(v) - (pull * v).sum() + shift / 2 * ((v - w) ** 2).sum()

    assert value(moved) <= value(w) + 1e-12
    if kind == "squared":  # exactly
        assert all(value(moved) <= value(moved + 0.1 * rng.normal(size=(3, 3))) for _ in range(5))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_one_task_with_the_l21_norm_is_sparse_logistic_regression(fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6)) + 0.5
    y = X @ [2, -1, 0, 0, 0, 0] + rng.normal(size=80) > 0.5
    ours = MultiTaskL21Classifier(0.03, fit_intercept=fit_intercept, tol=1e-10).fit(X, y)
    theirs = LogisticRegression(
        l1_ratio=1, C=1 / (0.03 * 80), solver="saga", fit_intercept=fit_intercept, tol=1e-9, max_iter=20_000
    ).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_ if fit_intercept else 0, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    assert np.array_equal(ours.predict(X), theirs.predict(X)) and ours.score(X, y) == theirs.score(X, y)


@each_norm
def test_probabilities_labels_and_scores_say_the_same(norm):
    X, y = problem(0, "logistic")
    model = make("logistic", norm, 0.02).fit(X, y)
    scores, chances, labels = model.decision_function(X), model.predict_proba(X), model.predict(X)
    for score, chance, label, classes, x in zip(scores, chances, labels, model.classes_, X, strict=True):
        assert chance.shape == (len(x), 2)
        np.testing.assert_allclose(chance.sum(axis=1), 1)
        np.testing.assert_allclose(np.log(chance[:, 1] / chance[:, 0]), score, atol=1e-9)
        assert np.array_equal(label, classes[(score > 0).astype(int)])
    shares = [np.mean(chance[:, 1]) for chance in chances]  # what the best constants bring about
    np.testing.assert_allclose(shares, [np.mean(t == "b") for t in y], atol=1e-9)
    assert model.score(X, y) > 0.8


def test_every_task_may_have_its_own_labels():
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(20, 3)) for _ in range(3)]
    y = [np.where(X[0][:, 0] > 0, "old", "young"), X[1][:, 0] > 0, np.where(X[2][:, 0] > 0, 7, -7)]
    model = MultiTaskTraceNormClassifier(0.02).fit(X, y)
    assert [c.tolist() for c in model.classes_] == [["old", "young"], [False, True], [-7, 7]]
    assert all(np.mean(got == true) > 0.9 for got, true in zip(model.predict(X), y, strict=True))


def test_shapes_follow_those_of_the_labels():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(30, 3))
    Y = np.where(X @ rng.normal(size=(3, 4)) > 0, 1, 0)
    many, one = (
        MultiTaskTraceNormClassifier(0.05).fit(X, Y),
        MultiTaskTraceNormClassifier(0.05).fit(X, Y[:, 0]),
    )
    assert many.predict(X).shape == many.decision_function(X).shape == (30, 4)
    assert [p.shape for p in many.predict_proba(X)] == [(30, 2)] * 4
    assert one.predict(X).shape == one.decision_function(X).shape == (30,)
    assert one.predict_proba(X).shape == (30, 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_examples_that_can_be_separated_and_huge_scores_stay_finite():
    X = np.array([[-1e3], [-1.0], [1.0], [1e3]])
    model = MultiTaskL21Classifier(1e-9, max_iter=200, tol=1e-3).fit(X, [0, 0, 1, 1])
    assert np.isfinite(model.coef_).all() and np.isfinite(model.predict_proba(X)).all()
    loss = LogisticLoss([(X, np.array([[-1.0], [-1.0], [1.0], [1.0]]))])
    for size in (1e-300, 1.0, 1e300):
        w = np.array([[size]])
        assert np.isfinite(loss(w)) and np.isfinite(loss.gradient(w)).all()


def test_labels_that_are_not_two_classes_are_named():
    X, y = problem(0, "logistic")
    model = MultiTaskTraceNormClassifier()
    with pytest.raises(LabelError, match=r"task 1 has only one class, \['a'\]"):
        model.fit(X, [y[0], np.full(len(X[1]), "a"), *y[2:]])
    with pytest.raises(
        LabelError, match="Only binary classification.*multiclass: task 2 has 14 classes.*others"
    ):
        model.fit(X, [*y[:2], np.arange(14), *y[3:]])
    with pytest.raises(ValueError, match="task 0"):
        model.fit(X, [np.linspace(0, 1, len(X[0])), *y[1:]])
