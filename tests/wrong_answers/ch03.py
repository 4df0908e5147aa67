"""Plausible wrong answers to the exercises of chapter 3; every check must reject all of its own."""

import math

import torch


def _uv(w):
    u, _, vh = torch.linalg.svd(w, full_matrices=False)
    return u @ vh


def _norm(w):
    return torch.linalg.svdvals(w).sum()


# 3.1: is G a sub-gradient at W?


def only_the_ball(g, w, tol=1e-6):
    return bool(torch.linalg.matrix_norm(g, 2) <= 1 + tol)


def only_the_gap(g, w, tol=1e-6):
    return bool(((g * w).sum() - _norm(w)).abs() <= tol * _norm(w))


def compares_with_a_reference(g, w, tol=1e-6):
    return bool(torch.linalg.norm(g - _uv(w)) <= tol)


def absolute_tolerance(g, w, tol=1e-6):
    return bool(torch.linalg.matrix_norm(g, 2) <= 1 + tol and ((g * w).sum() - _norm(w)).abs() <= tol)


def divides_by_the_norm(g, w, tol=1e-6):
    gap = ((g * w).sum() - _norm(w)).abs() / _norm(w)
    return bool(torch.linalg.matrix_norm(g, 2) <= 1 + tol and gap <= tol)


def frobenius_ball(g, w, tol=1e-6):
    return bool(torch.linalg.norm(g) <= 1 + tol and ((g * w).sum() - _norm(w)).abs() <= tol * _norm(w))


def ignores_tol(g, w, tol=1e-6):
    ball = torch.linalg.matrix_norm(g, 2) <= 1 + 1e-6
    return bool(ball and ((g * w).sum() - _norm(w)).abs() <= 1e-6 * _norm(w))


def tol_for_the_gap_only(g, w, tol=1e-6):
    ball = torch.linalg.matrix_norm(g, 2) <= 1 + 1e-6
    return bool(ball and ((g * w).sum() - _norm(w)).abs() <= tol * _norm(w))


def no_absolute_value(g, w, tol=1e-6):
    return bool((g * w).sum() - _norm(w) <= tol * _norm(w))


# 3.2: norm and gradient of two tasks in closed form


def _pair(w1, w2, sign=-1.0, outer=True, twice=2.0, inner_square=True, swap=False):
    a, b, c = w1 @ w1, w2 @ w2, w1 @ w2
    r = (a * b - (c * c if inner_square else c)).clamp_min(1e-12).sqrt()
    n = a + b + twice * r
    n = n.sqrt() if outer else n
    first, second = (a + r, b + r) if swap else (b + r, a + r)
    return n, (first * w1 + sign * c * w2) / (r * n), (second * w2 + sign * c * w1) / (r * n)


def pair_coupling_with_the_wrong_sign(w1, w2):
    return _pair(w1, w2, sign=1.0)


def pair_forgets_the_root(w1, w2):
    return _pair(w1, w2, outer=False)


def pair_frobenius(w1, w2):
    return _pair(w1, w2, twice=0.0)


def pair_c_not_squared(w1, w2):
    return _pair(w1, w2, inner_square=False)


def pair_diagonal_swapped(w1, w2):
    return _pair(w1, w2, swap=True)


def pair_without_coupling(w1, w2):
    return _pair(w1, w2, sign=0.0)


def pair_by_svd(w1, w2):
    w = torch.stack([w1, w2], dim=1)
    g = _uv(w)
    return _norm(w), g[:, 0], g[:, 1]


def pair_by_eigenvalues(w1, w2):
    w = torch.stack([w1, w2], dim=1)
    values, q = torch.linalg.eigh(w.T @ w)
    g = w @ (q * values.rsqrt()) @ q.T
    return values.sqrt().sum(), g[:, 0], g[:, 1]


def pair_by_autograd_of_the_nuclear_norm(w1, w2):
    w = torch.stack([w1, w2], dim=1).requires_grad_()
    norm = torch.linalg.matrix_norm(w, "nuc")
    (g,) = torch.autograd.grad(norm, w)
    return norm.detach(), g[:, 0], g[:, 1]


def pair_gradients_swapped(w1, w2):
    n, g1, g2 = _pair(w1, w2)
    return n, g2, g1


# 3.3: decay rates of orthogonal tasks


def one_for_all(w):
    return torch.ones(w.shape[1], dtype=w.dtype)


def inverse_square(w):
    return 1 / w.square().sum(0)


def frobenius_norm_of_the_stack(w):
    return (1 / torch.linalg.norm(w)).expand(w.shape[1])


def lengths_themselves(w):
    return w.norm(dim=0)


def mean_length(w):
    return (1 / w.norm(dim=0).mean()).expand(w.shape[1])


def norm_over_rows(w):
    return 1 / w.norm(dim=1)[: w.shape[1]]


# 3.4: the Gram route in float32, mended halfway


def _gram(w, dtype, edge=None, out=True):
    x = w.to(dtype)
    values, q = torch.linalg.eigh(x.T @ x)
    if edge is not None:
        values = torch.where(values > edge * values[-1], values, math.inf)
    p = (q * values.rsqrt()) @ q.T
    return w @ p.to(w.dtype) if out else (x @ p).to(w.dtype)


def gram_as_it_was(w):
    return _gram(w, torch.float32)


def float32_with_a_small_cut_off(w):
    return _gram(w, torch.float32, 1e-7)


def float32_with_a_large_cut_off(w):
    return _gram(w, torch.float32, 1e-3)


def float32_with_epsilon_added(w):
    values, q = torch.linalg.eigh(w.T @ w)
    return w @ (q * (values.clamp_min(0) + 1e-8).rsqrt()) @ q.T


def float64_applied_in_float32(w):
    return _gram(w, torch.float64, 1e-15)


def float64_without_a_cut_off(w):
    return _gram(w, torch.float64, out=False)


def float64_with_only_a_floor_under_the_root(w):
    x = w.double()
    values, q = torch.linalg.eigh(x.T @ x)
    return ((x @ q) * values.clamp_min(1e-300).rsqrt() @ q.T).to(w.dtype)


def float64_squared_too_late(w):
    gram = (w.T @ w).double()
    values, q = torch.linalg.eigh(gram)
    values = torch.where(values > 1e-15 * values[-1], values, math.inf)
    return (w.double() @ (q * values.rsqrt()) @ q.T).to(w.dtype)


def float64_returned(w):
    x = w.double()
    values, q = torch.linalg.eigh(x.T @ x)
    values = torch.where(values > 1e-15 * values[-1], values, math.inf)
    return (x @ q) * values.rsqrt() @ q.T


def absolute_cut_off(w):
    x = w.double()
    values, q = torch.linalg.eigh(x.T @ x)
    values = torch.where(values > 1e-12, values, math.inf)
    return ((x @ q) * values.rsqrt() @ q.T).to(w.dtype)


def arbitrary_null_space(w):
    return _uv(w.double()).to(w.dtype)


# 3.5: the proximal step by a T x T matrix


def _prox(w, factor):
    values, v = torch.linalg.eigh(w.T @ w)
    return w @ (v * factor(values.clamp_min(0).sqrt())) @ v.T


def prox_not_clipped(w, tau):
    return _prox(w, lambda s: torch.where(s > 0, 1 - tau / s, 0.0))


def prox_hard_threshold(w, tau):
    return _prox(w, lambda s: (s > tau).to(s.dtype))


def prox_shifts_the_factor(w, tau):
    return _prox(w, lambda s: (s - tau).clamp_min(0))


def prox_thresholds_the_squares(w, tau):
    values, v = torch.linalg.eigh(w.T @ w)
    return w @ (v * torch.where(values > tau, 1 - tau / values, 0.0)) @ v.T


def prox_is_a_sub_gradient_step(w, tau):
    return w - tau * _uv(w)


def prox_is_weight_decay(w, tau):
    return (1 - tau) * w


def prox_without_guard_at_zero(w, tau):
    values, v = torch.linalg.eigh(w.T @ w)
    return w @ (v * (1 - tau / values.sqrt()).clamp_min(0)) @ v.T


WRONG = {
    "check_3_1": [
        ("only the spectral norm", only_the_ball),
        ("only the duality gap", only_the_gap),
        ("compares with one reference, rejects the others", compares_with_a_reference),
        ("absolute tolerance of the gap", absolute_tolerance),
        ("0/0 at W = 0", divides_by_the_norm),
        ("Frobenius instead of spectral norm", frobenius_ball),
        ("no absolute value, no ball", no_absolute_value),
        ("ignores tol", ignores_tol),
        ("tol for the gap only", tol_for_the_gap_only),
    ],
    "check_3_2": [
        ("coupling with the wrong sign", pair_coupling_with_the_wrong_sign),
        ("the squared norm", pair_forgets_the_root),
        ("the Frobenius norm", pair_frobenius),
        ("c instead of its square", pair_c_not_squared),
        ("diagonal of the inverse not swapped", pair_diagonal_swapped),
        ("no coupling", pair_without_coupling),
        ("gradients in the wrong order", pair_gradients_swapped),
        ("right, but by an SVD", pair_by_svd),
        ("right, but by eigenvalues", pair_by_eigenvalues),
        ("right, but by autograd of the nuclear norm", pair_by_autograd_of_the_nuclear_norm),
    ],
    "check_3_3": [
        ("one for all", one_for_all),
        ("inverse of the squared length", inverse_square),
        ("one over the Frobenius norm", frobenius_norm_of_the_stack),
        ("the lengths", lengths_themselves),
        ("one over the mean length", mean_length),
        ("rows and columns mixed up", norm_over_rows),
    ],
    "check_3_4": [
        ("float32, nothing mended", gram_as_it_was),
        ("float32, small cut-off", float32_with_a_small_cut_off),
        ("float32, large cut-off", float32_with_a_large_cut_off),
        ("an epsilon under the root", float32_with_epsilon_added),
        ("float64 rounded before the product", float64_applied_in_float32),
        ("float64, no cut-off", float64_without_a_cut_off),
        ("float64, a floor instead of a cut-off", float64_with_only_a_floor_under_the_root),
        ("converted after the squaring", float64_squared_too_late),
        ("result left in float64", float64_returned),
        ("absolute cut-off", absolute_cut_off),
        ("SVD with an arbitrary null space", arbitrary_null_space),
    ],
    "check_3_5": [
        ("not clipped at zero", prox_not_clipped),
        ("hard threshold", prox_hard_threshold),
        ("multiplies by the new singular value", prox_shifts_the_factor),
        ("tau against the squares", prox_thresholds_the_squares),
        ("a sub-gradient step", prox_is_a_sub_gradient_step),
        ("weight decay", prox_is_weight_decay),
        ("0/0 in the null space", prox_without_guard_at_zero),
    ],
}
