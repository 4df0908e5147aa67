"""The form that we would use instead of the paper's, against its rivals: every contrast that was looked at, counted.

The proposal is the arm ``deviation``: per layer, the distance of the tasks' kernels over the sum of their lengths, lengths
pinned, by proximal steps.  It meets each rival at the tuned settings of Table 4, and with one setting varied for both
(the learning curve, the landmark front), on the same seeds.  All contrasts belong to one family: what is clear among many
must be clear when held to all of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_lib.experiments.recorded import values_of
from mtl_lib.experiments.variations import LANDMARK_FRONT, LEARNING_CURVE, Variation, by_value
from mtl_lib.ledger import Entry
from mtl_lib.power import pooled_sd
from mtl_lib.seeds import Spread, holm, paired

PROPOSED = "deviation"
RIVALS = ("laf", "laf_pinned", "norm_only", "single", "hard4_private")
STRONG = "hard4_private"
"""The rival that an arm must beat before it is worth its trouble."""

METRICS: dict[str, int] = {"macro_recall": 1, "nme": -1}
"""What is compared, and which sign of a difference is better."""

PLACES = {LEARNING_CURVE.name: "{:g} faces a class", LANDMARK_FRONT.name: "landmark weight {:g}"}
TABLE = "as tuned"


@dataclass(frozen=True)
class Meeting:
    """The proposal against one rival.

    Parameters
    ----------
    place : str
        Where they met: ``"as tuned"`` in Table 4, or at one value of what was varied.
    rival, metric : str
    difference : Spread
        Proposal minus rival, paired by seed.
    """

    place: str
    rival: str
    metric: str
    difference: Spread

    @property
    def better(self) -> bool:
        """Whether the proposal's mean is the better one."""
        return self.difference.mean * METRICS[self.metric] > 0


def meetings(
    table: Sequence[Entry], varied: Mapping[str, Sequence[Entry]] | None = None, proposed: str = PROPOSED,
    rivals: Sequence[str] = RIVALS,
) -> list[Meeting]:  # fmt: skip
    """Return every recorded contrast of at least two seeds between an arm and its rivals, each once.

    Parameters
    ----------
    table : sequence of Entry
        Runs of Table 4, of one tier and budget.
    varied : mapping of str to sequence of Entry, optional
        Runs of the variations by experiment, of the same tier and budget.
    proposed : str, optional
        The arm.
    rivals : sequence of str, optional
        The others.
    """
    found = []
    for metric in METRICS:
        values = values_of(table, metric)
        for rival in rivals:
            if difference := _difference(values.get(proposed), values.get(rival)):
                found.append(Meeting(TABLE, rival, metric, difference))
    for variation in (LEARNING_CURVE, LANDMARK_FRONT):
        entries = (varied or {}).get(variation.name, ())
        own = _own(variation, table)
        for metric in METRICS:
            values = by_value(variation, entries, table, metric) if entries else {}
            for rival in rivals:
                for value, seeds in values.get(proposed, {}).items():
                    if own.get(proposed) == own.get(rival) == value:
                        continue  # both are Table 4's runs: they have met already
                    if difference := _difference(seeds, values.get(rival, {}).get(value)):
                        place = PLACES[variation.name].format(value)
                        found.append(Meeting(place, rival, metric, difference))
    return found


def _own(variation: Variation, table: Sequence[Entry]) -> dict[str, float]:
    """The value of the varied setting that each arm of Table 4 has; None, no limit, is infinite."""
    values = {entry.method: entry.config["train"][variation.setting] for entry in table}
    return {method: math.inf if value is None else float(value) for method, value in values.items()}


def _difference(first: Mapping[int, float] | None, second: Mapping[int, float] | None) -> Spread | None:
    if not first or not second or len(set(first) & set(second)) < 2:
        return None
    return paired(first, second)


@dataclass(frozen=True)
class Count:
    """How many of some contrasts say what.

    Parameters
    ----------
    of : int
        Contrasts.
    better, worse : int
        Whose interval leaves out 0, in favour of the proposal or against it.
    by_chance : float
        How many would on each side if there were no differences at all.
    better_together, worse_together : int
        That remain when held to all contrasts together (Holm).
    """

    of: int
    better: int
    worse: int
    by_chance: float
    better_together: int
    worse_together: int

    def __str__(self) -> str:
        return (
            f"{self.of} contrast{'' if self.of == 1 else 's'}: {self.better} clearly better, {self.worse} clearly worse"
            f" (by chance {self.by_chance:.1f} each);"
            f" held to all together {self.better_together} and {self.worse_together}"
        )


def count(found: Sequence[Meeting], level: float = 0.95) -> Count:
    """Count what contrasts say, one by one and held to all of them together.

    Parameters
    ----------
    found : sequence of Meeting
        The family: all that were looked at.
    level : float, optional
        Coverage of an interval, and one minus the error rate of the family.

    Examples
    --------
    >>> from mtl_lib.seeds import spread
    >>> print(count([Meeting("as tuned", "laf", "nme", spread([-1.0, -1.1, -0.9]))]))
    1 contrast: 1 clearly better, 0 clearly worse (by chance 0.0 each); held to all together 1 and 0
    """
    kept = holm([each.difference.p for each in found], level)
    clear = [each.difference.p < 1 - level for each in found]
    return Count(
        of=len(found),
        better=sum(c and each.better for c, each in zip(clear, found, strict=True)),
        worse=sum(c and not each.better for c, each in zip(clear, found, strict=True)),
        by_chance=(1 - level) / 2 * len(found),
        better_together=sum(k and each.better for k, each in zip(kept, found, strict=True)),
        worse_together=sum(k and not each.better for k, each in zip(kept, found, strict=True)),
    )


def conclusion(found: Sequence[Meeting], rival: str = STRONG, level: float = 0.95) -> str:
    """Say in a sentence whether the proposal beats a rival; only what holds for the whole family counts.

    Parameters
    ----------
    found : sequence of Meeting
        The whole family, all rivals.
    rival : str, optional
        Against whom.
    level : float, optional
        One minus the error rate of the family.

    Examples
    --------
    >>> from mtl_lib.seeds import spread
    >>> gain, noise = spread([-1.0, -1.1, -0.9]), spread([0.3, -0.2, 0.1])
    >>> family = [Meeting("as tuned", "laf", "nme", gain), Meeting("as tuned", "single", "nme", noise)]
    >>> print(conclusion(family, "laf"))
    deviation is better than laf in 1 of 1 contrasts and worse in 0, held to all 2 of the family together
    >>> print(conclusion(family, "single"))
    nothing tells deviation from single: none of 1 contrasts holds in a family of 2
    """
    kept = holm([each.difference.p for each in found], level)
    own = [(each, k) for each, k in zip(found, kept, strict=True) if each.rival == rival]
    if not own:
        return f"{PROPOSED} and {rival} have not met in recorded runs yet"
    better = sum(k and each.better for each, k in own)
    worse = sum(k and not each.better for each, k in own)
    if not better and not worse:
        return f"nothing tells {PROPOSED} from {rival}: none of {len(own)} contrasts holds in a family of {len(found)}"
    return (
        f"{PROPOSED} is better than {rival} in {better} of {len(own)} contrasts and worse in {worse}, held to all"
        f" {len(found)} of the family together"
    )


def spread_of(found: Sequence[Meeting], metric: str) -> tuple[float, int]:
    """Return the common standard deviation of the differences in a metric, and its degrees of freedom.

    It is pooled over contrasts, see :func:`mtl_lib.power.pooled_sd`.  The contrasts share runs, so that the degrees of freedom are fewer in truth.

    Parameters
    ----------
    found : sequence of Meeting
        Of any rivals.
    metric : str
        One of :data:`METRICS`.

    Raises
    ------
    DataError
        If there is none.

    Examples
    --------
    >>> from mtl_lib.seeds import spread
    >>> spread_of([Meeting("as tuned", "laf", "nme", spread([9.0, 10.0, 11.0]))], "nme")
    (1.0, 2)
    """
    return pooled_sd([each.difference for each in found if each.metric == metric])
