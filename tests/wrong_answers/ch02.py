"""Plausible wrong answers to the exercises of chapter 2; every check must reject all of its own."""

from itertools import permutations

import numpy as np


def _unfold(W, i):
    return np.moveaxis(W, i, 0).reshape(W.shape[i], -1)


def _tt_ranks(x):
    return [int(np.linalg.matrix_rank(x.reshape(int(np.prod(x.shape[:k])), -1))) for k in range(1, x.ndim)]


# 2.1: from [T, D] to D x T1 x T2


def plain_reshape(coef, task_shape):
    return coef.reshape(-1, *task_shape)


def first_index_fastest(coef, task_shape):
    return coef.T.reshape(-1, *task_shape, order="F")


def features_last(coef, task_shape):
    return coef.reshape(*task_shape, -1)


def indices_swapped(coef, task_shape):
    return coef.T.reshape(-1, *task_shape[::-1])


def reshaped_then_reversed(coef, task_shape):
    return coef.reshape(*task_shape, -1).T


def two_indices_only(coef, task_shape):
    return coef.T.reshape(-1, task_shape[0], coef.shape[0] // task_shape[0])


# 2.2: the order of the axes with the smallest sum of TT ranks


def as_it_comes(X):
    return tuple(range(X.ndim))


def backwards(X):
    return tuple(range(X.ndim))[::-1]


def worst_order(X):
    return max(permutations(range(X.ndim)), key=lambda order: sum(_tt_ranks(X.transpose(order))))


def by_size(X):
    return tuple(np.argsort(X.shape))


def by_mode_rank(X):
    return tuple(np.argsort([np.linalg.matrix_rank(_unfold(X, i)) for i in range(X.ndim)]))


def only_the_first_cut(X):
    return min(permutations(range(X.ndim)), key=lambda order: _tt_ranks(X.transpose(order))[0])


def smallest_largest_rank(X):
    return min(permutations(range(X.ndim)), key=lambda order: max(_tt_ranks(X.transpose(order))))


def smallest_product_of_ranks(X):
    return min(permutations(range(X.ndim)), key=lambda order: np.prod(_tt_ranks(X.transpose(order))))


def the_ranks_themselves(X):
    return tuple(_tt_ranks(X))


def without_moving_axes(X):
    return min(
        permutations(range(X.ndim)), key=lambda order: sum(_tt_ranks(X.reshape([X.shape[k] for k in order])))
    )


def _best_order(X):
    return min(permutations(range(X.ndim)), key=lambda order: sum(_tt_ranks(X.transpose(order))))


def inverse_of_the_order(X):
    return tuple(int(axis) for axis in np.argsort(_best_order(X)))


def moved_instead_of_transposed(X):
    axes = range(X.ndim)
    return min(permutations(axes), key=lambda order: sum(_tt_ranks(np.moveaxis(X, axes, order))))


# 2.3: the smallest alpha at which the latent solution is zero


def the_smallest(C, gammas):
    return min(np.linalg.norm(_unfold(C, i), 2) / g for i, g in enumerate(gammas))


def the_sum(C, gammas):
    return sum(np.linalg.norm(_unfold(C, i), 2) / g for i, g in enumerate(gammas))


def times_gamma(C, gammas):
    return max(np.linalg.norm(_unfold(C, i), 2) * g for i, g in enumerate(gammas))


def without_gamma(C, gammas):
    return max(np.linalg.norm(_unfold(C, i), 2) for i in range(C.ndim))


def nuclear(C, gammas):
    return max(np.linalg.norm(_unfold(C, i), "nuc") / g for i, g in enumerate(gammas))


def frobenius(C, gammas):
    return max(np.linalg.norm(C) / g for g in gammas)


def first_mode_only(C, gammas):
    return np.linalg.norm(_unfold(C, 0), 2) / gammas[0]


def reshaped_not_unfolded(C, gammas):
    return max(np.linalg.norm(C.reshape(C.shape[i], -1), 2) / g for i, g in enumerate(gammas))


# 2.4: the loss's turn through an n x n system


def forgets_n(X, q, c):
    return (q - X.T @ np.linalg.solve(c * np.eye(len(X)) + X @ X.T, X @ q)) / c


def wrong_sign(X, q, c):
    n = len(X)
    return (q + X.T @ np.linalg.solve(n * c * np.eye(n) + X @ X.T, X @ q)) / c


def not_divided(X, q, c):
    n = len(X)
    return q - X.T @ np.linalg.solve(n * c * np.eye(n) + X @ X.T, X @ q)


def no_examples(X, q, c):
    return q / c


def n_on_the_wrong_side(X, q, c):
    n = len(X)
    return (q - X.T @ np.linalg.solve(c * np.eye(n) + n * X @ X.T, X @ q)) / c


def only_in_the_span(X, q, c):
    n = len(X)
    return X.T @ np.linalg.solve(n * c * np.eye(n) + X @ X.T, X @ q)


def divides_by_no_examples(X, q, c):
    with np.errstate(invalid="ignore"):
        return np.linalg.solve(X.T @ X / np.float64(len(X)) + c * np.eye(len(q)), q)


def the_large_system(X, q, c):
    return np.linalg.solve(X.T @ X / max(len(X), 1) + c * np.eye(len(q)), q)


def the_large_inverse(X, q, c):
    return np.linalg.inv(X.T @ X / max(len(X), 1) + c * np.eye(len(q))) @ q


def a_projection_of_full_size(X, q, c):
    inner = np.linalg.solve(len(X) * c * np.eye(len(X)) + X @ X.T, X)
    return (np.eye(len(q)) - X.T @ inner) @ q / c


# 2.5: fill the empty cell


def mean_of_the_row(W, i, j):
    return np.delete(W, j, axis=2)[:, i].mean(axis=1)


def mean_of_the_column(W, i, j):
    return np.delete(W, i, axis=1)[:, :, j].mean(axis=1)


def additive(W, i, j):
    rest = np.delete(np.delete(W, i, axis=1), j, axis=2)
    return mean_of_the_row(W, i, j) + mean_of_the_column(W, i, j) - rest.mean(axis=(1, 2))


def mixture_of_places(W, i, j):
    rest = np.delete(np.delete(W, i, axis=1), j, axis=2)
    c = np.linalg.lstsq(
        rest.reshape(-1, rest.shape[2]), np.delete(W, i, axis=1)[:, :, j].ravel(), rcond=None
    )[0]
    return np.delete(W, j, axis=2)[:, i] @ c


def nothing(W, i, j):
    return np.zeros(len(W))


def with_the_hole(W, i, j):
    c = np.linalg.lstsq(
        np.nan_to_num(np.delete(W, i, axis=1)).swapaxes(1, 2).reshape(-1, W.shape[1] - 1),
        np.nan_to_num(W[:, i]).ravel(),
        rcond=None,
    )[0]
    return np.delete(W, i, axis=1)[:, :, j] @ c


def nearest_pair(W, i, j):
    rest, own = np.delete(np.delete(W, i, axis=1), j, axis=2), np.delete(W, j, axis=2)[:, i]
    distance = np.linalg.norm(rest - own[:, None], axis=(0, 2))
    return np.delete(W, i, axis=1)[:, np.argmin(distance), j]


def wrong_place(W, i, j):
    rest, own = np.delete(np.delete(W, i, axis=1), j, axis=2), np.delete(W, j, axis=2)[:, i]
    c = np.linalg.lstsq(rest.swapaxes(1, 2).reshape(-1, rest.shape[1]), own.ravel(), rcond=None)[0]
    return rest[:, :, 0] @ c


def _from_one_place(W, i, j, place):
    others = np.delete(W, i, axis=1)
    return others[:, :, j] @ np.linalg.lstsq(others[:, :, place], W[:, i, place], rcond=None)[0]


def from_the_first_other_place(W, i, j):
    return _from_one_place(W, i, j, 0 if j else 1)


def from_the_last_other_place(W, i, j):
    return _from_one_place(W, i, j, W.shape[2] - 1 - (j == W.shape[2] - 1))


def mean_of_single_places(W, i, j):
    places = [place for place in range(W.shape[2]) if place != j]
    return np.mean([_from_one_place(W, i, j, place) for place in places], axis=0)


WRONG = {
    "check_2_1": [
        ("a plain reshape", plain_reshape),
        ("the first index fastest", first_index_fastest),
        ("features last", features_last),
        ("indices swapped", indices_swapped),
        ("transposed after the reshape", reshaped_then_reversed),
        ("two indices only", two_indices_only),
    ],
    "check_2_2": [
        ("as it comes", as_it_comes),
        ("backwards", backwards),
        ("the worst order", worst_order),
        ("by size", by_size),
        ("by the Tucker ranks", by_mode_rank),
        ("only the first cut", only_the_first_cut),
        ("the smallest largest rank", smallest_largest_rank),
        ("the smallest product of ranks", smallest_product_of_ranks),
        ("the ranks instead of the order", the_ranks_themselves),
        ("reshaped instead of transposed", without_moving_axes),
        ("the inverse of the order", inverse_of_the_order),
        ("moveaxis instead of transpose", moved_instead_of_transposed),
    ],
    "check_2_3": [
        ("the smallest", the_smallest),
        ("the sum", the_sum),
        ("times gamma", times_gamma),
        ("without gamma", without_gamma),
        ("trace norm instead of spectral norm", nuclear),
        ("Frobenius norm", frobenius),
        ("the list only", first_mode_only),
        ("reshaped without moving the axis", reshaped_not_unfolded),
    ],
    "check_2_4": [
        ("no n", forgets_n),
        ("wrong sign", wrong_sign),
        ("not divided by c", not_divided),
        ("without the examples", no_examples),
        ("n on the wrong side", n_on_the_wrong_side),
        ("only what the examples span", only_in_the_span),
        ("zero over zero in an empty cell", divides_by_no_examples),
        ("the large system after all", the_large_system),
        ("the large inverse", the_large_inverse),
        ("a small system, but a large matrix", a_projection_of_full_size),
    ],
    "check_2_5": [
        ("mean of the row", mean_of_the_row),
        ("mean of the column", mean_of_the_column),
        ("additive", additive),
        ("a mixture of places", mixture_of_places),
        ("zero", nothing),
        ("the hole taken for a zero", with_the_hole),
        ("the pair that is nearest", nearest_pair),
        ("the right coefficients at the wrong place", wrong_place),
        ("coefficients from the first other place", from_the_first_other_place),
        ("coefficients from the last other place", from_the_last_other_place),
        ("mean over single other places", mean_of_single_places),
    ],
}
