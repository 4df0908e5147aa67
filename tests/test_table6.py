"""Table 6's rows: subsets that hold together, errors in original pixels, controls that differ in one thing."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mtl_lib import cli
from mtl_lib.config import TrainConfig
from mtl_lib.errors import DataError
from mtl_lib.experiments.face_runs import face_sets, run_config
from mtl_lib.experiments.landmark_table import OWN, PAPER, subset_names, table6_text
from mtl_lib.experiments.rate_search import SEARCH_SEEDS
from mtl_lib.experiments.recorded import file_of
from mtl_lib.experiments.table6 import (
    ARMS,
    LIMITS,
    MEAN_SHAPE,
    in_original,
    measures,
    network_settings,
    run_row,
    search_jobs,
    subsets_of_test,
    table_jobs,
)
from mtl_lib.faces.camera import View
from mtl_lib.faces.crops import to_crop
from mtl_lib.faces.scene import sample_scene
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.faces.three_hundred_w import ThreeHundredW
from mtl_lib.faces.twins.three_hundred_w import write
from mtl_lib.landmark_subsets import HARD_SHARE, hard_poses, head_turn, pose_subsets
from mtl_lib.landmarks import flip_landmarks, nme
from mtl_lib.ledger import Entry, read, record
from mtl_lib.tasks import split_sets

ROOT = Path(__file__).parents[1]


def shapes(count: int = 300, **options) -> torch.Tensor:
    return View(sample_scene(torch.arange(count), style="wild", **options), 96).landmarks.double()


def test_the_turn_of_a_head_follows_the_renderers_yaw_and_nothing_else_of_the_picture():
    scene = sample_scene(torch.arange(400), style="wild", seed=1)
    points, yaw = View(scene, 96).landmarks.double(), scene.pose[:, 0].abs()
    turn = head_turn(points)
    ranks = [x.argsort().argsort().double() for x in (turn, yaw)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.98
    # In the mirror, enlarged, moved and laid on the shoulder it is the same head.
    angle = math.radians(25)
    rotation = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    for other in (flip_landmarks(points, 96), 3.7 * points - 20, points @ rotation.T):
        assert torch.allclose(head_turn(other), turn, atol=1e-9)
    straight = replace(scene, pose=torch.zeros_like(scene.pose))
    assert head_turn(View(straight, 96).landmarks.double()).max() < 0.1
    with pytest.raises(DataError, match="both eyes"):
        head_turn(torch.zeros(1, 68, 2))


def test_hard_poses_are_as_many_as_300_w_has_challenging_faces_and_the_furthest_turned():
    points = shapes(1000)
    hard = hard_poses(points)
    assert abs(hard.double().mean() - 135 / 689) < 0.002
    assert head_turn(points)[hard].min() > head_turn(points)[~hard].max()
    with pytest.raises(DataError, match="a share of 1.5"):
        hard_poses(points, 1.5)


def test_300_w_keeps_its_own_subsets(tmp_path):
    faces, _ = ThreeHundredW(write(tmp_path / "300w", pixels=48)).load("full", size=32)
    found = pose_subsets(faces)
    assert {name: int(mask.sum()) for name, mask in found.items()} == {"common": 8, "challenging": 5}
    assert torch.equal(found["challenging"], faces.extra["source"] == 5)  # the folder ibug
    with pytest.raises(DataError, match="has no landmarks"):
        pose_subsets(replace(faces, landmarks=None))


def test_the_full_set_is_the_mean_over_pictures_of_its_subsets():
    faces = synthetic_set(120, style="wild", size=48, labelled=False)
    predicted = (
        faces.landmarks
        + torch.randn(faces.landmarks.shape, generator=torch.Generator().manual_seed(0))
        * (1 + head_turn(faces.landmarks))[:, None, None]
    )
    numbers, curves = measures(predicted, faces, pose_subsets(faces))
    count = {name: numbers[f"count/{name}"] for name in ("easy", "hard", "full")}
    assert count["easy"] + count["hard"] == count["full"] == 120
    for metric in ("nme", "nme_ocular", "auc", "failures"):
        weighted = sum(numbers[f"{metric}/{name}"] * count[name] for name in ("easy", "hard")) / 120
        assert numbers[f"{metric}/full"] == pytest.approx(weighted, abs=1e-3), metric
    assert numbers["nme/hard"] > numbers["nme/easy"]
    errors = nme(predicted.double(), faces.landmarks.double(), "ocular")
    at = LIMITS.index(8.0)
    assert curves["full"][at] == pytest.approx(float((errors <= 8).double().mean()), abs=1e-4)
    assert 100 * (1 - curves["full"][at]) == pytest.approx(numbers["failures/full"], abs=0.01)
    assert all(a <= b for curve in curves.values() for a, b in zip(curve, curve[1:], strict=False))


def test_errors_are_measured_in_the_original_picture():
    original = shapes(6)
    crop = torch.tensor([[-20.0, 5.0, 130.0]] * 6)
    faces = synthetic_set(6, size=48)
    cropped = replace(
        faces, landmarks=to_crop(original, crop, 48).float(), extra={"crop": crop}, labels=None, classes=()
    )
    assert torch.allclose(in_original(cropped.landmarks, cropped), original, atol=1e-3)
    assert torch.equal(in_original(faces.landmarks, faces), faces.landmarks.double())


def test_controls_differ_from_their_row_in_one_thing_and_take_over_its_rate(tmp_path):
    for job in search_jobs("open", "cpu", SEARCH_SEEDS["cpu"], tmp_path):
        # Another rate is best for every row, and that of a control's row is not its neighbour's.
        place = {"laf": 0, "laf+ada": 2}.get(job.method.rpartition(".")[0], 1)
        error = 5.0 + abs(int(job.method[-1]) - place)
        record(
            Entry(
                experiment=job.experiment, method=job.method, seed=job.seed, tier="open", budget="cpu",
                metrics={"validation_nme": error}, config=dict(job.config), device="CPU", seconds=1.0, memory=1.0,
                code="0",
            ),
            tmp_path,
        )  # fmt: skip
    jobs = {job.method: job for job in table_jobs("open", "cpu", (0,), tmp_path)}
    assert set(jobs) == {MEAN_SHAPE, *ARMS}

    def differing(first: str, second: str) -> set[str]:
        one, other = (jobs[name].config["train"] for name in (first, second))
        return {name for name in one if one[name] != other[name]}

    assert differing("norm_only", "laf") == {"norm"}
    assert differing("laf+placebo", "laf+ada") == {"ada_placebo"}
    assert differing("single_l2", "single") == {"landmark_loss"}
    assert differing("single_shape", "single") == {"landmark_targets"}
    assert differing("laf+ada_l2", "laf+ada") == {"landmark_loss", "lr"}
    assert {jobs[name].config["train"]["lr"] for name in ("laf", "norm_only")} == {0.01}
    assert {jobs[name].config["train"]["lr"] for name in ("laf+ada", "laf+placebo")} == {0.1}
    splits = {str(job.config["train"]["split_seed"]) + str(job.config["subsets"]) for job in jobs.values()}
    assert len(splits) == 1


def test_subsets_of_the_test_follow_their_faces_through_the_split():
    config = TrainConfig.from_dict(
        run_config("synthetic", "smoke", 0, network_settings("single", "smoke"))["train"]
    )
    sets = {
        "expression": synthetic_set(120, size=32),
        "landmarks": synthetic_set(200, size=32, style="wild", labelled=False),
    }
    found = subsets_of_test(config, sets, HARD_SHARE)
    test = split_sets(config, sets)["test"]["landmarks"]
    limit = head_turn(sets["landmarks"].landmarks)[~hard_poses(sets["landmarks"].landmarks)].max()
    assert torch.equal(found["hard"], head_turn(test.landmarks) > limit)
    assert torch.equal(found["easy"], ~found["hard"])
    with pytest.raises(DataError, match="no test face of .* is hard"):
        subsets_of_test(config, sets, 1e-4)


def test_the_papers_numbers_are_those_of_its_table():
    with (ROOT / "data/paper/table6_landmark_300w.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    printed = {
        row["method"]: tuple(float(row[f"{name}_s{'ubs' if name != 'full' else ''}et"]) for name in ("common", "challenging", "full"))
        for row in rows
    }  # fmt: skip
    assert printed == PAPER
    assert {row["method"] for row in rows if not row["ref"]} == set(OWN)
    for common, challenging, full in PAPER.values():
        assert (554 * common + 135 * challenging) / 689 == pytest.approx(full, abs=0.01)


def test_no_column_of_the_table_runs_into_the_next():
    def runs(method, error):
        for seed in (0, 1, 2):
            numbers = {f"nme/{name}": error + seed / 9 for name in ("easy", "hard", "full")}
            yield Entry(
                experiment="table6", method=method, seed=seed, tier="open", budget="cpu", config={}, device="CPU",
                metrics={**numbers, "auc/full": 0.5, "failures/full": 99.9}, seconds=1.0, memory=1.0,
            )  # fmt: skip

    text = table6_text([*runs("single", 12.0), *runs("hard", 13.0), *runs(MEAN_SHAPE, 88.0)])
    assert "+76.00* +76.00 to +76.00" in text and not re.search(r"\d[+-]\d", text)
    assert max(map(len, text.splitlines())) <= 88
    # Hard poses are a column, hard sharing is a row, and each says which.
    assert re.findall(r"hard \S+", text) == ["hard poses", "hard sharing"] and text.count("hard") == 2


def test_the_command_sweeps_and_prints_it_and_the_curves_lie_beside_the_ledger(tmp_path, capsys):
    options = ["--tier", "synthetic", "--budget", "smoke"]
    methods = [MEAN_SHAPE, "single", "laf+ada"]
    where = ["--workspace", str(tmp_path / "runs"), "--accelerator", "cpu", "--methods", *methods]
    assert cli.main(["sweep", "table6", *options, *where]) == 0
    ledger = tmp_path / "runs/ledger"
    capsys.readouterr()
    assert cli.main(["table", "6", *options, "--ledger", str(ledger)]) == 0
    printed = capsys.readouterr().out
    assert "easy" in printed and "quoted by the paper" in printed and "4.64" in printed
    runs = read("table6", ledger)
    assert {run.method for run in runs} == set(methods)
    assert max(map(len, table6_text(runs).splitlines())) <= 88
    assert subset_names(runs) == ["easy", "hard", "full"]
    for run in runs:
        curves = file_of(run, "ced", ledger)
        at = curves["limits"].index(8.0)
        assert 100 * (1 - curves["full"][at]) == pytest.approx(run.metrics["failures/full"], abs=0.01)
        assert len(json.dumps(curves)) < 4000
    # The row without a network, counted again.
    job = next(j for j in table_jobs("synthetic", "smoke", (0,), ledger) if j.method == MEAN_SHAPE)
    sets = face_sets(job)
    parts = split_sets(TrainConfig.from_dict(job.config["train"]), sets)
    guess = parts["train"]["landmarks"].landmarks.mean(0)
    true = parts["test"]["landmarks"].landmarks
    expected = nme(guess.expand_as(true), true).mean()
    assert run_row(job, tmp_path, None, "cpu").metrics["nme/full"] == pytest.approx(float(expected), abs=1e-3)
