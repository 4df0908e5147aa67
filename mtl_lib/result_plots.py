"""Figures of recorded results: one row per method, a dot for the mean over seeds, a bar for its interval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mtl_lib.plots import COLOURS, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from mtl_lib.seeds import Spread

_FAMILIES = {
    "single": COLOURS["single task"], "hard": SKY, "cross_stitch": GREEN, "factorised": GREEN, "laf": VERMILLION,
    "tucker": PURPLE, "tt": ORANGE, "norm_only": GREY, "deviation": INK,
}  # fmt: skip


def arm_colour(arm: str) -> str:
    """Return the colour of an arm of the experiments: that of the family it belongs to.

    Examples
    --------
    >>> arm_colour("laf+ada") == arm_colour("laf_pinned") == VERMILLION, arm_colour("hard4_private") == SKY
    (True, True)
    """
    fitting = [family for family in _FAMILIES if arm.startswith(family)]
    return _FAMILIES[max(fitting, key=len)] if fitting else GREY


def usual_range(spreads: Sequence[Spread | None], far: float | int = 5) -> tuple[float, float]:
    """Return limits that hold the intervals of all rows but those that lie far out.

    A row is far out if its mean is farther from the median mean than ``far`` times the median half-width; one such row
    would squeeze all others into dots.

    Parameters
    ----------
    spreads : sequence of Spread or None
        The rows; None, and rows of one seed, which have no interval, do not count.
    far : float, optional
        How many half-widths are far.

    Examples
    --------
    >>> from mtl_lib.seeds import spread
    >>> low, high = usual_range([spread([-1.0, 1.0, 0.0]), spread([0.0, 1.0, 2.0]), spread([40.0, 42.0, 41.0])])
    >>> round(low, 1), round(high, 1)
    (-2.8, 3.8)
    """
    rows = [each for each in spreads if each is not None and each.n > 1]
    if not rows:
        return -1.0, 1.0
    half, middle = (
        np.median(values) for values in zip(*((s.high - s.mean, s.mean) for s in rows), strict=True)
    )
    near = [each for each in rows if abs(each.mean - middle) <= far * half] or rows
    low, high = min(each.low for each in near), max(each.high for each in near)
    edge = 0.05 * (high - low) or 1.0
    return float(low - edge), float(high + edge)


def spread_rows(
    ax: Axes,
    names: Sequence[str],
    spreads: Sequence[Spread | None],
    *,
    colours: Sequence[str] | None = None,
    zero: float | int | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw means and intervals in rows, the first at the top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    names : sequence of str
        A row's name.
    spreads : sequence of Spread or None
        A row's values over seeds; None leaves it empty.  Of one seed alone there is no interval.
    colours : sequence of str, optional
        A row's colour; by default that of :func:`arm_colour`.
    zero : float, optional
        Where to draw a thin vertical line: a row whose bar crosses it is inside the noise.
    limits : (float, float), optional
        What the axis shows, for example :func:`usual_range`.  A row whose mean lies beyond becomes an arrow at the edge,
        with its mean in figures.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from mtl_lib.seeds import spread
    >>> ax = Figure().subplots()
    >>> spread_rows(ax, ["single", "laf"], [spread([1.0, 3.0]), None], zero=0)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['single', 'laf']
    """
    chosen = [arm_colour(name) for name in names] if colours is None else colours
    if zero is not None:
        ax.axvline(zero, color=INK, linewidth=0.8, alpha=0.6)
    for y, (found, colour) in enumerate(zip(spreads, chosen, strict=True)):
        if found is None:
            continue
        if limits is not None and not limits[0] <= found.mean <= limits[1]:
            right = found.mean > limits[1]
            edge = limits[1] if right else limits[0]
            ax.plot([edge], [y], ">" if right else "<", color=colour, markersize=8, clip_on=False)
            ax.annotate(
                f"{found.mean:+.1f}", (edge, y), xytext=(-9 if right else 9, 0), textcoords="offset points",
                ha="right" if right else "left", va="center", fontsize=9,
            )  # fmt: skip
            continue
        if np.isfinite([found.low, found.high]).all():
            ax.plot(
                [found.low, found.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt", alpha=0.75
            )
        ax.plot([found.mean], [y], "o", color=colour, markersize=5)
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.4, -0.6)
    if limits is not None:
        ax.set_xlim(*limits)
    ax.grid(axis="x", alpha=0.3)
