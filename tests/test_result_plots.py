"""What a figure of results draws is what was measured."""

import pytest
from matplotlib.figure import Figure

from mtl_lib.experiments.arms import ARMS
from mtl_lib.plots import GREY
from mtl_lib.result_plots import arm_colour, spread_rows
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
