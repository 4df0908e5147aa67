"""Numbers in the text that come from the ledger: ``python -m tools.ledger_numbers [--write]``.

In Markdown such a number is followed by a comment, which no reader sees, that says where it comes from::

    ... recognises 62.1 ± 3.0 % <!-- ledger table4 macro_recall method=laf tier=open --> of the faces ...

``ledger EXPERIMENT METRIC`` is followed by fields that select the entries, by ``minus=METHOD`` for the paired
difference to another method over the same seeds, and by ``show=``:

========== ============================= ==========
mean_sd    mean ± standard deviation     62.1 ± 3.0
mean       mean                          62.1
sd         standard deviation            3.0
n          number of runs                5
interval   interval of the mean          58.4 to 65.8
count      differences above 0 of all    4 of 5
========== ============================= ==========

with ``digits=`` after the point (1).  Without options: ``mean_sd``.  ``absent=ok`` lets "not measured" stand for a number
as long as fewer than two seeds are recorded for it.  Where a run of the method diverged, the mark fails until the text says
so and ``diverged=ok`` is added: the number is then that of the other runs.  What stands before the comment must be
what the ledger says, else the check fails; ``--write`` puts it right.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

from mtl_lib.errors import MtlError
from mtl_lib.ledger import read
from mtl_lib.seeds import Spread, paired, spread

NOTHING = "not measured"
NUMBER = rf"(?:{NOTHING}|[-−+]?\d[\d.]*(?: ?(?:±|to|of) ?[-−+]?\d[\d.]*)?)"
MARK = re.compile(rf"(?P<text>{NUMBER})(?P<unit>(?: ?%)?) ?<!-- ?ledger (?P<query>[^>]*?) ?-->")
ANY_MARK = re.compile(r"<!--\s*ledger\b[^>]*-->")
SHOWN = {
    "mean_sd": lambda s, f: f"{f(s.mean)} ± {f(s.sd)}",
    "mean": lambda s, f: f(s.mean),
    "sd": lambda s, f: f(s.sd),
    "n": lambda s, f: str(s.n),
    "interval": lambda s, f: f"{f(s.low)} to {f(s.high)}",
    "count": lambda s, f: f"{s.positive} of {s.n}",
}


@dataclass(frozen=True)
class Found:
    """A number in a text: what it says, and what the ledger says."""

    where: str
    text: str
    expected: str
    query: str


def value(query: str, folder: Path | None = None) -> str:
    """Return the number that a query asks the ledger for, as text."""
    experiment, metric, *options = query.split()
    fields = dict(option.split("=", 1) for option in options)
    show, digits = fields.pop("show", "mean_sd"), int(fields.pop("digits", 1))
    other, absent = fields.pop("minus", None), fields.pop("absent", "") == "ok"
    told = fields.pop("diverged", "") == "ok"
    if "seed" in fields:
        fields["seed"] = int(fields["seed"])
    if show not in SHOWN:
        raise MtlError(f"show={show}; there are {', '.join(SHOWN)}")

    def per_seed(method: str | None) -> dict[int, float]:
        chosen = {**fields, **({"method": method} if method else {})}
        entries = read(experiment, folder, **chosen)
        if not entries:
            raise MtlError(f"nothing is recorded for {experiment} {chosen}")
        if lost := [entry for entry in entries if entry.diverged and metric not in entry.metrics]:
            if not told:
                raise MtlError(
                    f"{experiment}/{lost[0].method}, seed {lost[0].seed}, diverged: say so in the text, and diverged=ok"
                )
            entries = [entry for entry in entries if entry not in lost]
        if lacking := [entry for entry in entries if metric not in entry.metrics]:
            raise MtlError(f"{experiment}/{lacking[0].method} has no metric {metric!r}")
        found = {entry.seed: entry.metrics[metric] for entry in entries}
        if len(found) < len(entries):
            raise MtlError(f"{experiment} {chosen}: several runs of one seed; select more narrowly")
        return found

    if absent and not all(
        read(experiment, folder, **{**fields, "method": name})
        for name in (fields.get("method"), other)
        if name
    ):
        return NOTHING
    first = per_seed(fields.get("method"))
    result: Spread = paired(first, per_seed(other)) if other else spread(list(first.values()))
    if absent and result.n == 1:
        return NOTHING  # of one run there is no spread, and nothing to compare it with
    sign = "+" if other else ""
    return SHOWN[show](result, lambda x: f"{x:{sign if x is not result.sd else ''}.{digits}f}")


def numbers_in(text: str, where: str, folder: Path | None = None) -> tuple[list[Found], str]:
    """Return all marked numbers of a text, and the text with every number as the ledger has it."""
    found: list[Found] = []

    def right(match: re.Match) -> str:
        query = match["query"]
        try:
            expected = value(query, folder)
        except (MtlError, ValueError) as error:
            expected = f"({error})"
        found.append(Found(where, match["text"], expected, query))
        return f"{expected}{match['unit']}<!-- ledger {query} -->"

    corrected = MARK.sub(right, text)
    for mark in ANY_MARK.findall(MARK.sub("", text)):
        found.append(Found(where, "", "(no number stands right before this mark)", mark))
    return found, corrected


def pages(root: Path) -> list[Path]:
    return [
        *sorted(root.glob("chapters/*.ipynb")),
        *sorted(root.glob("chapters/**/*.md")),
        *sorted(root.glob("docs/*.md")),
        root / "README.md",
    ]


def check(root: Path, write: bool = False, folder: Path | None = None) -> list[Found]:
    """Return the numbers that differ from the ledger; with ``write``, put them right where that is possible."""
    wrong: list[Found] = []
    for path in pages(root):
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
            texts = [(cell.source, f"{path.name}, cell {cell.id}") for cell in cells]
        else:
            texts = [(path.read_text(encoding="utf-8"), path.name)]
        results = [numbers_in(text, where, folder) for text, where in texts]
        differing = [each for found, _ in results for each in found if each.text != each.expected]
        wrong += differing
        if write and differing and not any(each.expected.startswith("(") for each in differing):
            if path.suffix == ".ipynb":
                for cell, (_, corrected) in zip(cells, results, strict=True):
                    cell.source = corrected
                nbformat.write(notebook, path)
            else:
                path.write_text(results[0][1], encoding="utf-8")
    return wrong


def main() -> int:
    wrong = check(Path.cwd(), write="--write" in sys.argv[1:])
    for each in wrong:
        print(f"{each.where}: the text says {each.text!r}, the ledger {each.expected!r} [{each.query}]")
    if not wrong:
        print("ledger_numbers: every marked number is the ledger's")
    return bool(wrong) and "--write" not in sys.argv[1:]


if __name__ == "__main__":
    sys.exit(main())
