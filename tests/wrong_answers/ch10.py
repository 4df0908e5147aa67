"""Plausible wrong answers to the exercises of chapter 10; every check must reject all of its own."""

import itertools
import math

import torch

# 10.1: what TNDR leaves open


def _parting(cosine):
    return math.sqrt(1 + math.sqrt(1 - cosine**2))


def growth_is_tndr(tndr, cosine, start):
    return tndr


def growth_always_same(tndr, cosine, start):
    return tndr / _parting(cosine)


def growth_always_orthogonal(tndr, cosine, start):
    return tndr * math.sqrt(2) / _parting(cosine)


def growth_by_the_cosine(tndr, cosine, start):
    return tndr * (1 if start == "same" else math.sqrt(2)) / math.sqrt(1 + abs(cosine))


def growth_signed(tndr, cosine, start):
    return tndr * (1 if start == "same" else math.sqrt(2)) / math.sqrt(1 + (1 - cosine) / 2)


def growth_multiplied(tndr, cosine, start):
    return tndr * _parting(cosine) / (1 if start == "same" else math.sqrt(2))


def growth_starts_exchanged(tndr, cosine, start):
    return tndr * (math.sqrt(2) if start == "same" else 1) / _parting(cosine)


def growth_without_the_root(tndr, cosine, start):
    return tndr * (1 if start == "same" else math.sqrt(2)) / _parting(cosine) ** 2


def growth_by_two(tndr, cosine, start):
    return tndr * (1 if start == "same" else 2) / _parting(cosine)


# 10.2: which gamma?


def _unit(rates, momentum):
    push = total = 0.0
    for rate in rates:
        push = momentum * push + 1.0
        total += rate * push
    return total


def gamma_without_momentum(target, norm, start, rates, momentum):
    return (1 - target) * norm * (math.sqrt(2) if start == "same" else 1) / sum(rates)


def gamma_full_buffer(target, norm, start, rates, momentum):
    return gamma_without_momentum(target, norm, start, rates, momentum) * (1 - momentum)


def gamma_same_for_both_starts(target, norm, start, rates, momentum):
    return (1 - target) * norm / _unit(rates, momentum)


def gamma_root_two_everywhere(target, norm, start, rates, momentum):
    return (1 - target) * norm * math.sqrt(2) / _unit(rates, momentum)


def gamma_of_the_rest(target, norm, start, rates, momentum):
    return target * norm * (math.sqrt(2) if start == "same" else 1) / _unit(rates, momentum)


def gamma_as_decay(target, norm, start, rates, momentum):
    return -math.log(target) * norm * (math.sqrt(2) if start == "same" else 1) / _unit(rates, momentum)


def gamma_without_the_norm(target, norm, start, rates, momentum):
    return (1 - target) * (math.sqrt(2) if start == "same" else 1) / _unit(rates, momentum)


def gamma_for_the_mean_rate(target, norm, start, rates, momentum):
    pushes = [sum(momentum**j for j in range(k + 1)) for k in range(len(rates))]
    taken = sum(rates) * sum(pushes) / len(rates)
    return (1 - target) * norm * (math.sqrt(2) if start == "same" else 1) / taken


def gamma_dampened(target, norm, start, rates, momentum):
    return (
        gamma_same_for_both_starts(target, norm, start, rates, momentum)
        * (math.sqrt(2) if start == "same" else 1)
        / (1 - momentum)
    )


# 10.3: any profile you like


def _trace_norm(weights):
    return torch.linalg.svdvals(torch.stack([w.flatten() for w in weights])).sum()


def disguise_as_if_tndr_were_one(stacks, start, wanted):
    for layer, weights in stacks.items():
        for w in weights:
            w.mul_(wanted[layer])


def disguise_by_the_start(stacks, start, wanted):
    for layer, weights in stacks.items():
        factor = wanted[layer] * _trace_norm(weights) / start[layer]
        for w in weights:
            w.mul_(factor)


def disguise_only_the_first(stacks, start, wanted):
    for layer, weights in stacks.items():
        weights[0].mul_(wanted[layer] * start[layer] / _trace_norm(weights))


def disguise_while_measuring(stacks, start, wanted):
    for layer, weights in stacks.items():
        for w in weights:
            w.mul_(wanted[layer] * start[layer] / _trace_norm(weights))


def disguise_by_lengths(stacks, start, wanted):
    for layer, weights in stacks.items():
        for w in weights:
            w.mul_(wanted[layer] * start[layer] / (len(weights) * w.norm()))


def disguise_by_folding(stacks, start, wanted):
    for layer, weights in stacks.items():
        mean = torch.stack(list(weights)).mean(0)
        factor = wanted[layer] * start[layer] / _trace_norm([mean] * len(weights))
        for w in weights:
            w.copy_(factor * mean)


def disguise_by_frobenius(stacks, start, wanted):
    for layer, weights in stacks.items():
        length = torch.stack([w.flatten() for w in weights]).norm()
        for w in weights:
            w.mul_(wanted[layer] * start[layer] / length)


# 10.4: an index of sharing


def index_without_the_sign(weights):
    unit = weights / weights.norm(dim=1, keepdim=True)
    pairs = itertools.combinations(unit, 2)
    return torch.stack([(a @ b).abs() for a, b in pairs]).mean()


def index_with_the_diagonal(weights):
    unit = weights / weights.norm(dim=1, keepdim=True)
    return (unit @ unit.T).mean()


def index_from_singular_values(weights):
    s = torch.linalg.svdvals(weights)
    return s.sum() / s.norm()


def index_rescaled_singular_values(weights):
    s, count = torch.linalg.svdvals(weights), len(weights) ** 0.5
    return (count - s.sum() / s.norm()) / (count - 1)


def index_of_correlations(weights):
    centred = weights - weights.mean(dim=1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True)
    return torch.stack([a @ b for a, b in itertools.combinations(unit, 2)]).mean()


def index_with_the_mean_task(weights):
    mean = weights.mean(0)
    return torch.stack([w @ mean / (w.norm() * mean.norm()) for w in weights]).mean()


def index_with_lengths(weights):
    return torch.stack([a @ b for a, b in itertools.combinations(weights, 2)]).mean()


def index_of_neighbours(weights):
    unit = weights / weights.norm(dim=1, keepdim=True)
    return (unit[1:] * unit[:-1]).sum(1).mean()


# 10.5: two readings of a sentence


def steps_with_the_stem(profile, blocks):
    first = profile[0:-1:2]
    within = (profile[1::2] - first).mean()
    return torch.stack([within, steps_right_stages(profile, blocks)])


def steps_right_stages(profile, blocks):
    found, start = [], 1
    for count in blocks:
        found.append(profile[start + 2 * count - 1] - profile[start])
        start += 2 * count
    return torch.stack(found).mean()


def steps_backwards(profile, blocks):
    within = (profile[1::2] - profile[2::2]).mean()
    return torch.stack([within, -steps_right_stages(profile, blocks)])


def steps_overlap(profile, blocks):
    inner = profile[1:]
    return torch.stack([(inner[1:] - inner[:-1]).mean(), steps_right_stages(profile, blocks)])


def steps_stages_of_one_block(profile, blocks):
    found, start = [], 1
    for count in blocks:
        found.append(profile[start + count - 1] - profile[start])
        start += count
    return torch.stack([(profile[2::2] - profile[1::2]).mean(), torch.stack(found).mean()])


def steps_from_the_stage_before(profile, blocks):
    found, start = [], 0
    for count in blocks:
        found.append(profile[start + 2 * count] - profile[start])
        start += 2 * count
    return torch.stack([(profile[2::2] - profile[1::2]).mean(), torch.stack(found).mean()])


def steps_stages_from_the_stem(profile, blocks):
    found, start = [], 0
    for count in blocks:
        found.append(profile[start + 2 * count - 1] - profile[start])
        start += 2 * count
    return torch.stack([(profile[2::2] - profile[1::2]).mean(), torch.stack(found).mean()])


def steps_first_stage_from_the_stem(profile, blocks):
    stages = steps_right_stages(profile, blocks) + (profile[1] - profile[0]) / len(blocks)
    return torch.stack([(profile[2::2] - profile[1::2]).mean(), stages])


WRONG = {
    "check_10_1": [
        ("TNDR itself", growth_is_tndr),
        ("as if all kernels started equal", growth_always_same),
        ("as if all kernels started orthogonal", growth_always_orthogonal),
        ("cosine instead of sine", growth_by_the_cosine),
        ("a norm that sees the sign", growth_signed),
        ("the other way round", growth_multiplied),
        ("the starts exchanged", growth_starts_exchanged),
        ("the root forgotten", growth_without_the_root),
        ("2 for the root of 2", growth_by_two),
    ],
    "check_10_2": [
        ("momentum forgotten", gamma_without_momentum),
        ("the buffer full from the first step", gamma_full_buffer),
        ("as if every start were orthogonal", gamma_same_for_both_starts),
        ("as if every start were equal", gamma_root_two_everywhere),
        ("what is left instead of what is taken", gamma_of_the_rest),
        ("weight decay", gamma_as_decay),
        ("the kernel's norm forgotten", gamma_without_the_norm),
        ("mean rate times mean push", gamma_for_the_mean_rate),
        ("a dampened buffer", gamma_dampened),
    ],
    "check_10_3": [
        ("as if TNDR were 1 before", disguise_as_if_tndr_were_one),
        ("start and present exchanged", disguise_by_the_start),
        ("one task's kernels only", disguise_only_the_first),
        ("measured again after the first task is scaled", disguise_while_measuring),
        ("as if tasks were orthogonal", disguise_by_lengths),
        ("by folding the tasks together", disguise_by_folding),
        ("Frobenius norms", disguise_by_frobenius),
    ],
    "check_10_4": [
        ("the sign is lost", index_without_the_sign),
        ("tasks compared with themselves", index_with_the_diagonal),
        ("trace norm over Frobenius norm", index_from_singular_values),
        ("the same, mapped to 0 and 1", index_rescaled_singular_values),
        ("correlations instead of cosines", index_of_correlations),
        ("cosines with the mean task", index_with_the_mean_task),
        ("lengths left in", index_with_lengths),
        ("only neighbours compared", index_of_neighbours),
    ],
    "check_10_5": [
        ("the stem taken for a block's first layer", steps_with_the_stem),
        ("first minus second", steps_backwards),
        ("steps between blocks counted as well", steps_overlap),
        ("a block taken for one layer", steps_stages_of_one_block),
        ("every stage one layer early", steps_stages_from_the_stem),
        ("the stem in the first stage", steps_first_stage_from_the_stem),
        ("a stage that begins with the last layer of the one before", steps_from_the_stage_before),
    ],
}
