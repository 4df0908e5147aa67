"""The loop does what the paper's equations say, and a run that was interrupted ends in the same bits."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
from pathlib import Path

import plain_run
import pytest
import torch
from toy_faces import toy_config, toy_sets, unhooked
from two_processes import Watched

from mtl_lib import tasks
from mtl_lib.adversary import ganin_ramp
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.errors import CheckpointError, ConfigError, DataError, DivergenceError, Interrupted
from mtl_lib.evaluate import load_run
from mtl_lib.loaders import Batch, TaskBatches
from mtl_lib.processes import shard
from mtl_lib.train import fit, learning_rate, read_log

SETS = toy_sets()


def run(out, config=None, sets=SETS, **arguments):
    return fit(config or toy_config(), sets, out=out, progress=False, accelerator="cpu", **arguments)


def weights(out, name="last", start=""):
    tensors, _ = load_checkpoint(Path(out) / f"{name}.safetensors")
    return {key: value for key, value in tensors.items() if key.startswith(start)}


def assert_same_run(a, b):
    for name in ("last", "best"):
        one, two = weights(a, name), weights(b, name)
        assert one.keys() == two.keys()
        for key in one:
            assert torch.equal(one[key], two[key]), (name, key)

    def told(out):
        timing = ("steps_per_second", "seconds_left", "memory")
        lines = [line for line in read_log(out) if line["event"] in ("train", "validation")]
        return [{k: v for k, v in line.items() if k not in timing} for line in lines]

    assert told(a) == told(b)


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of each kind, made when first asked for."""
    runs = {}

    def get(**overrides):
        key = json.dumps(overrides)
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("whole") / "run"
            run(runs[key], toy_config(**overrides))
        return runs[key]

    return get


# ------------------------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_resume_after_a_crash_equals_the_uninterrupted_run(tmp_path, whole, step):
    def crash(done):
        if done == step:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "run", on_step=crash)
    result = run(tmp_path / "run", resume=True)
    assert result.finished and result.step == 8
    assert_same_run(tmp_path / "run", whole())


@pytest.mark.parametrize(
    "overrides",
    [
        {"pinned": True, "gamma": 0.3},
        {"norm": "tucker", "init": "independent", "schedule": "constant", "momentum": 0.0},
        {"tasks": ("landmarks",), "channels_last": False, "clip": 0.5, "landmark_loss": "l2"},
    ],
)
def test_resume_is_exact_for_other_settings_too(tmp_path, whole, overrides):
    def crash(done):
        if done == 5:
            raise Crash

    config = toy_config(**overrides)
    with pytest.raises(Crash):
        run(tmp_path / "run", config, on_step=crash)
    run(tmp_path / "run", dataclasses.replace(config, save_every=2), resume=True)
    assert_same_run(tmp_path / "run", whole(**overrides))


def test_ctrl_c_ends_after_the_step_with_a_checkpoint(tmp_path, whole):
    def interrupt(done):
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    result = run(tmp_path / "run", on_step=interrupt)
    assert not result.finished and result.step == 5 and result.signal == signal.SIGINT
    with pytest.raises(Interrupted, match="stopped at step 5"):
        result.completed()
    assert load_checkpoint(tmp_path / "run/last.safetensors")[1]["step"] == 5
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    result = run(tmp_path / "run", resume=True)
    assert result.finished and result.completed() is result
    assert_same_run(tmp_path / "run", whole())


def test_resuming_a_finished_run_changes_nothing(tmp_path, whole):
    before = weights(whole())
    result = run(whole(), resume=True)
    assert result.finished and result.step == 8 and result.validation
    assert all(torch.equal(before[key], value) for key, value in weights(whole()).items())


# --------------------------------------------------------------------------------------- what a step does


def stacked(out):
    """Layer -> [T, n] in float64."""
    found = weights(out, start="model/net.trunk.nets.")
    layers = {key.split(".", 4)[4] for key in found if found[key].ndim == 4}
    nets = {key.split(".")[3] for key in found}
    return {
        layer: torch.stack(
            [found[f"model/net.trunk.nets.{t}.{layer}"].flatten().double() for t in sorted(nets)]
        )
        for layer in layers
    }


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


# --------------------------------------------------------------------------- what is looked at, and chosen


def test_a_run_stops_when_the_validation_score_has_not_risen_for_long_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "score", lambda measures: 1.0)
    config = toy_config(steps=60, validate_every=2, save_every=2, patience=3)
    result = run(tmp_path / "run", config)
    assert result.finished and result.best_step == 2 and result.step == 2 + 3 * 2
    assert load_checkpoint(tmp_path / "run/last.safetensors")[1]["step"] == 8
    again = run(tmp_path / "run", config, resume=True)
    assert again.finished and again.step == 8

    def crash(done):
        if done == 5:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "cut", config, on_step=crash)
    assert run(tmp_path / "cut", config, resume=True).step == 8
    assert_same_run(tmp_path / "run", tmp_path / "cut")


def test_the_log_holds_what_every_layer_shares(tmp_path):
    run(tmp_path / "run", toy_config(steps=4, gamma=0.3, init="independent", ada=0.0))
    log = read_log(tmp_path / "run")
    start, first, last = log[0], log[1], log[-2]
    assert (start["event"], first["event"], last["event"]) == ("start", "layers", "validation")
    assert first["layers"]["tndr"] == [1.0] * 9
    networks = stacked(tmp_path / "run")
    config = toy_config(init="independent", ada=0.0)
    before = tasks.Networks(config, tasks.make_tasks(config, SETS)).net.stacks()
    for i, layer in enumerate(start["layers"]):
        rows = networks[layer]
        values, old = (
            torch.linalg.svdvals(w)
            for w in (rows, torch.stack([w.detach().flatten().double() for w in before[layer]]))
        )
        cosine = torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0)
        expected = {
            "cosine": cosine,
            "scale_free": values.sum() / rows.norm(),
            "tndr": values.sum() / old.sum(),
        }
        for name, value in expected.items():
            assert last["layers"][name][i] == pytest.approx(value.item(), abs=2e-6), (layer, name)


def test_tensorboard_reads_the_log_also_after_a_crash(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def crash(done):
        if done == 5:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "run", on_step=crash, tensorboard=True)
    run(tmp_path / "run", resume=True, tensorboard=True)
    seen = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    seen.Reload()
    log = read_log(tmp_path / "run")
    for event, name in (("train", "loss"), ("train", "penalty"), ("validation", "landmarks/nme")):
        told = [(line["step"], line[name]) for line in log if line["event"] == event]
        found = [(e.step, e.value) for e in seen.Scalars(f"{event}/{name}")]
        assert [step for step, _ in found] == [step for step, _ in told]
        assert [value for _, value in found] == pytest.approx([value for _, value in told])
    cosine = [line["layers"]["cosine"][2] for line in log if line["event"] == "validation"]
    assert [e.value for e in seen.Scalars("validation/layers/cosine/03")] == pytest.approx(cosine)


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


def test_the_test_people_are_never_looked_at(tmp_path, whole):
    index = tasks.split_faces([SETS[name] for name in sorted(SETS)], toy_config().fractions, 0)
    altered = {}
    for name, (_, _, test) in zip(sorted(SETS), index, strict=True):
        faces = SETS[name]
        images = faces.images.clone()
        images[test] = 255 - images[test]
        points = None if faces.landmarks is None else faces.landmarks.clone()
        if points is not None:
            points[test] += 5
        altered[name] = dataclasses.replace(faces, images=images, landmarks=points)
    run(tmp_path / "run", sets=altered)
    assert_same_run(tmp_path / "run", whole())


def test_the_best_checkpoint_is_the_best_on_validation(tmp_path):
    config = toy_config(steps=12, validate_every=2, lr=0.3)
    result = run(tmp_path / "run", config)
    seen = [line for line in read_log(tmp_path / "run") if line["event"] == "validation"]
    assert len(seen) == 6
    for line in seen:
        assert line["score"] == line["expression/macro_recall"] - line["landmarks/nme"]
    best = max(seen, key=lambda line: line["score"])
    assert result.best_step == best["step"] == load_checkpoint(tmp_path / "run/best.safetensors")[1]["step"]
    assert {key: best[key] for key in result.validation} == result.validation


def test_single_task_and_joint_runs_have_the_same_test_people():
    both = tasks.split_sets(toy_config(), SETS)
    alone = tasks.split_sets(toy_config(tasks=("landmarks",)), SETS)
    for part in tasks.PARTS:
        assert alone[part]["landmarks"].persons == both[part]["landmarks"].persons
        people = {p: {x for f in both[p].values() for x in f.persons} for p in tasks.PARTS}
    assert not people["train"] & people["test"] and not people["train"] & people["validation"]


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


# ------------------------------------------------------------------------------------------- what goes wrong


def test_divergence_is_reported_and_the_last_good_state_kept(tmp_path):
    out = tmp_path / "run"

    def spoil(done):
        if done == 5:  # step 6 divides by it
            spoiled.networks.net.heads[0].weight.data[0, 0] = math.nan

    from mtl_lib import train

    made = train.Run.__init__

    def remember(self, *arguments):
        nonlocal spoiled
        made(self, *arguments)
        spoiled = self

    spoiled = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "__init__", remember)
        with pytest.raises(DivergenceError, match=r"step 6.*last\.safetensors.*smaller lr"):
            run(out, on_step=spoil)
    tensors, meta = load_checkpoint(out / "last.safetensors")
    assert meta["step"] == 4
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    assert run(out, resume=True).finished


def test_a_learning_rate_far_too_large_diverges_with_one_message(tmp_path):
    with pytest.raises(DivergenceError, match="not finite"):
        run(tmp_path / "run", toy_config(lr=1e30, steps=20))
    assert (
        all(v.isfinite().all() for v in weights(tmp_path / "run").values() if v.is_floating_point())
        if (tmp_path / "run/last.safetensors").exists()
        else True
    )


def test_a_loss_that_explodes_is_divergence_before_it_is_infinite(tmp_path, monkeypatch):
    from mtl_lib import train

    monkeypatch.setattr(train, "EXPLODED", 1.2)
    config = toy_config(lr=0.5, momentum=0.0, gamma=0.0, steps=40)
    with pytest.raises(DivergenceError, match="times the first"):
        run(tmp_path / "run", config)
    losses = [line["loss"] for line in read_log(tmp_path / "run") if line["event"] == "train"]
    assert losses and all(loss <= 1.2 * losses[0] for loss in losses)  # the last line was not written


def test_a_folder_with_a_run_is_not_overwritten(tmp_path, whole):
    before = weights(whole())
    with pytest.raises(ConfigError, match="holds a run already"):
        run(whole())
    assert all(torch.equal(before[key], value) for key, value in weights(whole()).items())


def test_resuming_with_other_settings_or_faces_is_refused(whole):
    with pytest.raises(CheckpointError, match=r"gamma: 0\.01 -> 0\.2"):
        run(whole(), toy_config(gamma=0.2), resume=True)
    with pytest.raises(CheckpointError, match="made with other faces for 'expression'"):
        run(whole(), sets=toy_sets(seed=1), resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    run(tmp_path / "run", toy_config(steps=3))
    path = tmp_path / "run/last.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"last\.safetensors: damaged"):
        run(tmp_path / "run", toy_config(steps=3), resume=True)


def test_faces_that_do_not_serve_the_task_are_named(tmp_path):
    with pytest.raises(DataError, match="no faces for the task 'landmarks'"):
        run(tmp_path / "a", sets={"expression": SETS["expression"]})
    with pytest.raises(DataError, match="'stripes' has no landmarks"):
        run(tmp_path / "b", sets={"expression": SETS["expression"], "landmarks": SETS["expression"]})
    with pytest.raises(DataError, match="32 pixels; the configuration says 48"):
        run(tmp_path / "c", toy_config(pixels=48))
    assert not any((tmp_path / name).exists() for name in "abc")


def test_devices_and_precisions_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ConfigError, match="32-true"):
        run(tmp_path / "a", toy_config(precision="16-mixed"))
    with pytest.raises(ConfigError, match="quantum"):
        fit(toy_config(), SETS, out=tmp_path / "b", accelerator="quantum")


def test_brain_float_runs_on_a_cpu_with_float32_weights(tmp_path):
    assert run(tmp_path / "run", toy_config(precision="bf16-mixed", steps=2)).finished
    assert {v.dtype for k, v in weights(tmp_path / "run", start="model").items() if "num_b" not in k} == {
        torch.float32
    }


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_resume_on_a_gpu(tmp_path, precision):
    config = toy_config(precision=precision)
    fit(config, SETS, out=tmp_path / "whole", accelerator="cuda", progress=False)

    def crash(done):
        if done == 5:
            raise Crash

    with pytest.raises(Crash):
        fit(config, SETS, out=tmp_path / "run", accelerator="cuda", progress=False, on_step=crash)
    assert fit(config, SETS, out=tmp_path / "run", accelerator="cuda", progress=False, resume=True).finished
    one, two = weights(tmp_path / "whole", start="model"), weights(tmp_path / "run", start="model")
    for key in one:
        # A GPU adds in an order that may vary; bits are promised on the CPU only.
        torch.testing.assert_close(one[key], two[key], rtol=1e-2, atol=1e-3)


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
