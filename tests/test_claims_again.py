"""Where a contrast of Table 4 was run again on more and new seeds, those decide."""

from dataclasses import replace

import pytest

from mtl_lib.experiments.claims import Contrast, read_claims
from mtl_lib.experiments.verdicts import (
    MISSING,
    NOISE,
    OPPOSITE,
    REPRODUCED,
    experiments_of,
    judge_best,
    judge_claim,
)
from mtl_lib.ledger import Entry

FEW = (-3.0, 0.5, 3.5)
MANY = tuple(0.5 * (-1) ** seed for seed in range(16))


def runs(experiment: str, first: int, **means: tuple[float, tuple[float, ...]]) -> list[Entry]:
    """Runs of methods: mean, and what each seed adds; for accuracy and landmark error alike."""
    return [
        Entry(
            experiment=experiment, method=method, seed=first + k, tier="open", budget="cpu", config={},
            metrics={"accuracy": mean + more, "nme": mean + more}, device="CPU", seconds=1.0, memory=1.0, code="0",
        )
        for method, (mean, added) in means.items()
        for k, more in enumerate(added)
    ]  # fmt: skip


@pytest.fixture
def recorded() -> dict[str, list[Entry]]:
    few = runs("table4", 0, laf=(51.0, FEW), single=(50.0, (0.0,) * 3), tucker=(60.0, (0.0, 0.1, 0.2)))
    return {"table4": few, "central": runs("central", 30, laf=(51.0, MANY), single=(50.0, (0.0,) * 16))}


def test_the_many_seeds_decide_and_are_named(recorded):
    asked = Contrast.parse("table4 accuracy: laf > single")
    few = judge_best(asked, {"table4": recorded["table4"]})
    many = judge_best(asked, recorded)
    assert (few.kind, few.difference.n, few.contrast) == (NOISE, 3, asked)
    assert (many.kind, many.difference.n) == (REPRODUCED, 16)
    assert str(many.contrast) == "central accuracy: laf > single"
    turned = judge_best(replace(asked, sign="<"), recorded)
    assert turned.kind == OPPOSITE and turned.difference == many.difference


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("table4 accuracy: tucker > single", REPRODUCED),  # an arm that was not run again
        ("table4 nme: laf < single", NOISE),  # landmark weights differ from arm to arm
        ("table5 accuracy: laf > single", MISSING),  # another table's networks
    ],
)
def test_what_was_not_repeated_is_judged_by_its_own_experiment(recorded, text, kind):
    found = judge_best(Contrast.parse(text), recorded)
    assert found.kind == kind and found.contrast == Contrast.parse(text)


def test_seeds_of_both_experiments_are_never_mixed(recorded):
    """Two new seeds are too few to decide, and do not make the three of the table five."""
    short = [run for run in recorded["central"] if run.seed < 32]
    found = judge_best(Contrast.parse("table4 accuracy: laf > single"), {**recorded, "central": short})
    assert (found.difference.n, found.contrast.experiment) == (3, "table4")


def test_a_claim_takes_tests_and_controls_from_where_most_seeds_are(recorded):
    claim = next(each for each in read_claims() if each.id == "laf-over-single")
    again = runs("central", 30, norm_only=(51.0, tuple(-more for more in MANY)))
    found = judge_claim(claim, "open", {**recorded, "central": recorded["central"] + again})
    assert {each.contrast.experiment for each in (*found.tests, *found.control)} == {"central"}
    assert [each.kind for each in found.tests] == [REPRODUCED] and found.kind != REPRODUCED
    assert experiments_of([claim]) == ["central", "table4"]
