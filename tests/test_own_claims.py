"""The claims that the book lists are the paper's, and name only what there is; so do the open points."""

import csv
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

from listed_jobs import jobs_of

from mtl_lib.config import TrainConfig
from mtl_lib.experiments.claims import read_claims, unknown_names
from mtl_lib.experiments.registry import EXPERIMENTS
from mtl_lib.experiments.scorecard import claims_text
from mtl_lib.experiments.scorecard_page import scorecard_html
from mtl_lib.experiments.verdicts import verdicts
from mtl_lib.ledger import default_folder, read

PAPER = Path(__file__).parents[1] / "data" / "paper"


def methods_of(name: str, folder: Path) -> set[str]:
    """All methods of an experiment on the tiers whose runs are in the book."""
    tiers = set(EXPERIMENTS[name].tiers) & {"synthetic", "open"}
    return {job.method for tier in tiers for job in jobs_of(name, tier, "smoke", folder)}


def test_every_method_and_metric_that_a_claim_names_exists(tmp_path):
    claims = read_claims()
    used = {test.experiment for claim in claims for test in (*claim.tests, *claim.control)}
    methods = {name: methods_of(name, tmp_path) for name in used if name in EXPERIMENTS}
    metrics: dict[str, dict[str, set[str]]] = {}
    tiers = set()
    for name in methods:
        for one in read(name, default_folder()):
            metrics.setdefault(name, {}).setdefault(one.method, set()).update(one.metrics)
            tiers.add(one.tier)
    assert "table4" in methods
    assert not unknown_names(claims, methods, {})
    # Subsets of 300-W are measured where 300-W is, and not on a tier whose runs are in the book.
    assert not unknown_names([c for c in claims if not c.tiers or tiers & set(c.tiers)], {}, metrics)


AMBIGUITIES = Path(__file__).parents[1] / "docs" / "ambiguities.md"


def test_the_sensitivities_of_open_points_name_methods_that_exist(tmp_path):
    """A mark that may be absent would otherwise hide a typing error for ever."""
    marks = re.findall(
        r"<!-- ledger (\S+) (\S+) method=(\S+) minus=(\S+) ", AMBIGUITIES.read_text(encoding="utf-8")
    )
    assert len(marks) > 20
    methods = {name: methods_of(name, tmp_path) for name, *_ in marks if name in EXPERIMENTS}
    wrong = [mark for mark in marks if mark[0] in methods and not {mark[2], mark[3]} <= methods[mark[0]]]
    assert not wrong and "table4" in methods


def test_open_points_are_numbered_and_say_where_to_change_them():
    text = AMBIGUITIES.read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\*\*(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 26, "the protocol alone lists 26"
    settings = {field.name for field in fields(TrainConfig)}
    for line in re.findall(r"^- \*Change it:\* (.+)$", text, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", line):
            assert name in settings or pkgutil.resolve_name(name) is not None, name


def test_a_name_that_does_not_exist_is_found():
    claim = next(each for each in read_claims() if each.id == "laf-over-single")
    known = {"table4": ["single", "laf"]}
    assert unknown_names([claim], known, {}) == ["laf-over-single: table4 has no method 'norm_only'"]
    found = unknown_names([claim], {}, {"table4": {"laf": {"nme"}, "single": {"accuracy"}}})
    assert found == ["laf-over-single: table4/laf has no metric 'accuracy'"]


def test_the_papers_numbers_in_the_claims_are_those_of_its_tables():
    columns = ("accuracy_percent", "common_subset", "challenging_subset", "full_set")
    printed = {
        row[column]
        for path in PAPER.glob("table[4-7]*.csv")
        for row in csv.DictReader(path.open(encoding="utf-8"))
        for column in columns
        if row.get(column)
    }
    in_the_text = {"4.67", "4.64", "5.0", "18.0"}  # Section 4.2; the last is Table 2's largest class
    for claim in read_claims():
        for number in re.findall(r"\d+\.\d+", claim.paper):
            assert number in printed | in_the_text, f"{claim.id}: {number}"
        if claim.effect is not None and claim.id not in ("laf-landmarks", "landmark-parts"):
            values = [float(number) for number in re.findall(r"\d+\.\d+", claim.paper)]
            differences = {round(a - b, 2) for a in values for b in values}
            assert round(claim.effect, 2) in differences, claim.id


def test_every_claim_with_a_result_of_the_paper_is_there():
    claims = read_claims()
    shown = scorecard_html({"open": verdicts("open", Path("nowhere"))})
    assert shown.count("<details") == len(claims) > 40
    where = " ".join(claim.where for claim in claims)
    for place in (
        "Abstract",
        "Section 1",
        "2.1",
        "2.2",
        "Section 3",
        "Fig. 3a",
        "Fig. 3b",
        "Fig. 3c",
        "Fig. 4",
    ):
        assert place in where
    for table in ("Tables 2 and 3", "Table 4", "Table 5", "Table 6", "Table 7"):
        assert table in where
    assert max(map(len, claims_text({"open": verdicts("open", Path("nowhere"))}).splitlines())) <= 88
