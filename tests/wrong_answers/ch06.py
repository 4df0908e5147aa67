"""Plausible wrong answers to the exercises of chapter 6; every check must reject all of its own."""

import math

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

# 6.1: the gradient behind a reversal


def _softmax_minus_label(z, weight, domain):
    return (z @ weight.T).softmax(1) - F.one_hot(domain, len(weight))


def not_reversed(z, weight, domain, strength):
    return strength * _softmax_minus_label(z, weight, domain) @ weight / len(z)


def strength_forgotten(z, weight, domain, strength):
    return -_softmax_minus_label(z, weight, domain) @ weight / len(z)


def of_the_sum(z, weight, domain, strength):
    return -strength * _softmax_minus_label(z, weight, domain) @ weight


def label_forgotten(z, weight, domain, strength):
    return -strength * (z @ weight.T).softmax(1) @ weight / len(z)


def divided_by_the_strength(z, weight, domain, strength):
    return -_softmax_minus_label(z, weight, domain) @ weight / len(z) / max(strength, 1e-9)


# 6.2: the best classifier's loss


def best_in_bits(p):
    right = p / p.sum(0)
    return -torch.where(p > 0, p * right.clamp_min(1e-300).log2(), 0.0).sum() / len(p)


def best_is_the_divergence(p):
    right = p / p.sum(0)
    return math.log(len(p)) + torch.where(p > 0, p * right.clamp_min(1e-300).log(), 0.0).sum() / len(p)


def best_summed(p):
    right = p / p.sum(0)
    return -torch.where(p > 0, p * right.clamp_min(1e-300).log(), 0.0).sum()


def best_with_nan(p):
    return -(p * (p / p.sum(0)).log()).sum() / len(p)


def best_for_two_only(p):
    right = p / p.sum(0)
    return -torch.where(p > 0, p * right.clamp_min(1e-300).log(), 0.0).sum() / 2


def best_by_entropy_of_each(p):
    return -torch.where(p > 0, p * p.clamp_min(1e-300).log(), 0.0).sum() / len(p)


# 6.3: one alternating step


def _loss(nets, classifier, batches, detach=False):
    means = []
    for t, (net, x) in enumerate(zip(nets, batches, strict=True)):
        z = net(x).detach() if detach else net(x)
        means.append(F.cross_entropy(classifier(z), torch.full((len(x),), t)))
    return torch.stack(means).mean()


def _inner(nets, classifier, batches, own, inner):
    for _ in range(inner):
        own.zero_grad()
        _loss(nets, classifier, batches, detach=True).backward()
        own.step()


def networks_descend(nets, classifier, batches, outer, own, inner, strength):
    _inner(nets, classifier, batches, own, inner)
    outer.zero_grad()
    (strength * _loss(nets, classifier, batches)).backward()
    outer.step()


def classifier_ascends(nets, classifier, batches, outer, own, inner, strength):
    for _ in range(inner):
        own.zero_grad()
        (-_loss(nets, classifier, batches, detach=True)).backward()
        own.step()
    outer.zero_grad()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()


def detach_forgotten(nets, classifier, batches, outer, own, inner, strength):
    outer.zero_grad()
    for _ in range(inner):
        own.zero_grad()
        _loss(nets, classifier, batches).backward()  # fills the networks' gradients too
        own.step()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()


def gradients_pile_up(nets, classifier, batches, outer, own, inner, strength):
    for _ in range(inner):
        _loss(nets, classifier, batches, detach=True).backward()
        own.step()
    outer.zero_grad()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()


def classifier_moves_in_the_outer_step(nets, classifier, batches, outer, own, inner, strength):
    _inner(nets, classifier, batches, own, inner)
    outer.zero_grad()
    own.zero_grad()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()
    own.step()


def one_inner_step_only(nets, classifier, batches, outer, own, inner, strength):
    _inner(nets, classifier, batches, own, 1)
    outer.zero_grad()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()


def outer_step_first(nets, classifier, batches, outer, own, inner, strength):
    outer.zero_grad()
    (-strength * _loss(nets, classifier, batches)).backward()
    outer.step()
    _inner(nets, classifier, batches, own, inner)


def batches_joined(nets, classifier, batches, outer, own, inner, strength):
    domain = torch.cat([torch.full((len(x),), t) for t, x in enumerate(batches)])

    def loss(detach):
        z = torch.cat([net(x) for net, x in zip(nets, batches, strict=True)])
        return F.cross_entropy(classifier(z.detach() if detach else z), domain)

    for _ in range(inner):
        own.zero_grad()
        loss(True).backward()
        own.step()
    outer.zero_grad()
    (-strength * loss(False)).backward()
    outer.step()


# 6.4: the placebo


def placebo_is_the_truth(domain, generator):
    return domain.clone()


def placebo_swaps_domains(domain, generator):
    """The labels are new, the knowledge is not."""
    if torch.rand((), generator=generator) < 0.5:
        return domain.clone()
    return domain.max() - domain


def placebo_next_domain(domain, generator):
    return (domain + 1) % (domain.max() + 1)


def placebo_by_coins(domain, generator):
    return torch.randint(int(domain.max()) + 1, (len(domain),), generator=generator)


def placebo_within_domains(domain, generator):
    new = domain.clone()
    for t in domain.unique():
        where = (domain == t).nonzero()[:, 0]
        new[where] = domain[where[torch.randperm(len(where), generator=generator)]]
    return new


def placebo_global_numbers(domain, generator):
    return domain[torch.randperm(len(domain))]


def placebo_once_and_for_all(domain, generator):
    return domain[torch.randperm(len(domain), generator=torch.Generator().manual_seed(0))]


def placebo_rolled(domain, generator):
    return domain.roll(int(torch.randint(len(domain), (1,), generator=generator)))


def placebo_in_place(domain, generator):
    return domain.copy_(domain[torch.randperm(len(domain), generator=generator)])


# 6.5: the probe


def _balanced(model, x, domain):
    return balanced_accuracy_score(domain, model.predict(x))


def probe_on_pictures(features, domain, person):
    """Pictures are split, people are not."""
    a, b, c, d = train_test_split(features, domain, test_size=0.5, random_state=0, stratify=domain)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")).fit(
        a, c
    )
    return _balanced(model, b, d)


def probe_on_its_own_people(features, domain, person):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    return _balanced(model.fit(features, domain), features, domain)


def _halves(features, domain, person):
    return next(GroupShuffleSplit(1, test_size=0.5, random_state=0).split(features, domain, person))


def probe_without_scaling(features, domain, person):
    fit, test = _halves(features, domain, person)
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(features[fit], domain[fit])
    return _balanced(model, features[test], domain[test])


def probe_by_plain_accuracy(features, domain, person):
    fit, test = _halves(features, domain, person)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[fit], domain[fit])
    return model.score(features[test], domain[test])


def probe_scored_on_the_fit(features, domain, person):
    fit, _ = _halves(features, domain, person)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    return _balanced(model.fit(features[fit], domain[fit]), features[fit], domain[fit])


def probe_standardised_in_place(features, domain, person):
    features -= features.mean(0)
    features /= features.std(0)
    fit, test = _halves(features, domain, person)
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(features[fit], domain[fit])
    return _balanced(model, features[test], domain[test])


def probe_fitted_without_weights(features, domain, person):
    fit, test = _halves(features, domain, person)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[fit], domain[fit])
    return _balanced(model, features[test], domain[test])


def probe_scored_by_pictures(features, domain, person):
    fit, test = _halves(features, domain, person)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    return model.fit(features[fit], domain[fit]).score(features[test], domain[test])


def probe_constant(features, domain, person):
    return np.float64(0.5)


WRONG = {
    "check_6_1": [
        ("not reversed", not_reversed),
        ("strength forgotten", strength_forgotten),
        ("sum instead of mean", of_the_sum),
        ("label forgotten", label_forgotten),
        ("strength on the wrong side of the fraction", divided_by_the_strength),
    ],
    "check_6_2": [
        ("bits", best_in_bits),
        ("the divergence itself", best_is_the_divergence),
        ("sum over domains", best_summed),
        ("nan where a probability is 0", best_with_nan),
        ("always half", best_for_two_only),
        ("entropies of the domains", best_by_entropy_of_each),
    ],
    "check_6_3": [
        ("networks descend", networks_descend),
        ("classifier ascends", classifier_ascends),
        ("detach forgotten", detach_forgotten),
        ("gradients of the inner steps pile up", gradients_pile_up),
        ("classifier steps in the outer turn too", classifier_moves_in_the_outer_step),
        ("one inner step only", one_inner_step_only),
        ("outer step first", outer_step_first),
        ("a larger batch counts for more", batches_joined),
    ],
    "check_6_4": [
        ("the truth", placebo_is_the_truth),
        ("names of the domains exchanged", placebo_swaps_domains),
        ("the next domain", placebo_next_domain),
        ("coins", placebo_by_coins),
        ("shuffled within each domain", placebo_within_domains),
        ("global random numbers", placebo_global_numbers),
        ("one draw for all steps", placebo_once_and_for_all),
        ("in place", placebo_in_place),
        ("shifted by a random number of places", placebo_rolled),
    ],
    "check_6_5": [
        ("split by pictures", probe_on_pictures),
        ("tested on the people it was fitted on", probe_on_its_own_people),
        ("not standardised", probe_without_scaling),
        ("plain accuracy", probe_by_plain_accuracy),
        ("scored on the fit", probe_scored_on_the_fit),
        ("arguments changed", probe_standardised_in_place),
        ("always chance", probe_constant),
        ("the fit counts pictures, the score domains", probe_fitted_without_weights),
        ("the fit counts domains, the score pictures", probe_scored_by_pictures),
    ],
}
