"""What a run looks at and writes down on its way, and which of its states it keeps."""

import dataclasses

import pytest
import torch
from toy_faces import toy_config
from toy_runs import SETS, Crash, assert_same_run, run, stacked

from mtl_lib import tasks
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.train import read_log


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
