"""Tables of results beside the paper's: what ``mtl table`` prints and the chapters show."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_lib.errors import DataError
from mtl_lib.experiments.arms import ARMS
from mtl_lib.experiments.recorded import interval_cell, paper_rows, seeds_note
from mtl_lib.ledger import Entry
from mtl_lib.seeds import Spread, paired, spread

METRICS = ("accuracy", "macro_recall", "nme")


@dataclass(frozen=True)
class Row:
    """One method of a table.

    Parameters
    ----------
    method : str
        Its name.
    spreads : dict of str to Spread
        Of every metric, over seeds.
    differences : dict of str to Spread
        Of every metric, paired by seed, to the single-task networks.
    paper : float or None
        The paper's accuracy.
    devices : tuple of str
        What the runs were made on.
    """

    method: str
    spreads: dict[str, Spread]
    differences: dict[str, Spread]
    paper: float | None
    devices: tuple[str, ...]


def paper_accuracies() -> dict[str, float]:
    """Return the accuracies of the paper's Table 4 by the name of our arm.

    Examples
    --------
    >>> found = paper_accuracies()
    >>> found["single"], found["laf+ada"], "cross_stitch+ada" in found
    (28.39, 36.72, False)
    """
    names = {"LAF": "laf", "Tucker": "tucker", "TT": "tt"}
    names |= {f"RN({layers})": f"hard{stage}" for stage, layers in enumerate((6, 14, 26, 32), 1)}
    found = {}
    for row in paper_rows("table4_mental_state_accuracy.csv"):
        if row["accuracy_percent"]:
            own = {"Single task": "single"}.get(row["group"]) or names.get(row["method"], "cross_stitch")
            found[own + ("+ada" if row["ada"] == "yes" else "")] = float(row["accuracy_percent"])
    return found


def table4(entries: Sequence[Entry], reference: str = "single") -> list[Row]:
    """Return the rows of Table 4 from recorded runs of one tier and budget.

    Parameters
    ----------
    entries : sequence of Entry
        Of one tier and one budget.
    reference : str, optional
        The method that differences are taken to.

    Raises
    ------
    DataError
        If the entries are of several tiers or budgets, or one method has two runs of a seed.
    """
    if len({(entry.tier, entry.budget) for entry in entries}) > 1:
        raise DataError("runs of several tiers or budgets are no one table; select one")
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    devices = defaultdict(set)
    for entry in entries:
        devices[entry.method].add(entry.device)
        for metric in METRICS:
            if metric in entry.metrics:
                if entry.seed in values[entry.method][metric]:
                    raise DataError(
                        f"{entry.method} has two runs of seed {entry.seed}; see mtl results check"
                    )
                values[entry.method][metric][entry.seed] = entry.metrics[metric]
    paper = paper_accuracies()
    rows = []
    for method in [name for name in ARMS if name in values] + [name for name in values if name not in ARMS]:
        found = values[method]
        base = values.get(reference, {})
        differences = {
            metric: paired(seeds, base[metric])
            for metric, seeds in found.items()
            if method != reference and set(seeds) & set(base.get(metric, {}))
        }
        rows.append(
            Row(
                method,
                {metric: spread(list(seeds.values())) for metric, seeds in found.items()},
                differences,
                paper.get(method),
                tuple(sorted(devices[method])),
            )
        )
    return rows


def contrast(entries: Sequence[Entry], metric: str, method: str, minus: str) -> Spread | None:
    """Return the differences between two methods, paired by seed; None if they have no seed in common.

    Parameters
    ----------
    entries : sequence of Entry
        Of one experiment, tier and budget.
    metric : str
        Name in the ledger.
    method, minus : str
        The methods.

    Raises
    ------
    DataError
        If a method has two runs of a seed.
    """
    first, second = (
        {entry.seed: entry.metrics[metric] for entry in chosen}
        for chosen in (
            [entry for entry in entries if entry.method == name and metric in entry.metrics]
            for name in (method, minus)
        )
    )
    for name, found in ((method, first), (minus, second)):
        if len(found) < sum(entry.method == name and metric in entry.metrics for entry in entries):
            raise DataError(f"{name} has two runs of one seed; see mtl results check")
    return paired(first, second) if set(first) & set(second) else None


def table4_html(rows: Sequence[Row]) -> str:
    """Return the table for a page: mean ± standard deviation, and differences to the reference with their intervals.

    Examples
    --------
    >>> html = table4_html([Row("single", {"accuracy": spread([50.0, 52.0])}, {}, 28.39, ("CPU",))])
    >>> "<td>51.0 ± 1.4</td>" in html, html.count("<th scope")
    (True, 8)
    """
    heads = ("method", "accuracy, %", "macro-recall, %", "NME, %")
    heads += ("macro-recall against single", "NME against single", "accuracy in the paper, %")

    def cell(found: Spread | None, signed: bool, digits: int = 1) -> str:
        if found is None:
            return "<td></td>"
        sign = "+" if signed else ""
        if found.n == 1:
            return f"<td>{found.mean:{sign}.{digits}f}</td>"
        if not signed:
            return f"<td>{found.mean:.1f} ± {found.sd:.1f}</td>"
        text = f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"
        return f"<td>{f'<strong>{text}</strong>' if found.clear else text}</td>"

    lines = ['<table class="mtl-results mtl-scrolls" tabindex="0"><thead><tr>']
    lines += [f'<th scope="col">{head}</th>' for head in heads] + ["</tr></thead><tbody>"]
    for row in rows:
        cells = [cell(row.spreads.get(metric), False) for metric in METRICS]
        # Differences in NME are small: with one digit an interval that leaves out 0 can look as if it began there.
        cells += [
            cell(row.differences.get(metric), True, digits)
            for metric, digits in (("macro_recall", 1), ("nme", 2))
        ]
        cells.append("<td></td>" if row.paper is None else f"<td>{row.paper:.2f}</td>")
        lines.append(f'<tr><th scope="row"><code>{row.method}</code></th>{"".join(cells)}</tr>')
    return "".join(lines) + "</tbody></table>"


def table4_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal, at most 88 characters wide.

    A difference is followed by its 95 % interval, and by a star where that leaves 0 out; with some thirty rows, one or
    two stars are expected from noise alone.
    """
    n = max((row.spreads[next(iter(row.spreads))].n for row in rows), default=0)
    lines = [
        f"{'':17}{'accuracy':>12}{'macro-recall':>14}{'NME':>13}{'macro-recall vs single':>24}{'paper':>8}",
        f"{'':17}{'%':>12}{'%':>14}{'%':>13}{'points, interval':>24}{'acc. %':>8}",
    ]

    def cell(row: Row, metric: str, width: int) -> str:
        found = row.spreads.get(metric)
        if found is None:
            return " " * width
        text = f"{found.mean:.1f}" if found.n == 1 else f"{found.mean:.1f} ± {found.sd:.1f}"
        return f"{text:>{width}}"

    for row in rows:
        paper = "" if row.paper is None else f"{row.paper:.2f}"
        lines.append(
            f"{row.method:17}{cell(row, 'accuracy', 12)}{cell(row, 'macro_recall', 14)}{cell(row, 'nme', 13)}"
            f"{interval_cell(row.differences.get('macro_recall'), 24)}{paper:>8}"
        )
    lines.append(seeds_note(n))
    return "\n".join(lines)
