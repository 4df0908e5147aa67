"""Gradient reversal is exact, the ramp is Ganin's, and the domain loss does what Eq. (4) asks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mtl_lib.adversary import DomainClassifier, GradientReversal, domain_loss, ganin_ramp, reverse_gradient
from mtl_lib.errors import ConfigError


@pytest.mark.parametrize("coefficient", [0.0, 0.1, 1.0, 2.5, torch.tensor(0.25, dtype=torch.float64)])
def test_reversal_is_the_identity_and_minus_the_coefficient(coefficient):
    torch.manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, 4, dtype=torch.float64)
    y = reverse_gradient(x, coefficient)
    assert torch.equal(y, x)
    y.backward(upstream)
    assert torch.equal(x.grad, -coefficient * upstream)


def test_layer_follows_its_coefficient():
    layer = GradientReversal(1.0)
    layer.coefficient = 0.25
    x = torch.ones(2, requires_grad=True)
    layer(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([-0.25, -0.25]))
    assert "0.25" in repr(layer)


def test_ramp_is_the_formula_and_rises():
    points = [i / 20 for i in range(21)]
    values = [ganin_ramp(p) for p in points]
    assert values[0] == 0 and values == sorted(values) and values[-1] < 1
    # 2 / (1 + e^-x) - 1 is tanh(x / 2): the same curve by another route.
    assert values == pytest.approx([math.tanh(5 * p) for p in points])
    for bad in (-0.01, 1.01):
        with pytest.raises(ConfigError, match="progress"):
            ganin_ramp(bad)


def test_classifier_has_the_papers_sizes():
    layers = list(DomainClassifier(512, domains=3))
    assert [tuple(m.weight.shape) for m in layers[::2]] == [(128, 512), (64, 128), (3, 64)]
    # Logits come out of a linear layer: a final ReLU would forbid negative ones.
    assert [type(m) for m in layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    with pytest.raises(ConfigError, match="at least 2"):
        DomainClassifier(512, domains=1)


def test_equal_batches_give_the_plain_cross_entropy():
    torch.manual_seed(0)
    g = DomainClassifier(8, hidden=(6,), domains=3)
    parts = [torch.randn(4, 8) for _ in range(3)]
    loss, _ = domain_loss(g, parts)
    domains = torch.arange(3).repeat_interleave(4)
    torch.testing.assert_close(loss, F.cross_entropy(g(torch.cat(parts)), domains))


def test_repeating_one_tasks_batch_changes_nothing():
    torch.manual_seed(0)
    g = DomainClassifier(8, hidden=(6,))
    a, b = torch.randn(4, 8), torch.randn(3, 8)
    once, many = domain_loss(g, [a, b]), domain_loss(g, [a, b.repeat(5, 1)])
    torch.testing.assert_close(once, many)


def test_networks_ascend_and_the_classifier_descends():
    torch.manual_seed(0)
    g = DomainClassifier(4, hidden=(5,)).double()
    parts = [torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def gradients(make_loss):
        return torch.autograd.grad(make_loss(), [*parts, *g.parameters()])

    reversed_ = gradients(lambda: domain_loss(g, parts, coefficient=0.3)[0])
    y = torch.tensor([0] * 6 + [1] * 6)
    plain = gradients(lambda: F.cross_entropy(g(torch.cat(parts)).float(), y))
    for got, want in zip(reversed_[:2], plain[:2], strict=True):
        torch.testing.assert_close(got, -0.3 * want)
    for got, want in zip(reversed_[2:], plain[2:], strict=True):
        torch.testing.assert_close(got, want)


def test_descent_on_the_loss_confuses_the_classifier():
    """With the classifier held, steps on the features alone must raise its loss: the sign of Eq. (4)."""
    torch.manual_seed(0)
    g = DomainClassifier(2, hidden=(8,))
    features = [torch.randn(32, 2) + 1, torch.randn(32, 2) - 1]
    fit = torch.optim.Adam(g.parameters(), lr=0.05)
    for _ in range(30):
        fit.zero_grad()
        loss, accuracy = domain_loss(g, features, 0.0)
        loss.backward()
        fit.step()
    assert accuracy > 0.85
    moved = [f.clone().requires_grad_() for f in features]
    steps = torch.optim.SGD(moved, lr=0.5)
    before = loss.item()
    for _ in range(50):
        steps.zero_grad()
        loss, _ = domain_loss(g, moved, 1.0)
        loss.backward()
        steps.step()
    assert loss.item() > before + 0.1


def test_too_few_tasks_are_refused():
    g = DomainClassifier(2)
    with pytest.raises(ConfigError, match="at least 2"):
        domain_loss(g, [torch.ones(3, 2)])
    with pytest.raises(ConfigError, match="without features"):
        domain_loss(g, [torch.ones(3, 2), torch.ones(0, 2)])
