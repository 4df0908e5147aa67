"""Checks for the exercises of chapter 4, stacked kernels.

Each check draws its own kernels with a fixed seed, in float64, and gets the right answer in another way than
the solution does: by loops over indices, by numerical ranks, by running a convolution, by trying every order.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_lib.teach import Case, check


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _flat_cases(answer: Callable) -> Iterator[Case]:
    for name, tasks, (m, c, h, w) in (
        ("two tasks, 3 filters of 2 channels, 2 x 3", 2, (3, 2, 2, 3)),
        ("three tasks, square kernels, as many filters as channels", 3, (3, 3, 3, 3)),
        ("one task", 1, (4, 2, 3, 2)),
    ):
        kernels = [_draw(m, c, h, w, seed=41 + t) for t in range(tasks)]
        expected = torch.empty(h * w, c * m * tasks, dtype=torch.float64)
        for row, (i, j) in enumerate(itertools.product(range(h), range(w))):
            for column, (k, n, t) in enumerate(itertools.product(range(c), range(m), range(tasks))):
                expected[row, column] = kernels[t][n, k, i, j]
        stacked = torch.stack(kernels)
        yield Case(
            name,
            answer([k.clone() for k in kernels]),
            expected,
            "Rows (h, w), columns (c, m, t); in both the last index runs fastest",
            {
                "the numbers were cut in PyTorch's order, without changing the axes first": stacked.reshape(
                    h * w, -1
                ),
                "the tasks come first in your columns": stacked.permute(3, 4, 0, 2, 1).reshape(h * w, -1),
                "filters come before channels in your columns": stacked.permute(3, 4, 1, 2, 0).reshape(
                    h * w, -1
                ),
                "your rows run over width first": stacked.permute(4, 3, 2, 1, 0).reshape(h * w, -1),
            },
        )


def check_4_1(answer: Callable[[list[Tensor]], Tensor]) -> bool:
    """Exercise 4.1: `answer(kernels)` is the tensor-train unfolding HW x CMT of the stacked kernels."""
    return check("4.1", answer, _flat_cases)


def _share_cases(answer: Callable) -> Iterator[Case]:
    for name, shape in (
        ("a layer with 16 channels and 16 filters", (3, 3, 16, 16, 2)),
        ("ten tasks", (3, 3, 8, 12, 10)),
        ("one channel: the filters outnumber the columns", (3, 3, 1, 64, 2)),
        ("a 1 x 1 kernel", (1, 1, 12, 6, 3)),
    ):
        x = _draw(*shape, seed=45)
        ranks = [int(torch.linalg.matrix_rank(x.movedim(i, 0).flatten(1))) for i in range(5)]
        roots = [math.sqrt(r) for r in ranks]
        sizes = [math.sqrt(size) for size in shape]
        yield Case(
            name,
            answer(shape),
            roots[-1] / sum(roots),
            "Each term is sqrt(r) times the same Frobenius norm",
            {
                "that is the share of the squared force; the norm goes with the root of the rank": ranks[-1]
                / sum(ranks),
                "a matrix with more rows than columns has the rank of its columns": sizes[-1] / sum(sizes),
                "the task term itself belongs into the sum": roots[-1] / sum(roots[:-1]),
                "that is the share of the numbers": shape[-1] / sum(shape),
            },
        )


def check_4_2(answer: Callable[[tuple], float]) -> bool:
    """Exercise 4.2: `answer(shape)` is the task term's share of the Tucker norm of fresh kernels."""
    return check("4.2", answer, _share_cases)


def _through(x: Tensor, weight: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """A convolution and a batch norm without its epsilon, in training mode."""
    z = F.conv2d(x, weight)
    variance, mean = torch.var_mean(z, dim=(0, 2, 3), correction=0, keepdim=True)
    return (z - mean) / variance.sqrt() * gain[:, None, None] + bias[:, None, None]


def _rescaled_cases(answer: Callable) -> Iterator[Case]:
    weight, gain, bias = _draw(4, 2, 3, 3, seed=46), _draw(4, seed=47), _draw(4, seed=48)
    x = _draw(5, 2, 6, 6, seed=49)
    before = _through(x, weight, gain, bias)
    for name, factors in (
        ("all filters doubled", [2.0, 2.0, 2.0, 2.0]),
        ("positive factors", [0.5, 3.0, 1.0, 10.0]),
        ("one sign turned", [1.0, -1.0, 1.0, 1.0]),
        ("signs and sizes", [-0.1, 4.0, -7.0, 1.0]),
    ):
        f = torch.tensor(factors, dtype=torch.float64)
        new = answer(weight.clone(), gain.clone(), bias.clone(), f.clone())
        yield Case(f"{name}: how many tensors come back?", len(new), 3, "Kernel, gain and bias")
        yield Case(
            f"{name}: the kernel",
            new[0],
            torch.stack([a * w for a, w in zip(factors, weight, strict=True)]),
            "Filter m, with all its channels, is multiplied by factor m",
        )
        yield Case(
            f"{name}: what comes out of the batch norm",
            _through(x, *new),
            before,
            "Which part of the factor does the division by the standard deviation not take out?",
            {
                "the sign of the filter is still in the output": _through(x, new[0], gain, bias),
                "batch norm takes the size out already; you took it out twice": _through(
                    x, new[0], gain / f, bias
                ),
                "the bias is added after the division and does not turn with the filter": _through(
                    x, new[0], gain * f.sign(), bias * f.sign()
                ),
            },
        )


def check_4_3(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple]) -> bool:
    """Exercise 4.3: `answer(weight, gain, bias, factors)` rescales filters and keeps the layer's function."""
    return check("4.3", answer, _rescaled_cases)


def _best(w: Tensor, v: Tensor, signed: bool) -> Tensor:
    """The best arrangement of v, by trying every order (and, filter by filter, both signs)."""
    count = len(w)
    candidates = []
    for order in itertools.permutations(range(count)):
        placed = v[list(order)]
        inner = (w * placed).flatten(1).sum(1)
        if signed:
            placed = placed * torch.where(inner < 0, -1.0, 1.0)[:, None, None, None]
            inner = inner.abs()
        candidates.append((float(inner.sum()), placed))
    return max(candidates, key=lambda pair: pair[0])[1]


def _match_cases(answer: Callable) -> Iterator[Case]:
    w = _draw(5, 2, 3, 3, seed=51)
    order, signs = [3, 0, 4, 1, 2], torch.tensor([1.0, -1, -1, 1, -1], dtype=torch.float64)
    turned = w[order] * signs[:, None, None, None]
    yield Case("the same filters in another order", answer(w.clone(), w[order].clone()), w, "Find the order")
    yield Case(
        "another order, some of them negated",
        answer(w.clone(), turned.clone()),
        w,
        "A filter and its negative are alike here",
        {
            "some are still negated": _best(w, turned, signed=False),
            "the signs are right, the order is not": turned * signs[:, None, None, None],
        },
    )
    for name, seed, likeness in (
        ("noisy copies", 52, 0.7),
        ("unrelated filters", 53, 0.0),
        ("again", 54, 0.0),
        ("again", 55, 0.3),
    ):
        v = likeness * turned + _draw(5, 2, 3, 3, seed=seed)
        v = v * torch.tensor([0.2, 1.0, 3.0, 1.0, 0.5], dtype=torch.float64)[:, None, None, None]
        expected = _best(w, v, signed=True)
        got = answer(w.clone(), v.clone())
        yield Case(
            f"{name}: inner product with w",
            (got * w).sum(),
            (expected * w).sum(),
            "Each filter is used once, and the sum over all is to be as large as possible",
            {
                "that is the best without changing signs": (_best(w, v, signed=False) * w).sum(),
                "nothing was changed": (v * w).sum(),
            },
        )
        yield Case(f"{name}: the filters", got, expected, "Order and sign, nothing else")


def check_4_4(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 4.4: `answer(w, v)` reorders and turns the filters v to lie as nearly as possible like w."""
    return check("4.4", answer, _match_cases)


def _price_cases(answer: Callable) -> Iterator[Case]:
    w = _draw(4, 2, 3, 3, seed=61)
    g1, g2 = _draw(4, 2, 3, 3, seed=62), _draw(4, 2, 3, 3, seed=63)
    for name, a, b in (
        ("two random gradients", g1, g2),
        ("gradients with a part along w", g1 + 2 * w, g2 - w),
        ("one task has no gradient", g1, torch.zeros_like(g1)),
        ("opposite gradients", g1, -g1),
        ("gradients that differ along w only", g1 + w, g1),
        ("equal gradients", g1, g1),
        ("large kernels", g1, g2),
    ):
        kernel = 100 * w if name == "large kernels" else w
        eta = 1e-6
        pair = torch.stack([kernel - eta * a, kernel - eta * b]).flatten(1)
        # sigma_2 = sqrt(det of the Gram matrix) / sigma_1, and centred so that no digits are lost
        s, d = (pair[0] + pair[1]) / math.sqrt(2), (pair[0] - pair[1]) / math.sqrt(2)
        expected = (d - (d @ s) / (s @ s) * s).norm() / eta
        if "along w only" in name or "equal" in name:
            expected = torch.zeros(())  # the limit; what is left above is of the order of eta
        difference = (a - b).norm()
        price = answer(kernel.clone(), a.clone(), b.clone())
        # a difference of two squares, rooted, leaves about the root of the rounding error where 0 is right
        if not expected and torch.as_tensor(price).numel() == 1 and abs(price) < 1e-6 * (a.norm() + b.norm()):
            price = 0 * price
        yield Case(
            name,
            price,
            expected,
            "The second singular value after a small step, divided by the learning rate",
            {
                "a difference along w makes the kernels proportional, and that is still rank one": difference
                / math.sqrt(2),
                "the square root of 2 of (3.12) is missing": expected * math.sqrt(2),
                "that is its square": expected**2,
                "half, not one over the root of 2": expected / math.sqrt(2),
            },
            tolerance=1e-4,
        )


def check_4_5(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 4.5: `answer(w, g1, g2)` is the least gamma that keeps two equal kernels at rank one."""
    return check("4.5", answer, _price_cases)
