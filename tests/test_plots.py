"""Figures as HTML: what does not fit on a telephone says so, what fits does not."""

import pytest
from matplotlib.figure import Figure

from mtl_lib.plots import LEAST_SHARE, PHONE, figure_html, slider_html


@pytest.mark.parametrize("inches, hint", [(3.0, False), (10.0, True)])
def test_a_figure_wider_than_a_telephone_says_that_it_scrolls(inches, hint):
    assert (LEAST_SHARE * 96 * inches > PHONE) == hint
    assert ("mtl-scrolls" in figure_html(Figure(figsize=(inches, 2)), "nothing")) == hint

    def draw(height):
        figure = Figure(figsize=(inches, 2))
        figure.subplots().bar([0], [height])
        return figure

    assert ("mtl-scrolls" in slider_html(draw, [1, 2], "height", "a bar", 0, ["1", "2"])) == hint


def test_a_figure_asked_to_be_wide_says_so_too():
    assert "mtl-scrolls" in figure_html(Figure(figsize=(3, 2)), "nothing", wide=True)
