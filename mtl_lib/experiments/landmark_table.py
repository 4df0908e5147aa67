"""Table 6 as text: our landmark errors beside the paper's, and beside those that the paper quotes."""

from collections.abc import Sequence

from mtl_lib.experiments.recorded import cell, difference_cell, seeds_line, values_of
from mtl_lib.ledger import Entry

ROWS = (
    "mean_shape", "single", "single_l2", "single_shape", "hard", "norm_only", "laf", "laf+placebo", "laf+ada", "laf+ada_l2",
)  # fmt: skip
"""In the order in which they are printed."""

PAPER = {
    "TCDCN": (4.80, 8.60, 5.54), "TSR": (4.36, 7.56, 4.99), "RAR": (4.12, 8.35, 4.94),
    "MSLPR": (3.83, 7.46, 4.54), "Ours(l2 loss)": (4.09, 7.51, 4.76), "Ours(l1 loss)": (3.99, 7.28, 4.64),
}  # fmt: skip
"""The paper's Table 6: NME in percent of the distance between the pupils on 300-W, common, challenging, full."""

TITLES = {"easy": "easy poses", "hard": "hard poses"}
"""What a subset is called in print: beside a row of hard sharing, ``hard`` alone would mean two things."""

ROW_NAMES = {"hard": "hard sharing"}
"""What a row is called in print, where its name in the ledger does not say enough."""

OWN = ("Ours(l2 loss)", "Ours(l1 loss)")
"""Rows that the paper measured; it quotes the others from their own papers."""


def subset_names(entries: Sequence[Entry]) -> list[str]:
    """Return the subsets that the runs were measured on, ``full`` last.

    Examples
    --------
    >>> run = {"experiment": "demo", "method": "laf", "seed": 0, "tier": "open", "budget": "cpu", "config": {}}
    >>> numbers = {"nme/full": 5.0, "nme/easy": 4.0, "nme/hard": 9.0}
    >>> subset_names([Entry(**run, metrics=numbers, device="CPU", seconds=1.0, memory=1.0)])
    ['easy', 'hard', 'full']
    """
    found = {
        name.removeprefix("nme/"): None for e in entries for name in e.metrics if name.startswith("nme/")
    }
    return [name for name in found if name != "full"] + ["full"]


def table6_text(entries: Sequence[Entry]) -> str:
    """Return the table for a terminal, at most 88 characters wide, with the paper's below.

    Parameters
    ----------
    entries : sequence of Entry
        Recorded runs of one tier and budget.

    Raises
    ------
    DataError
        If they are of several tiers or budgets, or a method has two runs of a seed.
    """
    subsets = subset_names(entries)
    nme = {name: values_of(entries, f"nme/{name}") for name in subsets}
    area, failures = values_of(entries, "auc/full"), values_of(entries, "failures/full")
    full = nme["full"]
    lines = [
        f"{'':12}{'NME, % of the distance of the pupils':^{13 * len(subsets)}}{'full vs single':>25}"
        f"{'area':>5}{'failed':>7}",
        f"{'':12}"
        + "".join(f"{TITLES.get(name, name):>13}" for name in subsets)
        + f"{'points, interval':>24} {'to 8%':>5}{'%':>7}",
    ]
    for method in [*ROWS, *(name for name in full if name not in ROWS)]:
        if method not in full:
            continue
        base = full.get("single") if method != "single" else None
        lines.append(
            f"{ROW_NAMES.get(method, method):12}"
            + "".join(cell(nme[name].get(method), 13, 2) for name in subsets)
            + difference_cell(full[method], base, 25, 2)
            + f"{sum(area[method].values()) / len(area[method]):5.2f}"
            + f"{sum(failures[method].values()) / len(failures[method]):7.1f}"
        )
    lines += [
        seeds_line(full),
        "area and failed: by the distance between the outer eye corners, up to and beyond 8 %",
        "",
        "the paper, on 300-W" + "".join(f"{name:>14}" for name in ("common", "challenging", "full")),
    ]
    for method, numbers in PAPER.items():
        note = "" if method in OWN else "  quoted by the paper"
        lines.append(f"{method:19}" + "".join(f"{number:14.2f}" for number in numbers) + note)
    return "\n".join(lines)
