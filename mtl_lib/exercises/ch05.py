"""Checks for the exercises of chapter 5, ResNet-34.

The right answers come in other ways than the solutions': from a network that is built and asked for its names,
from poisoned pixels, from a convolution and a batch norm that are run, from singular values after real steps.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
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
            mistakes["the module is wanted, not its weight"] = f"{here}.weight"
            yield Case(
                f"layer {number} of {blocks}",
                answer(number, blocks),
                here,
                "One stem, then two convolutions per block",
                mistakes,
            )


# In the middle first, where wrong answers do not coincide as they do at a border.
_CHAINS: tuple[tuple[str, list[tuple[int, int, int]], int, tuple[int, ...]], ...] = (
    ("one 3 x 3 layer, in the middle", [(3, 1, 1)], 9, (4,)),
    ("one 3 x 3 layer, at the borders", [(3, 1, 1)], 9, (0, 8)),
    ("no padding", [(3, 1, 0), (3, 1, 0)], 9, (4, 0, 2)),
    ("a 7 x 7 stem with stride 2", [(7, 2, 3)], 33, (8, 0, 16)),
    ("stem and pool", [(7, 2, 3), (3, 2, 1)], 33, (4, 0, 8)),
    ("a stride before and behind", [(3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1)], 49, (6, 0, 12)),
    ("an even window", [(2, 2, 0), (4, 2, 1)], 40, (4, 0, 9)),
    ("ResNet to the middle of stage 2", [(7, 2, 3), (3, 2, 1), *[(3, 1, 1)] * 6, (3, 2, 1), (3, 1, 1)], 97, (6, 0, 12)),
)  # fmt: skip


def _poisoned(windows: list[tuple[int, int, int]], unit: int, size: int) -> tuple[int, int]:
    """Which single pixel of a row, made not-a-number, makes the unit one?"""
    eye = torch.eye(size, dtype=torch.float64)
    x = eye.masked_fill(eye.bool(), math.nan)[:, None]
    for kernel, stride, padding in windows:
        x = F.conv1d(x, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, padding=padding)
    seen = x[:, 0, unit].isnan().nonzero().flatten().tolist()
    return seen[0], seen[-1]


def _field(
    windows: list[tuple[int, int, int]], padded: bool = True, late: bool = False
) -> tuple[int, int, float]:
    """Field, jump and start of unit 0; without the padding, or with the jump behind the layer, on purpose."""
    field, jump, start = 1, 1, 0.0
    for kernel, stride, padding in windows:
        step = jump * stride if late else jump
        field, start, jump = (
            field + (kernel - 1) * step,
            start + ((kernel - 1) / 2 - padding * padded) * jump,
            jump * stride,
        )
    return field, jump, start


def _is_integer(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.is_floating_point() and value.dtype != torch.bool
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _reach_cases(answer: Callable) -> Iterator[Case]:
    for name, windows, size, units in _CHAINS:
        for unit in units:
            first, last = _poisoned(windows, unit, size)
            field, jump, start = _field(windows)
            centre, half = start + unit * jump, (field - 1) / 2
            unpadded = _field(windows, padded=False)[2] + unit * jump
            late = (_field(windows, late=True)[0] - 1) / 2
            given = list(windows)
            got = tuple(answer(given, unit, size))
            yield Case(f"{name}, unit {unit}: how many numbers?", len(got), 2, "The first pixel and the last")
            yield Case(
                f"{name}, unit {unit}: are both integers?",
                all(map(_is_integer, got)),
                True,
                "A pixel has a number, such as 3 and not 3.0",
            )

            def cut(low: float, high: float, size=size) -> tuple[int, int]:
                return max(0, int(low)), min(size - 1, int(high))

            yield Case(
                f"{name}, unit {unit} of a row of {size} pixels",
                tuple(map(int, got)),
                (first, last),
                "Pixels are counted from 0, and padding is not a pixel",
                {
                    "that is outside of the picture": (int(centre - half), int(centre + half)),
                    "the last pixel is wanted, not the one behind it": (first, last + 1),
                    "that is unit 0's": cut(start - half, start + half),
                    "units are jump pixels apart, not one": cut(start + unit - half, start + unit + half),
                    "the first unit's field is not centred at pixel 0 when padding and kernel do not match": cut(
                        unit * jump - half, unit * jump + half
                    ),
                    "half the field too far": cut(centre - field, centre + field),
                    "padding shifts the window to the left, by p jumps": cut(
                        unpadded - half, unpadded + half
                    ),
                    "(5.2): a layer's field grows by the jump before the layer, not behind it": cut(
                        centre - late, centre + late
                    ),
                },
            )
            yield Case(f"{name}, unit {unit}: are the windows as they were?", given == windows, True)


def check_5_1(answer: Callable[[int, tuple], str]) -> bool:
    """Exercise 5.1: `answer(number, blocks)` is the name of a numbered layer."""
    return check("5.1", answer, _name_cases)


def check_5_2(answer: Callable[[list, int, int], tuple[int, int]]) -> bool:
    """Exercise 5.2: `answer(windows, unit, size)` is the first and last pixel that a unit can see."""
    return check("5.2", answer, _reach_cases)


def _fold_cases(answer: Callable) -> Iterator[Case]:
    for name, (m, c, k), eps, small in (
        ("as many filters as channels and rows", (3, 3, 3), 1e-5, 1.0),
        ("4 filters of 3 channels", (4, 3, 3), 1e-5, 1.0),
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
        given = [each.clone() for each in (weight, gain, bias, mean, var)]
        new = answer(*given, eps)
        yield Case(f"{name}: how many tensors come back?", len(new), 2, "A kernel and a bias")
        yield Case(f"{name}: shape of the kernel", tuple(new[0].shape), (m, c, k, k), "It keeps its shape")
        yield Case(f"{name}: shape of the bias", tuple(new[1].shape), (m,), "One number per filter")

        def output(kernel, shift, x=x):
            return F.conv2d(x, kernel, shift)

        def folds(factor, weight=weight, bias=bias, mean=mean):
            return weight * factor[:, None, None, None], bias - mean * factor

        right = gain / (var + eps).sqrt()
        other_axes = {}
        if m == c == k:  # only here do the wrong axes fit
            shift = bias - mean * right
            first = "the factor of filter m belongs along the kernel's first axis"
            other_axes[f"{first}; yours runs along the second"] = output(weight * right[:, None, None], shift)
            other_axes[f"{first}; yours runs along the third"] = output(weight * right[:, None], shift)
            other_axes[f"{first}; yours runs along the last"] = output(weight * right, shift)
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
                **other_axes,
            },
        )
        kept = all(torch.equal(a, b) for a, b in zip(given, (weight, gain, bias, mean, var), strict=True))
        yield Case(
            f"{name}: are your arguments as they were?",
            kept,
            True,
            "They are a network's own weights, which folding must not change: make new tensors",
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
        given, last = start.clone(), start.clone()
        for _ in range(steps):
            last = (last - rate).abs()
        yield Case(
            f"{name}: lengths {lengths}, {steps} steps of {rate:g}",
            answer(given, steps, lr, gamma),
            _after_real_steps(start, steps, rate),
            "Follow one length through one step, past the point where it cannot pay",
            {
                "a length cannot be negative": linear.sum() / start.sum(),
                "a length that cannot pay does not stay at zero": linear.clamp_min(0).sum() / start.sum(),
                "that is what weight decay would leave": (1 - rate) ** steps,
                "the step is lr times gamma": (start - steps * lr).abs().sum() / start.sum(),
                "the ratio of Frobenius norms is another one": linear.norm() / start.norm(),
                "it turns round at every step, not once": linear.abs().sum() / start.sum(),
                "TNDR is the ratio of the two sums, not the mean of the ratios": (last / start).mean(),
            },
            tolerance=1e-6,
        )
        yield Case(
            f"{name}: are the lengths that you were given as they were?",
            torch.equal(given, start),
            True,
            "Follow a copy",
        )


def check_5_4(answer: Callable[[Tensor, int, float, float], Tensor]) -> bool:
    """Exercise 5.4: `answer(lengths, steps, lr, gamma)` is what the penalty alone leaves of the trace norm."""
    return check("5.4", answer, _null_cases)
