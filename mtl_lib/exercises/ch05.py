"""Checks for the exercises of chapter 5, ResNet-34.

The right answers come in other ways than the solutions': from a network that is built and asked for its names,
from poisoned pixels, from a convolution and a batch norm that are run, from singular values after real steps.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.teach import Case, check


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _name_cases(answer: Callable) -> Iterator[Case]:
    for blocks in ((3, 4, 6, 3), (2, 2, 2, 2), (1, 3, 1, 2)):
        with torch.device("meta"):
            names = [name.removesuffix(".weight") for name in shareable_layers(resnet34(1, 1, blocks))]
        for number in range(1, len(names) + 1):
            here = names[number - 1]
            mistakes = {}
            if number < len(names):
                mistakes["that is the next layer; the stem is layer 1"] = names[number]
            if number > 1:
                mistakes["that is the layer before"] = names[number - 2]
                mistakes["blocks are counted from 0 within their stage"] = ".".join(
                    str(int(part) + 1) if part.isdigit() else part for part in here.split(".")
                )
                mistakes["stages are counted from 1"] = f"layer{int(here[5]) - 1}{here[6:]}"
                mistakes["convolutions are counted from 1"] = f"{here[:-1]}{int(here[-1]) - 1}"
            yield Case(
                f"layer {number} of {blocks}",
                answer(number, blocks),
                here,
                "One stem, then two convolutions per block",
                mistakes,
            )


_CHAINS: tuple[tuple[str, list[tuple[int, int, int]], int, tuple[int, ...]], ...] = (
    ("one 3 x 3 layer, in the middle", [(3, 1, 1)], 9, (4,)),
    ("one 3 x 3 layer, at the borders", [(3, 1, 1)], 9, (0, 8)),
    ("no padding", [(3, 1, 0), (3, 1, 0)], 9, (0, 2, 4)),
    ("a 7 x 7 stem with stride 2", [(7, 2, 3)], 33, (0, 8, 16)),
    ("stem and pool", [(7, 2, 3), (3, 2, 1)], 33, (0, 4, 8)),
    ("a stride before and behind", [(3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1)], 49, (0, 6, 12)),
    ("an even window", [(2, 2, 0), (4, 2, 1)], 40, (0, 4, 9)),
    ("ResNet to the middle of stage 2", [(7, 2, 3), (3, 2, 1), *[(3, 1, 1)] * 6, (3, 2, 1), (3, 1, 1)], 97, (0, 6, 12)),
)  # fmt: skip


def _poisoned(windows: list[tuple[int, int, int]], unit: int, size: int) -> tuple[int, int]:
    """Which single pixel of a row, made not-a-number, makes the unit one?"""
    eye = torch.eye(size, dtype=torch.float64)
    x = eye.masked_fill(eye.bool(), math.nan)[:, None]
    for kernel, stride, padding in windows:
        x = F.conv1d(x, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, padding=padding)
    seen = x[:, 0, unit].isnan().nonzero().flatten().tolist()
    return seen[0], seen[-1]


def _field(windows: list[tuple[int, int, int]]) -> tuple[int, int, float]:
    field, jump, start = 1, 1, 0.0
    for kernel, stride, padding in windows:
        field, start, jump = (
            field + (kernel - 1) * jump,
            start + ((kernel - 1) / 2 - padding) * jump,
            jump * stride,
        )
    return field, jump, start


def _reach_cases(answer: Callable) -> Iterator[Case]:
    for name, windows, size, units in _CHAINS:
        for unit in units:
            first, last = _poisoned(windows, unit, size)
            field, jump, start = _field(windows)
            centre, half = start + unit * jump, (field - 1) / 2
            got = tuple(answer(list(windows), unit, size))
            yield Case(f"{name}, unit {unit}: how many numbers?", len(got), 2, "The first pixel and the last")
            for which, mine, right in zip(("first", "last"), got, (first, last), strict=True):
                sign = -1 if which == "first" else 1
                yield Case(
                    f"{name}, unit {unit} of a row of {size} pixels: {which} pixel",
                    mine,
                    right,
                    "Pixels are counted from 0, and padding is not a pixel",
                    {
                        "that is outside of the picture": centre + sign * half,
                        "that is unit 0's": min(max(start + sign * half, 0), size - 1),
                        "units are jump pixels apart, not one": min(
                            max(start + unit + sign * half, 0), size - 1
                        ),
                        "the first unit's field is not centred at pixel 0 when padding and kernel do not match": min(
                            max(unit * jump + sign * half, 0), size - 1
                        ),
                        "half the field too far": min(max(centre + sign * field, 0), size - 1),
                    },
                )


def check_5_1(answer: Callable[[int, tuple], str]) -> bool:
    """Exercise 5.1: `answer(number, blocks)` is the name of a numbered layer."""
    return check("5.1", answer, _name_cases)


def check_5_2(answer: Callable[[list, int, int], tuple[int, int]]) -> bool:
    """Exercise 5.2: `answer(windows, unit, size)` is the first and last pixel that a unit can see."""
    return check("5.2", answer, _reach_cases)


def _fold_cases(answer: Callable) -> Iterator[Case]:
    for name, (m, c, k), eps, small in (
        ("4 filters of 3 channels", (4, 3, 3), 1e-5, 1.0),
        ("as many filters as channels", (3, 3, 3), 1e-5, 1.0),
        ("a 1 x 1 kernel", (5, 2, 1), 1e-5, 1.0),
        ("small variances", (4, 2, 3), 1e-3, 1e-3),
    ):
        weight, gain, bias, mean = (
            _draw(m, c, k, k, seed=71),
            _draw(m, seed=72),
            _draw(m, seed=73),
            _draw(m, seed=74),
        )
        var = small * _draw(m, seed=75).square() + 0.1 * small
        x = _draw(2, c, 6, 6, seed=76)
        new = answer(weight.clone(), gain.clone(), bias.clone(), mean.clone(), var.clone(), eps)
        yield Case(f"{name}: how many tensors come back?", len(new), 2, "A kernel and a bias")
        yield Case(f"{name}: shape of the kernel", tuple(new[0].shape), (m, c, k, k), "It keeps its shape")
        yield Case(f"{name}: shape of the bias", tuple(new[1].shape), (m,), "One number per filter")

        def output(kernel, shift, x=x):
            return F.conv2d(x, kernel, shift)

        def folds(factor, weight=weight, bias=bias, mean=mean):
            return weight * factor[:, None, None, None], bias - mean * factor

        right = gain / (var + eps).sqrt()
        yield Case(
            f"{name}: what one convolution gives",
            output(*new),
            F.batch_norm(F.conv2d(x, weight), mean, var, gain, bias, training=False, eps=eps),
            "Everything that multiplies z belongs into the kernel, the rest into the bias",
            {
                "epsilon is missing": output(*folds(gain / var.sqrt())),
                "epsilon stands under the root, beside the variance": output(
                    *folds(gain / (var.sqrt() + eps))
                ),
                "you divided by the variance, not by its root": output(*folds(gain / (var + eps))),
                "the mean is scaled as well": output(folds(right)[0], bias - mean),
                "the mean was not taken off": output(folds(right)[0], bias),
                "the mean was added": output(folds(right)[0], bias + mean * right),
                "the gain is missing": output(*folds((var + eps).rsqrt())),
            },
        )


def check_5_3(answer: Callable[..., tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.3: `answer(weight, gain, bias, mean, var, eps)` folds batch norm into the convolution."""
    return check("5.3", answer, _fold_cases)


def _after_real_steps(lengths: Tensor, steps: int, rate: float) -> Tensor:
    """The ratio of trace norms, by singular value decompositions of a matrix with orthogonal columns."""
    q, _ = torch.linalg.qr(_draw(12, len(lengths), seed=81))
    W = q * lengths
    before = torch.linalg.svdvals(W).sum()
    for _ in range(steps):
        u, s, vh = torch.linalg.svd(W, full_matrices=False)
        W = W - rate * (u @ vh)
    return torch.linalg.svdvals(W).sum() / before


def _null_cases(answer: Callable) -> Iterator[Case]:
    for name, lengths, steps, lr, gamma in (
        ("two equal kernels, nothing runs out", [11.3, 11.3], 50, 0.1, 0.2),
        ("no steps", [2.0, 3.0], 0, 0.1, 0.2),
        ("three tasks of different length", [4.0, 6.0, 9.0], 30, 0.5, 0.1),
        ("one runs out", [1.03, 5.0], 40, 0.5, 0.1),
        ("the other parity", [1.03, 5.0], 41, 0.5, 0.1),
        ("all run out", [1.41, 0.77], 60, 0.1, 0.5),
        ("shorter than a step from the start", [0.02, 0.03], 3, 0.1, 0.5),
        ("a single task", [3.03], 100, 0.1, 0.5),
    ):
        start = torch.tensor(lengths, dtype=torch.float64)
        rate = lr * gamma
        linear = start - steps * rate
        yield Case(
            f"{name}: lengths {lengths}, {steps} steps of {rate:g}",
            answer(start.clone(), steps, lr, gamma),
            _after_real_steps(start, steps, rate),
            "Follow one length through one step, past the point where it cannot pay",
            {
                "a length cannot be negative": linear.sum() / start.sum(),
                "a length that cannot pay does not stay at zero": linear.clamp_min(0).sum() / start.sum(),
                "that is what weight decay would leave": (1 - rate) ** steps,
                "the step is lr times gamma": (start - steps * lr).abs().sum() / start.sum(),
                "the ratio of Frobenius norms is another one": linear.norm() / start.norm(),
                "it turns round at every step, not once": linear.abs().sum() / start.sum(),
            },
            tolerance=1e-6,
        )


def check_5_4(answer: Callable[[Tensor, int, float, float], Tensor]) -> bool:
    """Exercise 5.4: `answer(lengths, steps, lr, gamma)` is what the penalty alone leaves of the trace norm."""
    return check("5.4", answer, _null_cases)
