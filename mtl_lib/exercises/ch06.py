"""Checks for the exercises of chapter 6, adversarial alignment.

Right answers come from elsewhere than the solutions': from finite differences, from loops over feature
values, from gradients written out by hand, from data whose answer is known by construction.
"""

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mtl_lib.checking import Unanswered
from mtl_lib.teach import Case, check


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _mean_loss(z: Tensor, weight: Tensor, domain: Tensor) -> float:
    """The cross-entropy, picture by picture."""
    total = 0.0
    for row, d in zip((z @ weight.T).tolist(), domain.tolist(), strict=True):
        top = max(row)
        total += top + math.log(sum(math.exp(v - top) for v in row)) - row[d]
    return total / len(z)


def _reversed_cases(answer: Callable) -> Iterator[Case]:
    for name, n, features, domains, strength in (
        ("two domains", 6, 3, 2, 1.0),
        ("a weaker reversal", 6, 3, 2, 0.2),
        ("four domains", 9, 2, 4, 0.7),
        ("strength 0", 4, 2, 2, 0.0),
    ):
        z, weight = _draw(n, features, seed=61 + n), _draw(domains, features, seed=62 + n)
        domain = torch.arange(n) % domains
        slope = torch.empty_like(z)
        for i in range(n):
            for j in range(features):
                step = torch.zeros_like(z)
                step[i, j] = 1e-5
                up, down = (_mean_loss(z + s * step, weight, domain) for s in (1, -1))
                slope[i, j] = (up - down) / 2e-5
        p = (z @ weight.T).softmax(1)
        yield Case(
            name,
            answer(z.clone(), weight.clone(), domain.clone(), strength),
            -strength * slope,
            "minus lambda times the slope of the mean cross-entropy",
            {
                "that is the gradient before it is reversed": strength * slope,
                "the strength is missing": -slope,
                "the loss is a mean over the features; you have the gradient of their sum": -strength
                * n
                * slope,
                "the label is missing: softmax minus one-hot": -strength * p @ weight / n,
            },
            tolerance=1e-6,
        )


def check_6_1(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> bool:
    """Exercise 6.1: `answer(z, weight, domain, strength)` is the gradient that arrives behind a reversal."""
    return check("6.1", answer, _reversed_cases)


def _best_cases(answer: Callable) -> Iterator[Case]:
    for name, rows in (
        ("two domains, three values", [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]),
        ("equal domains", [[0.1, 0.9], [0.1, 0.9]]),
        ("three domains", [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]),
        ("a value that one domain never takes", [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]),
        ("domains that never meet", [[1.0, 0.0], [0.0, 1.0]]),
    ):
        domains = len(rows)
        loss = 0.0
        for t in range(domains):
            for value in range(len(rows[0])):
                if (
                    rows[t][value] > 0
                ):  # what is certain there is the share of t among all who take this value
                    right = rows[t][value] / sum(row[value] for row in rows)
                    loss -= rows[t][value] * math.log(right) / domains
        yield Case(
            name,
            answer(torch.tensor(rows, dtype=torch.float64)),
            torch.tensor(loss, dtype=torch.float64),
            "log T minus the Jensen-Shannon divergence, in nats; 0 log 0 counts as 0",
            {
                "that is in bits; the library's cross-entropy is in nats": loss / math.log(2),
                "that is the divergence; the loss is what it leaves of log T": math.log(domains) - loss,
                "the loss is a mean over domains; you have the sum": domains * loss,
            },
            tolerance=1e-9,
        )


def check_6_2(answer: Callable[[Tensor], Tensor]) -> bool:
    """Exercise 6.2: `answer(p)` is the least loss of any classifier, for distributions p [T, values]."""
    return check("6.2", answer, _best_cases)


def _alternate_by_hand(
    start: dict, batches: list[Tensor], inner: int, strength: float, rate: float, sign: int = 1
) -> dict:
    """One alternating step on copies, by gradients asked for one by one."""
    nets, w = [v.clone() for v in start["nets"]], start["w"].clone()

    def loss(nets: list[Tensor], w: Tensor) -> Tensor:
        means = [
            -(x @ net.T @ w.T).log_softmax(1)[:, t].mean()
            for t, (x, net) in enumerate(zip(batches, nets, strict=True))
        ]
        return sum(means) / len(means)

    for _ in range(inner):
        leaf = w.clone().requires_grad_()
        w = w - rate * torch.autograd.grad(loss(nets, leaf), leaf)[0]
    leaves = [net.clone().requires_grad_() for net in nets]
    slopes = torch.autograd.grad(loss(leaves, w), leaves)
    return {"nets": [n + sign * rate * strength * s for n, s in zip(nets, slopes, strict=True)], "w": w}


def _alternate_cases(answer: Callable) -> Iterator[Case]:
    rate = 0.3
    for name, sizes, inner, strength in (
        ("one inner step", (5, 5), 1, 1.0),
        ("three inner steps", (5, 5), 3, 1.0),
        ("a weak push, batches of different size", (8, 3), 2, 0.25),
        ("three domains", (4, 6, 5), 2, 0.5),
    ):
        batches = [_draw(n, 3, seed=70 + t) + t for t, n in enumerate(sizes)]
        nets = nn.ModuleList([nn.Linear(3, 2, bias=False).double() for _ in sizes])
        classifier = nn.Linear(2, len(sizes), bias=False).double()
        with torch.no_grad():
            for t, net in enumerate(nets):
                net.weight.copy_(_draw(2, 3, seed=80 + t))
            classifier.weight.copy_(_draw(len(sizes), 2, seed=90))
        start = {
            "nets": [net.weight.detach().clone() for net in nets],
            "w": classifier.weight.detach().clone(),
        }
        outer = torch.optim.SGD(nets.parameters(), lr=rate)
        own = torch.optim.SGD(classifier.parameters(), lr=rate)
        expected = start
        for turn in ("", ", and the step after it"):
            expected = _alternate_by_hand(expected, batches, inner, strength, rate)
            wrong_way = _alternate_by_hand(start, batches, inner, strength, rate, sign=-1)
            answer(list(nets), classifier, batches, outer, own, inner, strength)
            found = {"nets": [net.weight.detach() for net in nets], "w": classifier.weight.detach()}
            if torch.equal(found["w"], start["w"]) and torch.equal(found["nets"][0], start["nets"][0]):
                raise Unanswered("Nothing was changed: neither the networks nor the classifier.")
            yield Case(
                f"{name}{turn}: the classifier",
                found["w"],
                expected["w"],
                "Old gradients must be gone before each backward pass. It takes `inner` steps down the balanced"
                " loss on features that stand still, and none in the networks' turn",
                {"it has not moved": start["w"]},
            )
            yield Case(
                f"{name}{turn}: the networks",
                torch.stack(found["nets"]),
                torch.stack(expected["nets"]),
                "One step up the loss of the classifier as it stands now, times the strength, with nothing in"
                " their gradients that the inner steps have left there",
                {
                    "they went down the loss: they help the classifier": torch.stack(wrong_way["nets"]),
                    "they have not moved": torch.stack(start["nets"]),
                },
            )


def check_6_3(answer: Callable[..., None]) -> bool:
    """Exercise 6.3: `answer(nets, classifier, batches, outer, own, inner, strength)` takes one step of Eq. (4)."""
    return check("6.3", answer, _alternate_cases, returns=False)


def _placebo_cases(answer: Callable) -> Iterator[Case]:
    for name, counts in (
        ("two domains", (30, 30)),
        ("unequal batches", (40, 10)),
        ("three domains", (8, 20, 12)),
    ):
        domain = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        kept = domain.clone()
        state = torch.get_rng_state()
        generator = torch.Generator().manual_seed(5)
        draws = [answer(domain, generator) for _ in range(300)]
        yield Case(
            f"{name}: how many labels come back", len(draws[0]), len(domain), "One label for each feature"
        )
        yield Case(
            f"{name}: the labels you were given", domain, kept, "Leave them as they are; return new ones"
        )
        for labels in draws[:10]:
            yield Case(
                f"{name}: how often each label is given",
                torch.bincount(labels.long(), minlength=len(counts)),
                torch.tensor(counts),
                "Exactly as often as in truth, so that the two adversaries have equally hard a task",
            )
        yield Case(
            f"{name}: the same labels every time",
            all(torch.equal(each, draws[0]) for each in draws),
            False,
            "Labels that stay with their features can be learnt by heart",
        )
        found = torch.stack(
            [(torch.stack(draws)[:, domain == t] == t).double().mean() for t in range(len(counts))]
        )
        share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
        yield Case(
            f"{name}: how often a feature gets its true label, by domain",
            found,
            share,
            "Only by chance: as often as the label is given to anybody",
            {
                "always: that is the true adversary": torch.ones_like(share),
                "never: whoever knows the true label knows this one": torch.zeros_like(share),
            },
            tolerance=0.06,
        )
        agreement = (torch.stack(draws) == domain).double().mean(dim=1)
        yield Case(
            f"{name}: true labels in one draw, their share varies by {agreement.std():.2f}: little",
            bool(agreement.std() < 0.17),
            True,
            "Every order of the labels must be possible, not only shifted ones: in some draws nearly all labels"
            " are true, in others nearly none, and a batch is then no placebo",
        )
        again = answer(domain, torch.Generator().manual_seed(5))
        yield Case(
            f"{name}: drawn again with the same generator",
            again,
            draws[0],
            "Use the generator for what is random",
        )
        yield Case(
            f"{name}: torch's global random numbers are left alone",
            torch.equal(torch.get_rng_state(), state),
            True,
            "Otherwise the placebo changes the batches too, and the two runs differ in more than the labels",
        )


def check_6_4(answer: Callable[[Tensor, torch.Generator], Tensor]) -> bool:
    """Exercise 6.4: `answer(domain, generator)` draws placebo labels."""
    return check("6.4", answer, _placebo_cases)


def _people(people: int, pictures: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of people, nearly the same in all their pictures; the domain is a coin that each of them drew."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), pictures)
    domain = (np.arange(people) % 2)[person]
    return (
        rng.normal(size=(people, width))[person] + 0.01 * rng.normal(size=(len(person), width)),
        domain,
        person,
    )


def _probe_cases(answer: Callable) -> Iterator[Case]:
    x, domain, person = _people(people=800, pictures=4, width=1000, seed=1)
    order = np.random.default_rng(2).permutation(len(x))
    found = float(answer(x[order], domain[order], person[order]))
    yield Case(
        f"features that say who it is and nothing else, accuracy {found:.2f}: near chance",
        0.35 < found < 0.65,
        True,
        "Somebody who is in the fit and in the test is recognised, and his domain with him",
    )
    x, domain, person = _people(people=120, pictures=3, width=10, seed=3)
    telling = np.random.default_rng(4).normal(size=len(x)) + 5.0 * domain
    x = np.column_stack([telling, x])
    found = float(answer(x, domain, person))
    yield Case(
        f"domains that lie apart, accuracy {found:.2f}: near 1",
        found > 0.9,
        True,
        "The domain is plain to see here",
    )
    small = x * np.array([1e-4, *[1.0] * 10])
    found = float(answer(small, domain, person))
    yield Case(
        f"the same, the telling feature 10,000 times smaller, accuracy {found:.2f}: near 1",
        found > 0.9,
        True,
        "Shrinking is not hiding: bring every feature to one scale first",
    )
    rng = np.random.default_rng(5)
    x, person = rng.normal(size=(6000, 3)), np.arange(6000)
    domain = (np.arange(6000) % 10 == 0).astype(int)
    found = float(answer(x, domain, person))
    yield Case(
        f"nothing to be found, one picture in ten from domain 1, accuracy {found:.2f}: near one half",
        0.4 < found < 0.6,
        True,
        "Always guessing the larger domain is right nine times in ten; count every domain equally",
    )
    found = float(answer(x + np.outer(1.5 * domain, [1, 0, 0]), domain, person))
    yield Case(
        f"one feature shifted, one picture in ten from domain 1, accuracy {found:.2f}: above 0.70",
        found > 0.70,
        True,
        "The fit must count both domains equally, too; else it hardly ever dares to say domain 1",
    )
    odd = domain * (np.arange(6000) % 20 == 0)  # half of domain 1 stands out, the rest cannot be told
    found = float(answer(x[:, :1] + 8.0 * odd[:, None], domain, person))
    yield Case(
        f"half of domain 1 stands out, one picture in ten from domain 1, accuracy {found:.2f}: below 0.82",
        found < 0.82,
        True,
        "The share of right answers counts the larger domain more; take the mean of the two domains' shares",
    )
    kept = copy.deepcopy((x, domain, person))
    answer(x, domain, person)
    yield Case(
        "your arguments are unchanged",
        all(np.array_equal(a, b) for a, b in zip(kept, (x, domain, person), strict=True)),
        True,
        "Standardise a copy",
    )


def check_6_5(answer: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> bool:
    """Exercise 6.5: `answer(features, domain, person)` is the balanced accuracy of a fresh probe."""
    return check("6.5", answer, _probe_cases)
