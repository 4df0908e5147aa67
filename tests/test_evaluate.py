"""Evaluation sees the run's own test people and counts right; a run's folder is all that prediction needs."""

import dataclasses
import shutil

import pytest
import torch
from toy_faces import CLASSES, toy_config, toy_sets, unhooked

from mtl_lib import tasks
from mtl_lib.errors import CheckpointError, ConfigError, DataError
from mtl_lib.evaluate import evaluate, load_run, predict
from mtl_lib.landmarks import nme
from mtl_lib.train import fit

SETS = toy_sets(count=120)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    config = toy_config(width=4, steps=30, batch_size=16, validate_every=15, log_every=10)
    fit(config, SETS, out=out, progress=False, accelerator="cpu")
    return out


def test_measures_equal_those_counted_from_the_predictions(run):
    model = load_run(run)
    test = tasks.split_sets(model.config, SETS)["test"]
    found = evaluate(run, SETS)
    said = predict(model, test["expression"].images)
    names = [CLASSES[i] for i in test["expression"].labels.tolist()]
    right = [a == b for a, b in zip(said.expressions(), names, strict=True)]
    assert found.expression_faces == len(right)
    assert found.accuracy == pytest.approx(100 * sum(right) / len(right))
    for name, (rate, count) in found.recall.items():
        of_class = [hit for hit, true in zip(right, names, strict=True) if true == name]
        assert (rate, count) == (pytest.approx(100 * sum(of_class) / len(of_class)), len(of_class))
    assert found.macro_recall == pytest.approx(sum(r for r, _ in found.recall.values()) / len(found.recall))
    assert found.confusion.sum() == len(right) and found.confusion.trace() == sum(right)

    points = predict(model, test["landmarks"].images).landmarks
    per_face = nme(points, test["landmarks"].landmarks)
    torch.testing.assert_close(found.nme_per_face, per_face)
    assert found.nme == pytest.approx(per_face.mean().item())
    train = tasks.split_sets(model.config, SETS)["train"]["landmarks"].landmarks
    mean_shape = train.mean(0).expand_as(points)
    expected = nme(mean_shape, test["landmarks"].landmarks).mean().item()
    assert found.mean_shape_nme == pytest.approx(expected, rel=1e-4)


def test_the_table_holds_the_measures_beside_what_they_must_beat(run):
    found = evaluate(run, SETS)
    text = str(found)
    numbers = [f"{value:.1f}" for value in (found.accuracy, found.macro_recall, found.majority_rate)]
    for part in [*numbers, f"{found.nme:.2f}", f"{found.mean_shape_nme:.2f}", *CLASSES, "test people"]:
        assert part in text
    assert set(found.measures()) == {
        "accuracy", "macro_recall", "majority_rate", "nme", "nme_ocular", "mean_shape_nme",
    }  # fmt: skip


def test_predictions_are_per_picture_and_need_only_the_folder(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "elsewhere")
    images = SETS["landmarks"].images[:7]
    before, after = predict(load_run(run), images), predict(load_run(moved), images)
    assert torch.equal(before.landmarks, after.landmarks)
    assert torch.equal(before.probabilities, after.probabilities)
    torch.testing.assert_close(before.probabilities.sum(1), torch.ones(7))
    alone = predict(load_run(run), images[3:4])
    torch.testing.assert_close(alone.landmarks[0], before.landmarks[3], atol=1e-3, rtol=1e-4)


def test_best_and_last_are_told_apart(run):
    assert load_run(run, "last").step == 30
    assert load_run(run, "best").step in (15, 30)
    assert evaluate(run, SETS, which="last").checkpoint == "last"


def test_the_parts_are_disjoint_and_all_is_everything(run):
    parts = {part: evaluate(run, SETS, part=part) for part in (*tasks.PARTS, "all")}
    for kind in ("expression_faces", "landmark_faces"):
        counts = {part: getattr(found, kind) for part, found in parts.items()}
        assert counts["all"] == 120 == sum(counts[part] for part in tasks.PARTS)


def test_other_faces_are_refused_unless_all_are_asked_for(run):
    other = toy_sets(count=24, seed=9)
    with pytest.raises(DataError, match="made with other faces for 'expression'"):
        evaluate(run, other)
    with pytest.raises(DataError, match="given: expression"):
        evaluate(run, {"expression": SETS["expression"]})
    assert evaluate(run, other, part="all").expression_faces == 24
    renamed = {"expression": dataclasses.replace(other["expression"], classes=("x", "y", "z"))}
    with pytest.raises(DataError, match="has the classes"):
        evaluate(run, renamed, part="all")


def test_a_single_task_run_measures_its_task_alone(tmp_path):
    config = toy_config(tasks=("landmarks",), steps=2)
    fit(config, SETS, out=tmp_path / "run", progress=False, accelerator="cpu")
    found = evaluate(tmp_path / "run", SETS)
    assert found.accuracy is None and found.nme is not None and "expression" not in str(found)
    said = predict(load_run(tmp_path / "run"), SETS["landmarks"].images[:2])
    assert said.probabilities is None and said.expressions() == [] and said.landmarks.shape == (2, 68, 2)


def test_bad_requests_are_named(run, tmp_path):
    with pytest.raises(CheckpointError, match="there is no such run"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"best\.safetensors: no such checkpoint"):
        load_run(tmp_path)
    with pytest.raises(DataError, match=r"need \(N, 1, 32, 32\)"):
        predict(load_run(run), torch.zeros(2, 1, 48, 48, dtype=torch.uint8))
    plain = unhooked("mtl_lib/evaluate.py")
    with pytest.raises(ConfigError, match="'best' or 'last'"):
        plain.load_run(run, "newest")
    with pytest.raises(ConfigError, match="train, validation, test, all"):
        plain.evaluate(run, SETS, part="holdout")
