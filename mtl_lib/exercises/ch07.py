"""Checks for the exercises of chapter 7, faces and their landmarks.

Each check gets the right answer in another way than the solution does: by drawing dots and mirroring the picture, by
loops over points, by writing files with known numbers, by looking up who is where.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mtl_lib.faces.shape import MEAN_SHAPE
from mtl_lib.landmarks import FLIP_68
from mtl_lib.teach import Case, check


def _faces(count: int, seed: int) -> Tensor:
    """Plausible shapes in a picture of about 96 pixels, float64; no two points lie in one place."""
    noise = torch.randn(count, 68, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return MEAN_SHAPE[None, :, :2] * 30 + 46 + 1.5 * noise


def _mirror_cases(answer: Callable) -> Iterator[Case]:
    order = list(FLIP_68)
    for name, count, width, seed in (
        ("one face", 1, 96, 1),
        ("three faces", 3, 96, 2),
        ("a wider picture", 2, 131, 3),
    ):
        points = _faces(count, seed)
        # What stands at column c of a row of `width` pixels stands at column c of the reversed row afterwards.
        columns = torch.arange(width, dtype=torch.float64)
        place = columns.flip(0)[0] - points[..., 0]
        mirrored = torch.stack((place, points[..., 1]), -1)
        yield Case(
            name,
            answer(points.clone(), width),
            torch.stack([mirrored[:, i] for i in order], 1),
            "The mirrored left eye is a right eye, and pixel 0 goes to pixel width - 1",
            {
                "the points are in their new places under their old names": mirrored,
                "the names are exchanged, but the points have not moved": points[:, order],
                "pixel 0 would go to pixel `width`, which is not in the picture": torch.stack(
                    [mirrored[:, i] + torch.tensor([1.0, 0.0]) for i in order], 1
                ),
                "that is upside down": torch.stack((points[..., 0], width - 1 - points[..., 1]), -1)[
                    :, order
                ],
            },
        )
    points = _faces(2, 5)
    kept = points.clone()
    answer(points, 96)
    yield Case("the points you were given", points, kept, "Leave them as they are; return new ones")
    points = _faces(4, 4)
    yield Case(
        "mirrored twice",
        answer(answer(points.clone(), 96).clone(), 96),
        points,
        "Mirroring twice changes nothing",
    )


def check_7_1(answer: Callable[[Tensor, int], Tensor]) -> bool:
    """Exercise 7.1: `answer(points, width)` are the landmarks of the mirrored pictures."""
    return check("7.1", answer, _mirror_cases)


def _off(a: Tensor, b: Tensor) -> float:
    return math.hypot(float(a[0] - b[0]), float(a[1] - b[1]))


def _nme_cases(answer: Callable) -> Iterator[Case]:
    for name, seed, error in (("small errors", 5, 0.5), ("large errors", 6, 8.0), ("none", 7, 0.0)):
        true = _faces(3, seed)
        predicted = true + error * _faces(3, seed + 10).sub(46).div(30)
        lists = {key: [] for key in ("right", "ocular", "own", "root", "face", "bare")}
        for p, t in zip(predicted, true, strict=True):
            left = [sum(float(t[i, k]) for i in range(36, 42)) / 6 for k in (0, 1)]
            right = [sum(float(t[i, k]) for i in range(42, 48)) / 6 for k in (0, 1)]
            own = [[sum(float(p[i, k]) for i in range(a, a + 6)) / 6 for k in (0, 1)] for a in (36, 42)]
            pupils = math.hypot(left[0] - right[0], left[1] - right[1])
            mean = sum(_off(p[i], t[i]) for i in range(68)) / 68
            root = math.sqrt(sum(_off(p[i], t[i]) ** 2 for i in range(68)) / 68)
            size = math.sqrt(math.prod((t.amax(0) - t.amin(0)).tolist()))
            lists["right"].append(100 * mean / pupils)
            lists["ocular"].append(100 * mean / _off(t[36], t[45]))
            lists["own"].append(100 * mean / math.hypot(own[0][0] - own[1][0], own[0][1] - own[1][1]))
            lists["root"].append(100 * root / pupils)
            lists["face"].append(100 * mean / size)
            lists["bare"].append(mean / pupils)
        values = {key: torch.tensor(each, dtype=torch.float64) for key, each in lists.items()}
        yield Case(
            f"{name}: one number per picture, in percent",
            answer(predicted.clone(), true.clone()),
            values["right"],
            "Mean distance over the 68 points, divided by the distance of the two eyes' means",
            {
                "that is divided by the distance of the outer eye corners (the other normaliser)": values[
                    "ocular"
                ],
                "the eyes must be those of the truth; a bad prediction must not choose its own yardstick": values[
                    "own"
                ],
                "that is the root of the mean square, not the mean distance": values["root"],
                "that is divided by the size of the face's box": values["face"],
                "that is a fraction, not percent": values["bare"],
                "one number for all pictures was asked for each picture by itself": values["right"].mean(),
            },
        )


def check_7_2(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 7.2: `answer(predicted, true)` is the paper's NME of every picture, in percent."""
    return check("7.2", answer, _nme_cases)


def _pts(points: Tensor, style: str) -> str:
    """A `.pts` file as different tools write it; its coordinates count from 1."""
    rows = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in points.tolist()]
    rows = [
        row.replace(".000", "") for row in rows
    ]  # whole numbers without a point, as some tools write them
    if style == "plain":
        return "\n".join(["version: 1", "n_points: 68", "{", *rows, "}", ""])
    if style == "wide":
        return "\r\n".join(
            ["version: 1", "n_points:  68", "{", *(r.replace(" ", "  ") + " " for r in rows), "}"]
        )
    return "\n".join(["# a comment", "version: 1", "n_points: 68", "", "{", *rows, "}", ""])


def _pts_cases(answer: Callable) -> Iterator[Case]:
    for name, style, seed in (
        ("as iBUG writes it", "plain", 8),
        ("two spaces, lines of Windows", "wide", 9),
        ("a longer header", "commented", 11),
    ):
        points = (_faces(1, seed)[0] * 1000).round() / 1000
        # The jaw may lie outside the picture; and a whole number is a number.
        points[0], points[5] = torch.tensor([-7.25, 40.0]), torch.tensor([30.0, 99.0])
        yield Case(
            name,
            answer(_pts(points, style)),
            points,
            "The coordinates stand between the braces, one point a line; the first pixel is (1, 1) in the file and (0, 0) here",
            {
                "the first pixel of the picture is (1, 1) in your answer": points + 1,
                "you have gone the wrong way: the file counts from 1, we from 0": points + 2,
                "x and y are exchanged": points.flip(1),
                "only one of the two coordinates counts from 0": points + torch.tensor([0.0, 1.0]),
            },
        )


def check_7_3(answer: Callable[[str], Tensor]) -> bool:
    """Exercise 7.3: `answer(text)` are the points of a `.pts` file, [68, 2], counted from 0."""
    return check("7.3", answer, _pts_cases)


def _names(counts: Sequence[int], start: int = 0) -> list[str]:
    return [f"person {start + k:02d}" for k, n in enumerate(counts) for _ in range(n)]


def _split_cases(answer: Callable) -> Iterator[Case]:
    first = _names([1, 7, 2, 4, 1, 3, 9, 2, 2, 5, 1, 3, 4, 2, 6, 1, 2, 8, 1, 3])
    second = list(reversed(_names([2] * 20, start=12)))  # eight people are in both
    everybody = len(set(first) | set(second))
    tests = []
    for seed in range(4):
        masks = answer([list(first), list(second)], 0.25, seed)
        yield Case(f"seed {seed}: how many masks?", len(masks), 2, "One for each set")
        masks = [torch.as_tensor(mask) for mask in masks]
        for k, (mask, people) in enumerate(zip(masks, (first, second), strict=True), 1):
            yield Case(
                f"seed {seed}: length of mask {k}",
                tuple(mask.shape),
                (len(people),),
                "One truth value per picture",
            )
        test, rest = set(), set()
        for mask, people in zip(masks, (first, second), strict=True):
            within = [set(), set()]
            for chosen, who in zip(mask.bool().tolist(), people, strict=True):
                within[chosen].add(who)
            yield Case(
                f"seed {seed}: people of one set that are in training and test",
                len(within[0] & within[1]),
                0,
                "Draw people, not pictures",
            )
            test, rest = test | within[1], rest | within[0]
        yield Case(
            f"seed {seed}: people in the test part of one set and the training part of the other",
            len(test & rest),
            0,
            "The sets have people in common; draw once, for all sets",
        )
        yield Case(
            f"seed {seed}: people in the test part",
            len(test),
            round(0.25 * everybody),
            "A quarter of all the people there are, rounded",
        )
        tests.append(frozenset(test))
    yield Case("do different seeds draw different people?", len(set(tests)) > 1, True, "Use the seed")
    again = answer([list(first), list(second)], 0.25, 1)
    same = all(bool((torch.as_tensor(a) == torch.as_tensor(b)).all()) for a, b in zip(
        again, answer([list(first), list(second)], 0.25, 1), strict=True))  # fmt: skip
    yield Case("does the same seed draw the same people?", same, True, "Nothing but the seed may decide")


def check_7_4(answer: Callable[[list, float, int], list]) -> bool:
    """Exercise 7.4: `answer(sets, fraction, seed)` marks the test pictures of several sets, split by person."""
    return check("7.4", answer, _split_cases)


def _crop_cases(answer: Callable) -> Iterator[Case]:
    for name, (left, top, side), size, seed in (
        ("the whole of a picture of 96 pixels", (0.0, 0.0, 96.0), 96, 12),
        ("enlarged twice", (0.0, 0.0, 48.0), 96, 13),
        ("reduced, and away from the corner", (30.0, -12.0, 240.0), 96, 14),
        ("any numbers", (7.3, 21.9, 61.7), 224, 15),
    ):
        points = _faces(1, seed)[0]
        s = side / size
        # Independently: where the edges (-1/2 and size - 1/2) and so the whole axis go, by linear interpolation.
        where = [(points[:, k] + 0.5) / size for k in (0, 1)]
        edges = ((left - 0.5, left + side - 0.5), (top - 0.5, top + side - 0.5))
        expected = torch.stack(
            [low + w * (high - low) for w, (low, high) in zip(where, edges, strict=True)], 1
        )
        corner = torch.tensor([left, top])
        yield Case(
            name,
            answer(points.clone(), (left, top, side), size),
            expected,
            "Pixel centres are at whole numbers, so the left edge of a picture is at -1/2, in the crop and in the original",
            {
                "half a pixel of the crop is not half a pixel of the original": points * s + corner,
                "the half pixel was added and never taken off again": (points + 0.5) * s + corner,
                "that is the way into the crop": (points + 0.5 - corner) / s - 0.5,
                "the corner is in pixels of the original and is not scaled": (points + 0.5 + corner) * s
                - 0.5,
                "divided instead of multiplied: how many original pixels is one of the crop?": (points + 0.5)
                / s
                + corner
                - 0.5,
            },
        )


def check_7_5(answer: Callable[[Tensor, tuple, int], Tensor]) -> bool:
    """Exercise 7.5: `answer(points, crop, size)` leads landmarks from a crop back to the original picture."""
    return check("7.5", answer, _crop_cases)
