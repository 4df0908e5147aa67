"""Plausible wrong answers to the exercises of chapter 11; every check must reject all of its own."""

import numpy as np

# 11.1: the perplexity


def _plogp(p, log):
    return np.where(p > 0, p * log(np.where(p > 0, p, 1.0)), 0.0)


def entropy_in_nats(p):
    return -_plogp(p, np.log).sum()


def two_to_the_nats(p):
    return 2.0 ** -_plogp(p, np.log).sum()


def not_a_number_at_zero(p):
    return np.exp(-(p * np.log(np.maximum(p, 0) + np.where(p > 0, 0, np.nan))).sum())


def participation(p):
    return 1 / (p**2).sum()


def counted(p):
    return float((p > 0).sum())


# 11.2: the gradient of a map


def _near(y):
    apart = y[:, None] - y[None]
    near = 1 / (1 + (apart**2).sum(-1))
    np.fill_diagonal(near, 0)
    return apart, near


def factor_two(p, y):
    apart, near = _near(y)
    return 2 * (((p - near / near.sum()) * near)[..., None] * apart).sum(1)


def downhill(p, y):
    apart, near = _near(y)
    return -4 * (((p - near / near.sum()) * near)[..., None] * apart).sum(1)


def without_the_tail(p, y):
    apart, near = _near(y)
    return 4 * ((p - near / near.sum())[..., None] * apart).sum(1)


def not_normalised(p, y):
    apart, near = _near(y)
    return 4 * (((p - near) * near)[..., None] * apart).sum(1)


def own_neighbour(p, y):
    apart, near = _near(y)
    return 4 * (((p - near / (near.sum() + len(y))) * near)[..., None] * apart).sum(1)


def rows_normalised(p, y):
    apart, near = _near(y)
    return 4 * (((p - near / near.sum(1, keepdims=True)) * near)[..., None] * apart).sum(1)


# 11.3: mixing


def _order(x):
    far = ((x[:, None] - x[None]) ** 2).sum(-1)
    return far, np.argsort(far, axis=1, kind="stable")


def counts_itself(x, domain, k):
    _, order = _order(x)
    other = (domain[order[:, :k]] != domain[:, None]).mean()
    return other / np.mean([(domain != d).sum() / (len(x) - 1) for d in domain])


def share_alone(x, domain, k):
    _, order = _order(x)
    return (domain[order[:, 1 : k + 1]] != domain[:, None]).mean()


def twice_the_share(x, domain, k):
    return 2 * share_alone(x, domain, k)


def own_share(x, domain, k):
    return 1 - share_alone(x, domain, k)


def chance_with_itself(x, domain, k):
    return share_alone(x, domain, k) / np.mean([(domain != d).mean() for d in domain])


def mean_of_ratios(x, domain, k):
    _, order = _order(x)
    other = (domain[order[:, 1 : k + 1]] != domain[:, None]).mean(1)
    return np.mean(other / np.array([(domain != d).sum() / (len(x) - 1) for d in domain]))


def manhattan(x, domain, k):
    order = np.argsort(abs(x[:, None] - x[None]).sum(-1), axis=1, kind="stable")
    other = (domain[order[:, 1 : k + 1]] != domain[:, None]).mean()
    return other / np.mean([(domain != d).sum() / (len(x) - 1) for d in domain])


# 11.4: the diagnosis


def _found(probes, null):
    return any(low > null for low, _ in probes)


def trusts_the_adversary(adversary, probes, null, spread, before):
    if spread < 0.01 * before:
        return "collapsed"
    return "not aligned" if adversary > null else "aligned"


def one_probe_is_enough(adversary, probes, null, spread, before):
    return right(adversary, probes[:1], null, spread, before)


def forgets_collapse(adversary, probes, null, spread, before):
    return right(adversary, probes, null, before, before)


def collapse_first(adversary, probes, null, spread, before):
    if spread < 0.01 * before:
        return "collapsed"
    return right(adversary, probes, null, spread, before)


def fifty_is_chance(adversary, probes, null, spread, before):
    return right(adversary, probes, 50.0, spread, before)


def any_distance_from_chance(adversary, probes, null, spread, before):
    return right(100 - adversary if adversary < 50 else adversary, probes, null, spread, before)


def probes_alone(adversary, probes, null, spread, before):
    return right(0.0, probes, null, spread, before)


def middle_of_the_interval(adversary, probes, null, spread, before):
    return right(adversary, [((a + b) / 2, b) for a, b in probes], null, spread, before)


def upper_end_of_the_interval(adversary, probes, null, spread, before):
    return right(adversary, [(b, b) for _, b in probes], null, spread, before)


def middle_and_absolute(adversary, probes, null, spread, before):
    return middle_of_the_interval(adversary, probes, null, spread, 1.0)


def absolute_spread(adversary, probes, null, spread, before):
    return right(adversary, probes, null, spread, 1.0)


def collapse_at(share):
    def answer(adversary, probes, null, spread, before):
        return right(adversary, probes, null, spread, 100 * share * before)

    return answer


def adversary_above_fifty(adversary, probes, null, spread, before):
    return "not aligned" if adversary > 50 else right(adversary, probes, null, spread, before)


def last_probe_only(adversary, probes, null, spread, before):
    return right(adversary, probes[-1:], null, spread, before)


def all_probes_needed(adversary, probes, null, spread, before):
    return right(adversary, [min(probes)], null, spread, before)


def mean_of_the_probes(adversary, probes, null, spread, before):
    return right(adversary, [np.mean(probes, axis=0)], null, spread, before)


def null_from_memory(adversary, probes, null, spread, before):
    return right(adversary, probes, 56.0, spread, before)


def right(adversary, probes, null, spread, before):
    """The rule itself; not a wrong answer."""
    if _found(probes, null) or adversary > null:
        return "not aligned" if adversary > null else "fooled"
    return "collapsed" if spread < 0.01 * before else "aligned"


WRONG = {
    "check_11_1": [
        ("the entropy itself", entropy_in_nats),
        ("natural logarithm, but a power of 2", two_to_the_nats),
        ("0 log 0 is not a number", not_a_number_at_zero),
        ("one over the sum of squares", participation),
        ("a count of those above 0", counted),
    ],
    "check_11_2": [
        ("2 instead of 4", factor_two),
        ("the direction of descent", downhill),
        ("the tail's factor forgotten, as in the older SNE", without_the_tail),
        ("q not normalised", not_normalised),
        ("q normalised row by row", rows_normalised),
        ("w_ii = 1 counted", own_neighbour),
    ],
    "check_11_3": [
        ("a point is its own nearest neighbour", counts_itself),
        ("not compared with chance", share_alone),
        ("chance taken as one half", twice_the_share),
        ("the own set's share", own_share),
        ("a random draw that may draw the point itself", chance_with_itself),
        ("a mean of ratios", mean_of_ratios),
        ("Manhattan distances", manhattan),
    ],
    "check_11_4": [
        ("believes the adversary", trusts_the_adversary),
        ("looks at the linear probe only", one_probe_is_enough),
        ("forgets that nothing may be left", forgets_collapse),
        ("small features are called collapsed even when they are told apart", collapse_first),
        ("takes 50 for the null", fifty_is_chance),
        ("takes a very wrong adversary for a very good one", any_distance_from_chance),
        ("forgets that the adversary is a probe too", probes_alone),
        ("the interval's middle above the null", middle_of_the_interval),
        ("the interval's upper end above the null", upper_end_of_the_interval),
        ("the interval's middle, and a spread below 0.01", middle_and_absolute),
        ("a spread below 0.01, whatever it was before", absolute_spread),
        ("collapsed at 10 %", collapse_at(0.1)),
        ("collapsed at 30 %", collapse_at(0.3)),
        ("collapsed at 0.1 %", collapse_at(0.001)),
        ("an adversary above 50 is enough", adversary_above_fifty),
        ("looks at the last probe only", last_probe_only),
        ("all probes must find the sets", all_probes_needed),
        ("the mean of the probes", mean_of_the_probes),
        ("the null from memory", null_from_memory),
    ],
}
