"""Both forms of Eq. (4) push the networks the same way, the right one; the placebo knows nothing."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mtl_lib import alignment as module
from mtl_lib import checkpoint
from mtl_lib.adversary import domain_loss, placebo_domains
from mtl_lib.alignment import Alignment, make_alignment
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError

FORMS = ("reversal", "alternating")


def clouds(sizes, width=4, seed=0, apart=0.0):
    """Features of several tasks, task t shifted by t times `apart`, as leaves of the graph."""
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, width, generator=g) + t * apart for t, n in enumerate(sizes)]
    return [part.requires_grad_() for part in parts]


def make(form="reversal", features=4, domains=2, **settings):
    torch.manual_seed(0)
    return Alignment(features, domains, form=form, **settings)


def balanced_cross_entropy(classifier, parts):
    """Eq. (4)'s loss in another way: by tasks, with negative log likelihoods picked out one by one."""
    means = []
    for t, part in enumerate(parts):
        probabilities = classifier(part).softmax(dim=1)
        means.append(torch.stack([-p[t].log() for p in probabilities]).mean())
    return torch.stack(means).mean()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(6, 6), (5, 9, 2)])
def test_the_networks_ascend_in_both_forms(form, sizes):
    align = make(form, domains=len(sizes), strength=0.7, ramp=False)
    parts = clouds(sizes)
    loss, _ = align(parts, 0.5)
    loss.backward()
    plain = [p.detach().clone().requires_grad_() for p in parts]
    expected = balanced_cross_entropy(align.classifier, plain)
    torch.testing.assert_close(loss.detach(), expected.detach())
    for part, gradient in zip(parts, torch.autograd.grad(expected, plain), strict=True):
        torch.testing.assert_close(part.grad, -0.7 * gradient)


def test_in_one_backward_pass_the_classifier_descends():
    align = make(strength=0.7, ramp=False)
    parts = clouds((5, 3))
    align(parts, 0.0)[0].backward()
    fixed = [p.detach() for p in parts]
    weights = list(align.classifier.parameters())
    for w, gradient in zip(
        weights, torch.autograd.grad(balanced_cross_entropy(align.classifier, fixed), weights), strict=True
    ):
        torch.testing.assert_close(w.grad, gradient)  # not scaled by 0.7, not reversed


def test_in_the_alternating_form_the_loops_optimiser_leaves_the_classifier_alone():
    align = make("alternating", ramp=False)
    parts = clouds((5, 3))
    before = copy.deepcopy(align.state_dict())
    align(parts, 0.0)[0].backward()
    # With weight decay and momentum, as a loop's optimiser may have them.
    torch.optim.SGD([*align.parameters(), *parts], lr=1.0, momentum=0.9, weight_decay=0.1).step()
    assert all(torch.equal(before[key], value) for key, value in align.state_dict().items())
    assert all(p.grad is None for p in align.parameters())
    assert all(p.grad.abs().max() > 0 for p in parts)


@pytest.mark.parametrize("steps", [1, 4])
def test_inner_steps_are_adam_on_the_detached_features(steps):
    align = make("alternating", inner_steps=steps, lr=0.01)
    twin = copy.deepcopy(align.classifier).requires_grad_(True)
    parts = clouds((8, 5), apart=1.0)
    align.inner_step_(parts, 0.3)
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(steps):
        adam.zero_grad()
        balanced_cross_entropy(twin, [p.detach() for p in parts]).backward()
        adam.step()
    for ours, theirs in zip(align.classifier.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    assert all(p.grad is None for p in parts), "nothing flows back to the features"


def test_inner_steps_do_nothing_for_reversal():
    align = make()
    before = copy.deepcopy(align.state_dict())
    align.inner_step_(clouds((4, 4)), 0.5)
    assert all(torch.equal(before[key], value) for key, value in align.state_dict().items())
    assert align.optimiser() is None


def test_inner_steps_run_in_float32_inside_autocast():
    align, plain = make("alternating"), make("alternating")
    parts = [p.detach().bfloat16() for p in clouds((6, 6))]
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        align.inner_step_(parts, 0.0)
    plain.inner_step_([p.float() for p in parts], 0.0)
    for ours, theirs in zip(align.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_two_domains_meet_at_the_saddle_and_part_with_the_wrong_sign(form, sign):
    """One number is learnt: how far domain 2 lies from domain 1.  The saddle of Eq. (4) is at 0."""
    torch.manual_seed(0)
    align = Alignment(1, 2, strength=1.0, ramp=False, form=form, inner_steps=3, lr=0.03)
    offset = nn.Parameter(torch.tensor(1.5))
    groups = [{"params": [offset], "lr": 0.3}]
    if form == "reversal":
        groups.append({"params": align.classifier.parameters(), "lr": 0.3})
    optimiser = torch.optim.SGD(groups)
    g = torch.Generator().manual_seed(1)
    for _ in range(120):
        noise = torch.randn(2, 64, 1, generator=g)
        parts = [noise[0], noise[1] + offset]
        align.inner_step_(parts, 0.0)
        optimiser.zero_grad()
        loss, _ = align(parts, 0.0)
        loss.backward()
        offset.grad *= sign  # -1: somebody has reversed the reversed gradient
        optimiser.step()
    if sign == 1:
        assert abs(offset) < 0.5 and loss > math.log(2) - 0.08
    else:
        assert offset > 2.5 and loss < 0.4


@pytest.mark.parametrize("ramp", [False, True])
def test_the_coefficient_follows_the_schedule(ramp):
    align = make(strength=0.4, ramp=ramp)
    for p in (0.0, 0.2, 1.0):
        assert align.coefficient(p) == pytest.approx(0.4 * (math.tanh(5 * p) if ramp else 1))
    parts = clouds((4, 4), apart=1.0)
    align(parts, 0.2)[0].backward()
    whole = clouds((4, 4), apart=1.0)
    domain_loss(align.classifier, whole, 1.0)[0].backward()
    torch.testing.assert_close(parts[0].grad, align.coefficient(0.2) * whole[0].grad)


def test_placebo_labels_are_balanced_independent_and_reproducible():
    sizes = (30, 50, 20)
    truth = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    draws = torch.stack([placebo_domains(sizes, (3, step)) for step in range(400)])
    for labels in draws[:20]:
        assert torch.equal(labels.bincount(minlength=3), torch.tensor(sizes))
    # Independent: wherever a feature comes from, label k is as frequent as k's share of all.
    share = torch.tensor(sizes) / 100
    for t in range(3):
        for k in range(3):
            found = (draws[:, truth == t] == k).double().mean()
            assert found == pytest.approx(float(share[k]), abs=0.015)
    state = torch.get_rng_state()
    assert torch.equal(placebo_domains(sizes, (3, 7)), draws[7])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(placebo_domains(sizes, (4, 7)), draws[7])
    with pytest.raises(ConfigError, match="at least 0"):
        placebo_domains(sizes, (-1, 0))


@pytest.mark.parametrize("form", FORMS)
def test_a_placebo_cannot_learn_what_a_true_adversary_learns_at_once(form):
    def accuracy(placebo):
        align = make(form, placebo=placebo, lr=0.02, ramp=False, strength=0.0)
        weights = [p for p in align.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(weights, lr=0.02) if weights else None
        seen = []
        for step in range(60):
            parts = clouds((40, 60), seed=step, apart=3.0)
            align.inner_step_(parts, step / 60)
            loss, hit = align(parts, step / 60)
            if optimiser:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            seen.append(float(hit))
        return sum(seen[-20:]) / 20

    assert accuracy(placebo=False) > 0.97
    if form == "reversal":  # the alternating classifier has just been fitted to the labels it is asked for
        assert accuracy(placebo=True) == pytest.approx(0.5, abs=0.05)
    else:
        assert accuracy(placebo=True) < 0.75


def test_a_placebo_draws_by_seed_and_progress_alone():
    def loss(seed, progress):
        align = make(placebo=True, seed=seed)
        with torch.no_grad():
            return float(align(clouds((9, 7)), progress)[0])

    assert loss(0, 0.25) == loss(0, 0.25)
    assert len({loss(seed, p) for seed in (0, 1) for p in (0.25, 0.250001, 0.75)}) == 6


def test_labels_of_ones_own_are_balanced_by_their_own_counts():
    torch.manual_seed(0)
    g = nn.Linear(3, 2)
    parts = [torch.randn(3, 3), torch.randn(5, 3)]
    labels = torch.tensor([0, 1, 1, 1, 1, 1, 0, 1])
    loss, accuracy = domain_loss(g, parts, 1.0, labels)
    each = F.cross_entropy(g(torch.cat(parts)), labels, reduction="none")
    hit = (g(torch.cat(parts)).argmax(1) == labels).float()
    torch.testing.assert_close(loss, (each[labels == 0].mean() + each[labels == 1].mean()) / 2)
    torch.testing.assert_close(accuracy, (hit[labels == 0].mean() + hit[labels == 1].mean()) / 2)
    with pytest.raises(ConfigError, match="7 labels for 8 features"):
        domain_loss(g, parts, 1.0, labels[:7])


def test_the_alternating_form_goes_on_from_a_checkpoint_bit_by_bit(tmp_path):
    def steps(align, first, last):
        for step in range(first, last):
            align.inner_step_(clouds((6, 4), seed=step), step / 10)

    whole = make("alternating", placebo=True)
    steps(whole, 0, 6)
    half = make("alternating", placebo=True)
    steps(half, 0, 3)
    path = checkpoint.save_checkpoint(
        tmp_path / "last.safetensors", checkpoint.collect(half, half.optimiser()), {"step": 3}
    )
    resumed = make("alternating", placebo=True)
    steps(resumed, 5, 7)  # whatever it held before
    checkpoint.restore(path, checkpoint.load_checkpoint(path)[0], resumed, resumed.optimiser())
    steps(resumed, 3, 6)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_are_averaged_over_processes(monkeypatch):
    distributed = torch.distributed
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda g: g.add_(3.0))  # the other process has threes
    assert torch.equal(module._averaged([torch.ones(2)])[0], torch.full((2,), 2.0))


def test_the_configuration_decides_what_is_made():
    assert make_alignment(TrainConfig(ada=0.0), 8, 2) is None
    assert make_alignment(TrainConfig(ada=0.1), 8, 1) is None
    config = TrainConfig(
        ada=0.3,
        ada_ramp=False,
        ada_form="alternating",
        ada_inner_steps=3,
        ada_lr=0.02,
        ada_placebo=True,
        seed=5,
    )
    align = make_alignment(config, 8, 3)
    assert (align.strength, align.ramp, align.form) == (0.3, False, "alternating")
    assert (align.inner_steps, align.placebo, align.seed) == (3, True, 5)
    assert align.optimiser().param_groups[0]["lr"] == 0.02
    assert [m.out_features for m in align.classifier if isinstance(m, nn.Linear)] == [128, 64, 3]
    assert "placebo" in repr(align)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"form": "both"}, "form"), ({"strength": -1}, "strength"), ({"inner_steps": 0}, "inner_steps")],
)
def test_settings_that_make_no_sense_are_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        Alignment(4, 2, **settings)
    with pytest.raises(ConfigError, match="ada_inner_steps"):
        TrainConfig(ada_inner_steps=0)
