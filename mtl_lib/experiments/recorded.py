"""What tables and chapters take from recorded runs: values by method and seed, files beside the ledger."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_lib.errors import DataError
from mtl_lib.ledger import HOME, Entry, _fetch, default_folder
from mtl_lib.seeds import Spread, paired, spread

Values = Mapping[str, Mapping[int, float]]
"""Method to seed to value."""

PAPER = Path(__file__).parents[2] / "data" / "paper"


def paper_text(name: str, folder: Path | None = None) -> str:
    """Return a file of ``data/paper``: of this checkout, and without one (Colab) of the book's repository.

    Parameters
    ----------
    name : str
        The file's.
    folder : Path, optional
        Another than the checkout's.

    Raises
    ------
    DataError
        If it is missing from a checkout, or cannot be fetched.

    Examples
    --------
    >>> paper_text("table7_tner.csv").splitlines()[0].split(",")[0]
    'database'
    """
    path = (PAPER if folder is None else folder) / name
    if path.is_file():
        return path.read_text(encoding="utf-8")
    if default_folder() is not None:
        raise DataError("this file of the paper's numbers is missing; get the book's data again", path)
    return _fetch(HOME.removesuffix("results/ledger/") + f"paper/{name}")


def paper_rows(name: str) -> list[dict[str, str]]:
    """Return a table of ``data/paper``, a dictionary for each row; see :func:`paper_text`.

    Examples
    --------
    >>> sorted({row["database"] for row in paper_rows("table7_tner.csv")})
    ['CK+', 'OCNV']
    """
    return list(csv.DictReader(io.StringIO(paper_text(name))))


def result_rows(name: str, folder: Path | None = None) -> list[dict[str, str]]:
    """Return the rows of a CSV file in ``data/results``, a dictionary each.

    Parameters
    ----------
    name : str
        The file's, such as ``"renderer_benchmark.csv"``.
    folder : Path, optional
        Another than the checkout's; without a checkout (Colab) the file comes from the book's repository.

    Raises
    ------
    DataError
        If it is missing from a checkout, or cannot be fetched.

    Examples
    --------
    >>> {row["table"] for row in result_rows("renderer_benchmark.csv")} >= {"renderer", "step", "loaders"}
    True
    """
    path = (PAPER.parent / "results" if folder is None else folder) / name
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    elif folder is not None or default_folder() is not None:
        raise DataError("this file of measured numbers is missing; get the book's data again", path)
    else:
        text = _fetch(HOME.removesuffix("ledger/") + name)
    return list(csv.DictReader(io.StringIO(text)))


def values_of(entries: Sequence[Entry], metric: str) -> dict[str, dict[int, float]]:
    """Return a metric by method and seed.

    Parameters
    ----------
    entries : sequence of Entry
        Of one experiment, one tier and one budget.
    metric : str
        Runs without it are left out.

    Raises
    ------
    DataError
        If the entries are of several tiers or budgets, or one method has two runs of a seed.

    Examples
    --------
    >>> entry = Entry(experiment="demo", method="laf", seed=3, tier="open", budget="cpu", metrics={"nme": 5.0},
    ...               config={}, device="CPU", seconds=1.0, memory=1.0)
    >>> values_of([entry], "nme")
    {'laf': {3: 5.0}}
    """
    if len({(entry.experiment, entry.tier, entry.budget) for entry in entries}) > 1:
        raise DataError("runs of several experiments, tiers or budgets are no one table; select one")
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in entries:
        if metric in entry.metrics:
            if entry.seed in found[entry.method]:
                raise DataError(f"{entry.method} has two runs of seed {entry.seed}; see mtl results check")
            found[entry.method][entry.seed] = entry.metrics[metric]
    return dict(found)


def cell(values: Mapping[int, float] | None, width: int, digits: int = 1) -> str:
    """Return mean and standard deviation for a table, or blanks.

    Examples
    --------
    >>> cell({0: 1.0, 1: 3.0}, 11), cell({0: 1.0}, 6), cell(None, 3)
    ('  2.0 ± 1.4', '   1.0', '   ')
    """
    if not values:
        return " " * width
    found = spread(list(values.values()))
    text = f"{found.mean:.{digits}f}" + (f" ± {found.sd:.{digits}f}" if found.n > 1 else "")
    return f"{text:>{width}}"


def difference_cell(
    first: Mapping[int, float] | None, second: Mapping[int, float] | None, width: int, digits: int = 1
) -> str:
    """Return the paired difference for a table, as :func:`interval_cell` does, or blanks.

    Examples
    --------
    >>> difference_cell({0: 3.0, 1: 4.1, 2: 5.0}, {0: 2.0, 1: 3.0, 2: 4.0}, 21)
    ' +1.0*   +0.9 to +1.2'
    """
    if not first or not second or not set(first) & set(second):
        return " " * width
    return interval_cell(paired(first, second), width, digits)


def interval_cell(difference: Spread | None, width: int, digits: int = 1) -> str:
    """Return a mean difference with its interval, and a star where that leaves 0 out; without one, blanks.

    Examples
    --------
    >>> interval_cell(spread([1.0, 2.0, 0.0]), 21), interval_cell(spread([1.0]), 5), interval_cell(None, 2)
    (' +1.0    -1.5 to +3.5', ' +1.0', '  ')
    """
    if difference is None:
        return " " * width
    text = f"{difference.mean:+.{digits}f}"
    if difference.n > 1:
        interval = f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"
        # As wide as two numbers of two digits before the point, so that means stand below one another.
        text += f"{'*' if difference.clear else ' '} {interval:>{12 + 2 * digits}}"
    return f"{text:>{width}}"


def seeds_line(values: Values) -> str:
    """Return the line below a table that says over how many seeds it is made, and what its signs mean.

    Examples
    --------
    >>> seeds_line({"laf": {0: 1.0, 1: 3.0}, "single": {0: 2.0}})[:27]
    '2 seeds; mean ± standard de'
    """
    return seeds_note(max((len(found) for found in values.values()), default=0))


def seeds_note(count: int) -> str:
    """Return what :func:`seeds_line` does, from the number of seeds.

    Examples
    --------
    >>> print(seeds_note(1))
    1 seed; mean ± standard deviation; paired differences with 95 % interval, * without 0
    """
    seeds = f"{count} seed{'s' if count != 1 else ''}"
    return f"{seeds}; mean ± standard deviation; paired differences with 95 % interval, * without 0"


def verdict(difference: Spread, above: str, below: str) -> str:
    """Return what a paired difference over seeds says: one of two statements, or that it is inside the noise.

    Parameters
    ----------
    difference : Spread
        From :func:`mtl_lib.seeds.paired`.
    above, below : str
        What is said if its interval lies above 0, or below.

    Examples
    --------
    >>> verdict(spread([1.0, 1.1, 0.9]), "better", "worse"), verdict(spread([1.0, -1.0]), "better", "worse")
    ('better', 'inside the noise')
    """
    if not difference.clear:
        return "inside the noise"
    return above if difference.mean > 0 else below


def file_of(entry: Entry, what: str, folder: Path | None = None) -> Any:
    """Return what a small file beside the ledger holds.

    Parameters
    ----------
    entry : Entry
        The run.
    what : str
        Which of its files.
    folder : Path, optional
        The ledger's folder; by default that of this checkout, and without one the book's repository.

    Raises
    ------
    DataError
        If the run has no such file, or it is missing.
    """
    if what not in entry.files:
        raise DataError(f"{entry.method}, seed {entry.seed}, has no file {what!r}: {sorted(entry.files)}")
    folder = default_folder() if folder is None else folder
    name = entry.files[what]
    if folder is None:
        return json.loads(_fetch(HOME + name))
    if not (Path(folder) / name).is_file():
        raise DataError(
            "this file of a recorded run is missing; get the book's data again", Path(folder) / name
        )
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))
