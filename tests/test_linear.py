"""Multi-task linear models: the minimum that independent solvers find, a gap that bounds, paths, tasks, errors."""

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskLasso

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.linear import (
    MultiTaskL21,
    MultiTaskOverlappedTraceNorm,
    MultiTaskScaledLatentTraceNorm,
    MultiTaskTraceNorm,
)
from mtl_lib.linear_admm import AdmmState, consensus_admm
from mtl_lib.linear_norm_sums import SumOfNorms
from mtl_lib.linear_solvers import objective_and_gap, total
from tests.linear_problems import (
    ESTIMATORS,
    FEATURES,
    REGRESSORS,
    TASK_SHAPE,
    TASKS,
    cvxpy_minimum,
    loss_value,
    make,
    norm_value,
    objective,
    problem,
)

quick = settings(derandomize=True, max_examples=8, deadline=None)
losses = st.sampled_from(sorted(ESTIMATORS))
norms = st.sampled_from(sorted(REGRESSORS))
each_loss = pytest.mark.parametrize("loss", sorted(ESTIMATORS))
each_norm = pytest.mark.parametrize("norm", sorted(REGRESSORS))


def quietly(fit, *arguments, **named):
    """Without the warning that there were too few steps, where that is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(*arguments, **named)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_l21_agrees_with_multi_task_lasso(alpha, fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 10)) + 1
    y = X @ (rng.normal(size=(10, 4)) * (rng.random(size=(10, 1)) < 0.4)) + rng.normal(size=(30, 4))
    theirs = MultiTaskLasso(alpha, fit_intercept=fit_intercept, tol=1e-12, max_iter=100_000).fit(X, y)
    ours = MultiTaskL21(alpha, fit_intercept=fit_intercept, tol=1e-12, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-5)
    assert np.array_equal((ours.coef_ != 0).any(axis=0), (theirs.coef_ != 0).any(axis=0))


@each_loss
@each_norm
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_minimum_is_the_one_that_cvxpy_finds_and_no_gap_is_too_small(loss, norm, alpha):
    X, y = problem(0, loss)
    model = make(loss, norm, alpha, tol=1e-7).fit(X, y)
    lowest = cvxpy_minimum(loss, norm, alpha, X, y)
    assert abs(objective(loss, norm, model, X, y) - lowest) < 1e-5 * max(1, lowest)
    assert model.coef_.any()
    check_gaps(model, model.components_ if norm == "latent" else model.coef_, alpha, lowest, X, y)


def check_gaps(model, best, alpha, lowest, X, y):
    """At any weights, and with any multipliers, the gap is at least the distance to the minimum."""
    rng = np.random.default_rng(0)
    smooth = model._problem(X, y).loss
    penalty = model._penalty(*smooth.correlations.shape)
    best = best.swapaxes(-1, -2)
    for size in 10.0 ** rng.uniform(-4, 1, size=20):
        w = best * rng.uniform(0, 2) + size * rng.normal(size=best.shape)
        if isinstance(penalty, SumOfNorms):
            split = alpha * np.stack([part.subgradient(w) for part in penalty.parts])
            split += min(size, 1) * alpha * rng.normal(size=split.shape)
            start = AdmmState(w, np.stack([w] * len(split)), split, 1.0, alpha)
            w, gap, _, _ = consensus_admm(smooth, penalty, alpha, start, 0.0, max_iter=0)
            value = smooth(w) + alpha * penalty.norm(w)
        else:
            value, gap = objective_and_gap(smooth, penalty, alpha, w)
        assert value == pytest.approx(smooth(total(penalty, w)) + alpha * penalty.norm(w))
        assert gap >= value - lowest - 1e-5


def test_the_latent_norm_without_scale_is_the_one_that_cvxpy_finds():
    X, y = problem(1)
    model = make("squared", "latent", 0.1, scaled=False, tol=1e-7).fit(X, y)
    ours = loss_value("squared", model, X, y) + 0.1 * norm_value("latent", model, scaled=False)
    assert abs(ours - cvxpy_minimum("squared", "latent", 0.1, X, y, scaled=False)) < 1e-5


@quick
@given(
    losses, norms, st.sampled_from(["auto", "admm", "subgradient"]), st.integers(0, 999), st.integers(1, 60)
)
def test_the_gap_bounds_the_distance_to_the_minimum_after_any_number_of_steps(
    loss, norm, solver, seed, steps
):
    X, y = problem(seed, loss)
    alpha = 10 ** np.random.default_rng(seed).uniform(-2.5, 0)
    early = quietly(make(loss, norm, alpha, solver=solver, max_iter=steps, tol=0).fit, X, y)
    best = quietly(make(loss, norm, alpha, max_iter=300, tol=1e-7).fit, X, y)
    distance = objective(loss, norm, early, X, y) - objective(loss, norm, best, X, y)
    assert early.dual_gap_ >= distance - best.dual_gap_ - 1e-9
    assert best.dual_gap_ >= -1e-9


@each_loss
@each_norm
def test_a_warm_started_path_is_what_cold_fits_give(loss, norm):
    X, y = problem(2, loss)
    alphas, models = make(loss, norm, tol=1e-7).path(X, y, n_alphas=5, eps=0.05)
    assert np.all(np.diff(alphas) < 0)
    assert not models[0].coef_.any(), "the first alpha is large enough for W = 0"
    assert make(loss, norm, alphas[0] * 0.98, tol=1e-9).fit(X, y).coef_.any(), "and not much too large"
    for alpha, model in zip(alphas, models, strict=True):
        cold = make(loss, norm, float(alpha), tol=1e-7).fit(X, y)
        assert model.alpha == alpha
        warm_value, cold_value = (objective(loss, norm, m, X, y) for m in (model, cold))
        assert abs(warm_value - cold_value) <= max(model.dual_gap_, cold.dual_gap_) + 1e-12


@each_norm
def test_a_path_leaves_the_estimator_as_it_was(norm):
    model = make("squared", norm)
    before = dict(vars(model))
    model.path(*problem(0), n_alphas=2)
    assert vars(model) == before


@each_norm
@pytest.mark.parametrize("solver", ["fista", "admm"])
def test_solvers_agree(norm, solver):
    if (norm, solver) == ("overlapped", "fista"):
        with pytest.raises(ConfigError, match="no proximal step.*'admm'"):
            make("squared", norm, solver=solver).fit(*problem(0))
        return
    X, y = problem(3)
    model, other = (make("squared", norm, 0.1, solver=s, tol=1e-9).fit(X, y) for s in (solver, "auto"))
    np.testing.assert_allclose(model.coef_, other.coef_, atol=2e-4)


def test_the_subgradient_method_comes_near_but_never_to_low_rank():
    X, y = problem(4)
    exact = make("squared", "trace norm", 0.3).fit(X, y)
    slow = quietly(make("squared", "trace norm", 0.3, solver="subgradient", max_iter=3000).fit, X, y)
    values = [objective("squared", "trace norm", m, X, y) for m in (slow, exact)]
    assert values[1] < values[0] < values[1] * 1.02
    assert np.linalg.matrix_rank(exact.coef_, tol=1e-9) < FEATURES
    assert np.linalg.matrix_rank(slow.coef_, tol=1e-9) == FEATURES


@each_norm
def test_too_few_steps_are_said(norm):
    with pytest.warns(ConvergenceWarning, match="duality gap"):
        make("squared", norm, 0.01, max_iter=1, tol=1e-12).fit(*problem(0))


@each_loss
@each_norm
def test_examples_in_common_are_the_same_as_a_copy_for_every_task(loss, norm):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(25, FEATURES)) + 1
    y = X @ rng.normal(size=(FEATURES, TASKS)) + rng.normal(size=(25, TASKS))
    y = y if loss == "squared" else (y > np.median(y, axis=0)).astype(int)
    together = make(loss, norm, 0.05, tol=1e-9).fit(X, y)
    apart = make(loss, norm, 0.05, tol=1e-9).fit([X] * TASKS, list(y.T))
    np.testing.assert_allclose(together.coef_, apart.coef_, atol=1e-3)
    assert together.predict(X).shape == (25, TASKS)
    assert [p.shape for p in apart.predict([X[:3]] * TASKS)] == [(3,)] * TASKS
    assert abs(together.score(X, y) - apart.score([X] * TASKS, list(y.T))) < 0.02


def test_more_features_than_examples_are_solved_as_well():
    rng = np.random.default_rng(6)
    X = [rng.normal(size=(n, 30)) for n in (5, 40, 8, 6, 7, 9)]  # of both kinds
    y = [x[:, 0] + 0.1 * rng.normal(size=len(x)) for x in X]
    for norm in REGRESSORS:
        model = make("squared", norm, 0.05).fit(X, y)
        assert model.dual_gap_ <= 1e-6 * sum(np.var(t) for t in y) / 2 + 1e-12


def test_a_matrix_is_a_tensor_of_two_modes():
    X, y = problem(7)
    trace = MultiTaskTraceNorm(0.2, tol=1e-9).fit(X, y)
    both = MultiTaskOverlappedTraceNorm(0.1, tol=1e-9).fit(X, y)  # twice the trace norm
    either = MultiTaskScaledLatentTraceNorm(0.2, scaled=False, tol=1e-9).fit(X, y)  # the trace norm
    np.testing.assert_allclose(both.coef_, trace.coef_, atol=2e-4)
    np.testing.assert_allclose(either.coef_, trace.coef_, atol=2e-4)
    # An index with one value only adds the Frobenius norm, here left out.
    flat = MultiTaskOverlappedTraceNorm(0.1, task_shape=(TASKS, 1), weights=(1, 1, 0), tol=1e-9).fit(X, y)
    np.testing.assert_allclose(flat.coef_, both.coef_, atol=2e-4)
    features_only = MultiTaskOverlappedTraceNorm(0.2, task_shape=TASK_SHAPE, weights=(1, 0, 0), tol=1e-9).fit(
        X, y
    )
    np.testing.assert_allclose(features_only.coef_, trace.coef_, atol=2e-4)


@pytest.mark.parametrize("norm", ["overlapped", "latent"])
def test_tasks_are_in_c_order(norm):
    X, y = problem(8)
    one = make("squared", norm, 0.1, weights=(1, 2, 3), tol=1e-9).fit(X, y)
    for task, (i, j) in enumerate(np.ndindex(TASK_SHAPE)):
        np.testing.assert_array_equal(one.coef_tensor_[:, i, j], one.coef_[task])
    order = np.arange(TASKS).reshape(TASK_SHAPE).T.ravel()  # the same tasks with the indices exchanged
    swapped = make("squared", norm, 0.1, task_shape=TASK_SHAPE[::-1], weights=(1, 3, 2), tol=1e-9)
    swapped.fit([X[t] for t in order], [y[t] for t in order])
    np.testing.assert_allclose(swapped.coef_tensor_.swapaxes(1, 2), one.coef_tensor_, atol=2e-4)


def test_the_overlapped_solution_has_exactly_low_rank_in_every_mode():
    rng = np.random.default_rng(9)
    W = np.einsum("d,i,j->dij", *(rng.normal(size=n) for n in (8, 4, 3)))
    X = rng.normal(size=(60, 8))
    y = X @ W.reshape(8, 12) + 0.3 * rng.normal(size=(60, 12))
    found = MultiTaskOverlappedTraceNorm(0.1, task_shape=(4, 3)).fit(X, y).coef_tensor_
    for mode in range(3):
        sigma = np.linalg.svd(np.moveaxis(found, mode, 0).reshape(found.shape[mode], -1), compute_uv=False)
        assert sigma[1] < 1e-12 * sigma[0]


def test_components_add_up_and_weights_choose_among_them():
    X, y = problem(10)
    model = make("squared", "latent", 0.05).fit(X, y)
    np.testing.assert_allclose(model.components_.sum(axis=0), model.coef_, atol=1e-12)
    for mode in range(3):
        weights = [1.0 if k == mode else 1e3 for k in range(3)]
        parts = make("squared", "latent", 0.05, weights=weights).fit(X, y).components_
        assert [part.any() for part in parts] == [k == mode for k in range(3)]


@each_norm
def test_scale_of_examples_and_targets_does_not_matter(norm):
    X, y = problem(11)
    one = make("squared", norm, 0.1, tol=1e-8).fit(X, y)
    for scale in (1e-6, 1e6):
        other = make("squared", norm, 0.1 * scale**2, tol=1e-8).fit(
            [x * scale for x in X], [t * scale for t in y]
        )
        np.testing.assert_allclose(other.coef_, one.coef_, atol=1e-3)


@each_norm
def test_features_and_targets_that_are_all_zero_give_zero(norm):
    X, y = problem(12)
    assert not make("squared", norm).fit(X, [np.ones_like(t) for t in y]).coef_.any()
    blank = make("squared", norm).fit([np.zeros_like(x) for x in X], y)
    assert not blank.coef_.any()
    np.testing.assert_allclose(blank.intercept_, [t.mean() for t in y])


@pytest.mark.parametrize("loss", sorted(ESTIMATORS))
@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"alpha": 0}, "alpha is 0; it must be above 0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"solver": "newton"}, "solver is 'newton'; it may be one of auto, fista, admm, subgradient"),
        ({"tol": -1}, "tol is -1"),
        ({"max_iter": 0}, "max_iter 0"),
        ({"task_shape": (4, 2)}, r"task_shape is \(4, 2\), but there are 6 tasks.*product is 6.*C order"),
        ({"task_shape": (6, -1, -1)}, "integers above 0"),
        ({"task_shape": (1.5, 4)}, "integers above 0"),
        ({"weights": (1, 1)}, r"weights is \[1.0, 1.0\].*shape \(4, 3, 2\) has 3 modes"),
        ({"weights": (1, -1, 1)}, "at least 0"),
        ({"weights": (0, 0, 0)}, "one of them above"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(loss, arguments, words):
    with pytest.raises(ConfigError, match=words):
        make(loss, "overlapped", **arguments).fit(*problem(0, loss))


def test_a_latent_norm_needs_weights_above_zero():
    with pytest.raises(ConfigError, match="above 0"):
        make("squared", "latent", weights=(1, 0, 1)).fit(*problem(0))


def test_data_that_do_not_fit_together_are_named():
    X, y = problem(0)
    model = MultiTaskTraceNorm(0.1)
    with pytest.raises(DataError, match="6 arrays of examples but 5 of targets"):
        model.fit(X, y[:-1])
    with pytest.raises(DataError, match="task 1 has 11 examples but targets of shape"):
        model.fit(X, [y[0], y[0], *y[2:]])
    with pytest.raises(DataError, match="task 2 has 3 features, the tasks before it 4"):
        model.fit([*X[:2], X[2][:, :3], *X[3:]], y)
    with pytest.raises(DataError, match="task 0 has targets that are not finite"):
        model.fit(X, [y[0] * np.nan, *y[1:]])
    with pytest.raises(DataError, match="task 3.*NaN"):
        model.fit([*X[:3], X[3] * np.nan, *X[4:]], y)
    with pytest.raises(DataError, match="2 arrays of examples for 6 tasks"):
        model.fit(X, y).predict(X[:2])
