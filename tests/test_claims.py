"""The paper's claims are judged by the ledger alone: another line is another verdict."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mtl_lib import cli
from mtl_lib.errors import DataError
from mtl_lib.experiments import claims as module
from mtl_lib.experiments.claims import Contrast, read_claims
from mtl_lib.experiments.scorecard import claims_text, summary
from mtl_lib.experiments.scorecard_page import scorecard_html
from mtl_lib.experiments.verdicts import (
    CHECKED,
    EXPLAINED,
    MISSING,
    NOISE,
    OPPOSITE,
    REPRODUCED,
    UNTESTABLE,
    VERDICTS,
    by_chance,
    held_together,
    judge,
    judge_claim,
    judged_tests,
    recorded_runs,
    verdicts,
)
from mtl_lib.ledger import Entry, change, record

NOISE_OF_SEEDS = (-0.4, 0.3, 0.1, -0.2, 0.2)

FILE = """
experiments = ["demo"]
[[claim]]
id = "gain"
part = "Sharing"
where = "Table 4"
says = "Sharing helps."
paper = "5 points"
effect = 5.0
tests = ["demo accuracy: laf > single"]
control = ["demo accuracy: laf > norm_only"]
because = "shrinking does it"
[[claim]]
id = "ranked"
where = "Table 4"
says = "Early forks are better."
tests = ["demo accuracy: hard1 > hard2", "demo accuracy: hard2 > hard3"]
[[claim]]
id = "alike"
where = "Table 4"
says = "Norms are alike."
tests = ["demo accuracy: laf = tucker +- 1"]
[[claim]]
id = "falls"
part = "Layers"
where = "Fig. 3"
says = "It falls."
tests = ["demo rate: laf < 1", "demo rate: laf < laf@late"]
[[claim]]
id = "there"
where = "Table 7"
says = "It transfers."
tiers = ["synthetic"]
tests = ["demo accuracy: laf > single"]
[[claim]]
id = "gone"
where = "Section 3"
says = "It is large."
untestable = "nobody has it"
[[claim]]
id = "sum"
where = "Table 2"
says = "It adds up."
checked = "It does."
"""


def entry(method, seed, tier="open", budget="cpu", experiment="demo", **metrics) -> Entry:
    return Entry(
        experiment=experiment, method=method, seed=seed, tier=tier, budget=budget, metrics=metrics,
        config={"method": method}, device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


def put(folder, method, mean, metric="accuracy", seeds=5, noise=1.0, **where):
    """Record a method whose metric differs over seeds, but not as another method's does."""
    drawn = np.random.default_rng(sum(map(ord, method))).normal(size=seeds) * noise
    new = [
        entry(method, seed, **where, **{metric: mean + 3 * NOISE_OF_SEEDS[seed % 5] + float(drawn[seed])})
        for seed in range(seeds)
    ]
    keys = {each.key for each in new}
    change("demo", lambda old: [*(each for each in old if each.key not in keys), *new], folder)


@pytest.fixture
def book(tmp_path, monkeypatch):
    path = tmp_path / "claims.toml"
    path.write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(module, "CLAIMS", path)
    return tmp_path


def kinds(folder, tier="open") -> dict[str, str]:
    return {each.claim.id: each.kind for each in verdicts(tier, folder)}


def test_every_verdict_is_reached_and_changes_with_the_ledger(book):
    seen = set()

    def now(name):
        found = kinds(book)
        seen.update(found.values())
        return found[name]

    assert now("gain") == MISSING and now("gone") == UNTESTABLE and now("sum") == CHECKED
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    assert now("gain") == MISSING, "its control is not recorded"
    put(book, "norm_only", 50.0)
    assert now("gain") == REPRODUCED
    put(book, "norm_only", 60.0)
    assert now("gain") == EXPLAINED
    put(book, "norm_only", 70.0)
    assert now("gain") == EXPLAINED
    put(book, "laf", 50.0)
    assert now("gain") == NOISE
    put(book, "laf", 40.0)
    assert now("gain") == OPPOSITE
    assert seen == set(VERDICTS)
    assert kinds(book, "synthetic")["gain"] == MISSING, "tiers are judged apart"
    assert kinds(book, "synthetic")["there"] == MISSING and kinds(book)["there"] == UNTESTABLE


def test_a_ranking_needs_every_step_and_one_clear_contradiction_refutes_it(book):
    put(book, "hard1", 60.0)
    put(book, "hard2", 50.0)
    assert kinds(book)["ranked"] == MISSING
    put(book, "hard3", 40.0)
    assert kinds(book)["ranked"] == REPRODUCED
    put(book, "hard3", 50.0)
    assert kinds(book)["ranked"] == NOISE
    put(book, "hard3", 56.0)
    assert kinds(book)["ranked"] == OPPOSITE


@pytest.mark.parametrize(
    ("mean", "noise", "kind"),
    [(50.0, 0.1, REPRODUCED), (50.6, 0.05, REPRODUCED), (50.0, 3.0, NOISE), (55.0, 0.1, OPPOSITE)],
)
def test_equal_means_shown_to_be_close_and_noise_is_no_proof_of_it(book, mean, noise, kind):
    put(book, "laf", 50.0, noise=noise)
    put(book, "tucker", mean, noise=noise)
    assert kinds(book)["alike"] == kind


def test_numbers_and_other_metrics_can_stand_on_the_right(book):
    for seed, noise in enumerate(NOISE_OF_SEEDS):
        record(entry("laf", seed, rate=0.5 + noise / 10, late=0.9 + noise / 20), book)
    assert kinds(book)["falls"] == REPRODUCED
    for seed, noise in enumerate(NOISE_OF_SEEDS):
        record(entry("laf", seed, rate=0.5 + noise / 10, late=0.2), book, replace=True)
    assert kinds(book)["falls"] == OPPOSITE


def test_what_is_inside_the_noise_says_what_it_excludes(book):
    put(book, "single", 50.0)
    put(book, "laf", 50.0)
    put(book, "norm_only", 50.0)
    found = next(each for each in verdicts("open", book) if each.claim.id == "gain")
    assert found.kind == NOISE
    assert f"beyond {found.tests[0].difference.high:+.2f} excluded" in found.reason


def test_two_seeds_are_none_and_two_runs_of_one_seed_an_error(book):
    put(book, "single", 50.0, seeds=2)
    put(book, "laf", 60.0, seeds=2)
    assert kinds(book)["gain"] == MISSING
    test = Contrast.parse("demo accuracy: laf > single")
    doubled = [entry("laf", 0, accuracy=1.0), replace(entry("laf", 0, accuracy=2.0), config={})]
    with pytest.raises(DataError, match="two runs of seed 0"):
        judge(test, doubled)


def test_the_largest_recorded_budget_counts(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "norm_only", 50.0)
    put(book, "single", 50.0, budget="full")
    put(book, "laf", 40.0, budget="full")
    assert kinds(book)["gain"] == OPPOSITE
    assert {each.budget for each in recorded_runs(["demo"], "open", book)["demo"]} == {"full"}
    small = {each.claim.id: each.kind for each in verdicts("open", book, "cpu")}
    assert small["gain"] == REPRODUCED


def test_chance_is_counted_over_different_contrasts(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "norm_only", 50.0)
    put(book, "hard1", 50.0)
    put(book, "hard2", 50.0)
    put(book, "hard3", 50.0)
    judged, expected, together = by_chance(verdicts("open", book))
    assert (judged, together) == (3, 1) and expected == pytest.approx(0.15)
    said = " ".join(summary(verdicts("open", book)).split())
    assert "family: 3 contrasts for more or less" in said and "Held to all together 1 holds." in said


def test_what_holds_in_the_family_is_marked_at_its_claim_and_nowhere_else(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "norm_only", 40.0)
    put(book, "hard1", 50.0)
    put(book, "hard2", 30.0)
    put(book, "hard3", 30.0)
    found = verdicts("open", book)
    assert {str(each.contrast) for each in held_together(found)} == {
        "demo accuracy: laf > single", "demo accuracy: hard1 > hard2",
    }  # fmt: skip
    text, words = claims_text({"open": found}, details=True, whole=True), page(book).words
    assert "keeps" not in claims_text({"open": found}, details=True), "a part of the claims is no family"
    assert (
        "open: REPRODUCED (Holm keeps 1 of 1)" in text
        and "open: INSIDE THE NOISE (Holm keeps 1 of 2)" in text
    )
    assert "Holm keeps 1 of 1" in words["gain"] and "Holm keeps 1 of 2" in words["ranked"]
    assert not any("Holm" in words[name] for name in ("alike", "falls", "there", "gone", "sum"))
    # The control is as clear, but it is no member of the family.
    assert words["gain"].count("holds in the family") == words["ranked"].count("holds in the family") == 1
    assert text.replace("\n      ", " ").count("holds in the family") == 2


def test_holm_stops_at_the_first_that_fails(monkeypatch, book):
    claim = read_claims()[1]
    several = [
        judge_claim(
            replace(claim, tests=(Contrast.parse(f"demo accuracy: a > {k}"),)), "open", {"demo": runs}
        )
        for k, runs in enumerate(
            [entry("a", s, accuracy=k + gap + NOISE_OF_SEEDS[s]) for s in range(5)]
            for k, gap in enumerate((0.33, 0.4, 5.0))
        )
    ]
    p = sorted(each.tests[0].difference.p for each in several)
    assert p[0] < 0.05 / 3 and p[1] > 0.025, "the middle one would pass alone, not together"
    assert by_chance(several) == (3, pytest.approx(0.15), 1)


def test_a_wider_interval_takes_verdicts_back(book):
    put(book, "single", 50.0)
    put(book, "laf", 53.0)
    put(book, "norm_only", 50.0)

    def kind(level):
        return next(v.kind for v in verdicts("open", book, level=level) if v.claim.id == "gain")

    p = next(v for v in verdicts("open", book) if v.claim.id == "gain").tests[0].difference.p
    assert 1e-4 < p < 0.05 and kind(1 - 1.1 * p) == kind(0.95) == REPRODUCED and kind(1 - 0.9 * p) == NOISE


def test_equality_and_what_is_not_recorded_are_no_discoveries(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "tucker", 60.0, noise=0.1)
    found = verdicts("open", book)
    assert [str(each.contrast) for each in judged_tests(found)] == ["demo accuracy: laf > single"]
    assert held_together(found) == judged_tests(found) and not held_together(found, 1 - 1e-12)


def test_a_claim_belongs_to_the_part_of_the_one_before_and_the_first_names_one(book):
    parts = {claim.id: claim.part for claim in read_claims()}
    assert parts["ranked"] == parts["alike"] == "Sharing" and parts["sum"] == "Layers"
    module.CLAIMS.write_text(FILE.replace('part = "Sharing"\n', ""), encoding="utf-8")
    with pytest.raises(DataError, match="part"):
        read_claims()


# ---- the page


class Entries(HTMLParser):
    """The folded entries of a scorecard: their claims, what the filter knows, and what can be read."""

    def __init__(self, html: str):
        super().__init__()
        self.kinds: dict[str, list[str]] = {}
        self.words: dict[str, str] = {}
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "details":
            self.open = given["id"].removeprefix("claim-")
            self.kinds[self.open], self.words[self.open] = given["data-kinds"].split("|"), ""

    def handle_endtag(self, tag):
        self.open = "" if tag == "details" else self.open

    def handle_data(self, data):
        if self.open:
            self.words[self.open] += data


def page(folder) -> Entries:
    return Entries(scorecard_html({tier: verdicts(tier, folder) for tier in ("open", "synthetic")}))


def test_the_page_has_every_claim_and_says_in_words_what_the_ledger_says(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "norm_only", 60.0)
    found = page(book)
    assert list(found.kinds) == [claim.id for claim in read_claims()]
    assert found.kinds["gain"] == ["open:explained by the control", "synthetic:not recorded yet"]
    assert "photographs (✓) explained by the control" in found.words["gain"]
    assert "rendered faces … not recorded yet" in found.words["gain"]
    assert "Not ruled out: shrinking does it." in found.words["gain"] and "5 points" in found.words["gain"]
    assert found.kinds["there"] == ["synthetic:not recorded yet"], "a tier without the claim has no verdict"
    assert found.kinds["sum"] == ["checked, not measured"] and "It does." in found.words["sum"]
    put(book, "norm_only", 50.0)
    assert page(book).kinds["gain"][0] == "open:reproduced"


def test_every_choice_of_the_page_leaves_as_many_claims_as_it_says(book):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    html = scorecard_html({tier: verdicts(tier, book) for tier in ("open", "synthetic")})
    kinds = [kind for each in Entries(html).kinds.values() for kind in each]
    choices = re.findall(r'<option value="([^"]+)">[^<]*\((\d+)\)</option>', html)
    assert {value: int(count) for value, count in choices} == dict(Counter(kinds))


def test_words_of_a_claim_are_no_markup(book):
    module.CLAIMS.write_text(FILE.replace("Sharing helps.", "a < b & <b>bold</b>"), encoding="utf-8")
    html = scorecard_html({"open": verdicts("open", book)})
    assert "<b>" not in html and "a &lt; b &amp; &lt;b&gt;" in html


def test_the_command_prints_verdicts_and_fits_a_terminal(book, capsys):
    put(book, "single", 50.0)
    put(book, "laf", 60.0)
    put(book, "norm_only", 50.0)
    assert cli.main(["results", "claims", "--ledger", str(book)]) == 0
    text = capsys.readouterr().out
    assert "open: REPRODUCED" in text and "synthetic: NOT RECORDED YET" in text
    assert max(map(len, text.splitlines())) <= 88
    assert cli.main(["results", "claims", "--ledger", str(book), "--details"]) == 0
    assert "control demo accuracy: laf > norm_only: +" in capsys.readouterr().out.replace("\n      ", " ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("laf > single", "laf better than single", "is no test"),
        ("laf = tucker +- 1", "laf = tucker", "is no test"),
        ("laf = tucker +- 1", "laf = tucker +- nan", "finite number"),
        ("demo accuracy: laf > single", "dmeo accuracy: laf > single", "not in the file's list"),
        ('id = "ranked"', 'id = "gain"', "stands twice"),
        ('because = "shrinking does it"', "", "go together"),
        ('untestable = "nobody has it"', "", "give one of"),
        ('paper = "5 points"', 'papr = "5 points"', "papr"),
        ("[[claim]]", "[[claim", "no TOML"),
    ],
)
def test_a_damaged_file_is_refused_by_name(book, old, new, message):
    module.CLAIMS.write_text(FILE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_claims()
    assert "claims.toml" in str(caught.value)
