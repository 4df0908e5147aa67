"""Checks for the exercises of chapter 2, tensors of tasks.

Each check builds its own tensors with a fixed seed, gets the right answer in another way than the solution
does, and knows what comes out after the likely mistakes.
"""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from mtl_lib.teach import Case, check


def _to_paper_cases(answer: Callable) -> Iterator[Case]:
    for features, task_shape in ((3, (4, 2)), (5, (2, 2)), (4, (2, 3, 2)), (3, (5,))):
        tasks = int(np.prod(task_shape))
        # Entry by entry: features count thousands, each task index a digit of its own.
        expected = np.zeros((features, *task_shape))
        coef = np.zeros((tasks, features))
        for d in range(features):
            for task, place in enumerate(np.ndindex(*task_shape)):  # C order
                value = 1000 * (d + 1) + sum((t + 1) * 10**k for k, t in enumerate(reversed(place)))
                expected[(d, *place)] = coef[task, d] = value
        straight = coef.reshape(features, *task_shape)
        other_order = coef.T.reshape(features, *task_shape, order="F")
        swapped = coef.T.reshape(features, *task_shape[::-1])
        yield Case(
            f"{features} features, tasks {task_shape}",
            answer(coef.copy(), task_shape),
            expected,
            "entry (d, t1, t2) is weight d of task t1 * T2 + t2",
            mistakes={
                "a plain reshape mixes features and tasks: which axis of coef_ holds the tasks?": straight,
                "that lets the first task index run fastest": other_order,
                "the task indices changed places": swapped,
                "the features belong in front": coef.reshape(*task_shape, features),
            },
        )


def check_2_1(answer: Any) -> bool:
    """Exercise 2.1: `answer(coef, task_shape)` is the D x T1 x T2 x ... tensor of a [T, D] array."""
    return check("2.1", answer, _to_paper_cases)


def _tt_ranks(x: np.ndarray) -> list[int]:
    ranks = []
    for k in range(1, x.ndim):
        s = np.linalg.svd(x.reshape(int(np.prod(x.shape[:k])), -1), compute_uv=False)
        ranks.append(int((s > 1e-9 * s[0]).sum()))
    return ranks


def _best_order_cases(answer: Callable) -> Iterator[Case]:
    rng = np.random.default_rng(21)
    pairs = np.einsum("ac,bd->abcd", rng.normal(size=(3, 3)), rng.normal(size=(4, 4)))
    middle = np.einsum("dk,ki,j->dij", rng.normal(size=(6, 2)), rng.normal(size=(2, 5)), rng.normal(size=4))
    hidden = np.einsum("dkj,ik->dij", rng.normal(size=(12, 2, 3)), rng.normal(size=(6, 2)))
    chain = np.einsum(
        "aw,wbx,xcy,yd->cadb",
        rng.normal(size=(3, 2)), rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 5, 2)), rng.normal(size=(2, 3)),
    )  # fmt: skip
    # A train whose right order is neither its own inverse nor that backwards: 0, 2, 3, 1.
    one_way = np.einsum(
        "aw,wbx,xcy,yd->adbc",
        rng.normal(size=(4, 2)), rng.normal(size=(2, 5, 2)), rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 5)),
    )  # fmt: skip
    # A lower largest rank does not make a lower sum: (3, 3) against (3, 2).
    core = rng.normal(size=(3, 2, 3))
    largest = np.einsum(
        "pqr,ap,bq,cr->abc", core, *(rng.normal(size=(size, k)) for size, k in ((5, 3), (4, 2), (5, 3)))
    )
    # Four cores, every two of them joined: the smallest sum is 8 + 16 + 12, the smallest product 8 * 24 * 8.
    joined = np.einsum(
        "apqr,bpst,cqsu,drtu->abcd",
        rng.normal(size=(8, 2, 2, 2)), rng.normal(size=(12, 2, 2, 3)),
        rng.normal(size=(8, 2, 2, 2)), rng.normal(size=(12, 2, 3, 2)),
        optimize=True,
    )  # fmt: skip
    for name, x in (
        ("a goes with c and b with d", pairs),
        ("a matrix and a third axis", middle),
        ("low rank in the second axis only", hidden),
        ("a train in disguise", chain),
        ("another train in disguise", one_way),
        ("a matrix", rng.normal(size=(3, 4))),
        ("Tucker rank (3, 2, 3)", largest),
        ("every two axes joined", joined),
    ):
        got = answer(x.copy())
        try:
            order = tuple(int(axis) for axis in got)
        except (TypeError, ValueError):
            order = ()
        complete = sorted(order) == list(range(x.ndim))
        yield Case(
            f"{name}: is it an order of the axes?", complete, True, "each axis from 0 once, as a tuple"
        )
        ranks = {each: _tt_ranks(x.transpose(each)) for each in permutations(range(x.ndim))}
        best, yours = min(map(sum, ranks.values())), sum(ranks[order])
        mistakes = {}
        if max(ranks[order]) == min(map(max, ranks.values())):
            mistakes["the largest rank may be as small as can be; wanted is the smallest sum"] = yours
        elif np.prod(ranks[order]) == min(map(np.prod, ranks.values())):
            mistakes["the product of the ranks may be as small as can be; wanted is the smallest sum"] = yours
        elif order == tuple(range(x.ndim)):
            mistakes["that is the order in which it came"] = yours
        elif sum(ranks[tuple(np.argsort(order).tolist())]) == best:  # right, if read the other way round
            mistakes["that may be where each axis goes; wanted is which axis comes to each place"] = yours
        yield Case(
            f"{name}: sum of the TT ranks in your order",
            yours,
            best,
            "`itertools.permutations` lists all orders, `x.transpose(order)` takes one",
            mistakes=mistakes,
        )


def check_2_2(answer: Any) -> bool:
    """Exercise 2.2: `answer(X)` is an order of the axes with the smallest sum of TT ranks."""
    return check("2.2", answer, _best_order_cases)


def _largest_alpha_cases(answer: Callable) -> Iterator[Case]:
    for name, shape, gammas, seed in (
        ("scaled weights, many features", (12, 4, 3), None, 22),
        ("equal weights", (12, 4, 3), (1.0, 1.0, 1.0), 22),
        ("a mode that costs little", (5, 6, 4), (1.0, 0.1, 2.0), 23),
        ("a matrix of tasks", (6, 4), (2.0, 1.0), 24),
    ):
        c = np.random.default_rng(seed).normal(size=shape)
        gammas = tuple(1 / np.sqrt(shape)) if gammas is None else gammas
        sizes, nuclear = [], []
        for i in range(len(shape)):
            m = np.moveaxis(c, i, 0).reshape(shape[i], -1)
            # Largest singular value through the small Gram matrix, with no singular value decomposition.
            eigenvalues = np.linalg.eigvalsh(m @ m.T)
            sizes.append(float(np.sqrt(eigenvalues[-1])))
            nuclear.append(float(np.sqrt(np.maximum(eigenvalues, 0)).sum()))
        ratios = [size / g for size, g in zip(sizes, gammas, strict=True)]
        yield Case(
            name,
            answer(c.copy(), gammas),
            max(ratios),
            "at W = 0 every component must stay at zero, the one that is let go first decides",
            mistakes={
                "at that alpha some component is already alive": min(ratios),
                "the components do not add up here": sum(ratios),
                "a larger gamma holds a component back: multiply or divide?": max(
                    size * g for size, g in zip(sizes, gammas, strict=True)
                ),
                "where are the weights gamma?": max(sizes),
                "that is the trace norm; its dual is wanted": max(
                    n / g for n, g in zip(nuclear, gammas, strict=True)
                ),
                "that is the Frobenius norm": np.linalg.norm(c) / min(gammas),
            },
        )


def check_2_3(answer: Any) -> bool:
    """Exercise 2.3: `answer(C, gammas)` is the smallest alpha at which the latent solution vanishes."""
    return check("2.3", answer, _largest_alpha_cases)


def _small_system_cases(answer: Callable) -> Iterator[Case]:
    rng = np.random.default_rng(25)
    for name, n, d, c in (
        ("3 examples, 8 features", 3, 8, 0.5),
        ("1 example", 1, 5, 2.0),
        ("an empty cell", 0, 4, 0.3),
        ("more examples than features", 9, 4, 0.1),
    ):
        x, q = rng.normal(size=(n, d)), rng.normal(size=d)
        second = x.T @ x / n if n else np.zeros((d, d))
        w = answer(x.copy(), q.copy(), c)
        yield Case(
            name,
            w,
            np.linalg.solve(second + c * np.eye(d), q),
            "put your w back into (X'X/n + c I) w = q",
            mistakes={
                "S = X'X/n has an n in it": np.linalg.solve(x.T @ x + c * np.eye(d), q),
                "that is the right-hand side divided by c; the examples are missing": q / c,
                "the sign of the correction": 2 * q / c - np.linalg.solve(second + c * np.eye(d), q),
                "is something still to be divided by c?": c * np.linalg.solve(second + c * np.eye(d), q),
            },
        )

    n, d = 3, 600
    x, q = rng.normal(size=(n, d)), rng.normal(size=d)
    whole = np.linalg.solve(x.T @ x / n + 0.5 * np.eye(d), q)
    w, most = _memory_of(lambda: answer(x.copy(), q.copy(), 0.5))
    yield Case(f"{n} examples, {d} features", w, whole, "put your w back into (X'X/n + c I) w = q")
    yield Case(
        f"{n} examples, {d} features: is it done without a matrix of {d} x {d}?",
        most < whole.itemsize * d * d / 2,
        True,
        "X'X and the identity beside it are as large as that; X X' is n x n",
    )


def _memory_of(call: Callable[[], Any]) -> tuple[Any, int]:
    """Result of a call, and the most bytes that Python and NumPy held at a time for it."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def check_2_4(answer: Any) -> bool:
    """Exercise 2.4: `answer(X, q, c)` solves (X'X/n + c I) w = q through an n x n system, with no D x D matrix."""
    return check("2.4", answer, _small_system_cases)


def _fill_cases(answer: Callable) -> Iterator[Case]:
    rng = np.random.default_rng(26)
    for name, d, pairs, places, rank, shy in (
        ("rank 2 in the pairs, 3 places", 8, 6, 3, 2, False),
        ("rank 1, 2 places", 5, 4, 2, 1, False),
        ("rank 3, 4 places", 9, 7, 4, 3, False),
        ("no single place shows all three basic pairs", 9, 7, 4, 3, True),
    ):
        basic = rng.normal(size=(d, rank, places))
        if shy:  # of the places 0, 2 and 3 each lacks one basic pair; place 1, with the hole, has them all
            for k, place in enumerate((0, 2, 3)):
                basic[:, k, place] = 0
        whole = np.einsum("dkj,ik->dij", basic, rng.normal(size=(pairs, rank)))
        i, j = pairs - 2, 1
        w = whole.copy()
        w[:, i, j] = np.nan  # whoever peeks gets no number
        rows, columns = np.delete(whole, i, axis=1), np.delete(whole, j, axis=2)
        row_mean, column_mean = columns[:, i].mean(axis=1), rows[:, :, j].mean(axis=1)
        # Mixture of places instead of pairs, which are not of low rank here.
        a = np.delete(rows, j, axis=2).reshape(-1, places - 1)
        by_place = columns[:, i] @ np.linalg.lstsq(a, rows[:, :, j].ravel(), rcond=None)[0]
        single = {  # wrong only where no single place knows enough
            f"that has its coefficients from place {k} alone (counted from 0); use all the others": (
                rows[:, :, j] @ np.linalg.lstsq(rows[:, :, k], whole[:, i, k], rcond=None)[0]
            )
            for k in range(places)
            if shy and k != j
        }
        yield Case(
            name,
            answer(w, i, j),
            whole[:, i, j],
            "find the coefficients at the other places, use them at this one",
            mistakes=single
            | {
                "that is the mean over the other places": row_mean,
                "that is the mean over the other pairs": column_mean,
                "mean of the row plus mean of the column minus mean of all is another model": row_mean
                + column_mean
                - np.delete(rows, j, axis=2).mean(axis=(1, 2)),
                "that mixes places; the low rank is in the pairs": by_place,
                "an empty cell need not be zero": np.zeros(d),
            },
            tolerance=1e-5,
        )


def check_2_5(answer: Any) -> bool:
    """Exercise 2.5: `answer(W, i, j)` fills the empty cell of a tensor that has low rank in mode 2."""
    return check("2.5", answer, _fill_cases)
