"""Every claim's verdict, computed from the ledger: ``mtl results claims``.

A test is judged by the interval of the paired difference over seeds, a claim by its tests and its controls.
Nothing here is typed: another line in the ledger is another verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtl_lib.experiments import central, table4
from mtl_lib.experiments.claims import Claim, Contrast, read_claims
from mtl_lib.experiments.recorded import values_of
from mtl_lib.ledger import Entry, read
from mtl_lib.seeds import Spread, holm, paired, spread

REPRODUCED, OPPOSITE, NOISE = "reproduced", "opposite", "inside the noise"
EXPLAINED, MISSING, UNTESTABLE = "explained by the control", "not recorded yet", "not testable here"
CHECKED = "checked, not measured"
VERDICTS = (REPRODUCED, EXPLAINED, NOISE, OPPOSITE, MISSING, UNTESTABLE, CHECKED)
"""All that a verdict can be; the last is for mathematics and counts, which no run decides."""

BUDGETS = ("full", "t4", "cpu")
"""The largest one that is recorded counts."""

LEAST_SEEDS = 3
"""With fewer a spread says nothing."""

LEVEL = 0.95
"""Coverage of the intervals that decide."""

AGAIN = {(table4.TABLE, "accuracy"): central.NAME, (table4.TABLE, "macro_recall"): central.NAME}
"""Contrasts of an experiment and metric that another one repeats, with the same settings, on more seeds and new ones.
Where both arms are recorded there, those seeds decide, and not the few.  Not landmark errors: the arms of Table 4 have
landmark weights of their own, which more seeds cannot make equal."""


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
    diverged : int
        Runs of the two methods that diverged, and are in no difference.
    """

    contrast: Contrast
    difference: Spread | None
    kind: str
    diverged: int = 0

    @property
    def lost(self) -> str:
        """What is to be said of the runs that diverged."""
        return f"; {self.diverged} run{'s' * (self.diverged > 1)} diverged" if self.diverged else ""

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.contrast}: {self.kind}{self.lost}"
        d = self.difference
        text = f"{self.contrast}: {d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f}, {d.n} seeds): {self.kind}"
        if self.kind == NOISE and self.contrast.sign != "=":
            bound = d.high if self.contrast.sign == ">" else d.low
            text += f"; beyond {bound:+.2f} excluded"
        return text + self.lost


def judge(contrast: Contrast, entries: Sequence[Entry], level: float = LEVEL) -> Judged:
    """Judge a contrast by recorded runs of one tier and budget.

    Parameters
    ----------
    contrast : Contrast
    entries : sequence of Entry
        Of its experiment.
    level : float, optional
        Coverage of the interval that decides.

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
        difference = spread([value - contrast.number for value in left.values()], level) if left else None
    else:
        right = _values(entries, contrast.other, contrast.other_metric)
        difference = paired(left, right, level) if set(left) & set(right) else None
    lost = sum(entry.diverged and entry.method in (contrast.method, contrast.other) for entry in entries)
    if difference is None or difference.n < LEAST_SEEDS:
        return Judged(contrast, None, MISSING, lost)
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
    return Judged(contrast, difference, kind, lost)


def judge_best(contrast: Contrast, recorded: Mapping[str, Sequence[Entry]], level: float = LEVEL) -> Judged:
    """Judge a contrast by the experiment that has most seeds of it: its own, or one that repeats it (:data:`AGAIN`).

    Parameters
    ----------
    contrast : Contrast
    recorded : mapping of str to sequence of Entry
        Runs of one tier and budget, by experiment.
    level : float, optional
        Coverage of the interval that decides.
    """
    again = AGAIN.get((contrast.experiment, contrast.metric))
    if again is not None:
        repeated = judge(replace(contrast, experiment=again), recorded.get(again, ()), level)
        if repeated.kind != MISSING:
            return repeated
    return judge(contrast, recorded.get(contrast.experiment, ()), level)


def experiments_of(claims: Iterable[Claim]) -> list[str]:
    """Return the experiments whose runs can decide on some claims, by name.

    Examples
    --------
    >>> [name for name in experiments_of(read_claims()) if name.startswith(("ce", "table4"))]
    ['central', 'table4']
    """
    asked = {(test.experiment, test.metric) for claim in claims for test in (*claim.tests, *claim.control)}
    return sorted({name for name, _ in asked} | {AGAIN[each] for each in asked if each in AGAIN})


def _values(entries: Sequence[Entry], method: str, metric: str) -> Mapping[int, float]:
    # Of this method alone: two runs of a seed are only then an error when they are needed.
    return values_of([entry for entry in entries if entry.method == method], metric).get(method, {})


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
            lacking = [each for each in (*self.tests, *self.control) if each.kind == MISSING]
            first = f"{lacking[0].contrast}{lacking[0].lost}"
            return first + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
        shown = [each for each in self.tests if each.kind == self.kind] or list(self.tests)
        # Of several that hold, the one that does so by least.
        worst = min(shown, key=lambda each: abs(each.difference.mean))
        return f"{worst}"


def judge_claim(
    claim: Claim, tier: str, recorded: Mapping[str, Sequence[Entry]], level: float = LEVEL
) -> Verdict:
    """Return a claim's verdict.

    A claim is reproduced if all its tests are, and all its controls; explained by the control if the tests hold and a
    control does not; opposite if one of its tests is clearly the other way round; not recorded yet if a test or a control
    that is needed is not; else inside the noise.

    Opposite needs no control.  A control asks whether a gain that is there has another reason than the claimed one; where
    the difference has the other sign there is no such gain to explain.  Nor can a test that is still missing mend it: a
    claim says that *all* its tests come out.

    Parameters
    ----------
    claim : Claim
    tier : str
        For the record.
    recorded : mapping of str to sequence of Entry
        Runs of this tier, of one budget, by experiment.
    level : float, optional
        Coverage of the intervals that decide.
    """
    if not claim.tests:
        return Verdict(claim, tier, UNTESTABLE if claim.untestable else CHECKED)
    if claim.tiers and tier not in claim.tiers:
        return Verdict(claim, tier, UNTESTABLE)
    tests = tuple(judge_best(each, recorded, level) for each in claim.tests)
    control = tuple(judge_best(each, recorded, level) for each in claim.control)
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
    tier: str,
    folder: Path | None = None,
    budget: str | None = None,
    claims: Sequence[Claim] | None = None,
    level: float = LEVEL,
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
    level : float, optional
        Coverage of the intervals that decide.
    """
    claims = read_claims() if claims is None else claims
    recorded = recorded_runs(experiments_of(claims), tier, folder, budget)
    return [judge_claim(claim, tier, recorded, level) for claim in claims]


def judged_tests(found: Sequence[Verdict]) -> list[Judged]:
    """Return the different contrasts for more or less that were judged in tests, from the least p-value on.

    Those for "equal" have no p-value: there the interval must be small, and noise makes no discoveries.

    Parameters
    ----------
    found : sequence of Verdict
        Of one tier.
    """
    judged = {str(each.contrast): each for verdict in found for each in verdict.tests}
    counted = [each for each in judged.values() if each.difference is not None and each.contrast.sign != "="]
    return sorted(counted, key=lambda each: each.difference.p)


def held_together(found: Sequence[Verdict], level: float = LEVEL) -> list[Judged]:
    """Return those of :func:`judged_tests` that leave out 0 even when held to all of them together (Holm).

    The family is all that :func:`judged_tests` returns: the different contrasts for more or less in the tests of the given
    claims, each once.  Controls and contrasts for "equal" are not in it.

    Parameters
    ----------
    found : sequence of Verdict
        Of one tier.
    level : float, optional
        One minus the error rate of the family.
    """
    judged = judged_tests(found)
    kept = holm([each.difference.p for each in judged], level)
    return [each for each, stays in zip(judged, kept, strict=True) if stays]


def in_family(verdict: Verdict) -> list[Judged]:
    """Return a claim's contrasts that belong to the family of :func:`held_together`."""
    return judged_tests([verdict])


def by_chance(found: Sequence[Verdict], level: float = LEVEL) -> tuple[int, float, int]:
    """Say how much noise alone would bring about.

    Parameters
    ----------
    found : sequence of Verdict
        Of one tier.
    level : float, optional
        Coverage of the intervals that decided.

    Returns
    -------
    (int, float, int)
        How many different contrasts for more or less were judged in tests; how many of their intervals would leave
        out 0 if there were no effect at all; how many do that even when held to all of them together.
    """
    count = len(judged_tests(found))
    return count, (1 - level) * count, len(held_together(found, level))
