"""Plausible wrong answers to the exercises of chapter 1; every check must reject all of its own."""

import numpy as np


def _length(W, axis):
    return np.linalg.norm(W, axis=axis, keepdims=True)


def _svd(W):
    return np.linalg.svd(W, full_matrices=False)


def _threshold(W, tau):
    U, s, Vt = _svd(W)
    return (U * np.maximum(s - tau, 0)) @ Vt


# 1.1: shorten the columns


def rows_instead(W, tau):
    length = _length(W, 1)
    return W * np.maximum(length - tau, 0) / np.where(length > 0, length, 1)


def every_entry(W, tau):
    return np.sign(W) * np.maximum(np.abs(W) - tau, 0)


def turns_round(W, tau):
    length = _length(W, 0)
    return W * (1 - tau / np.where(length > 0, length, 1))


def zero_over_zero(W, tau):
    with np.errstate(invalid="ignore"):
        return W * np.maximum(_length(W, 0) - tau, 0) / _length(W, 0)


def share_not_length(W, tau):
    return W * max(1 - tau, 0)


def whole_matrix(W, tau):
    return W * max(1 - tau / np.linalg.norm(W), 0)


def hard_threshold(W, tau):
    return W * (_length(W, 0) > tau)


def lowers_singular_values(W, tau):
    return _threshold(W, tau)


# 1.2: the smallest alpha at which nothing is left


def forgets_n(X, Y):
    return np.linalg.norm(X.T @ Y, 2)


def counts_entries(X, Y):
    return np.linalg.norm(X.T @ Y, 2) / Y.size


def frobenius(X, Y):
    return np.linalg.norm(X.T @ Y) / len(X)


def the_norm_itself(X, Y):
    return np.linalg.norm(X.T @ Y, "nuc") / len(X)


def longest_row(X, Y):
    return np.linalg.norm(X.T @ Y, axis=1).max() / len(X)


def longest_column(X, Y):
    return np.linalg.norm(X.T @ Y, axis=0).max() / len(X)


def largest_entry(X, Y):
    return np.abs(X.T @ Y).max() / len(X)


def smallest_singular_value(X, Y):
    return np.linalg.norm(X.T @ Y, -2) / len(X)


def keeps_the_half(X, Y):
    return np.linalg.norm(X.T @ Y, 2) / (2 * len(X))


def least_squares_solution(X, Y):
    return np.linalg.norm(np.linalg.lstsq(X, Y, rcond=None)[0], 2)


# 1.3: trace norm and weight decay


def no_decay(W, tau, rho):
    return _threshold(W, tau)


def decay_first(W, tau, rho):
    return _threshold(W / (1 + rho), tau)


def one_minus_rho(W, tau, rho):
    return (1 - rho) * _threshold(W, tau)


def half_rho(W, tau, rho):
    return _threshold(W, tau) / (1 + rho / 2)


def two_rho(W, tau, rho):
    return _threshold(W, tau) / (1 + 2 * rho)


def adds_the_strengths(W, tau, rho):
    return _threshold(W, tau + rho)


def one_minus_rho_first(W, tau, rho):
    return _threshold((1 - rho) * W, tau)


# 1.4: the cheapest factors


def all_to_a(W):
    U, s, Vt = _svd(W)
    return U * s, Vt.T


def all_to_b(W):
    U, s, Vt = _svd(W)
    return U, Vt.T * s


def identity(W):
    return W, np.eye(W.shape[1])


def not_transposed(W):
    U, s, Vt = _svd(W)
    return U * np.sqrt(s), np.sqrt(s)[:, None] * Vt


def s_in_both(W):
    U, s, Vt = _svd(W)
    return U * s, Vt.T * s


def orthogonal_factors_only(W):
    U, _, Vt = _svd(W)
    return U, Vt.T


def by_qr(W):
    Q, R = np.linalg.qr(W)
    return Q, R.T


def first_direction_only(W):
    U, s, Vt = _svd(W)
    return U[:, :1] * np.sqrt(s[:1]), Vt[:1].T * np.sqrt(s[:1])


# 1.5: paired differences


def _differences(ours, control):
    return np.asarray(ours) - np.asarray(control)


def wrong_sign(ours, control):
    d = -_differences(ours, control)
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d))


def standard_deviation(ours, control):
    d = _differences(ours, control)
    return d.mean(), d.std(ddof=1)


def without_minus_one(ours, control):
    d = _differences(ours, control)
    return d.mean(), d.std() / np.sqrt(len(d))


def unpaired(ours, control):
    a, b = np.asarray(ours), np.asarray(control)
    return a.mean() - b.mean(), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))


def variance(ours, control):
    d = _differences(ours, control)
    return d.mean(), d.var(ddof=1) / len(d)


def median(ours, control):
    d = _differences(ours, control)
    return np.median(d), d.std(ddof=1) / np.sqrt(len(d))


def relative(ours, control):
    d = _differences(ours, control) / np.asarray(control)
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d))


WRONG = {
    "check_1_1": [
        ("rows instead of columns", rows_instead),
        ("every number by itself", every_entry),
        ("short columns turn round", turns_round),
        ("0/0 for a task of zeros", zero_over_zero),
        ("tau taken for a share", share_not_length),
        ("the matrix as a whole", whole_matrix),
        ("removes short columns, leaves long ones", hard_threshold),
        ("singular values instead of columns", lowers_singular_values),
    ],
    "check_1_2": [
        ("n forgotten", forgets_n),
        ("divided by n and by T", counts_entries),
        ("Frobenius norm", frobenius),
        ("trace norm instead of its dual", the_norm_itself),
        ("the answer for l2,1", longest_row),
        ("the answer for columns", longest_column),
        ("the answer for the lasso", largest_entry),
        ("smallest singular value", smallest_singular_value),
        ("the half of the loss kept", keeps_the_half),
        ("norm of the least-squares solution", least_squares_solution),
    ],
    "check_1_3": [
        ("weight decay forgotten", no_decay),
        ("W divided, tau not", decay_first),
        ("1 - rho", one_minus_rho),
        ("rho / 2", half_rho),
        ("2 rho", two_rho),
        ("tau + rho", adds_the_strengths),
        ("a gradient step of weight decay first", one_minus_rho_first),
    ],
    "check_1_4": [
        ("all to A", all_to_a),
        ("all to B", all_to_b),
        ("W and an identity matrix", identity),
        ("B not transposed", not_transposed),
        ("singular values in both", s_in_both),
        ("singular values in neither", orthogonal_factors_only),
        ("QR", by_qr),
        ("rank one only", first_direction_only),
    ],
    "check_1_5": [
        ("control minus ours", wrong_sign),
        ("standard deviation instead of error", standard_deviation),
        ("S instead of S - 1", without_minus_one),
        ("not paired", unpaired),
        ("variance", variance),
        ("median", median),
        ("relative differences", relative),
    ],
}
