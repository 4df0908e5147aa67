"""What the chapters use to talk to their reader: the first line, sliders, checks beside independent answers.

The checks of the exercises (:class:`Case`, :func:`check`) live in :mod:`mtl_lib.checking` and can be imported
from here.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from mtl_lib.budget import current_budget
from mtl_lib.checking import Case, as_array, check, largest_difference, tolerance_for
from mtl_lib.errors import ConfigError
from mtl_lib.plots import display_html, slider_html, use_style

__all__ = ["Case", "check", "compare", "device", "setup", "slider"]

MINUTES: dict[int, dict[str, float | int]] = {
    1: {"smoke": 0.1, "cpu": 1, "t4": 1},
    2: {"smoke": 0.3, "cpu": 1.5, "t4": 1.5},
    3: {"smoke": 0.2, "cpu": 1, "t4": 1},
    4: {"smoke": 0.3, "cpu": 1.5, "t4": 1.5},
    6: {"smoke": 0.3, "cpu": 1.5, "t4": 1.5},
}
"""About how long a chapter computes, by budget; a chapter that is not here says so itself."""

GPU_FROM = 7
"""The first chapter in which a GPU shortens the wait; those before work on small matrices and networks."""


def device() -> torch.device:
    """Return the fastest device that PyTorch finds here.

    Returns
    -------
    torch.device
        ``cuda``, ``mps`` or ``cpu``.

    Examples
    --------
    >>> device().type in ("cuda", "mps", "cpu")
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def setup(chapter: int, minutes: Mapping[str, float | int] | None = None) -> str:
    """Begin a chapter: figure style, and one line on device, budget and expected time.

    Parameters
    ----------
    chapter : int
        Its number.
    minutes : mapping, optional
        Expected computing time by budget, for a chapter that :data:`MINUTES` does not know.

    Returns
    -------
    str
        The budget, one of :data:`mtl_lib.budget.BUDGETS`.

    Raises
    ------
    ConfigError
        If ``MTL_BUDGET`` names no budget.

    Examples
    --------
    >>> setup(99, minutes={"smoke": 1, "cpu": 2, "t4": 2, "full": 2})  # doctest: +ELLIPSIS
    Chapter 99 · ... · budget ... · about ... min
    '...'
    """
    use_style()
    budget, found = current_budget(), device()
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type.upper()
    cores = f" ({os.cpu_count()} cores)" if found.type == "cpu" else ""
    line = [f"Chapter {chapter}", f"{name}{cores}", f"budget {budget}"]
    needed = (MINUTES.get(chapter, {}) if minutes is None else minutes).get(budget)
    if needed is not None:
        line.append(f"about {needed:g} min" if needed >= 1 else f"about {60 * needed:.0f} s")
    if "google.colab" in sys.modules and chapter >= GPU_FROM:
        if found.type == "cpu":
            line.append("switch on the GPU: Runtime > Change runtime type > T4 GPU")
        elif budget == "cpu":
            line.append('for the longer runs: os.environ["MTL_BUDGET"] = "t4", then this cell again')
    print(" · ".join(line))
    return budget


def slider(
    draw: Callable[..., Figure],
    values: Sequence,
    label: str,
    alt: str,
    start: Any = None,
    readings: Callable[[Any], str] = str,
) -> None:
    """Show a figure that the reader can move.

    With a live kernel and ``ipywidgets``, pictures are drawn as the slider moves.  In the built book
    (``MTL_BOOK`` set), or without ``ipywidgets``, all pictures are drawn now and move without a kernel.
    At budget ``smoke`` only the first, the last and the starting picture are drawn.

    Parameters
    ----------
    draw : callable
        ``draw(value)`` returns a new figure; always of the same size.
    values : sequence
        The positions of the slider; at least two.
    label : str
        What it changes.
    alt : str
        What the pictures show, for those who do not see them; the slider's value is appended.
    start : optional
        The value to begin with; the first one if not given.
    readings : callable
        How a value is written beside the slider.

    Raises
    ------
    ConfigError
        With fewer than two values, a start that is not among them, no alt text, or pictures that are all the same.

    Examples
    --------
    >>> def draw(height):
    ...     figure = Figure()
    ...     _ = figure.subplots().bar([0], [height])
    ...     return figure
    >>> slider(draw, [1, 2, 3], label="height", alt="One bar.")
    slider: height, 1 to 3. One bar.
    """
    values = list(values)
    if len(values) < 2:
        raise ConfigError(f"the slider {label!r} has {len(values)} values; it needs at least two")
    if not alt.strip():
        raise ConfigError(f"the slider {label!r} has no alt text; say in a sentence what it shows")
    start = values[0] if start is None else start
    if start not in values:
        raise ConfigError(f"the slider {label!r} starts at {start!r}, which is not among its values {values}")
    if current_budget() == "smoke":
        values = [v for k, v in enumerate(values) if k in (0, len(values) - 1) or v == start]
    begin = values.index(start)
    words = [readings(value) for value in values]
    if not os.environ.get("MTL_BOOK") and _live_slider(draw, values, label, alt, begin, words):
        return
    plain = f"slider: {label}, {words[0]} to {words[-1]}. {alt}"
    display_html(slider_html(draw, values, label, alt, begin, words), plain)


def _live_slider(draw, values, label, alt, begin, words) -> bool:
    """Show the slider as a widget; False where there is no live kernel or no ipywidgets."""
    try:
        import ipywidgets
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return False
    if getattr(get_ipython(), "kernel", None) is None:
        return False
    from mtl_lib.plots import figure_html

    pictures: dict[int, str] = {}

    def picture(index: int) -> str:
        if index not in pictures:
            pictures[index] = figure_html(draw(values[index]), f"{alt} Here: {label} {words[index]}.")
        return pictures[index]

    control = ipywidgets.SelectionSlider(
        options=list(zip(words, range(len(words)), strict=True)),
        index=begin,
        description=label,
        style={"description_width": "initial"},
        layout={"width": "min(36rem, 95%)"},
    )
    page = ipywidgets.HTML(picture(begin))
    control.observe(lambda change: setattr(page, "value", picture(change["new"])), names="index")
    display(ipywidgets.VBox([control, page]))
    return True


def _number(x: float) -> str:
    """Six digits, but of a large whole number, a count, all of them."""
    return f"{x:,.0f}" if 1e6 <= abs(x) < 1e15 and x == round(x) else f"{x:.6g}"


def compare(name: str, ours: Any, independent: Any, tolerance: float | None = None) -> None:
    """Print our answer beside one found in another way, and stop if they disagree.

    Parameters
    ----------
    name : str
        What is compared.
    ours, independent : number, array or tensor
        Two answers of one shape.
    tolerance : float, optional
        Largest difference allowed, relative to the largest entry of the independent answer; by default 1e-6,
        and 1e-4 if either is in single precision (or less).

    Raises
    ------
    AssertionError
        If they differ by more, have different shapes, or either holds a value that is not finite.

    Examples
    --------
    >>> compare("three quarters", 0.75, 3 / 4)
    three quarters: 0.75 | independently 0.75 | difference 0
    >>> compare("a count", 21_797_672, 21_797_672)
    a count: 21,797,672 | independently 21,797,672 | difference 0
    """
    a, b = as_array(ours), as_array(independent)
    if a.shape != b.shape:
        raise AssertionError(f"{name}: the shapes are {a.shape} and {b.shape}")
    allowed = tolerance_for(ours, independent) if tolerance is None else tolerance
    difference, scale = largest_difference(a, b)
    gap = difference / scale if scale > 0 else difference
    if a.size <= 4:
        left, right = (", ".join(_number(x) for x in each.ravel()) for each in (a, b))
    else:
        name = f"{name} ({' x '.join(map(str, a.shape))})"
        left, right = f"sum of squares {(a**2).sum():.6g}", f"{(b**2).sum():.6g}"
    line = f"{name}: {left} | independently {right} | difference {gap:.1g}"
    if not gap <= allowed:  # also when it is not a number
        raise AssertionError(f"{line}, more than the {allowed:g} allowed")
    print(line)
