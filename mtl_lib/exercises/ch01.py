"""Checks for the exercises of chapter 1, matrices of tasks.

Each check builds its own matrices with a fixed seed, gets the right answer in another way than the solution
does, and knows what comes out after the likely mistakes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mtl_lib.teach import Case, check


def _with_singular_values(rows: int, values: list[float], seed: int) -> np.ndarray:
    """A [rows, len(values)] matrix with given singular values."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.normal(size=(rows, len(values)))).Q
    v = np.linalg.qr(rng.normal(size=(len(values), len(values)))).Q
    return (u * np.array(values)) @ v.T


def _prox_columns_cases(answer: Callable) -> Iterator[Case]:
    w = np.array([[3.0, 0.3, -1.0], [4.0, 0.4, 1.0]])
    expected = np.array([[2.4, 0.0, 0.0], [3.2, 0.0, 0.0]])  # lengths 5, 0.5 and 1.41: (1 - 1/5) of the first
    expected[:, 2] = (1 - 1 / np.sqrt(2)) * w[:, 2]
    rows = np.linalg.norm(w, axis=1, keepdims=True)
    yield Case(
        "three tasks, tau = 1",
        answer(w.copy(), 1.0),
        expected,
        "shorten each column by tau, not below zero",
        mistakes={
            "these are the rows, and a task is a column": w * (1 - 1 / rows),
            "that lowers each number by itself": np.sign(w) * np.maximum(np.abs(w) - 1, 0),
            "a task shorter than tau must vanish, not turn round": w * (1 - 1 / np.linalg.norm(w, axis=0)),
            "that shortens the matrix as a whole": w * (1 - 1 / np.linalg.norm(w)),
        },
    )
    w = np.random.default_rng(11).normal(size=(6, 4))
    w[:, 2] = 0
    length = np.linalg.norm(w, axis=0)
    for tau in (0.5, 2.0):
        got = answer(w.copy(), tau)
        after = np.maximum(length - tau, 0)
        yield Case(f"one task is zero, tau = {tau}", np.linalg.norm(got, axis=0), after, "what is 0/0?")
        inner = (np.asarray(got) * w).sum(axis=0)
        yield Case(f"directions, tau = {tau}", inner, length * after, "each task keeps its direction")
    yield Case("tau = 0", answer(w.copy(), 0.0), w, "nothing may change, zero columns included")


def check_1_1(answer: Any) -> bool:
    """Exercise 1.1: `answer(W, tau)` is the proximal step of the sum of the columns' lengths."""
    return check("1.1", answer, _prox_columns_cases)


def _largest_alpha_cases(answer: Callable) -> Iterator[Case]:
    for name, n, d, t, seed in (("more examples than features", 40, 6, 4, 12), ("fewer", 5, 9, 3, 13)):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(n, d)), rng.normal(size=(n, t))
        c = x.T @ y / n
        # The square root of the largest eigenvalue, by power iteration: no singular values.
        v = np.ones(t)
        for _ in range(5000):
            v = c.T @ (c @ v)
            v /= np.linalg.norm(v)
        expected = float(np.linalg.norm(c @ v))
        yield Case(
            name,
            answer(x, y),
            expected,
            "which singular value is the last to vanish?",
            mistakes={
                "the loss in (1.1) is divided by n": expected * n,
                "that divides by n twice": expected / n,
                "that is the Frobenius norm": np.linalg.norm(c),
                "that is the trace norm itself; here its dual is wanted": np.linalg.norm(c, "nuc"),
                "that is right for the l2,1 norm": np.linalg.norm(c, axis=1).max(),
                "that is right for the columns' lengths": np.linalg.norm(c, axis=0).max(),
                "that is right for the sum of absolute values": np.abs(c).max(),
                "the smallest singular value is the first to vanish, not the last": np.linalg.norm(c, -2),
                "where has the 1/2 of the loss gone when you took the gradient?": expected / 2,
            },
        )


def check_1_2(answer: Any) -> bool:
    """Exercise 1.2: `answer(X, Y)` is the smallest alpha at which the trace-norm solution is zero."""
    return check("1.2", answer, _largest_alpha_cases)


def _prox_with_decay_cases(answer: Callable) -> Iterator[Case]:
    for name, values, tau, rho in (
        ("two of three survive", [3.0, 2.0, 0.5], 1.0, 0.5),
        ("strong decay: the rank must not change", [3.0, 2.0, 1.1], 1.0, 9.0),
        ("no weight decay", [3.0, 2.0, 0.5], 1.0, 0.0),
        ("weight decay alone", [3.0, 2.0, 0.5], 0.0, 1.0),
        ("nothing survives", [0.5, 0.4, 0.1], 1.0, 0.5),
    ):
        w = _with_singular_values(7, values, seed=14)
        got = np.asarray(answer(w.copy(), tau, rho), dtype=np.float64)
        expected = _threshold(w, tau) / (1 + rho)
        yield Case(
            f"{name} (tau = {tau:g}, rho = {rho:g})",
            got,
            expected,
            "set the derivative with respect to one singular value to zero",
            mistakes={
                "weight decay is missing": _threshold(w, tau),
                "dividing W by 1 + rho also divides tau": _threshold(w / (1 + rho), tau),
                "the shrinking factor is 1/(1 + rho), not 1 - rho": _threshold(w, tau) * (1 - rho),
                "the factor rho/2 has the derivative rho": _threshold(w, tau) / (1 + rho / 2),
                "and the derivative of rho/2 times a square is not 2 rho": _threshold(w, tau) / (1 + 2 * rho),
            },
        )


def _threshold(w: np.ndarray, tau: float) -> np.ndarray:
    """Singular values lowered by tau, from the eigenvalues of the Gram matrix."""
    values, v = np.linalg.eigh(w.T @ w)
    s = np.sqrt(np.maximum(values, 0))
    return w @ (v * np.divide(np.maximum(s - tau, 0), s, out=np.zeros_like(s), where=s > 0)) @ v.T


def check_1_3(answer: Any) -> bool:
    """Exercise 1.3: `answer(W, tau, rho)` is the proximal step of trace norm and weight decay together."""
    return check("1.3", answer, _prox_with_decay_cases)


def _factors_cases(answer: Callable) -> Iterator[Case]:
    for name, w in (
        ("a tall matrix", _with_singular_values(7, [3.0, 2.0, 0.5], seed=15)),
        ("a wide matrix", _with_singular_values(6, [5.0, 1.0, 0.1, 0.1], seed=16).T),
        ("a matrix of rank one", _with_singular_values(5, [4.0, 0.0, 0.0], seed=17)),
    ):
        a, b = (np.asarray(factor, dtype=np.float64) for factor in answer(w.copy()))
        fits = (
            a.ndim == b.ndim == 2 and len(a) == len(w) and len(b) == w.shape[1] and a.shape[1] == b.shape[1]
        )
        yield Case(f"{name}: do the shapes fit?", bool(fits), True, "A is D x r, B is T x r")
        if not fits:
            return
        yield Case(f"{name}: A B'", a @ b.T, w, "the product must give W back")
        cost = float(((a**2).sum() + (b**2).sum()) / 2)
        s = np.linalg.svd(w, compute_uv=False)
        yield Case(
            f"{name}: half the sum of squares",
            cost,
            float(s.sum()),
            "share the singular values out between the two",
            mistakes={
                "all of the singular values went to one of the two": float(((s**2).sum() + len(s)) / 2),
                "one of the two is W, the other an identity matrix": float(((s**2).sum() + w.shape[1]) / 2),
            },
        )


def check_1_4(answer: Any) -> bool:
    """Exercise 1.4: `answer(W)` returns A and B with A B' = W and the least sum of squares."""
    return check("1.4", answer, _factors_cases)


def _paired_cases(answer: Callable) -> Iterator[Case]:
    control = np.array([9.0, 12.0, 6.0, 9.0, 14.0])
    for name, gain in (
        ("a steady gain", np.array([1.0, 1.2, 0.8, 1.0, 1.5])),
        ("ours is worse", np.array([-2.0, 1.0, -3.0, -1.0, -1.0])),
    ):
        ours = control - gain
        mean, error = answer(ours.copy(), control.copy())
        count = len(control)
        right = sum(-g for g in gain) / count
        squares = sum((-g - right) ** 2 for g in gain)
        yield Case(
            f"{name}: mean difference",
            mean,
            right,
            "ours minus control",
            mistakes={"the sign: ours minus control": -right},
        )
        yield Case(
            f"{name}: standard error",
            error,
            float(np.sqrt(squares / (count - 1) / count)),
            "of the mean of the differences",
            mistakes={
                "that is the standard deviation of one difference": float(np.sqrt(squares / (count - 1))),
                "divide by S - 1 in the standard deviation": float(np.sqrt(squares / count / count)),
                "that is not paired: take the differences first": float(
                    np.sqrt((ours.var(ddof=1) + control.var(ddof=1)) / count)
                ),
                "that is the variance of the mean": float(squares / (count - 1) / count),
            },
        )
    mean, error = answer([1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
    yield Case("lists instead of arrays", mean, 4 / 3, "np.asarray helps")


def check_1_5(answer: Any) -> bool:
    """Exercise 1.5: `answer(ours, control)` returns mean and standard error of the paired differences."""
    return check("1.5", answer, _paired_cases)
