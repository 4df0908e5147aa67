"""The gallery draws what is recorded, for every mistake, and refuses what is not there."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from mtl_lib.errors import DataError
from mtl_lib.experiments.failures import FAILURES, HEALTHY
from mtl_lib.experiments.recorded import file_of
from mtl_lib.failure_plots import PICTURES, draw_twins, twins, twins_text, values_of_line
from mtl_lib.ledger import read
from mtl_lib.plots import figure_html

RUNS = read("failures", tier="synthetic", budget="cpu")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_mistake_has_a_picture_and_every_line_is_recorded_in_both_twins():
    assert set(PICTURES) == set(FAILURES) and RUNS
    for name, picture in PICTURES.items():
        for runs in twins(RUNS, name).values():
            for run in runs:
                curve = file_of(run, "curve")
                assert {line.name for line in picture.lines} <= set(curve["lines"])
                assert all(len(values) == len(curve["at"]) for values in curve["lines"].values())
                assert not picture.level or picture.level in run.metrics


@pytest.mark.parametrize("name", FAILURES)
def test_the_thick_lines_are_means_over_the_seeds_of_what_is_recorded(name):
    fig = draw_twins(RUNS, name)
    for ax, runs in zip(fig.axes, twins(RUNS, name).values(), strict=True):
        thick = [line for line in ax.get_lines() if line.get_linewidth() == 2.2]
        wanted = [line for line in PICTURES[name].lines if not line.each]
        assert [line.get_label() for line in thick] == [line.label for line in wanted]
        for drawn, line in zip(thick, wanted, strict=True):
            values = [values_of_line(line, file_of(run, "curve"))[0] for run in runs]
            assert np.allclose(drawn.get_ydata(), np.mean(values, 0), equal_nan=True)


def test_the_curves_end_where_the_ledgers_numbers_are():
    for entry in RUNS:
        curve, found = file_of(entry, "curve")["lines"], entry.metrics
        for line, number in (
            ("apart", "apart"),
            ("tasks", "tasks_after"),
            ("reported", "reported"),
            ("loss", "loss"),
        ):
            if line in curve:
                assert curve[line][-1] == pytest.approx(found[number], abs=2e-4)
        if "TNDR" in curve:
            assert np.median(curve["TNDR"][-1]) == pytest.approx(found["tndr"], abs=2e-4)


def test_the_text_has_the_rule_and_counts_what_is_detected():
    for name, failure in FAILURES.items():
        text = twins_text(RUNS, name)
        assert failure.rule in text.replace("\n  ", " ") and "3 of 3    0 of 3" in text
        assert max(map(len, text.splitlines())) <= 44, "longer lines scroll on a telephone"


@pytest.mark.parametrize("name", FAILURES)
def test_a_telephone_shows_a_mistake_and_its_twin_beside_one_another(name):
    fig = draw_twins(RUNS, name)
    fig.canvas.draw()
    own, width = fig.legends[0].get_window_extent(), fig.bbox.width
    assert own.x0 >= 0 and own.x1 <= width, "the legend fits"
    assert "mtl-scrolls" not in figure_html(fig, "twins")


def test_a_level_line_and_a_number_follow_the_ledger():
    changed = [replace(run, metrics={**run.metrics, "mean_shape_nme": 33.0}) for run in RUNS]
    fig = draw_twins(changed, "adversary_too_strong")
    assert any(list(line.get_ydata()) == [33.0, 33.0] for line in fig.axes[0].get_lines())
    assert "33.00" in twins_text(changed, "adversary_too_strong")


def test_what_is_not_recorded_is_named(tmp_path):
    without = [run for run in RUNS if run.method != "gamma_too_large" + HEALTHY]
    with pytest.raises(DataError, match="gamma_too_large.healthy is not recorded"):
        draw_twins(without, "gamma_too_large")
    with pytest.raises(DataError, match="no failure 'gamma'"):
        draw_twins(RUNS, "gamma")
    with pytest.raises(DataError, match="missing"):
        draw_twins(RUNS, "gamma_too_large", tmp_path)


def test_a_case_leaves_its_curve_in_the_outcome(tmp_path):
    from mtl_lib.experiments.failures import jobs, run

    job = next(job for job in jobs("synthetic", "smoke", (3,), tmp_path) if job.method == "test_for_choice")
    outcome = run(job, tmp_path, None, "cpu")
    curve = json.loads(outcome.files["curve"])
    assert (
        curve["at"] == list(range(1, 41)) and curve["lines"]["reported"][0] < curve["lines"]["reported"][-1]
    )
    assert curve["lines"]["reported"][-1] == outcome.metrics["reported"]
