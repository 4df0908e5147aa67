"""Plausible wrong answers to the exercises of chapter 8; every check must reject all of its own."""

import torch

# 8.1: class weights


def _counts(labels, classes):
    return torch.bincount(labels, minlength=classes).double()


def not_normalised(labels, classes):
    counts = _counts(labels, classes)
    return torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)


def sums_to_one(labels, classes):
    weights = not_normalised(labels, classes)
    return weights / weights.sum()


def mean_over_classes(labels, classes):
    weights = not_normalised(labels, classes)
    return weights * classes / weights.sum()


def divides_by_zero(labels, classes):
    counts = _counts(labels, classes)
    return len(labels) / ((counts > 0).sum() * counts)


def counts_absent_classes(labels, classes):
    counts = _counts(labels, classes)
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp_min(1)), 0.0)


def square_root(labels, classes):
    counts = _counts(labels, classes)
    weights = torch.where(counts > 0, counts.clamp_min(1).rsqrt(), 0.0)
    return weights / weights[labels].mean()


def proportional(labels, classes):
    counts = _counts(labels, classes)
    return counts / counts[labels].mean()


def forgets_the_last_class(labels, classes):
    counts = torch.bincount(labels).double()
    weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    return weights / weights[labels].mean()


def one_over_the_share(labels, classes):
    return len(labels) * not_normalised(labels, classes)


def half_precision(labels, classes):
    weights = not_normalised(labels, classes)
    return (weights / weights[labels].mean()).half()


# 8.2: parameter groups


def _groups(decayed, free, decay):
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


def everything_decays(net, stacks, decay):
    return [{"params": list(net.parameters()), "weight_decay": decay}]


def only_by_axes(net, stacks, decay):
    every = list(net.parameters())
    return _groups([p for p in every if p.ndim >= 2], [p for p in every if p.ndim < 2], decay)


def only_by_stack(net, stacks, decay):
    stacked = {id(w) for weights in stacks.values() for w in weights}
    every = list(net.parameters())
    return _groups([p for p in every if id(p) not in stacked], [p for p in every if id(p) in stacked], decay)


def forgets_the_rest(net, stacks, decay):
    stacked = {id(w) for weights in stacks.values() for w in weights}
    every = list(net.parameters())
    return _groups(
        [p for p in every if p.ndim >= 2 and id(p) not in stacked],
        [p for p in every if id(p) in stacked],
        decay,
    )


def first_task_only(net, stacks, decay):
    stacked = {id(weights[0]) for weights in stacks.values()}
    every = list(net.parameters())
    chosen = [p for p in every if p.ndim >= 2 and id(p) not in stacked]
    return _groups(chosen, [p for p in every if not any(p is c for c in chosen)], decay)


def heads_only(net, stacks, decay):
    heads = [p for p in net.heads.parameters() if p.ndim >= 2]
    return _groups(heads, [p for p in net.parameters() if not any(p is h for h in heads)], decay)


def by_name_of_the_layer(net, stacks, decay):
    decayed = [p for name, p in net.named_parameters() if name.endswith("weight") and ".0.weight" not in name]
    return _groups(decayed, [p for p in net.parameters() if not any(p is d for d in decayed)], decay)


def every_linear_layer(net, stacks, decay):
    decayed = [module.weight for module in net.modules() if isinstance(module, torch.nn.Linear)]
    return _groups(decayed, [p for p in net.parameters() if not any(p is d for d in decayed)], decay)


def all_but_convolutions(net, stacks, decay):
    decayed = [p for p in net.parameters() if p.ndim == 2]
    return _groups(decayed, [p for p in net.parameters() if p.ndim != 2], decay)


def decay_by_default(net, stacks, decay):
    stacked = {id(w) for weights in stacks.values() for w in weights}
    free = [p for p in net.parameters() if p.ndim < 2 or id(p) in stacked]
    return [{"params": free}]  # the weights that may decay are left to somebody else


# 8.3: accumulation


def _zero(net):
    for p in net.parameters():
        p.grad = torch.zeros_like(p)


def _size(part):
    return part[0].shape[1]


def penalty_per_micro_batch(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    for part in parts:
        (loss(part) * _size(part) / total).backward()
        penalty.add_gradient_(net.stacks())


def sums_the_means(net, loss, parts, penalty):
    _zero(net)
    for part in parts:
        loss(part).backward()
    penalty.add_gradient_(net.stacks())


def mean_of_means(net, loss, parts, penalty):
    _zero(net)
    for part in parts:
        (loss(part) / len(parts)).backward()
    penalty.add_gradient_(net.stacks())


def keeps_the_old_gradient(net, loss, parts, penalty):
    total = sum(map(_size, parts))
    for part in parts:
        (loss(part) * _size(part) / total).backward()
    penalty.add_gradient_(net.stacks())


def clears_between_micro_batches(net, loss, parts, penalty):
    total = sum(map(_size, parts))
    for part in parts:
        _zero(net)
        (loss(part) * _size(part) / total).backward()
    penalty.add_gradient_(net.stacks())


def clears_after_the_penalty(net, loss, parts, penalty):
    _zero(net)
    penalty.add_gradient_(net.stacks())
    total = sum(map(_size, parts))
    _zero(net)
    for part in parts:
        (loss(part) * _size(part) / total).backward()


def scales_the_penalty_too(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    for part in parts:
        (loss(part) * _size(part)).backward()
    penalty.add_gradient_(net.stacks())
    for p in net.parameters():
        p.grad /= total


def forgets_the_penalty(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    for part in parts:
        (loss(part) * _size(part) / total).backward()


def divides_everything_by_the_parts(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    for part in parts:
        ((loss(part) * _size(part) / total) + penalty(net.stacks()) / len(parts) ** 2).backward()


def whole_batch_at_once(net, loss, parts, penalty):
    _zero(net)
    inputs, labels = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    loss((inputs, labels)).backward()
    penalty.add_gradient_(net.stacks())


def one_backward_for_all(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    sum(loss(part) * _size(part) / total for part in parts).backward()
    penalty.add_gradient_(net.stacks())


def backward_after_all_losses(net, loss, parts, penalty):
    _zero(net)
    total = sum(map(_size, parts))
    losses = [loss(part) * _size(part) / total for part in parts]
    for value in losses:
        value.backward()
    penalty.add_gradient_(net.stacks())


# 8.4: an order without memory


def _fresh(*key):
    seed = 0
    for part in key:
        seed = (seed * 1_000_003 + part + 17) % 2**31
    return torch.Generator().manual_seed(seed)


def _from_stream(step, count, size, order):
    places = range(step * size, (step + 1) * size)
    return torch.stack([order(place // count)[place % count] for place in places])


def one_order_for_ever(step, count, size, seed):
    return _from_stream(step, count, size, lambda turn: torch.randperm(count, generator=_fresh(seed)))


def drops_the_rest_of_a_pass(step, count, size, seed):
    per_pass = max(1, count // size)
    order = torch.randperm(count, generator=_fresh(seed, step // per_pass))
    start = (step % per_pass) * size
    return torch.cat([order, order, order])[start : start + size]


def draws_with_replacement(step, count, size, seed):
    return torch.randint(0, count, (size,), generator=_fresh(seed, step))


def a_new_shuffle_every_step(step, count, size, seed):
    order = torch.randperm(count, generator=_fresh(seed, step))
    return torch.cat([order] * (1 + size // count))[:size]


def reseeds_the_world(step, count, size, seed):
    def order(turn):
        torch.manual_seed(seed * 1_000_003 + turn)
        return torch.randperm(count)

    return _from_stream(step, count, size, order)


def ignores_the_seed(step, count, size, seed):
    return _from_stream(step, count, size, lambda turn: torch.randperm(count, generator=_fresh(turn)))


def seed_plus_pass(step, count, size, seed):
    def order(turn):
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed + turn))

    return _from_stream(step, count, size, order)


def _mixed_by(mix):
    """Orders from a generator seeded with ``mix(seed, turn)``."""

    def positions(step, count, size, seed):
        def order(turn):
            return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, turn)))

        return _from_stream(step, count, size, order)

    return positions


def turned_every_pass(step, count, size, seed):
    return _from_stream(
        step, count, size, lambda turn: torch.randperm(count, generator=_fresh(seed)).roll(turn % count)
    )


def shifted_every_pass(step, count, size, seed):
    return _from_stream(
        step, count, size, lambda turn: (torch.randperm(count, generator=_fresh(seed)) + turn) % count
    )


def in_order(step, count, size, seed):
    return torch.arange(step * size, (step + 1) * size) % count


def _right(step, count, size, seed):
    order = {}

    def turn_of(turn):
        if turn not in order:
            order[turn] = torch.randperm(count, generator=_fresh(seed, turn))
        return order[turn]

    return _from_stream(step, count, size, turn_of)


def in_floats(step, count, size, seed):
    return _right(step, count, size, seed).float()


def a_plain_list(step, count, size, seed):
    return _right(step, count, size, seed).tolist()


class Remembers:
    """A loader with a state: right in one pass forwards, wrong for any other order of calls."""

    def __init__(self):
        self.left = []

    def __call__(self, step, count, size, seed):
        if step == 0:
            self.left, self.generator = [], _fresh(seed)
        while len(self.left) < size:
            chance = getattr(self, "generator", _fresh(seed))
            self.left += torch.randperm(count, generator=chance).tolist()
        batch, self.left = self.left[:size], self.left[size:]
        return torch.tensor(batch)


WRONG = {
    "check_8_1": [
        ("one over the count, not normalised", not_normalised),
        ("weights that sum to one", sums_to_one),
        ("mean over classes instead of pictures", mean_over_classes),
        ("infinite for a class without pictures", divides_by_zero),
        ("absent classes take their share", counts_absent_classes),
        ("the square root of the right ratio", square_root),
        ("large classes get more", proportional),
        ("no weight for a last class without pictures", forgets_the_last_class),
        ("one over the share, not divided by the number of classes", one_over_the_share),
        ("right, but in half precision", half_precision),
    ],
    "check_8_2": [
        ("decay on everything", everything_decays),
        ("tells only matrices from vectors", only_by_axes),
        ("tells only stacked from not stacked", only_by_stack),
        ("biases and batch norm in no group", forgets_the_rest),
        ("only the first task's stacked weights are spared", first_task_only),
        ("decay on the heads alone", heads_only),
        ("guesses from the names", by_name_of_the_layer),
        ("decay on every linear layer, stacked or not", every_linear_layer),
        ("takes every convolution for stacked", all_but_convolutions),
        ("the decaying weights in no group", decay_by_default),
    ],
    "check_8_3": [
        ("penalty once per micro-batch", penalty_per_micro_batch),
        ("sum of the micro-batches' means", sums_the_means),
        ("mean of the means, though they are unequal", mean_of_means),
        ("gradient of the step before is kept", keeps_the_old_gradient),
        ("gradient cleared between micro-batches", clears_between_micro_batches),
        ("penalty first, then cleared", clears_after_the_penalty),
        ("penalty divided by the batch size", scales_the_penalty_too),
        ("no penalty at all", forgets_the_penalty),
        ("penalty in every loss, and divided once too often", divides_everything_by_the_parts),
        ("puts the batch together again", whole_batch_at_once),
        ("one backward over all parts", one_backward_for_all),
        ("all losses first, then backward one by one", backward_after_all_losses),
    ],
    "check_8_4": [
        ("one order for all passes", one_order_for_ever),
        ("drops the rest of a pass", drops_the_rest_of_a_pass),
        ("draws with replacement", draws_with_replacement),
        ("a new shuffle every step", a_new_shuffle_every_step),
        ("seeds the global random numbers", reseeds_the_world),
        ("ignores the seed", ignores_the_seed),
        ("seed plus pass", seed_plus_pass),
        ("seed times pass: pass 0 is everybody's", _mixed_by(lambda seed, turn: seed * turn)),
        ("seed xor pass", _mixed_by(lambda seed, turn: seed ^ turn)),
        ("a thousand passes, then the next seed's", _mixed_by(lambda seed, turn: seed * 1000 + turn)),
        ("2 to the 10 passes, then the next seed's", _mixed_by(lambda seed, turn: (seed << 10) | turn)),
        ("one order, turned round every pass", turned_every_pass),
        ("one order, a constant added every pass", shifted_every_pass),
        ("no shuffling at all", in_order),
        ("positions with a point", in_floats),
        ("a list instead of a tensor", a_plain_list),
        ("keeps a state between calls", Remembers()),
    ],
}
