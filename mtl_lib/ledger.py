"""The ledger: one line per recorded run, with all that is needed to repeat it.

Every experiment has one file of JSON lines, ``data/results/ledger/<experiment>.jsonl``.  A line holds what was
run (experiment, method, seed, tier of data, budget, the full configuration and its hash), what came out
(``metrics``), and how (version of the code, device, seconds, memory, date).  Curves and features lie beside it
in small files that the line names.  Lines are kept in order, so that a recorded run is a small diff.

Several processes may record at once: a file is locked while it changes, and it is replaced as a whole, so
that a kill leaves the old lines or the new ones.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
import math
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from mtl_lib import __version__, atomic
from mtl_lib.errors import ConfigError, DataError

HOME = "https://raw.githubusercontent.com/learning-what-to-share/learning-what-to-share/main/data/results/ledger/"
"""Where a copy of the package without the book's files (Colab) reads the recorded runs from."""

DIVERGED = "diverged"
"""The metric of a run that diverged: 1.  Such a line lacks whatever could not be measured."""


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that change with every setting, whatever the order they stand in.

    Examples
    --------
    >>> config_hash({"lr": 0.1, "steps": 5}) == config_hash({"steps": 5, "lr": 0.1})
    True
    """
    text = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One recorded run.

    Parameters
    ----------
    experiment, method : str
        Which table or figure it belongs to, and which of its arms it is.
    seed : int
        Of initialisation, order and split.
    tier, budget : str
        Which faces, and how much computing.
    metrics : dict of str to float
        What came out; percentages are in percent.
    config : dict
        All settings, as JSON can hold them.
    device : str
        What it ran on, in words.
    seconds, memory : float
        Wall time, and peak memory in MiB.
    code : str
        Version of the package and commit; by default of this checkout.
    date : str
        Day, ISO 8601; by default today.
    files : dict of str to str
        Small files beside the ledger: what they hold, and their names.

    Raises
    ------
    ConfigError
        If a name is no plain word, or a metric is not a finite number.

    Examples
    --------
    >>> entry = Entry(experiment="demo", method="laf", seed=0, tier="synthetic", budget="smoke",
    ...               metrics={"accuracy": 50.0}, config={"lr": 0.1}, device="CPU", seconds=1.0, memory=100.0)
    >>> entry.hash == config_hash({"lr": 0.1})
    True
    """

    experiment: str
    method: str
    seed: int
    tier: str
    budget: str
    metrics: dict[str, Any]  # finite numbers; what is not gets a message below
    config: dict[str, Any]
    device: str
    seconds: float
    memory: float
    code: str = dataclasses.field(default_factory=lambda: code_version())
    date: str = dataclasses.field(default_factory=lambda: datetime.date.today().isoformat())
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("experiment", "method", "tier", "budget"):
            value = getattr(self, name)
            if not value or not all(c.isalnum() or c in "_-+.,()" for c in value):
                raise ConfigError(
                    f"{name} is {value!r}; the ledger takes a word of letters, digits and _ - + . , ( )"
                )
        for name, value in {**self.metrics, "seconds": self.seconds, "memory": self.memory}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(
                    f"{self.experiment}/{self.method}, seed {self.seed}: {name} is {value!r}; the ledger takes"
                    " finite numbers only"
                )

    @property
    def hash(self) -> str:
        """Hash of the configuration."""
        return config_hash(self.config)

    @property
    def key(self) -> tuple:
        """What makes a run the same run: a second line with this key would be a duplicate."""
        return (self.experiment, self.tier, self.budget, self.method, self.seed, self.hash)

    @property
    def diverged(self) -> bool:
        """Whether the loss of this run stopped being a number."""
        return DIVERGED in self.metrics

    def line(self) -> str:
        """Return the line of the file, with its end."""
        return json.dumps({**dataclasses.asdict(self), "hash": self.hash}, allow_nan=False) + "\n"


FIELDS = {field.name for field in dataclasses.fields(Entry)} | {"hash"}


def parse_line(text: str, path: str | os.PathLike = "", number: int | None = None) -> Entry:
    """Return the entry that a line describes.

    Raises
    ------
    DataError
        If it is no JSON, lacks or adds a field, or its hash does not belong to its configuration: somebody
        changed the line by hand.

    Examples
    --------
    >>> try:
    ...     parse_line("{}", "demo.jsonl", 3)
    ... except DataError as error:
    ...     print(error)
    demo.jsonl:3: fields missing or unknown: budget, code, config, ...
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON line ({error.msg}); restore it or take it out", path, number) from None
    if not isinstance(values, dict) or set(values) != FIELDS:
        differing = sorted(FIELDS ^ set(values if isinstance(values, dict) else ()))
        listed = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
        raise DataError(f"fields missing or unknown: {listed}", path, number)
    stored = values.pop("hash")
    try:
        entry = Entry(**values)
    except ConfigError as error:
        raise DataError(str(error), path, number) from None
    if entry.hash != stored:
        raise DataError(
            f"the configuration has the hash {entry.hash}, the line says {stored}: it was changed by hand;"
            " record the run again",
            path,
            number,
        )
    return entry


def default_folder() -> Path | None:
    """Return the ledger's folder of the checkout that this package or this notebook lies in, or None.

    ``MTL_RESULTS`` names another one.
    """
    if os.environ.get("MTL_RESULTS"):
        return Path(os.environ["MTL_RESULTS"])
    for root in (Path(__file__).parents[1], Path.cwd(), Path.cwd().parent):
        if (root / "data" / "results").is_dir():
            return root / "data" / "results" / "ledger"
    return None


def read(experiment: str, folder: str | os.PathLike | None = None, **wanted: Any) -> list[Entry]:
    """Return the recorded runs of an experiment, in order.

    Parameters
    ----------
    experiment : str
        Its name.
    folder : path-like, optional
        The ledger's folder; by default the one of this checkout, and without a checkout (the package alone is
        installed) the file in the book's repository.
    **wanted
        Only entries whose fields have these values, such as ``tier="open"``; a list or tuple allows several.

    Returns
    -------
    list of Entry
        Empty if nothing is recorded.

    Raises
    ------
    ConfigError
        If ``wanted`` names no field.
    DataError
        If a line is damaged, with file and line; or the file cannot be fetched.
    """
    unknown = set(wanted) - FIELDS
    if unknown:
        raise ConfigError(
            f"the ledger has no field {sorted(unknown)[0]!r}; it has {', '.join(sorted(FIELDS))}"
        )
    folder = default_folder() if folder is None else Path(folder)
    if folder is None:
        path, text = HOME + f"{experiment}.jsonl", _fetch(HOME + f"{experiment}.jsonl")
    else:
        path = folder / f"{experiment}.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    entries = [parse_line(line, path, n) for n, line in enumerate(text.splitlines(), 1)]

    def fits(entry: Entry) -> bool:
        return all(
            getattr(entry, name) in (value if isinstance(value, list | tuple) else (value,))
            for name, value in wanted.items()
        )

    return [entry for entry in entries if fits(entry)]


def _fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read().decode("utf-8")
    except (urllib.error.URLError, OSError) as error:
        raise DataError(
            f"the recorded runs cannot be fetched ({error}); work in a checkout of the book, or name the"
            " ledger's folder with MTL_RESULTS",
            url,
        ) from None


def record(entry: Entry, folder: str | os.PathLike | None = None, *, replace: bool = False) -> Path:
    """Add a run to its experiment's file.

    Parameters
    ----------
    entry : Entry
        The run.
    folder : path-like, optional
        The ledger's folder; by default the one of this checkout.
    replace : bool, optional
        Whether a line of the same key may be replaced (the run was made again, on another device, say).

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ConfigError
        If the run is recorded already and ``replace`` is not set, or there is no checkout and no ``folder``.

    Examples
    --------
    >>> import tempfile
    >>> entry = Entry(experiment="demo", method="laf", seed=0, tier="synthetic", budget="smoke",
    ...               metrics={"accuracy": 50.0}, config={"lr": 0.1}, device="CPU", seconds=1.0, memory=100.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = record(entry, folder)
    ...     read("demo", folder, method="laf") == [entry]
    True
    """
    folder = default_folder() if folder is None else Path(folder)
    if folder is None:
        raise ConfigError("there is no data/results here to record in; name a folder, or set MTL_RESULTS")

    def add(entries: list[Entry]) -> list[Entry]:
        others = [each for each in entries if each.key != entry.key]
        if len(others) < len(entries) and not replace:
            raise ConfigError(
                f"{entry.experiment}/{entry.method}, seed {entry.seed}, tier {entry.tier}, budget {entry.budget}"
                " is recorded already with this configuration; ask for its replacement to make it anew"
            )
        return [*others, entry]

    return change(entry.experiment, add, folder)


def change(
    experiment: str, function: Callable[[list[Entry]], Iterable[Entry]], folder: str | os.PathLike
) -> Path:
    """Replace an experiment's entries by ``function`` of them, while nobody else can.

    Parameters
    ----------
    experiment : str
        Its name.
    function : callable
        Takes the list of entries, returns the new ones; if it raises, the file stays as it is.
    folder : path-like
        The ledger's folder.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = Path(folder) / f"{experiment}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{experiment}.lock"):
        entries = sorted(function(read(experiment, folder)), key=lambda entry: entry.key)
        atomic.write_text(path, "".join(entry.line() for entry in entries))
    return path


@functools.cache
def code_version() -> str:
    """Return the package's version and, in a checkout, its commit; ``+`` marks changes since that commit.

    Examples
    --------
    >>> code_version().split()[0]
    '0.1.0'
    """
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30
        )
        return answer.stdout.strip() if answer.returncode == 0 else ""

    try:
        if not (root / ".git").exists():
            return __version__
        commit, dirty = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain", "--", "mtl_lib")
    except (OSError, subprocess.SubprocessError):  # no git
        return __version__
    return f"{__version__} {commit}{'+' if dirty else ''}" if commit else __version__
