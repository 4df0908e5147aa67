"""The verdicts on the paper's claims as text: what ``mtl results claims`` prints and the last chapter sums up."""

import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from mtl_lib.experiments.verdicts import LEAST_SEEDS, VERDICTS, Verdict, by_chance, held_together, in_family

WIDTH = 88


def summary(found: Sequence[Verdict]) -> str:
    """Return how many claims have which verdict, and what noise alone would bring about, in two or three lines.

    Parameters
    ----------
    found : sequence of Verdict
        Of one tier.
    """
    counts = Counter(each.kind for each in found)
    lines = [", ".join(f"{counts[kind]} {kind}" for kind in VERDICTS if counts[kind])]
    judged, expected, together = by_chance(found)
    if judged:
        lines.append(
            f"Holm's family: {judged} contrast{'s' * (judged != 1)} for more or less, each once, all that the tests of"
            " these claims judge;"
            f" controls are not in it. Without any effect {expected:.1f} of their 95 % intervals would leave out 0, half"
            f" of these as claimed. Held to all together {together} hold{'s' * (together == 1)}."
        )
    return "\n".join(line for text in lines for line in textwrap.wrap(text, WIDTH))


def kept_of(verdict: Verdict, kept: Collection[str]) -> str:
    """Say how many of a claim's contrasts hold in their family, or nothing if none does.

    Parameters
    ----------
    verdict : Verdict
    kept : collection of str
        Contrasts that hold together, as text: see :func:`mtl_lib.experiments.verdicts.held_together`.
    """
    own = [str(each.contrast) for each in in_family(verdict)]
    number = sum(name in kept for name in own)
    return f"Holm keeps {number} of {len(own)}" if number else ""


def claims_text(found: Mapping[str, Sequence[Verdict]], details: bool = False, *, whole: bool = False) -> str:
    """Return the scorecard for a terminal, at most 88 characters wide.

    Parameters
    ----------
    found : mapping of str to sequence of Verdict
        By tier, the same claims in the same order.
    details : bool, optional
        Print every contrast with its interval, not only what the verdict rests on.
    whole : bool, optional
        These are all claims that were looked at, a family: mark what holds in it.  In a part of them nothing is marked,
        because more would hold there than in the whole.
    """
    lines: list[str] = []
    kept = {
        tier: {str(each.contrast) for each in held_together(verdicts)} if whole else set()
        for tier, verdicts in found.items()
    }

    def say(text: str, indent: int) -> None:
        lines.extend(
            textwrap.wrap(
                text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2),
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip

    for each in zip(*found.values(), strict=True):
        claim = each[0].claim
        say(f"{claim.id} ({claim.where})", 0)
        say(claim.says, 2)
        if claim.paper:
            say(f"paper: {claim.paper}", 2)
        if not claim.tests:
            say(f"{each[0].kind}: {each[0].reason}", 2)
        else:
            for tier, verdict in zip(found, each, strict=True):
                holds = kept_of(verdict, kept[tier])
                say(f"{tier}: {verdict.kind.upper()}{f' ({holds})' if holds else ''}", 2)
                if details and verdict.tests:
                    for name, judged in (("test", verdict.tests), ("control", verdict.control)):
                        for one in judged:
                            holds = name == "test" and str(one.contrast) in kept[tier]
                            say(f"{name} {one}{'; holds in the family' if holds else ''}", 4)
                else:
                    say(verdict.reason, 4)
        lines.append("")
    for tier, verdicts in found.items():
        lines += [f"{tier}:", *(f"  {line}" for line in summary(verdicts).splitlines())]
    say(
        "Differences are left minus right side, paired by seed: mean (95 % interval, seeds); fewer than"
        f" {LEAST_SEEDS} seeds do not count.",
        0,
    )
    return "\n".join(lines)
