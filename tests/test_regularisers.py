"""Penalties beyond trace norms, their proximal steps, pinned norms and schedules, against independent answers."""

import pytest
import torch
from task_formulas import as_matrix, norm_only, weights
from torch import nn

from mtl_lib.config import TrainConfig, differences
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.regularisers import Regulariser, make_penalty, make_regulariser
from mtl_lib.sharing import soft_share
from mtl_lib.task_penalties import Deviation, NormOnly
from mtl_lib.trace_norm import TraceNormPenalty


def one_step(regulariser, stacks, optimiser, rate, pull=0.0):
    optimiser.zero_grad()
    for tensors in stacks.values():
        for w in tensors:
            w.grad = torch.full_like(w, pull)
    value = regulariser.add_gradient_(stacks)
    optimiser.step()
    regulariser.after_step_(stacks, rate)
    return value


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt", "norm_only", "deviation"])
def test_pinned_norms_stay_and_unpinned_ones_do_not(kind):
    for pinned in (True, False):
        stack = weights(2, (4, 3, 3, 3))
        config = TrainConfig(norm=kind, gamma=0.5, pinned=pinned)
        regulariser = make_regulariser(config, {"conv": stack})
        before = [w.norm().item() for w in stack]
        if kind == "deviation":  # equal tasks must be able to stay equal
            before = [sum(before) / 2] * 2
        optimiser = torch.optim.SGD(stack, lr=0.1, momentum=0.9)
        for _ in range(4):
            one_step(regulariser, {"conv": stack}, optimiser, 0.1, pull=0.3)
        same = [w.norm().item() for w in stack] == pytest.approx(before, rel=1e-6)
        assert same == pinned


def test_pinning_holds_without_a_penalty_and_spares_zeros():
    stacks = {"conv": weights(2), "fc": [nn.Parameter(torch.zeros(2))]}
    regulariser = make_regulariser(TrainConfig(sharing="single", pinned=True), stacks)
    before = [w.detach().clone() for w in stacks["conv"]]
    for w in stacks["conv"]:
        w.data *= 3
    assert regulariser.add_gradient_(stacks) == 0 and stacks["conv"][0].grad is None
    regulariser.after_step_(stacks, 0.1)
    for w, old in zip(stacks["conv"], before, strict=True):
        torch.testing.assert_close(w.detach(), old)
    assert stacks["fc"][0].tolist() == [0, 0]


def test_norm_only_by_proximal_steps_is_the_identity_when_pinned():
    stack = weights(2)
    before = as_matrix(stack)
    regulariser = Regulariser({"fc": stack}, NormOnly(100.0), "proximal", pinned=True)
    regulariser.after_step_({"fc": stack}, 1.0)
    torch.testing.assert_close(as_matrix(stack), before)


def test_a_proximal_step_with_momentum_is_as_long_as_the_subgradient_push():
    """A push whose direction does not change (norm-only): both ways, every length is the same at every step."""
    config = TrainConfig(
        norm="norm_only", gamma=0.3, gamma_end=0.1, gamma_schedule="linear", steps=6, momentum=0.8
    )
    stacks, lengths = {}, {}
    for step in ("subgradient", "proximal"):
        stacks[step] = {"fc": weights(2)}
        setting = TrainConfig.from_dict({**config.to_dict(), "penalty_step": step})
        regulariser = make_regulariser(setting, stacks[step])
        optimiser = torch.optim.SGD(stacks[step]["fc"], lr=0.05, momentum=0.8)
        lengths[step] = []
        for k in range(6):
            optimiser.param_groups[0]["lr"] = rate = 0.05 / (1 + k)
            one_step(regulariser, stacks[step], optimiser, rate)
            lengths[step] += [w.norm().item() for w in stacks[step]["fc"]]
    assert lengths["proximal"] == pytest.approx(lengths["subgradient"], rel=1e-9)


def test_the_laf_proximal_step_reaches_exact_rank_one_and_the_subgradient_does_not():
    ranks = {}
    for step in ("subgradient", "proximal"):
        stack = weights(2, (4, 4))
        regulariser = make_regulariser(TrainConfig(gamma=0.5, penalty_step=step), {"fc": stack})
        optimiser = torch.optim.SGD(stack, lr=0.1)
        while torch.linalg.svdvals(as_matrix(stack))[1] > 0.06:
            one_step(regulariser, {"fc": stack}, optimiser, 0.1)
        one_step(regulariser, {"fc": stack}, optimiser, 0.1)
        ranks[step] = torch.linalg.matrix_rank(as_matrix(stack), rtol=1e-9).item()
    assert ranks == {"subgradient": 2, "proximal": 1}


def test_gamma_follows_its_schedule():
    stack = weights(2)
    config = TrainConfig(norm="norm_only", gamma=0.0, gamma_end=1.0, gamma_schedule="linear", steps=2)
    regulariser = make_regulariser(config, {"fc": stack})
    values = []
    for _ in range(2):
        values.append(regulariser.add_gradient_({"fc": stack}).item())
        regulariser.after_step_({"fc": stack}, 0.0)
    assert values == pytest.approx([0.0, 0.5 * norm_only(as_matrix(stack)).item()])


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_a_configuration_chooses_the_papers_factor(kind):
    """Equal tasks: the shortest sub-gradient is the same for both, the paper's pulls them apart from each other."""
    stack = weights(1, (4, 3)) * 2
    stacks = {"fc": [nn.Parameter(w.detach().clone()) for w in stack]}
    for null in ("minimum", "full"):
        for w in stacks["fc"]:
            w.grad = None
        config = TrainConfig(norm=kind, gamma=0.5, penalty_null=null)
        make_regulariser(config, stacks).add_gradient_(stacks)
        own = [nn.Parameter(w.detach().clone()) for w in stack]
        TraceNormPenalty(kind, 0.5, null=null).add_gradient_({"fc": own})
        for w, v in zip(stacks["fc"], own, strict=True):
            assert torch.equal(w.grad, v.grad)
        first, second = (w.grad for w in stacks["fc"])
        assert torch.allclose(first, second, rtol=0, atol=1e-9) == (null == "minimum")


def test_the_default_is_the_shortest_subgradient_and_older_configurations_have_it():
    config = TrainConfig()
    older = {key: value for key, value in config.to_dict().items() if key != "penalty_null"}
    assert config.penalty_null == "minimum" and TrainConfig.from_dict(older) == config
    assert not differences(older, config.to_dict())
    assert differences(older, TrainConfig(penalty_null="full").to_dict()) == ["penalty_null: minimum -> full"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"penalty_null": "full", "penalty_step": "proximal"}, ["'full'", "'proximal'"]),
        ({"penalty_null": "full", "norm": "norm_only"}, ["'full'", "'norm_only'"]),
        ({"penalty_null": "full", "norm": "deviation"}, ["'full'", "'deviation'"]),
    ],
)
def test_settings_that_exclude_the_papers_factor(settings, says):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**settings)
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize("kind", ["laf", "norm_only", "deviation"])
def test_a_restored_regulariser_goes_on_to_the_last_bit(kind):
    config = TrainConfig(norm=kind, gamma=2.0, gamma_end=0.1, gamma_schedule="exponential", steps=9,
                         penalty_step="proximal", pinned=True)  # fmt: skip
    stack = weights(3, (4, 3))
    regulariser = make_regulariser(config, {"fc": stack})
    optimiser = torch.optim.SGD(stack, lr=0.1)
    for k in range(6):
        if k == 3:
            twin = [nn.Parameter(w.detach().clone()) for w in stack]
            other = make_regulariser(config, {"fc": twin})
            other.load_state({key: value.clone() for key, value in regulariser.state().items()})
            again = torch.optim.SGD(twin, lr=0.1)
        one_step(regulariser, {"fc": stack}, optimiser, 0.1, pull=0.2)
        if k >= 3:
            one_step(other, {"fc": twin}, again, 0.1, pull=0.2)
    assert all(torch.equal(a, b) for a, b in zip(stack, twin, strict=True))
    with pytest.raises(CheckpointError, match="pins"):
        Regulariser({"fc": stack}, Deviation(1.0)).load_state(regulariser.state())
    with pytest.raises(CheckpointError, match="pins"):
        make_regulariser(config, {"fc": stack[:2]}).load_state(regulariser.state())


def test_without_a_penalty_nothing_is_touched():
    for config in (TrainConfig(gamma=0.0), TrainConfig(sharing="hard")):
        stack = weights(2)
        regulariser = make_regulariser(config, {"fc": stack})
        before = as_matrix(stack)
        assert regulariser.add_gradient_({"fc": stack}) == 0 and regulariser.add_gradient_({}) == 0
        regulariser.after_step_({"fc": stack}, 0.1)
        assert torch.equal(as_matrix(stack), before) and all(w.grad is None for w in stack)


def test_logged_norms_are_those_of_the_kind_or_laf():
    stacks = soft_share(nn.Linear(4, 3), 2, init="independent").stacks()
    for kind, terms in (("tucker", 3), ("norm_only", 1), ("deviation", 1)):
        regulariser = make_regulariser(TrainConfig(norm=kind, gamma=0.1), stacks)
        found = regulariser.trace_norms(stacks)
        expected = TraceNormPenalty(kind if kind == "tucker" else "laf").terms(stacks)["weight"]
        assert len(found) == terms and torch.equal(found, expected)
        assert regulariser.measures(stacks)["weight"].cosine.shape == (2, 2)


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="no proximal step"):
        TrainConfig(norm="tt", penalty_step="proximal")
    with pytest.raises(ConfigError, match="no proximal step"):
        Regulariser({}, TraceNormPenalty("tucker", 0.1), "proximal")
    with pytest.raises(ConfigError, match="must be 'subgradient' or 'proximal'"):
        Regulariser({}, None, "newton")
    with pytest.raises(ConfigError, match="needs both above 0"):
        TrainConfig(gamma_schedule="exponential", gamma=1.0)
    with pytest.raises(ConfigError, match="one of laf, tucker, tt, norm_only, deviation"):
        make_penalty("ridge", 1.0)
    with pytest.raises(ConfigError, match="gamma is -1"):
        Deviation(-1.0)
    with pytest.raises(ConfigError, match="step_size is -1"):
        Deviation(1.0).prox_({}, -1.0)


def test_the_laf_step_over_many_layers_is_each_layers_own():
    """Layers are decomposed together: also of different sizes, layouts and numbers of tasks."""
    layers = {
        "a": weights(2, (4, 3), 1, torch.float32),
        "b": weights(3, (5, 2), 2, torch.float32),
        "c": [nn.Parameter(w.detach()[:, ::2]) for w in weights(2, (3, 4), 3, torch.float32)],
        "d": weights(2, (6,), 4),
        "e": weights(2, (2, 2, 3, 3), 5, torch.float32),
    }
    expected = {}
    for name, tensors in layers.items():
        u, s, v = torch.linalg.svd(as_matrix(tensors).double(), full_matrices=False)
        expected[name] = (u * (s - 0.8).clamp_min(0)) @ v
    TraceNormPenalty("laf", 2.0).prox_(layers, 0.4)
    for name, tensors in layers.items():
        torch.testing.assert_close(as_matrix(tensors).double(), expected[name], rtol=1e-5, atol=1e-6)
