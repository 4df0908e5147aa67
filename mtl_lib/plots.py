"""How figures of the book look: one style, one colour per method, vectors that follow light and dark pages."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import as_file, files

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from mtl_lib import svg
from mtl_lib.errors import ConfigError

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0077BB", "#D55E00", "#009E73", "#C773A3", "#C58600", "#3A9BD6", "#808080",
)  # fmt: skip
INK = "#000000"
"""Black, which :func:`show` turns into the colour of the page's text."""

COLOURS: dict[str, str] = {
    # penalties and networks: one task by itself is blue, the trace norm on the task axis is vermillion
    "independent": BLUE, "ridge": BLUE, "single task": BLUE,
    "trace norm": VERMILLION, "laf": VERMILLION,
    "l21": GREEN, "cross-stitch": GREEN,
    "tucker": PURPLE, "tt": ORANGE,
    "pooled": SKY, "hard sharing": SKY,
    "norm-only": GREY, "weight decay": GREY,
    # ways to a minimum
    "sub-gradient": ORANGE, "proximal": PURPLE, "accelerated": GREEN,
    # ways to a polar factor
    "svd": BLUE, "gram": GREEN, "closed": PURPLE, "newton-schulz": SKY, "randomised": ORANGE,
    # what everything is compared with: the ink
    "reference": INK,
}  # fmt: skip
"""The colour of each method, everywhere in the book."""

LEAST_WIDE = 620
"""Pixels below which a wide figure scrolls sideways instead of shrinking."""
LEAST_SHARE = 0.64
"""Share of its own width below which any figure scrolls instead: letters of 9.5 points are then 8 pixels high."""

PHONE = 350
"""Pixels that a page has on a telephone; what needs more scrolls there, and says so."""

_numbers = itertools.count(1)


def use_style() -> None:
    """Switch Matplotlib to the style of the book (``assets/book.mplstyle``).

    Examples
    --------
    >>> import matplotlib
    >>> with matplotlib.rc_context():
    ...     use_style()
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    """
    with as_file(files("mtl_lib") / "assets" / "book.mplstyle") as path:
        plt.style.use(path)


def _prefix(content: str) -> str:
    """Unique in the page (a running number) and across pages (a hash), the same in every build."""
    return f"f{next(_numbers)}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def _least_width(fig: Figure, wide: bool = False) -> int:
    """Pixels below which a figure is not squeezed; its own width is 96 pixels an inch."""
    least = round(LEAST_SHARE * 96 * fig.get_figwidth())
    return max(least, LEAST_WIDE) if wide else least


def _scrolls(least: int) -> str:
    """A further class for what does not fit on a telephone: the stylesheet writes a hint above it."""
    return " mtl-scrolls" if least > PHONE else ""


def figure_html(fig: Figure, alt: str, wide: bool = False) -> str:
    """Return a figure as ``<figure class="mtl-figure">`` with an inline SVG.

    Whatever is black in the figure takes the colour of the surrounding text.  A figure wider than :data:`PHONE` also
    has the class ``mtl-scrolls``.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure; it is closed.
    alt : str
        What it shows, for those who do not see it.
    wide : bool
        Let it scroll sideways on a narrow screen before its letters become small.

    Raises
    ------
    ConfigError
        If `alt` is empty.

    Examples
    --------
    >>> html = figure_html(Figure(), "an empty figure")
    >>> html.startswith('<figure class="mtl-figure') and 'aria-label="an empty figure"' in html
    True
    """
    if not alt.strip():
        raise ConfigError("the figure has no alt text; say in a sentence what it shows")
    tree = svg.parse(fig)
    plt.close(fig)
    shared = svg.share([tree], _prefix(svg.text(tree)))
    least = _least_width(fig, wide)
    svg.dress(tree, alt, least)
    for child in reversed(list(shared)):  # one frame keeps its own definitions
        tree.insert(0, child)
    return f'<figure class="mtl-figure{_scrolls(least)}" style="overflow-x:auto">{svg.text(tree)}</figure>'


def show(fig: Figure, alt: str, wide: bool = False) -> None:
    """Display a figure in a notebook: see :func:`figure_html`. Outside of one, open a window.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure; it is closed, so that it does not appear twice.
    alt : str
        What it shows, for those who do not see it.
    wide : bool
        Let it scroll sideways on a narrow screen instead of shrinking.

    Raises
    ------
    ConfigError
        If `alt` is empty.

    Examples
    --------
    >>> show(Figure(), "an empty figure")
    an empty figure
    """
    display_html(figure_html(fig, alt, wide), alt)


def display_html(html: str, plain: str) -> None:
    """Display HTML in a notebook; print `plain` where there is no notebook.

    Parameters
    ----------
    html : str
        What a notebook shows.
    plain : str
        What is printed where HTML cannot be shown.

    Examples
    --------
    >>> display_html("<b>2</b>", "2")
    2
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    if get_ipython() is None:
        print(plain)
    else:
        display({"text/html": html, "text/plain": plain}, raw=True)


# Without a script element, so that it works wherever HTML is inserted, and without a name that could clash.
_MOVE = (
    "var v=+this.value,f=this.closest('figure'),m=f.querySelectorAll('.mtl-frame');"
    "for(var i=0;i<m.length;i++)m[i].hidden=i!==v;"
    "var s=m[v].dataset.value;f.querySelector('output').textContent=s;this.setAttribute('aria-valuetext',s)"
)


def _hold_still(figures: Sequence[Figure]) -> None:
    """Give the axes of all figures the same places, so that nothing jumps when labels change their width."""
    engines = [figure.get_layout_engine() for figure in figures]
    if len({len(figure.axes) for figure in figures}) > 1 or not all(engines):
        return
    for figure, engine in zip(figures, engines, strict=True):
        engine.execute(figure)
    places = []
    for axes in zip(*(figure.axes for figure in figures), strict=True):
        boxes = [axis.get_position(original=True) for axis in axes]
        x0, y0 = max(box.x0 for box in boxes), max(box.y0 for box in boxes)
        x1, y1 = min(box.x1 for box in boxes), min(box.y1 for box in boxes)
        if x1 - x0 < 0.01 or y1 - y0 < 0.01:
            return  # laid out too differently to have a common place
        places.append((x0, y0, x1 - x0, y1 - y0))
    for figure in figures:
        figure.set_layout_engine("none")
        for axis, place in zip(figure.axes, places, strict=True):
            axis.set_position(place)


def slider_html(
    draw: Callable[..., Figure], values: Sequence, label: str, alt: str, start: int, readings: Sequence[str]
) -> str:
    """Return precomputed frames and a slider, in HTML that needs neither kernel nor network.

    Parameters
    ----------
    draw : callable
        ``draw(value)`` returns the figure; it is closed.
    values : sequence
        One frame each.
    label : str
        What the slider changes.
    alt : str
        What the pictures show.
    start : int
        Index of the frame to begin with.
    readings : sequence of str
        The values as the reader sees them.

    Returns
    -------
    str
        ``<figure class="mtl-slider">`` with an ``<input type="range">``, an ``<output>``, and one
        ``<div class="mtl-frame" data-index="k">`` per value, of which exactly one is visible.

    Raises
    ------
    ConfigError
        If all pictures are the same.

    Examples
    --------
    >>> def draw(height):
    ...     figure = Figure()
    ...     _ = figure.subplots().bar([0], [height])
    ...     return figure
    >>> slider_html(draw, [1, 2, 3], "height", "one bar", 0, ["1", "2", "3"]).count('class="mtl-frame"')
    3
    """
    figures = []
    for value in values:
        figures.append(draw(value))
        plt.close(figures[-1])  # pyplot need not keep it, and warns at twenty
    _hold_still(figures)
    trees = [svg.parse(figure) for figure in figures]
    if len({svg.text(tree) for tree in trees}) == 1:
        raise ConfigError(f"the slider {label!r} changes nothing: all {len(trees)} pictures are the same")
    prefix = _prefix("".join(svg.text(tree) for tree in trees))
    shared = svg.share(trees, prefix)
    least = [_least_width(figure) for figure in figures]
    frames = []
    for index, (tree, reading) in enumerate(zip(trees, readings, strict=True)):
        svg.dress(tree, f"{alt} Here: {label} {reading}.", least[index])
        hidden = "" if index == start else " hidden"
        frames.append(
            f'<div class="mtl-frame" data-index="{index}" data-value="{escape(reading)}"{hidden}>'
            f"{svg.text(tree)}</div>"
        )
    name, reading = escape(label), escape(readings[start])
    return (
        f'<figure class="mtl-slider"><label for="{prefix}-s">{name}</label> '
        f'<input type="range" id="{prefix}-s" min="0" max="{len(frames) - 1}" step="1" value="{start}" '
        f'autocomplete="off" aria-label="{name}" aria-valuetext="{reading}" '
        f'style="width:min(28rem,70%);vertical-align:middle" oninput="{escape(_MOVE)}"> '
        f'<output for="{prefix}-s">{reading}</output>{svg.text(shared)}'
        f'<div class="mtl-frames{_scrolls(max(least))}" style="overflow-x:auto">{"".join(frames)}</div></figure>'
    )
