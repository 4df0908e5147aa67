"""The TNDR experiment: what the measure can be predicted to be without data, and what the record says of a run."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from toy_faces import toy_sets

from mtl_lib.backbones import resnet34
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.errors import DataError
from mtl_lib.experiments.tndr import (
    ARMS,
    PULL,
    SHARES,
    TNDR,
    arm_config,
    curve_of,
    jobs,
    looks,
    null_run,
    profile,
    recorded_curve,
    scale,
    stages,
    summary,
    watch,
)
from mtl_lib.ledger import Entry
from mtl_lib.run_folder import LAST, read_log
from mtl_lib.sharing_curves import SharingCurve, null_tndr, snapshot, taken
from mtl_lib.train import fit

BUDGETS = ("smoke", "cpu", "t4", "full")


def flat(weights) -> np.ndarray:
    return np.stack([w.detach().double().flatten().numpy() for w in weights])


def small(**settings) -> TrainConfig:
    values = {
        "width": 2,
        "blocks": (1, 1, 1, 1),
        "steps": 30,
        "lr": 0.05,
        "gamma": 0.05,
        "seed": 3,
        **settings,
    }
    return TrainConfig(**values)


# The null curve


@pytest.mark.parametrize("init", ("same", "independent"))
@pytest.mark.parametrize("kernel_init", ("fan_in", "fan_out", "equal"))
def test_without_data_tndr_is_what_the_initial_singular_values_say(init, kernel_init):
    config = small(init=init, kernel_init=kernel_init)
    curve, start = null_run(config)
    for step, found in zip(curve.steps, curve.tndr, strict=True):
        np.testing.assert_allclose(found, null_tndr(start, taken(config, int(step))), atol=2e-6)
    assert 0.1 < curve.tndr[-1].min() < 0.97  # something has happened, and nothing has come to an end


def test_without_data_the_penalty_leaves_all_directions_where_they_were():
    curve, _ = null_run(small(init="independent"))
    np.testing.assert_allclose(curve.cosine, np.broadcast_to(curve.cosine[0], curve.cosine.shape), atol=0.05)
    assert np.abs(curve.cosine[-1]).max() < 0.5


def test_what_is_taken_follows_a_simulated_optimiser():
    config = small(schedule="cosine", warmup=4, gamma_schedule="linear", gamma_end=0.01, momentum=0.7)
    weight = nn.Parameter(torch.tensor([100.0], dtype=torch.float64))
    optimiser = torch.optim.SGD([weight], lr=1.0, momentum=0.7)
    for step in range(config.steps):
        # Both schedules written out once more.
        gamma = 0.05 + (0.01 - 0.05) * step / 30
        rate = 0.05 * min(1.0, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / 30))
        optimiser.param_groups[0]["lr"] = rate
        weight.grad = torch.full_like(weight, gamma)
        optimiser.step()
    assert taken(config) == pytest.approx(100.0 - weight.item(), rel=1e-9)


def test_the_norm_only_null_takes_from_the_tasks_norms():
    config = small(norm="norm_only", init="independent")
    curve, _ = null_run(config)
    after = curve.norms[-1]
    # The same length off every kernel: what is left, times the initial norm, plus s, is the initial norm.
    start = taken(config) / (1 - after)
    assert start.min() > 0 and np.ptp(start[0]) / start.mean() < 1.0
    trunk_norms = snapshot(fresh_stacks(config)).norms
    np.testing.assert_allclose(start, trunk_norms, rtol=1e-4)


def fresh_stacks(config):
    from mtl_lib.trunks import make_trunk

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_trunk(config, 2)[0].stacks()


def test_one_norm_for_all_kernels_makes_the_null_curve_flat_and_changes_no_output():
    torch.manual_seed(0)
    usual = resnet34(width=4, init="fan_in")
    torch.manual_seed(0)
    equal = resnet34(width=4, init="equal")
    lengths = [m.weight.norm().item() for m in equal.modules() if isinstance(m, nn.Conv2d)]
    assert max(lengths) / min(lengths) == pytest.approx(1, abs=1e-5)
    x = torch.randn(6, 1, 48, 48)
    torch.testing.assert_close(usual.train()(x), equal.train()(x), atol=2e-3, rtol=2e-3)
    curve, _ = null_run(small(kernel_init="equal", init="same"))
    assert np.ptp(curve.tndr[-1]) < 1e-5
    assert np.ptp(null_run(small(init="same"))[0].tndr[-1]) > 0.04


# Curves


def test_a_snapshot_holds_what_a_plain_decomposition_finds():
    torch.manual_seed(1)
    stacks = {"a": [torch.randn(3, 2, 3, 3) for _ in range(3)], "b": [torch.randn(4, 5) for _ in range(3)]}
    found = snapshot(stacks)
    for i, weights in enumerate(stacks.values()):
        rows = flat(weights)
        np.testing.assert_allclose(found.sigma[i], np.linalg.svd(rows, compute_uv=False), rtol=1e-6)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        pairs = [unit[0] @ unit[1], unit[0] @ unit[2], unit[1] @ unit[2]]
        assert found.cosine[i] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_shrinking_moves_tndr_and_nothing_that_is_free_of_scale():
    torch.manual_seed(2)
    first = [torch.randn(4, 3), torch.randn(4, 3)]
    curve = SharingCurve.of([(0, snapshot({"a": first})), (1, snapshot({"a": [0.3 * w for w in first]}))])
    assert curve.tndr[1, 0] == pytest.approx(0.3, abs=1e-6)
    assert curve.cosine[1, 0] == pytest.approx(curve.cosine[0, 0], abs=1e-6)
    assert curve.ratio[1, 0] == pytest.approx(curve.ratio[0, 0], abs=1e-6)


def test_opposite_kernels_are_rank_one():
    w = torch.randn(4, 3)
    found = snapshot({"a": [w, -2 * w]})
    assert found.cosine[0] == pytest.approx(-1, abs=1e-6) and found.sigma[0, 1] < 1e-6


def test_a_curve_survives_its_file_to_a_thousandth():
    torch.manual_seed(3)
    shots = [
        (s, snapshot({"a": list(torch.randn(2, 5, 3)), "b": list(torch.randn(2, 4, 2))})) for s in (0, 7, 9)
    ]
    curve = SharingCurve.of(shots)
    again = SharingCurve.from_json(json.loads(curve.to_json()))
    assert again.layers == ("a", "b") and again.steps.tolist() == [0, 7, 9]
    for name in ("tndr", "cosine", "ratio", "norms"):
        np.testing.assert_allclose(getattr(again, name), getattr(curve, name), atol=0.00051)


def test_a_damaged_curve_is_refused():
    curve = SharingCurve.of([(0, snapshot({"a": list(torch.ones(2, 3))}))])
    values = json.loads(curve.to_json())
    with pytest.raises(DataError, match="no curve"):
        SharingCurve.from_json({key: value for key, value in values.items() if key != "cosine"})
    with pytest.raises(DataError, match="2 steps"):
        SharingCurve.from_json({**values, "steps": [0, 1]})
    with pytest.raises(DataError, match="no snapshots"):
        SharingCurve.of([])
    with pytest.raises(DataError, match="'b' is zero"):
        SharingCurve.of([(0, snapshot({"a": [torch.ones(2)], "b": [torch.zeros(2)]}))])


def test_a_recorded_curve_is_read_back_and_a_missing_one_is_named(tmp_path):
    curve = SharingCurve.of([(0, snapshot({"a": list(torch.ones(2, 3))}))])
    entry = Entry(
        experiment="tndr", method="laf", seed=0, tier="open", budget="cpu", metrics={}, config={}, device="CPU",
        seconds=1.0, memory=1.0, code="0", files={"curve": "tndr/it.json"},
    )  # fmt: skip
    with pytest.raises(DataError, match="missing"):
        recorded_curve(entry, tmp_path)
    (tmp_path / "tndr").mkdir()
    (tmp_path / "tndr" / "it.json").write_text(curve.to_json())
    assert recorded_curve(entry, tmp_path).tndr.tolist() == [[1.0]]


# Runs with data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of laf and one of norm_only, on a toy, with their curves."""
    found = {}
    for norm in ("laf", "norm_only"):
        out = tmp_path_factory.mktemp(norm)
        config = TrainConfig.for_budget(
            "smoke", norm=norm, gamma=0.3, lr=0.05, steps=30, width=2, pixels=32, validate_every=30, ada=0.0,
            init="independent", save_every=30,
        )  # fmt: skip
        fit(config, toy_sets(), out=out, accelerator="cpu", progress=False, watch=watch)
        found[norm] = out, curve_of(read_log(out))
    return found


def test_the_recorded_end_is_that_of_the_checkpoint(trained):
    for out, curve in trained.values():
        tensors, meta = load_checkpoint(out / LAST)
        assert curve.steps[-1] == meta["step"] == 30
        for i, layer in enumerate(curve.layers):
            rows = flat([tensors[f"model/net.trunk.nets.{t}.{layer}"] for t in (0, 1)])
            sigma, initial = np.linalg.svd(rows, compute_uv=False), tensors[f"kept/initial/{layer}"].item()
            assert curve.tndr[-1, i] == pytest.approx(sigma.sum() / initial, rel=1e-4)
            assert curve.ratio[-1, i] == pytest.approx(sigma[1] / sigma[0], abs=1e-4)


def test_the_control_shrinks_like_laf_and_shares_nothing(trained):
    laf, control = trained["laf"][1], trained["norm_only"][1]
    late = np.isin(
        stages(laf.layers), (2, 3, 4)
    )  # on the toy the others follow the tasks, whatever the penalty
    np.testing.assert_allclose(laf.tndr[-1, late], control.tndr[-1, late], atol=0.06)
    assert 0.5 < control.tndr[-1, late].min() and control.tndr[-1, late].max() < 0.9
    assert np.corrcoef(control.tndr[-1], control.norms[-1].mean(-1))[0, 1] > 0.98
    assert np.abs(control.cosine[-1, late]).max() < 0.15


def test_a_resumed_run_has_one_curve_without_gaps(tmp_path):
    config = TrainConfig.for_budget(
        "smoke", steps=8, width=2, pixels=32, validate_every=8, save_every=4, ada=0.0
    )
    options = {"out": tmp_path, "accelerator": "cpu", "progress": False, "watch": watch}

    class Stop(Exception):
        pass

    def killed(step):
        if step == 6:
            raise Stop

    with pytest.raises(Stop):
        fit(config, toy_sets(), **options, on_step=killed)
    fit(config, toy_sets(), **options, resume=True)
    assert curve_of(read_log(tmp_path)).steps.tolist() == looks(8)


# Arms and summaries


@pytest.mark.parametrize("budget", BUDGETS)
def test_arms_are_different_configurations_of_33_layers(budget, tmp_path):
    listed = jobs("open", budget, (0, 1), tmp_path)
    assert len({job.key for job in listed}) == 2 * len(ARMS)
    configs = {json.dumps(job.config, sort_keys=True) for job in listed}
    assert len(configs) == 2 * len(ARMS)
    for job in listed:
        config = TrainConfig.from_dict(job.config["train"])
        assert 1 + 2 * sum(config.blocks) == 33


@pytest.mark.parametrize("budget", BUDGETS)
def test_gamma_means_the_same_for_the_stem_at_every_budget(budget):
    config = TrainConfig.from_dict(arm_config("laf", "open", budget, 0)["train"])
    stem = (2 * config.width) ** 0.5
    # Momentum needs some steps to get going: with the 4 of "smoke" it has not.
    assert taken(config) / stem == pytest.approx(PULL, rel=0.9 if budget == "smoke" else 0.05)
    assert scale(budget)["gamma"] == config.gamma


def test_looks_begin_and_end_with_the_run_and_are_denser_at_its_start():
    assert looks(400)[0] == 0 and looks(400)[-1] == 400 and len(looks(400)) == len(SHARES)
    gaps = np.diff(looks(400))
    assert gaps[:5].max() < gaps[-5:].min()


def names() -> list[str]:
    return ["conv1.weight"] + [
        f"layer{s}.{b}.conv{c}.weight"
        for s, count in enumerate((3, 4, 6, 3), 1)
        for b in range(count)
        for c in (1, 2)
    ]


def test_a_summary_names_the_layers_of_the_figure_and_both_readings_of_a_block():
    depth = np.arange(33) / 33
    assert len(names()) == 33 and np.bincount(stages(names())).tolist() == [1, 6, 8, 12, 6]
    rising = profile(depth, names(), "x")
    assert rising["x_depth"] == pytest.approx(1) and rising["x_in_stage"] == pytest.approx(1)
    assert rising["x_in_block"] == pytest.approx(1 / 33)
    # Rises from stage to stage, falls within each: (i) and the paper's words in (ii) at once.
    saw = stages(names()) - 0.01 * np.arange(33)
    found = profile(saw, names(), "x")
    assert found["x_depth"] > 0.7 and found["x_in_stage"] == pytest.approx(-1)
    assert found["x_in_block"] == pytest.approx(-0.01)
    flat_one = profile(np.ones(33), names(), "x")
    assert flat_one["x_depth"] == flat_one["x_in_stage"] == 0


def test_a_summary_counts_signs_and_finds_what_norms_explain():
    torch.manual_seed(4)
    start = {name: list(torch.randn(2, 30)) for name in names()}
    factors = np.linspace(0.2, 0.9, 33)
    end = {n: [f * w for w in ws] for (n, ws), f in zip(start.items(), factors, strict=True)}
    end[names()[3]] = [end[names()[3]][0], -end[names()[3]][0]]
    end[names()[4]] = [end[names()[4]][0], 2 * end[names()[4]][0]]
    found = summary(SharingCurve.of([(0, snapshot(start)), (1, snapshot(end))]))
    assert (found["aligned"], found["opposite"], found["rank_one"]) == (1, 1, 2)
    assert found["tndr_layer10"] == pytest.approx(factors[9]) and found["norms_explain"] > 0.9
    assert found["tndr_depth"] > 0.9


def test_the_whole_experiment_runs_without_data(tmp_path):
    [job] = [j for j in jobs("synthetic", "smoke", (0,), tmp_path) if j.method == "null"]
    outcome = TNDR.run(job, tmp_path / "w", None, "cpu")
    assert outcome.metrics["prediction_error"] < 1e-4
    curve = SharingCurve.from_json(json.loads(outcome.files["curve"]))
    assert curve.tndr.shape == (5, 33)
    assert outcome.metrics["tndr_layer1"] == pytest.approx(curve.tndr[-1, 0], abs=0.001)
