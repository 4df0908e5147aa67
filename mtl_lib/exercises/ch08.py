"""Checks for the exercises of chapter 8, the training loop.

The answers are pieces of a loop: class weights, parameter groups, gradient accumulation, an order of pictures
that needs no memory.  Each check runs them on small networks or sets whose right answer is known in another way.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_lib.checking import Unanswered
from mtl_lib.sharing import MultiTaskNet, soft_share
from mtl_lib.teach import Case, check
from mtl_lib.trace_norm import TraceNormPenalty


def _labels(counts: list[int], seed: int) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def _class_weight_cases(answer: Callable) -> Iterator[Case]:
    for name, counts in (
        ("two classes, 3 and 1 pictures", [3, 1]),
        ("five classes, very unequal", [400, 380, 45, 30, 15]),
        ("a class without pictures", [6, 0, 2]),
        ("the last class without pictures", [6, 2, 0]),
        ("equal classes", [4, 4, 4]),
    ):
        labels = _labels(counts, seed=81)
        weights = torch.as_tensor(answer(labels.clone(), len(counts)))
        present_classes = sum(count > 0 for count in counts)
        yield Case(
            f"{name}: single or double precision?",
            weights.dtype in (torch.float32, torch.float64),
            True,
            f"the weights are {str(weights.dtype).removeprefix('torch.')}",
        )
        yield Case(
            f"{name}: number of weights", len(weights), len(counts), "one weight per class, absent ones too"
        )
        yield Case(
            f"{name}: is every weight finite?", bool(weights.isfinite().all()), True, "1 / 0 is infinite"
        )
        mean = weights.double()[labels].mean()
        yield Case(
            f"{name}: mean weight of a picture",
            mean,
            1.0,
            "over pictures, not over classes",
            {
                "that is one over the class's share, whose mean is the number of classes": present_classes,
                "one over the count is a beginning; what must it be multiplied by?": present_classes
                / sum(counts),
            },
            tolerance=1e-5,
        )
        total = weights.double() * torch.tensor(counts)
        present = total[torch.tensor(counts) > 0]
        yield Case(
            f"{name}: weight times number of pictures",
            present,
            torch.full_like(present, present.mean().item()),
            "every class should count the same in total",
            tolerance=1e-5,
        )
        absent = weights.double()[torch.tensor(counts) == 0]
        yield Case(
            f"{name}: weights of absent classes", absent, torch.zeros_like(absent), "nothing to weigh: 0"
        )


def check_8_1(answer: Callable[[Tensor, int], Tensor]) -> bool:
    """Exercise 8.1: `answer(labels, classes)` returns balanced class weights with mean 1 over the pictures."""
    return check("8.1", answer, _class_weight_cases)


def _small_net(seed: int) -> MultiTaskNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        one = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten(),
            nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5),
        )  # fmt: skip
        # Of each kind one layer is stacked and one is not: only the stacks tell which weights may decay.
        return MultiTaskNet(soft_share(one, 2, ["0", "5"]), [nn.Linear(5, 3), nn.Linear(5, 6)])


def _group_cases(answer: Callable) -> Iterator[Case]:
    for seed, decay in ((82, 0.1), (83, 0.02)):
        net = _small_net(seed)
        names = {id(p): name for name, p in net.named_parameters()}
        groups = [{**group, "params": list(group["params"])} for group in answer(net, net.stacks(), decay)]
        # A group that says nothing of decay has SGD's own, which is none.
        given = [(names[id(p)], group.get("weight_decay", 0.0)) for group in groups for p in group["params"]]
        missing = sorted(set(names.values()) - {name for name, _ in given})
        yield Case("parameters in no group", ", ".join(missing), "", "the optimiser would never move them")
        yield Case("parameters given", len(given), len(names), "every parameter in exactly one group")
        rate = dict(given)
        for name, p in net.named_parameters():
            stacked = any(p is w for weights in net.stacks().values() for w in weights)
            expected = decay if p.ndim >= 2 and not stacked else 0.0
            why = (
                "stacked weights are the penalty's business alone"
                if stacked
                else "biases and batch norm are left alone"
                if p.ndim < 2
                else "an unstacked weight matrix may decay"
            )
            yield Case(f"decay of {name}", rate[name], expected, why)
        # What the groups are for: with no gradient but decay, one step moves just the weights that may decay.
        optimiser = torch.optim.SGD(groups, lr=1.0)
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimiser.step()
        for name, p in net.named_parameters():
            yield Case(
                f"{name} after a step with gradient zero",
                p.detach(),
                (1 - rate[name]) * before[name],
                "hand the groups to SGD and look",
            )


def check_8_2(answer: Callable[[nn.Module, dict, float], list[dict]]) -> bool:
    """Exercise 8.2: `answer(net, stacks, decay)` returns parameter groups for an optimiser."""
    return check("8.2", answer, _group_cases)


class _Memory:
    """A loss that notes how much its caller makes the device hold: pictures per call, and graphs at one time."""

    def __init__(self, loss: Callable, fits: int):
        self._loss, self.fits = loss, fits
        self.largest = self.most = self._held = 0

    def loss(self, part: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a part; from here until a gradient has come back through it, its graph is held."""
        self.largest = max(self.largest, part[0].shape[1])
        value = self._loss(part)
        if value.requires_grad:  # a look at the loss without gradients holds nothing
            self._held += 1
            self.most = max(self.most, self._held)
            value.register_hook(self._release)
        return value

    def _release(self, gradient: Tensor) -> None:
        self._held -= 1


def _wrong_gradients(
    net: MultiTaskNet,
    loss: Callable,
    parts: list[tuple[Tensor, Tensor]],
    penalty: TraceNormPenalty,
    expected: tuple[Tensor, ...],
) -> dict[str, list[Tensor]]:
    """What every `.grad` would be after a known mistake, in the order of the parameters."""
    weights, sizes = list(net.parameters()), [part[0].shape[1] for part in parts]
    pull = torch.autograd.grad(penalty(net.stacks()), weights, materialize_grads=True)
    each = [torch.autograd.grad(loss(part), weights, materialize_grads=True) for part in parts]
    data = [whole - own for whole, own in zip(expected, pull, strict=True)]
    summed = [sum(grads) for grads in zip(*each, strict=True)]
    last, count = sizes[-1] / sum(sizes), len(parts)
    rows = list(zip(data, pull, summed, each[-1], strict=True))
    return {
        "what `.grad` held before is still in it": [d + p + 7.0 for d, p, _, _ in rows],
        "the penalty was added once per micro-batch": [d + count * p for d, p, _, _ in rows],
        "the penalty is missing": [d for d, _, _, _ in rows],
        "the penalty was divided by the number of pictures": [d + p / sum(sizes) for d, p, _, _ in rows],
        "the penalty was divided by the number of parts": [d + p / count for d, p, _, _ in rows],
        "the parts' means were summed, not averaged": [s + p for _, p, s, _ in rows],
        "parts of unequal size were weighed alike": [s / count + p for _, p, s, _ in rows],
        "only the last part's share is left": [last * own + p for _, p, _, own in rows],
    }


def _accumulation_cases(answer: Callable) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(84)
    for name, sizes, gamma in (
        ("one micro-batch", [8], 0.3),
        ("four equal micro-batches", [4, 4, 4, 4], 0.3),
        ("gamma = 0, unequal micro-batches", [7, 2, 1], 0.0),
        ("unequal micro-batches", [7, 2, 1], 0.3),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(85)
            net = MultiTaskNet(
                soft_share(nn.Linear(6, 4), 2, init="independent"), [nn.Linear(4, 3), nn.Linear(4, 3)]
            )
        penalty = TraceNormPenalty(gamma=gamma)
        pictures = torch.randn(2, sum(sizes), 6, generator=generator)
        labels = torch.randint(0, 3, (2, sum(sizes)), generator=generator)

        def mean_loss(part, net=net):
            x, y = part
            return sum(F.cross_entropy(net(x[t], t), y[t]) for t in range(2))

        whole = mean_loss((pictures, labels))
        expected = torch.autograd.grad(
            whole + penalty(net.stacks()), list(net.parameters()), materialize_grads=True
        )
        parts = list(zip(pictures.split(sizes, 1), labels.split(sizes, 1), strict=True))
        mistakes = _wrong_gradients(net, mean_loss, parts, penalty, expected)
        for p in net.parameters():
            p.grad = torch.full_like(p, 7.0)  # left behind by the step before
        memory = _Memory(mean_loss, max(sizes))
        answer(net, memory.loss, parts, penalty)
        if all(bool((p.grad == 7.0).all()) for p in net.parameters()):
            raise Unanswered("It changed no `.grad`.")
        for (which, p), wanted, *wrong in zip(
            net.named_parameters(), expected, *mistakes.values(), strict=True
        ):
            yield Case(
                f"{name}: gradient of {which}",
                p.grad,
                wanted,
                "it should be that of the mean loss over all pictures, plus gamma times the sub-gradient, once",
                dict(zip(mistakes, wrong, strict=True)),
            )
        yield Case(
            f"{name}: pictures per task in the largest call of `loss`",
            memory.largest,
            min(memory.largest, max(sizes)),
            "more than the largest part does not fit: that is why the batch comes in parts",
        )
        yield Case(
            f"{name}: micro-batches whose graphs were held at one time",
            memory.most,
            1,
            "a graph keeps its part's activations until `backward` has passed: go back through each part before "
            "you take the next",
        )


def check_8_3(answer: Callable[[nn.Module, Callable, list, TraceNormPenalty], Any]) -> bool:
    """Exercise 8.3: `answer(net, loss, parts, penalty)` leaves a whole batch's gradient in every `.grad`."""
    return check("8.3", answer, _accumulation_cases, returns=False)


PASSES = (*range(16), 31, 32, 63, 64, 99, 100, 101, 127, 128, 255, 256, 500, 512, 999, 1000, 1001, 1024, 2000)
"""Looked at one by one: a pass that belongs to another seed too is most often a neighbour or a round number."""


def _first_repetition(answer: Callable, count: int = 16) -> str:
    """Name two (seed, pass) whose orders agree, up to where they begin and a constant added; empty if none do.

    With 16 pictures, two independent orders agree in this sense once in some 80 thousand million pairs.
    """
    seen: dict[tuple[int, ...], str] = {}
    for seed in range(8):
        for turn in PASSES:
            order = torch.as_tensor(answer(turn, count, count, seed)).tolist()  # a pass is a batch here
            # The cyclic differences do not see a constant; the least of their rotations, nor the beginning.
            steps = [(b - a) % count for a, b in zip(order, order[1:] + order[:1], strict=True)]
            key = min(tuple(steps[i:] + steps[:i]) for i in range(len(steps)))
            name = f"seed {seed}, pass {turn}"
            if key in seen:
                return f"{seen[key]} and {name}"
            seen[key] = name
    return ""


def _seen_how_often(seen: list[int], count: int) -> str:
    """In words, which pictures of a pass were not seen exactly once."""
    strange = [i for i in seen if not 0 <= i < count]
    never = [i for i in range(count) if i not in seen]
    often = [i for i in range(count) if seen.count(i) > 1]
    words = [
        f"{word}: {', '.join(map(str, which[:4]))}{' ...' * (len(which) > 4)}"
        for word, which in (("not there", strange), ("never", never), ("more than once", often))
        if which
    ]
    return "; ".join(words) or "each once"


def _order_cases(answer: Callable) -> Iterator[Case]:
    count, size, steps = 10, 4, 25  # 25 steps of 4 are ten whole passes over ten pictures
    state = torch.get_rng_state()
    first = answer(0, count, size, 5)
    yield Case(
        "is the answer a tensor of integers?",
        isinstance(first, Tensor) and not first.is_floating_point() and first.dtype != torch.bool,
        True,
        f"it is of type {first.dtype if isinstance(first, Tensor) else type(first).__name__}",
    )
    forwards = [torch.as_tensor(answer(step, count, size, 5)) for step in range(steps)]
    yield Case(
        "shape of a batch", tuple(forwards[0].shape), (size,), "as many positions as the batch has pictures"
    )
    stream = torch.cat(forwards).tolist()
    passes = [stream[i : i + count] for i in range(0, len(stream), count)]
    for n, each in enumerate(passes):
        yield Case(
            f"pictures 0 to {count - 1} in pass {n}",
            _seen_how_often(each, count),
            "each once",
            "every picture once per pass, batches running across its end",
        )
    again = any(a == b for a, b in pairwise(passes))
    yield Case(
        "does a pass repeat the order of the one before?", again, False, "a fresh order for every pass"
    )
    backwards = [torch.as_tensor(answer(step, count, size, 5)) for step in reversed(range(steps))][::-1]
    same = all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    yield Case(
        "same batches when the steps are asked for backwards?", same, True, "step and seed must say it all"
    )
    torch.manual_seed(1)
    fresh = torch.equal(torch.as_tensor(answer(7, count, size, 5)), forwards[7])
    yield Case("same batch under another global seed?", fresh, True, "use a generator of your own")
    torch.set_rng_state(state)
    answer(3, count, size, 5)
    untouched = torch.equal(torch.get_rng_state(), state)
    yield Case("global random state untouched?", untouched, True, "use a generator of your own")
    other = torch.cat([torch.as_tensor(answer(step, count, size, 6)) for step in range(steps)]).tolist()
    yield Case("another seed, another order?", other != stream, True, "the seed must matter")
    yield Case(
        "two passes with one order, among seeds 0 to 7 and passes up to 2000",
        _first_repetition(answer),
        "",
        "every (seed, pass) needs an order of its own, neither shared nor turned round nor shifted; mix the two "
        "numbers properly",
    )
    large = torch.cat([torch.as_tensor(answer(step, 3, 8, 0)) for step in range(3)])
    yield Case(
        "a batch larger than the set",
        large.bincount(minlength=3),
        torch.tensor([8, 8, 8]),
        "go round more than once",
    )


def check_8_4(answer: Callable[[int, int, int, int], Tensor]) -> bool:
    """Exercise 8.4: `answer(step, count, size, seed)` returns the positions of a step's pictures."""
    return check("8.4", answer, _order_cases)
