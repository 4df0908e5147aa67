"""What a figure of results draws is what was measured."""

import pytest
from matplotlib.figure import Figure

from mtl_lib.experiments.arms import ARMS
from mtl_lib.plots import GREY
from mtl_lib.result_plots import arm_colour, spread_rows, usual_range
from mtl_lib.seeds import spread


def test_a_row_has_its_mean_and_interval_at_its_height_and_a_single_seed_has_no_bar():
    ax = Figure().subplots()
    many, one = spread([1.0, 2.0, 4.0]), spread([7.0])
    spread_rows(ax, ["a", "b", "c"], [many, None, one], zero=0.0)
    zero, bar, dot, lone = ax.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert list(bar.get_xdata()) == [many.low, many.high] and list(bar.get_ydata()) == [0, 0]
    assert list(dot.get_xdata()) == [pytest.approx(7 / 3)] and list(dot.get_ydata()) == [0]
    assert list(lone.get_xdata()) == [7.0] and list(lone.get_ydata()) == [2]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row at the top


def test_every_arm_has_the_colour_of_a_family():
    plain = {name for name in ARMS if arm_colour(name) == GREY}
    assert plain == {"norm_only"}
    assert arm_colour("tt+ada") == arm_colour("tt") != arm_colour("tucker")


def test_a_row_beyond_the_limits_is_an_arrow_with_its_mean_and_the_others_are_as_before():
    near, far = spread([1.0, 2.0, 3.0]), spread([-39.0, -41.0])
    plain, cut = Figure().subplots(), Figure().subplots()
    spread_rows(plain, ["near"], [near])
    spread_rows(cut, ["near", "far"], [near, far], limits=(-5.0, 5.0))
    assert [list(line.get_xdata()) for line in cut.lines[:2]] == [
        list(line.get_xdata()) for line in plain.lines
    ]
    (arrow,) = cut.lines[2:]
    assert list(arrow.get_xdata()) == [-5.0] and arrow.get_marker() == "<"
    assert [text.get_text() for text in cut.texts] == ["-40.0"]
    assert cut.get_xlim() == (-5.0, 5.0)


def test_the_usual_range_holds_every_interval_but_those_far_out():
    near = [spread([-1.0, 0.0, 1.0]), spread([0.0, 1.5, 3.0]), None, spread([9.0])]
    low, high = usual_range([*near, spread([50.0, 51.0, 52.0])])
    assert (low, high) == usual_range(near)
    assert low < min(near[0].low, near[1].low) and max(near[0].high, near[1].high) < high < 10
    assert usual_range([None, spread([3.0])]) == (-1.0, 1.0)
    low, high = usual_range([spread([2.0, 2.0])])
    assert low < 2.0 < high
