"""The loop does what the paper's equations say."""

import dataclasses
import multiprocessing

import plain_run
import pytest
import torch
from toy_faces import toy_config, toy_sets, unhooked
from toy_runs import SETS, run, stacked, weights
from two_processes import Watched

from mtl_lib import tasks
from mtl_lib.adversary import ganin_ramp
from mtl_lib.config import TrainConfig
from mtl_lib.evaluate import load_run
from mtl_lib.loaders import Batch, TaskBatches
from mtl_lib.processes import shard
from mtl_lib.train import learning_rate, read_log


def test_the_penalty_adds_the_polar_factor_once_per_step(tmp_path):
    """After one plain SGD step the weights differ from those without penalty by -lr gamma U V^T."""
    settings = {"steps": 1, "momentum": 0.0, "schedule": "constant", "lr": 0.01, "init": "independent"}
    run(tmp_path / "without", toy_config(gamma=0.0, **settings))
    run(tmp_path / "with", toy_config(gamma=0.5, **settings))
    start = tasks.Networks(toy_config(**settings), tasks.make_tasks(toy_config(), SETS)).net.stacks()
    without, with_ = stacked(tmp_path / "without"), stacked(tmp_path / "with")
    assert set(without) == set(start) and len(start) == 9
    for layer, before in start.items():
        rows = torch.stack([w.detach().flatten().double() for w in before])
        u, _, vt = torch.linalg.svd(rows, full_matrices=False)
        expected = -0.01 * 0.5 * u @ vt
        torch.testing.assert_close(with_[layer] - without[layer], expected, rtol=1e-3, atol=1e-6)
    # Nothing but the stacked weights is touched by the penalty.
    one, two = weights(tmp_path / "without", start="model"), weights(tmp_path / "with", start="model")
    for key in one:
        if one[key].ndim != 4 and "running" not in key:
            assert torch.equal(one[key], two[key]), key


def test_without_penalty_and_adversary_a_task_trains_as_if_alone(tmp_path):
    settings = {"gamma": 0.0, "ada": 0.0}
    run(tmp_path / "both", toy_config(**settings))
    run(tmp_path / "alone", toy_config(tasks=("expression",), **settings))
    both, alone = weights(tmp_path / "both"), weights(tmp_path / "alone")
    compared = [key for key in alone if key.startswith("model/")]
    assert len(compared) > 50
    for key in compared:
        assert torch.equal(both[key], alone[key]), key


def test_the_penalty_shrinks_the_trace_norm_and_the_log_says_how_much(tmp_path):
    for gamma in (0.0, 0.5):
        run(tmp_path / str(gamma), toy_config(gamma=gamma, norm="tt"))
    norms = {gamma: read_log(tmp_path / str(gamma))[-2]["trace_norms"] for gamma in (0.0, 0.5)}
    assert len(norms[0.5]) == 4 and sum(norms[0.5]) < 0.98 * sum(norms[0.0])
    # The last TT unfolding is LAF's: its value again from the checkpoint, by SVD.
    laf = sum(torch.linalg.svdvals(rows).sum().item() for rows in stacked(tmp_path / "0.5").values())
    assert norms[0.5][-1] == pytest.approx(laf, rel=1e-5)


def test_pinned_norms_stay_and_unpinned_do_not(tmp_path):
    start = tasks.Networks(toy_config(), tasks.make_tasks(toy_config(), SETS)).net.stacks()
    norms = {layer: torch.stack([w.detach().double().norm() for w in ws]) for layer, ws in start.items()}
    for pinned in (True, False):
        run(tmp_path / str(pinned), toy_config(gamma=0.5, pinned=pinned))
        now = {layer: rows.norm(dim=1) for layer, rows in stacked(tmp_path / str(pinned)).items()}
        kept = [torch.allclose(now[layer], norms[layer], rtol=1e-5) for layer in norms]
        assert all(kept) if pinned else not any(kept)


def test_weight_decay_spares_stacked_weights_biases_and_norms(tmp_path):
    settings = {"steps": 1, "momentum": 0.0, "schedule": "constant"}
    run(tmp_path / "0", toy_config(**settings))
    run(tmp_path / "1", toy_config(weight_decay=0.5, **settings))
    a, b = weights(tmp_path / "0", start="model"), weights(tmp_path / "1", start="model")
    changed = {key for key in a if not torch.equal(a[key], b[key])}
    assert changed == {
        key
        for key in a
        if key.endswith("weight") and ("heads" in key or "classifier" in key) and a[key].ndim == 2
    }


def test_schedule_and_reversal_are_logged_as_they_were_used(whole):
    lines = [line for line in read_log(whole()) if line["event"] == "train"]
    assert [line["step"] for line in lines] == list(range(1, 9))
    for line in lines:
        step = line["step"] - 1
        assert line["lr"] == learning_rate(toy_config(), step)
        assert line["reversal"] == pytest.approx(0.1 * ganin_ramp(step / 8))
        weight = toy_config().landmark_weight
        parts = line["expression"] + weight * line["landmarks"] + line["domain"]
        assert line["loss"] == pytest.approx(parts, rel=1e-5)
    assert learning_rate(toy_config(schedule="constant"), 7) == toy_config().lr


def test_the_adversary_reaches_the_networks_with_reversed_sign(tmp_path):
    """One SGD step: the difference that ada makes to the trunks is proportional to ada and points up."""
    settings = {
        "steps": 1,
        "momentum": 0.0,
        "schedule": "constant",
        "lr": 0.01,
        "gamma": 0.0,
        "ada_ramp": False,
    }
    found = {}
    for ada in (1e-9, 1.0, 2.0):  # 1e-9, not 0: the classifier must exist
        run(tmp_path / str(ada), toy_config(ada=ada, **settings))
        found[ada] = weights(tmp_path / str(ada), start="model/net.trunk")
    keys = [key for key in found[1.0] if key.endswith("weight")]
    first = torch.cat([(found[1.0][key] - found[1e-9][key]).flatten() for key in keys]).double()
    second = torch.cat([(found[2.0][key] - found[1e-9][key]).flatten() for key in keys]).double()
    assert first.norm() > 1e-6
    torch.testing.assert_close(second, 2 * first, rtol=1e-2, atol=1e-3 * first.abs().max().item())

    # Independent gradient of the domain loss, at the same start and on the same pictures.
    config = toy_config(ada=1.0, **settings)
    from mtl_lib.run import LOOKS

    train = tasks.split_sets(config, SETS)["train"]
    batches = TaskBatches(train, 4, 0, "cpu", [LOOKS["flip"], LOOKS["full"]]).batch(0)
    networks = tasks.Networks(config, tasks.make_tasks(config, train))
    features = [networks.net.features(batch.images, t) for t, batch in enumerate(batches)]
    logits = networks.alignment.classifier(torch.cat(features))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0] * 4 + [1] * 4))
    parameters = [networks.get_parameter(key.removeprefix("model/")) for key in keys]
    ascent = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double()
    cosine = torch.nn.functional.cosine_similarity(first, ascent, dim=0)
    assert cosine > 0.999
    assert (first.norm() / ascent.norm()).item() == pytest.approx(0.01, rel=0.01)


def test_one_task_has_no_adversary(tmp_path):
    run(tmp_path / "run", toy_config(tasks=("landmarks",)))
    assert not any("alignment" in key for key in weights(tmp_path / "run"))
    assert "domain" not in next(line for line in read_log(tmp_path / "run") if line["event"] == "train")


def test_both_tasks_are_learnt(tmp_path):
    config = toy_config(width=4, steps=60, batch_size=16, validate_every=20, save_every=60, log_every=20)
    result = run(tmp_path / "run", config, toy_sets(count=120))
    assert result.validation["expression/macro_recall"] > 60  # chance is 33
    assert result.validation["landmarks/nme"] < 0.6 * result.validation["landmarks/mean_shape_nme"]


# ------------------------------------------------------------------------------- accumulation and schedules


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_micro_batches_equal_the_large_batch_without_batch_norm(tmp_path, accumulate):
    settings = {"batch_size": 8, "steps": 3, "gamma": 0.3, "ada": 1.0, "ada_ramp": False, "lr": 0.01}
    for each in (1, accumulate):
        config = toy_config(**settings, accumulate=each)
        Watched(without=True).fit(config, SETS, out=tmp_path / str(each))
    one, many = weights(tmp_path / "1"), weights(tmp_path / str(accumulate))
    for key, value in one.items():
        torch.testing.assert_close(
            many[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
        )
    for a, b in zip(*(read_log(tmp_path / str(each)) for each in (1, accumulate)), strict=True):
        if a["event"] == "train":
            for name in ("loss", "penalty", "expression", "landmarks", "domain"):  # of the whole batch
                assert b[name] == pytest.approx(a[name], rel=1e-4)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts_with_class_weights_too():
    task = tasks.Expression(("a", "b", "c"), torch.tensor([0.2, 1.0, 5.0]))
    batch = TaskBatches([SETS["expression"]], 12).batch(0)[0]
    output = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    parts = [shard([batch], i, 4)[0] for i in range(4)]
    losses = [task.loss(o, b) for o, b in zip(output.split(3), parts, strict=True)]
    torch.testing.assert_close(torch.stack(losses).mean(), task.loss(output, batch))


def test_rates_warm_up_and_fall():
    config = toy_config(lr=1.0, steps=40, warmup=4, schedule="step")
    rates = [learning_rate(config, step) for step in range(40)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[19:21] == pytest.approx([1.0, 0.1]) and rates[29:31] == pytest.approx([0.1, 0.01])
    half = [learning_rate(toy_config(lr=1.0, steps=40, warmup=4), step) for step in range(40)]
    assert max(half) == half[3] and half[3:] == sorted(half[3:], reverse=True)


@pytest.mark.slow
def test_a_compiled_run_equals_the_plain_one_up_to_rounding(tmp_path):
    settings = {"steps": 3, "lr": 0.01}
    run(tmp_path / "False", toy_config(**settings))
    # The compiler does not get along with the checks of type hints that are on here.
    process = multiprocessing.get_context("spawn").Process(
        target=plain_run.train, args=(tmp_path / "True", {**settings, "compile": True})
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    one, two = weights(tmp_path / "False", start="model"), weights(tmp_path / "True", start="model")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4)


def test_class_weights_are_what_they_are_called():
    labels = torch.tensor([0] * 8 + [1] * 2)
    faces = dataclasses.replace(
        SETS["expression"].select(range(10)), labels=labels, classes=("a", "b", "absent")
    )
    weighed = {}
    for kind in ("none", "sqrt", "balanced"):
        (task,) = tasks.make_tasks(
            toy_config(tasks=("expression",), class_weights=kind), {"expression": faces}
        )
        weighed[kind] = task.weights
        assert task.weights[labels].mean().item() == pytest.approx(1)
    assert weighed["none"][0] == weighed["none"][1] == 1
    assert (weighed["sqrt"][1] / weighed["sqrt"][0]).item() == pytest.approx(2)
    assert (weighed["balanced"][1] / weighed["balanced"][0]).item() == pytest.approx(4)
    assert weighed["balanced"][2] == 0


def test_a_run_leaves_random_numbers_and_precision_as_they_were(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    run(tmp_path / "run", toy_config(steps=2, tf32=False))
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_brain_float_runs_on_a_cpu_with_float32_weights(tmp_path):
    assert run(tmp_path / "run", toy_config(precision="bf16-mixed", steps=2)).finished
    assert {v.dtype for k, v in weights(tmp_path / "run", start="model").items() if "num_b" not in k} == {
        torch.float32
    }


def test_settings_of_the_presets_are_allowed():
    for budget in ("smoke", "cpu", "t4", "full"):
        config = TrainConfig.for_budget(budget)
        assert config.budget == budget and config.steps > 0
    full = unhooked("mtl_lib/config.py").TrainConfig.for_budget("full")
    assert (full.width, full.batch_size, full.lr, full.pixels) == (64, 256, 0.01, 96)  # the paper's


def test_landmarks_whitened_as_shapes_are_trained_by_the_mahalanobis_distance_and_read_back(tmp_path):
    faces = SETS["landmarks"]
    jitter = torch.randn(faces.landmarks.shape, generator=torch.Generator().manual_seed(0))
    sets = {**SETS, "landmarks": dataclasses.replace(faces, landmarks=faces.landmarks + jitter)}
    config = toy_config(tasks=("landmarks",), landmark_targets="shape", landmark_loss="l2")
    train = tasks.split_sets(config, sets)["train"]
    (task,) = tasks.make_tasks(config, train)
    points = train["landmarks"].landmarks
    moved = points.roll(1, 0)
    batch = Batch(train["landmarks"].images.float(), None, moved, torch.arange(len(points)))
    found = task.loss(task.scaler.transform(points), batch)
    # Independent of axes and spreads: the pseudo-inverse of the covariance.
    flat = points.double().flatten(1)
    precision = torch.linalg.pinv(torch.cov(flat.mT), rtol=1e-6)
    step = flat - moved.double().flatten(1)
    assert found.item() == pytest.approx(((step @ precision) * step).sum(1).mean().item() / 136, rel=1e-4)
    run(tmp_path / "run", config, sets)
    again = load_run(tmp_path / "run", "last", "cpu").tasks[0]
    assert torch.equal(again.scaler.axes, task.scaler.axes)
    assert torch.allclose(again.points(task.scaler.transform(points)), points, atol=1e-3)
