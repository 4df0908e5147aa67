"""The gallery's pictures: a recorded mistake beside its healthy twin, from the curves that lie beside the ledger."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mtl_lib.errors import DataError
from mtl_lib.experiments.failures import HEALTHY, failure_of
from mtl_lib.experiments.recorded import file_of
from mtl_lib.ledger import Entry
from mtl_lib.plots import BLUE, GREEN, GREY, INK, SKY, VERMILLION

WIDTH = 44
"""Characters of a line that a telephone shows without scrolling."""

CHANCE_LOSS = math.log(13)
"""Cross-entropy of an answer that gives all 13 states the same probability."""


@dataclass(frozen=True)
class Line:
    """A line of a picture.

    Parameters
    ----------
    name : str
        Its name in the curve.
    label, colour, style : str
        How it is drawn.
    each : bool, optional
        Of a number per layer, draw all layers; else their median.
    per : float or None, optional
        What it is divided by; None: its own first value.
    """

    name: str
    label: str
    colour: str
    style: str = "-"
    each: bool = False
    per: float | int | None = 1


@dataclass(frozen=True)
class Picture:
    """What of a mistake is drawn.

    Parameters
    ----------
    lines : tuple of Line
    x, y : str
        Labels of the axes.
    level : str, optional
        A number of the ledger that is drawn as a level line.
    level_label : str, optional
        Its name in the picture.
    limits : (float, float) or None, optional
        Of the vertical axis.
    log : bool, optional
        Whether that axis is logarithmic.
    """

    lines: tuple[Line, ...]
    y: str
    x: str = "step"
    level: str = ""
    level_label: str = ""
    limits: tuple[float | int, float | int] | None = None
    log: bool = False


_TNDR, _COSINE = Line("TNDR", "TNDR", BLUE, "--"), Line("cosine", "cosine", VERMILLION)
_LOSS = Line("loss", "loss, chance = 1", GREY, ":", per=CHANCE_LOSS)

PICTURES: dict[str, Picture] = {
    "reversed_sign": Picture(
        (Line("domain loss", "domain loss", BLUE, "--"), Line("apart", "sets' distance", VERMILLION)),
        "", level="apart_without", level_label="distance without adversary", limits=(0, 1.4),
    ),
    "task_axis_first": Picture(
        (
            Line("penalty", "penalty, start = 1", BLUE, "--", per=None),
            Line("tasks", "over tasks", VERMILLION),
            Line("columns", "over columns", GREEN, "-."),
        ),
        "second over first σ", limits=(0, 1.05),
    ),
    "gamma_too_large": Picture((_TNDR, _COSINE, _LOSS), "median over layers", limits=(-0.3, 1.6)),
    "adversary_too_strong": Picture(
        (Line("NME", "NME, validation", VERMILLION),), "NME, %", level="mean_shape_nme",
        level_label="mean shape", log=True,
    ),
    "test_for_choice": Picture(
        (Line("reported", "reported score", VERMILLION), Line("fresh", "on new faces", BLUE, "--")),
        "accuracy, % (chance: 20)", x="classifiers looked at", limits=(15, 32),
    ),
    "shrinkage_for_sharing": Picture((_TNDR, _COSINE), "median over layers", limits=(-0.15, 1.4)),
    "rank_one_opposite": Picture(
        (Line("cosine", "cosine, each layer", VERMILLION, each=True),), "cosine", limits=(-1.1, 1.1)
    ),
    "one_loss_weight": Picture(
        (Line("single", "single task", BLUE, "--"), Line("hard", "hard sharing", SKY)),
        "NME, %", x="landmark weight", limits=(10, 27),
    ),
}  # fmt: skip
"""By mistake."""


def values_of_line(line: Line, curve: dict) -> np.ndarray:
    """Return what is drawn of a line, a row for each that is drawn: places where nothing was measured are nan.

    Examples
    --------
    >>> curve = {"at": [0, 1], "lines": {"loss": [None, 2.0], "cosine": [[1.0, 1.0, 1.0], [0.5, 0.7, 0.9]]}}
    >>> values_of_line(Line("loss", "", "", per=4), curve)
    array([[nan, 0.5]])
    >>> values_of_line(Line("cosine", "", ""), curve)
    array([[1. , 0.7]])
    >>> values_of_line(Line("cosine", "", "", each=True), curve).shape
    (3, 2)
    """
    rows = curve["lines"][line.name]
    if isinstance(rows[-1], list):
        layers = np.array(rows, dtype=float).T
        values = layers if line.each else np.median(layers, axis=0, keepdims=True)
    else:
        values = np.array([[math.nan if value is None else value for value in rows]])
    return values / (values[:, :1] if line.per is None else line.per)


def twins(entries: Sequence[Entry], name: str) -> dict[str, list[Entry]]:
    """Return the recorded runs of a mistake and of its twin, by method, seeds rising.

    Parameters
    ----------
    entries : sequence of Entry
        Of the experiment ``failures``.
    name : str
        The mistake.

    Raises
    ------
    DataError
        If one of the two is not recorded.

    Examples
    --------
    >>> from mtl_lib.ledger import read
    >>> list(twins(read("failures", tier="synthetic", budget="cpu"), "reversed_sign"))
    ['reversed_sign', 'reversed_sign.healthy']
    """
    found = {
        method: sorted((e for e in entries if e.method == method), key=lambda e: e.seed)
        for method in (name, name + HEALTHY)
    }
    if lacking := [method for method, runs in found.items() if not runs]:
        raise DataError(f"{lacking[0]} is not recorded; mtl sweep failures makes it")
    return found


def draw_twins(entries: Sequence[Entry], name: str, folder: Path | None = None) -> Figure:
    """Draw a mistake, left, and its healthy twin, right: thin lines for the seeds, thick ones for their means.

    Parameters
    ----------
    entries : sequence of Entry
        Of the experiment ``failures``, one tier and budget.
    name : str
        One of :data:`mtl_lib.experiments.failures.FAILURES`.
    folder : Path, optional
        The ledger's; by default the book's.

    Raises
    ------
    DataError
        If something of it is not recorded.
    """
    failure_of(name)  # a name that is none is refused by its own message
    picture = PICTURES[name]
    # So narrow that a telephone shows both panels: beside one another is what they are for.
    fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9), sharey=True)
    for ax, runs, title in zip(
        axes, twins(entries, name).values(), ("the mistake", "its healthy twin"), strict=True
    ):
        curves = [file_of(run, "curve", folder) for run in runs]
        at = curves[0]["at"]
        for line in picture.lines:
            values = [values_of_line(line, curve) for curve in curves]
            for each in values:
                ax.plot(at, each.T, color=line.colour, ls=line.style, lw=0.8, alpha=0.7)
            if not line.each:
                ax.plot(at, np.mean(values, 0)[0], color=line.colour, ls=line.style, lw=2.2, label=line.label)
            else:
                ax.plot([], [], color=line.colour, ls=line.style, lw=0.8, label=line.label)
            if "taken" in curves[0]:  # what is compared
                for curve in curves:
                    weight = curve["taken"][line.name]
                    ax.plot(weight, curve["lines"][line.name][at.index(weight)], "o", mfc="none",
                            color=line.colour, ms=8)  # fmt: skip
        if picture.level:
            level = np.mean([run.metrics[picture.level] for run in runs])
            ax.axhline(level, color=INK, lw=0.9, ls=(0, (1, 2)), label=picture.level_label)
        if picture.log:
            ax.set_yscale("log")
            ax.set_yticks((10, 20, 50, 100, 200), ("10", "20", "50", "100", "200"))
            ax.minorticks_off()
        if picture.x == "landmark weight":
            ax.set(xscale="log", xticks=at, xticklabels=[f"{x:g}" for x in at])
            ax.minorticks_off()
        ax.set(title=title, xlabel=picture.x, ylim=picture.limits)
    axes[0].set_ylabel(picture.y)
    handles, labels = axes[0].get_legend_handles_labels()
    columns = len(labels) if sum(map(len, labels)) < 40 else 2
    fig.legend(handles, labels, loc="outside lower center", ncols=columns)
    return fig


def twins_text(entries: Sequence[Entry], name: str) -> str:
    """Return the rule that detects a mistake, and its numbers in both, as means over seeds.

    Parameters
    ----------
    entries : sequence of Entry
        Of the experiment ``failures``, one tier and budget.
    name : str
        One of :data:`mtl_lib.experiments.failures.FAILURES`.

    Raises
    ------
    DataError
        If the mistake or its twin is not recorded.

    Examples
    --------
    >>> from mtl_lib.ledger import read
    >>> runs = read("failures", tier="synthetic", budget="cpu")
    >>> twins_text(runs, "rank_one_opposite").splitlines()[:2]
    ['detected if some layer has a cosine below', '  -0.9']
    """
    failure, _ = failure_of(name)
    both = twins(entries, name)
    lines = [
        *textwrap.wrap(f"detected if {failure.rule}", WIDTH, subsequent_indent="  "),
        f"{'mean over seeds':18}{'mistake':>10}{'twin':>10}",
    ]
    for number in failure.shown:
        cells = (np.mean([run.metrics[number] for run in runs]) for runs in both.values())
        lines.append(f"{number:18}" + "".join(f"{value:10.2f}" for value in cells))
    seen = (f"{sum(failure.detect(run.metrics) for run in runs)} of {len(runs)}" for runs in both.values())
    lines.append(f"{'detected':18}" + "".join(f"{text:>10}" for text in seen))
    return "\n".join(lines)
