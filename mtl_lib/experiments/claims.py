"""The paper's claims as the file ``data/paper/claims.toml`` has them, and what would show them.

A claim stands there in our words, with the paper's numbers, and with *tests*: statements about recorded runs such as
``table4 accuracy: laf > single``.  Where an effect could have another reason than the claimed one, a *control* must
hold as well.  :mod:`mtl_lib.experiments.verdicts` judges them.
"""

import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtl_lib.errors import DataError
from mtl_lib.experiments.recorded import PAPER, paper_text

CLAIMS = PAPER / "claims.toml"

TEST = re.compile(
    r"(?P<experiment>\S+) (?P<metric>\S+): (?P<method>\S+) (?P<sign>[<>=]) (?P<other>\S+)(?: \+- (?P<margin>\S+))?"
)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One statement about recorded runs.

    Parameters
    ----------
    experiment, metric, method : str
        What is looked at.
    sign : {">", "<", "="}
        How it is to compare with the other side.
    other : str or None
        The other method, or None for a number.
    other_metric : str
        The metric of the other method.
    number : float
        What is compared with where there is no other method.
    margin : float
        For "=": the difference that still counts as equal.
    """

    experiment: str
    metric: str
    method: str
    sign: str
    other: str | None
    other_metric: str
    number: float = 0.0
    margin: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Contrast":
        """Read a statement as the claims have it.

        Raises
        ------
        DataError
            If it is none.

        Examples
        --------
        >>> Contrast.parse("table4 accuracy: laf > single").other
        'single'
        >>> found = Contrast.parse("tndr tndr_layer1: laf < laf@tndr_layer10")
        >>> found.other, found.other_metric
        ('laf', 'tndr_layer10')
        >>> Contrast.parse("alignment mlp: laf+ada1 = 50 +- 5").number
        50.0
        """
        match = TEST.fullmatch(text)
        if match is None or (match["sign"] == "=") != (match["margin"] is not None):
            raise DataError(
                f"{text!r} is no test; write EXPERIMENT METRIC: METHOD > METHOD, or = METHOD +- MARGIN"
            )
        other, _, other_metric = match["other"].partition("@")
        number, margin = _number(other), _number(match["margin"] or "0")
        if margin is None or not 0 <= margin < math.inf or (number is not None and other_metric):
            raise DataError(
                f"{text!r}: what follows +- must be a finite number, not below 0, and a number has no metric"
            )
        return cls(
            experiment=match["experiment"], metric=match["metric"], method=match["method"], sign=match["sign"],
            other=None if number is not None else other, other_metric=other_metric or match["metric"],
            number=number or 0.0, margin=margin,
        )  # fmt: skip

    def __str__(self) -> str:
        if self.other is None:
            right = f"{self.number:g}"
        else:
            right = self.other + ("" if self.other_metric == self.metric else f"@{self.other_metric}")
        margin = f" +- {self.margin:g}" if self.sign == "=" else ""
        return f"{self.experiment} {self.metric}: {self.method} {self.sign} {right}{margin}"

    def names(self) -> list[tuple[str, str]]:
        """Return the methods it names, each with the metric it needs of it."""
        own = [(self.method, self.metric)]
        return own if self.other is None else [*own, (self.other, self.other_metric)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper.

    Parameters
    ----------
    id, part, where, says : str
        Its name, the part of the paper that it belongs to, where it stands, and what it says in our words.
    paper : str
        The paper's numbers, or nothing.
    effect : float or None
        The difference that the paper reports; of several, the smallest.
    tests, control : tuple of Contrast
        What the ledger must show; and what must hold as well, or the effect has another reason.
    because : str
        That other reason.
    tiers : tuple of str
        The only ones on which the tests make sense; empty for all.
    checked, untestable : str
        In place of tests: what a check of mathematics or counts came to, or why nothing can be tested.
    """

    id: str
    part: str
    where: str
    says: str
    paper: str = ""
    effect: float | int | None = None
    tests: tuple[Contrast, ...] = ()
    control: tuple[Contrast, ...] = ()
    because: str = ""
    tiers: tuple[str, ...] = ()
    checked: str = ""
    untestable: str = ""


def read_claims(path: Path | None = None) -> list[Claim]:
    """Return the claims in the paper's order; one that names no ``part`` belongs to that of the claim before it.

    Parameters
    ----------
    path : Path, optional
        Another file than the book's.

    Raises
    ------
    DataError
        If the file is missing or damaged, a claim has a field that there is not or not exactly one of ``tests``,
        ``checked`` and ``untestable``, an id stands twice, or a test names an experiment that the file does not list.

    Examples
    --------
    >>> claims = {claim.id: claim for claim in read_claims()}
    >>> print(*claims["laf-over-single"].tests, claims["laf-over-single"].effect)
    table4 accuracy: laf > single 5.04
    """
    path = CLAIMS if path is None else path
    try:
        content = tomllib.loads(paper_text(path.name, path.parent))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"no TOML ({error})", path) from None
    found: list[Claim] = []
    for values in content.get("claim", []):
        name = values.get("id", f"claim {len(found) + 1}")
        try:
            parsed = {
                key: tuple(map(Contrast.parse, values[key])) for key in ("tests", "control") if key in values
            }
            inherited = {"part": found[-1].part} if found else {}
            claim = Claim(**{**inherited, **values, **parsed, "tiers": tuple(values.get("tiers", ()))})
        except (TypeError, DataError) as error:
            raise DataError(f"{name}: {error}", path) from None
        if sum(map(bool, (claim.tests, claim.checked, claim.untestable))) != 1:
            raise DataError(f"{name}: give one of tests, checked and untestable", path)
        if bool(claim.control) != bool(claim.because) or (claim.control and not claim.tests):
            raise DataError(f"{name}: control and because go together, and with tests", path)
        if name in {each.id for each in found}:
            raise DataError(f"{name}: stands twice", path)
        for test in (*claim.tests, *claim.control):
            if test.experiment not in content.get("experiments", []):
                raise DataError(f"{name}: {test.experiment!r} is not in the file's list of experiments", path)
        found.append(claim)
    return found


def unknown_names(
    claims: Iterable[Claim],
    methods: Mapping[str, Collection[str]],
    metrics: Mapping[str, Mapping[str, Collection[str]]],
) -> list[str]:
    """Return the tests that name a method or a metric that there is not, one line each.

    Parameters
    ----------
    claims : iterable of Claim
    methods : mapping of str to collection of str
        Methods by experiment; experiments that are not in it are passed over.
    metrics : mapping of str to mapping
        Recorded metrics by experiment and method; what is not in it is passed over.

    Examples
    --------
    >>> claims = [each for each in read_claims() if each.id == "cross-stitch-over-single"]
    >>> unknown_names(claims, {"table4": ["single", "laf"]}, {})
    ["cross-stitch-over-single: table4 has no method 'cross_stitch'"]
    """
    found = []
    for claim in claims:
        for test in (*claim.tests, *claim.control):
            for method, metric in test.names():
                if test.experiment in methods and method not in methods[test.experiment]:
                    found.append(f"{claim.id}: {test.experiment} has no method {method!r}")
                known = metrics.get(test.experiment, {}).get(method)
                if known is not None and metric not in known:
                    found.append(f"{claim.id}: {test.experiment}/{method} has no metric {metric!r}")
    return list(dict.fromkeys(found))
