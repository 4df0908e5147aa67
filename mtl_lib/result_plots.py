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


def spread_rows(
    ax: Axes,
    names: Sequence[str],
    spreads: Sequence[Spread | None],
    *,
    colours: Sequence[str] | None = None,
    zero: float | int | None = None,
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
        if np.isfinite([found.low, found.high]).all():
            ax.plot(
                [found.low, found.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt", alpha=0.55
            )
        ax.plot([found.mean], [y], "o", color=colour, markersize=5)
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
