"""Every claim of the paper and its verdict, computed from the ledger: ``mtl results claims``.

The claims stand in ``data/paper/claims.toml``: in our words, with the paper's numbers, and with *tests*, statements
about recorded runs such as ``table4 accuracy: laf > single``.  A test is judged by the interval of the paired difference
over seeds.  Where an effect could have another reason than the claimed one, a *control* must hold as well.
Nothing here is typed: another line in the ledger is another verdict.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_lib.errors import DataError
from mtl_lib.ledger import Entry, read
from mtl_lib.seeds import Spread, paired, spread

CLAIMS = Path(__file__).parents[2] / "data" / "paper" / "claims.toml"

REPRODUCED, OPPOSITE, NOISE = "reproduced", "opposite", "inside the noise"
EXPLAINED, MISSING, UNTESTABLE = "explained by the control", "not recorded yet", "not testable here"
CHECKED = "checked, not measured"
VERDICTS = (REPRODUCED, EXPLAINED, NOISE, OPPOSITE, MISSING, UNTESTABLE, CHECKED)
"""All that a verdict can be; the last is for mathematics and counts, which no run decides."""

BUDGETS = ("full", "t4", "cpu")
"""The largest one that is recorded counts."""

LEAST_SEEDS = 3
"""With fewer a spread says nothing."""

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
        if margin is None or margin < 0 or (number is not None and other_metric):
            raise DataError(f"{text!r}: what follows +- must be a number above 0, and a number has no metric")
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
    id, where, says : str
        Its name, where it stands, and what it says in our words.
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
    """Return the claims in the paper's order.

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
    if not path.is_file():
        raise DataError("the paper's claims are not here; work in a checkout of the book", path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"no TOML ({error})", path) from None
    found: list[Claim] = []
    for values in content.get("claim", []):
        name = values.get("id", f"claim {len(found) + 1}")
        try:
            parsed = {
                key: tuple(map(Contrast.parse, values[key])) for key in ("tests", "control") if key in values
            }
            claim = Claim(**{**values, **parsed, "tiers": tuple(values.get("tiers", ()))})
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


@dataclass(frozen=True)
class Judged:
    """A contrast and what the ledger says.

    Parameters
    ----------
    contrast : Contrast
    difference : Spread or None
        Left minus right side, paired by seed; None if too little is recorded.
    kind : str
        Reproduced, opposite, inside the noise, or not recorded yet.
    """

    contrast: Contrast
    difference: Spread | None
    kind: str

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.contrast}: {self.kind}"
        d = self.difference
        text = f"{self.contrast}: {d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f}, {d.n} seeds): {self.kind}"
        if self.kind == NOISE and self.contrast.sign != "=":
            bound = d.high if self.contrast.sign == ">" else d.low
            text += f"; beyond {bound:+.2f} excluded"
        return text


def judge(contrast: Contrast, entries: Sequence[Entry]) -> Judged:
    """Judge a contrast by recorded runs of one tier and budget.

    Parameters
    ----------
    contrast : Contrast
    entries : sequence of Entry
        Of its experiment.

    Raises
    ------
    DataError
        If a method has two runs of one seed.

    Examples
    --------
    >>> judge(Contrast.parse("demo accuracy: laf > single"), []).kind
    'not recorded yet'
    """
    left = _values(entries, contrast.method, contrast.metric)
    if contrast.other is None:
        difference = spread([value - contrast.number for value in left.values()]) if left else None
    else:
        right = _values(entries, contrast.other, contrast.other_metric)
        difference = paired(left, right) if set(left) & set(right) else None
    if difference is None or difference.n < LEAST_SEEDS:
        return Judged(contrast, None, MISSING)
    low, high = difference.low, difference.high
    if contrast.sign == "=":
        if -contrast.margin <= low and high <= contrast.margin:
            kind = REPRODUCED
        else:
            kind = OPPOSITE if low > contrast.margin or high < -contrast.margin else NOISE
    elif difference.clear:
        kind = REPRODUCED if (low > 0) == (contrast.sign == ">") else OPPOSITE
    else:
        kind = NOISE
    return Judged(contrast, difference, kind)


def _values(entries: Sequence[Entry], method: str, metric: str) -> dict[int, float]:
    found: dict[int, float] = {}
    for entry in entries:
        if entry.method == method and metric in entry.metrics:
            if entry.seed in found:
                raise DataError(
                    f"{entry.experiment}/{method} has two runs of seed {entry.seed}; see mtl results check"
                )
            found[entry.seed] = entry.metrics[metric]
    return found


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict on one tier.

    Parameters
    ----------
    claim : Claim
    tier : str
    kind : str
        One of :data:`VERDICTS`.
    tests, control : tuple of Judged
    """

    claim: Claim
    tier: str
    kind: str
    tests: tuple[Judged, ...] = ()
    control: tuple[Judged, ...] = ()

    @property
    def reason(self) -> str:
        """What it rests on, in a sentence."""
        if self.kind in (UNTESTABLE, CHECKED):
            elsewhere = f"tested on the tier {', '.join(self.claim.tiers)}"
            return self.claim.untestable or self.claim.checked or elsewhere
        if self.kind == EXPLAINED:
            failing = [each for each in self.control if each.kind != REPRODUCED]
            return f"{failing[0]}; not ruled out: {self.claim.because}"
        if self.kind == MISSING:
            lacking = [str(each.contrast) for each in (*self.tests, *self.control) if each.kind == MISSING]
            return f"{lacking[0]}" + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
        shown = [each for each in self.tests if each.kind == self.kind] or list(self.tests)
        # Of several that hold, the one that does so by least.
        worst = min(shown, key=lambda each: abs(each.difference.mean))
        return f"{worst}"


def judge_claim(claim: Claim, tier: str, recorded: Mapping[str, Sequence[Entry]]) -> Verdict:
    """Return a claim's verdict.

    A claim is reproduced if all its tests are, and all its controls; explained by the control if the tests hold and a
    control does not; opposite if one of its tests is clearly the other way round; else inside the noise.

    Parameters
    ----------
    claim : Claim
    tier : str
        For the record.
    recorded : mapping of str to sequence of Entry
        Runs of this tier, of one budget, by experiment.
    """
    if not claim.tests:
        return Verdict(claim, tier, UNTESTABLE if claim.untestable else CHECKED)
    if claim.tiers and tier not in claim.tiers:
        return Verdict(claim, tier, UNTESTABLE)
    tests = tuple(judge(each, recorded.get(each.experiment, ())) for each in claim.tests)
    control = tuple(judge(each, recorded.get(each.experiment, ())) for each in claim.control)
    kinds = {each.kind for each in tests}
    if OPPOSITE in kinds:
        kind = OPPOSITE
    elif MISSING in kinds:
        kind = MISSING
    elif NOISE in kinds:
        kind = NOISE
    elif any(each.kind == MISSING for each in control):
        kind = MISSING
    else:
        kind = REPRODUCED if all(each.kind == REPRODUCED for each in control) else EXPLAINED
    return Verdict(claim, tier, kind, tests, control)


def recorded_runs(
    experiments: Iterable[str], tier: str, folder: Path | None = None, budget: str | None = None
) -> dict[str, list[Entry]]:
    """Return the runs of every experiment on a tier, at one budget, or at the largest that is recorded of each.

    Parameters
    ----------
    experiments : iterable of str
        Names.
    tier : str
    folder : Path, optional
        The ledger's; by default the book's.
    budget : str, optional
        Take this one.
    """
    found = {}
    for name in experiments:
        entries = read(name, folder, tier=tier)
        for each in BUDGETS if budget is None else (budget,):
            chosen = [entry for entry in entries if entry.budget == each]
            if chosen:
                found[name] = chosen
                break
    return found


def verdicts(
    tier: str, folder: Path | None = None, budget: str | None = None, claims: Sequence[Claim] | None = None
) -> list[Verdict]:
    """Return the verdicts on all claims on one tier.

    Parameters
    ----------
    tier : str
        Which faces.
    folder : Path, optional
        The ledger's; by default the book's.
    budget : str, optional
        Which runs; by default, of every experiment, those of the largest budget that is recorded.
    claims : sequence of Claim, optional
        By default the book's.
    """
    claims = read_claims() if claims is None else claims
    names = {test.experiment for claim in claims for test in (*claim.tests, *claim.control)}
    recorded = recorded_runs(sorted(names), tier, folder, budget)
    return [judge_claim(claim, tier, recorded) for claim in claims]


def by_chance(found: Sequence[Verdict]) -> tuple[int, float, int]:
    """Say how much noise alone would bring about.

    Parameters
    ----------
    found : sequence of Verdict
        Of one tier.

    Returns
    -------
    (int, float, int)
        How many different contrasts for more or less were judged in tests; how many of their 95 % intervals would leave
        out 0 if there were no effect at all; how many do that even when held to all of them together (Holm's procedure
        at 5 %).
    """
    judged = {str(each.contrast): each for verdict in found for each in verdict.tests}
    values = sorted(
        each.difference.p
        for each in judged.values()
        if each.difference is not None and each.contrast.sign != "="
    )
    together = 0
    for rank, p in enumerate(values):
        if p > 0.05 / (len(values) - rank):
            break
        together += 1
    return len(values), 0.05 * len(values), together
