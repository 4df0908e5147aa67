"""The scorecard as a page: one folded entry per claim, grouped by part of the paper, and a list to choose verdicts from.

Plain HTML that needs no kernel, no network and no style sheet; a narrow screen shows it as it is, because nothing in it
is a table.  A verdict has a mark and words, its colour only repeats them.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from html import escape

from mtl_lib.experiments.scorecard import kept_of
from mtl_lib.experiments.verdicts import (
    CHECKED,
    EXPLAINED,
    MISSING,
    NOISE,
    OPPOSITE,
    REPRODUCED,
    UNTESTABLE,
    VERDICTS,
    Judged,
    Verdict,
    held_together,
)

LOOKS: dict[str, tuple[str, str]] = {
    REPRODUCED: ("✓", "#009E73"), EXPLAINED: ("(✓)", "#C58600"), NOISE: ("~", "#808080"), OPPOSITE: ("✗", "#D55E00"),
    MISSING: ("…", "#808080"), UNTESTABLE: ("–", "#808080"), CHECKED: ("∴", "#0077BB"),
}  # fmt: skip
"""A mark and a colour for every verdict; the colours are those of the figures."""

TIER_WORDS = {"open": "photographs", "synthetic": "rendered faces", "paper": "the paper's sets"}

_CHOOSE = (
    "var v=this.value,r=this.closest('.mtl-scorecard'),n=0;"
    "r.querySelectorAll('.mtl-claim').forEach(function(c){"
    "c.hidden=!!v&&c.dataset.kinds.split('|').indexOf(v)<0;n+=!c.hidden});"
    "r.querySelectorAll('section').forEach(function(s){s.hidden=!s.querySelector('.mtl-claim:not([hidden])')});"
    "r.querySelector('output').textContent=n+(n===1?' claim shown':' claims shown')"
)


def verdict_html(kind: str, where: str = "") -> str:
    """Return a verdict as a small label: its mark, its words, and on which faces.

    Examples
    --------
    >>> verdict_html("opposite", "photographs").endswith(">photographs ✗ opposite</span>")
    True
    """
    mark, colour = LOOKS[kind]
    style = f"border:1px solid {colour};border-left-width:.45em;border-radius:.3em;padding:0 .4em;white-space:nowrap"
    return f'<span class="mtl-verdict" style="{style}">{escape(f"{where} {mark} {kind}".strip())}</span>'


def _holm_html(text: str) -> str:
    """The label beside a verdict of which a contrast holds in its family."""
    style = "border:1px dashed currentColor;border-radius:.3em;padding:0 .4em;white-space:nowrap"
    return f' <span class="mtl-verdict" style="{style}">{escape(text)}</span>' if text else ""


def _rows(each: Verdict, kept: Collection[str]) -> str:
    def row(name: str, judged: Judged) -> str:
        contrast = str(judged.contrast)
        said = str(judged).removeprefix(contrast)
        if name == "test" and contrast in kept:
            said += "; holds in the family (Holm)"
        return f"<li>{name} <code>{escape(contrast)}</code>{escape(said)}</li>"

    tests = [row("test", judged) for judged in each.tests]
    return "".join([*tests, *(row("control", judged) for judged in each.control)])


def _claim(each: Mapping[str, Verdict], kept: Mapping[str, Collection[str]]) -> str:
    """One claim: folded, what it says and its verdicts; unfolded, what they rest on and what holds in the family."""
    claim = next(iter(each.values())).claim
    tested = {
        tier: v for tier, v in each.items() if claim.tests and not (claim.tiers and tier not in claim.tiers)
    }
    if tested:
        labels = [
            verdict_html(v.kind, TIER_WORDS[tier]) + _holm_html(kept_of(v, kept[tier]))
            for tier, v in tested.items()
        ]
        kinds = [f"{tier}:{v.kind}" for tier, v in tested.items()]
    else:
        kind = next(iter(each.values())).kind
        labels, kinds = [verdict_html(kind)], [kind]
    paper = f" The paper: {escape(claim.paper)}." if claim.paper else ""
    body = [f"<p>{escape(claim.where)}.{paper}</p>"]
    for tier, verdict in tested.items():
        but = f" Not ruled out: {escape(claim.because)}." if verdict.kind == EXPLAINED else ""
        body.append(
            f"<p>On {TIER_WORDS[tier]}: <strong>{verdict.kind}</strong>.{but}</p><ul>{_rows(verdict, kept[tier])}</ul>"
        )
    if not tested:
        body.append(f"<p>{escape(next(iter(each.values())).reason)}</p>")
    return (
        f'<details class="mtl-claim" id="claim-{claim.id}" data-kinds="{escape("|".join(kinds))}">'
        f"<summary>{escape(claim.says)} {' '.join(labels)}</summary>{''.join(body)}</details>"
    )


def _choices(found: Mapping[str, Sequence[Verdict]]) -> str:
    groups = []
    for tier, verdicts in found.items():
        counts = Counter(v.kind for v in verdicts if v.tests)
        options = [
            f'<option value="{tier}:{kind}">{LOOKS[kind][0]} {kind} ({counts[kind]})</option>'
            for kind in VERDICTS
            if counts[kind]
        ]
        if options:
            groups.append(f'<optgroup label="on {TIER_WORDS[tier]}">{"".join(options)}</optgroup>')
    counts = Counter(
        v.kind
        for v in next(iter(found.values()))
        if not v.claim.tests or (v.claim.tiers and not set(v.claim.tiers) & set(found))
    )
    rest = [f'<option value="{k}">{LOOKS[k][0]} {k} ({n})</option>' for k, n in counts.items()]
    if rest:
        groups.append(f'<optgroup label="without runs">{"".join(rest)}</optgroup>')
    return "".join(groups)


def scorecard_html(found: Mapping[str, Sequence[Verdict]]) -> str:
    """Return the scorecard of all claims.

    Parameters
    ----------
    found : mapping of str to sequence of Verdict
        By tier, the same claims in the same order.  All contrasts of a tier are one family for Holm's procedure.

    Examples
    --------
    >>> from mtl_lib.experiments.verdicts import verdicts
    >>> found = verdicts("open")
    >>> html = scorecard_html({"open": found})
    >>> html.count("<details") == len(found), html.count("<select")
    (True, 1)
    """
    tiers = list(found)
    each = [dict(zip(tiers, row, strict=True)) for row in zip(*found.values(), strict=True)]
    kept = {tier: {str(one.contrast) for one in held_together(verdicts)} for tier, verdicts in found.items()}
    parts: dict[str, list[str]] = {}
    for row in each:
        parts.setdefault(row[tiers[0]].claim.part, []).append(_claim(row, kept))
    # A page may hold two scorecards: names that no other one has, and the same at every build.
    name = "s" + hashlib.sha256("".join(map("".join, parts.values())).encode()).hexdigest()[:8]
    sections = [
        f'<section aria-labelledby="{name}-{k}"><p id="{name}-{k}" class="mtl-part"><strong>{escape(part)}</strong></p>'
        f"{''.join(claims)}</section>"
        for k, (part, claims) in enumerate(parts.items())
    ]
    return (
        f'<div class="mtl-scorecard"><p><label for="{name}-v">Show</label> '
        f'<select id="{name}-v" onchange="{escape(_CHOOSE)}" autocomplete="off"><option value="">all verdicts</option>'
        f'{_choices(found)}</select> <output for="{name}-v">{len(each)} claims shown</output></p>'
        f"{''.join(sections)}</div>"
    )
