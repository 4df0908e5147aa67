"""Numbers of the text that no run has recorded: each is counted again from what it is about."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import torch
from listed_jobs import jobs_of
from torch.utils.flop_counter import FlopCounterMode

from mtl_lib.backbones import resnet34
from mtl_lib.config import TrainConfig
from mtl_lib.experiments.face_runs import FRACTIONS, data_settings, run_config
from mtl_lib.faces.rendered import rendered_faces
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.states import TABLE_2

ROOT = Path(__file__).parents[1]
SMALL = {"⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9"}


def numbers(page: str, pattern: str) -> list[float]:
    """The groups of a pattern, whose spaces are any white space, in a page; 10¹² is a number too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (found,) = re.finditer(pattern.replace(" ", r"\s+"), text)
    return [float(each.translate(str.maketrans(SMALL)).replace(" · 10", "e")) for each in found.groups()]


def test_the_runs_on_a_gpu_are_as_many_and_as_long_as_the_page_says(tmp_path):
    page = "chapters/appendix/computed.md"
    runs = numbers(page, r"there are (\d+) runs at `t4` and (\d+) at `full`")
    power = r"([\d.]+ · 10\S+)"
    operations = numbers(page, rf"about {power} operations at `t4` and {power} at `full`")
    hours, slow, fast = numbers(
        page, rf"is (\d+) hours at {power} operations a second, and a day at {power}\."
    )
    for budget, count, each, rate, expected in zip(
        ("t4", "full"), runs, operations, (slow, fast), (hours, 24.0), strict=True
    ):
        names = ("table4_search", "table4", "learning_curve", "landmark_front")
        assert count == sum(len(jobs_of(name, "open", budget, tmp_path)) for name in names)
        config = TrainConfig.from_dict(run_config("open", budget, 0, {})["train"])
        with FlopCounterMode(display=False) as counter:
            resnet34(width=config.width, blocks=config.blocks)(
                torch.zeros(1, 1, config.pixels, config.pixels)
            )
        pictures = 2 * config.batch_size * config.steps  # one batch for each task
        assert 3 * counter.get_total_flops() * pictures == pytest.approx(each, rel=0.05)
        assert count * each / rate / 3600 == pytest.approx(expected, rel=0.05)


def test_the_settings_of_the_two_kinds_of_a_budget_are_the_packages():
    width, pixels, same, steps = numbers(
        "chapters/appendix/computed.md", r"`TrainConfig` \(width (\d+), (\d+) x (\d+), (\d+) steps"
    )
    preset = TrainConfig.for_budget("cpu")
    assert (width, pixels, same, steps) == (preset.width, preset.pixels, preset.pixels, preset.steps)
    assert numbers("chapters/appendix/predict.md", r"ResNet-34 for (\d+) steps") == [steps]


def test_the_long_run_took_the_time_that_the_pages_say():
    lines = (ROOT / "data/results/run_open_faces.jsonl").read_text(encoding="utf-8").splitlines()
    head, end = json.loads(lines[0]), json.loads(lines[-1])
    assert head["changed"] == ["tier: synthetic -> open"] and "1 thread" in head["device"]
    minutes = head["steps"] * end["seconds_per_step"] / 60
    assert minutes == pytest.approx(15, rel=0.1)
    pages = ("chapters/appendix/predict.md", "chapters/appendix/computed.md", "mtl_lib/config.py")
    for page in (*pages, "chapters/08_training.ipynb"):
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert "a quarter of an hour on one thread" in text, page


def test_two_splits_of_the_same_rendered_people_share_as_many_test_faces_as_the_decision_says():
    most, due = numbers(
        "docs/decisions.md", r"shared up to (\d+) % of their test faces, where (\d+) % are due"
    )
    faces = data_settings("synthetic", "cpu", 0)
    people = -(-faces["expression"] // 6)
    sets = [
        rendered_faces(faces["expression"], style="film", frequencies=TABLE_2, intensity=(0.2, 0.5)),
        rendered_faces(
            faces["landmarks"],
            style="wild",
            labelled=False,
            first=1_000_000,
            first_person=people - people // 3,
        ),
    ]
    tested = [set(split_by_person(sets, FRACTIONS, seed)[0][2].tolist()) for seed in range(3)]
    shared = [100 * len(a & b) / len(a) for a, b in combinations(tested, 2)]
    assert due == 100 * FRACTIONS[2] and min(shared) == pytest.approx(due, abs=5)
    assert round(max(shared)) == most
