"""The proposal's contrasts: each is counted once, and the whole family decides."""

import numpy as np
import pytest

from mtl_lib.experiments.proposal import (
    METRICS,
    PROPOSED,
    RIVALS,
    STRONG,
    TABLE,
    Meeting,
    conclusion,
    count,
    meetings,
    spread_of,
)
from mtl_lib.experiments.variations import LANDMARK_FRONT, LEARNING_CURVE
from mtl_lib.ledger import Entry
from mtl_lib.seeds import spread

NOISE = np.random.default_rng(0).normal(size=(20, 3))


def run(method, seed, recall, nme=10.0, per_class=60, weight=10.0, experiment="table4"):
    return Entry(
        experiment=experiment, method=method, seed=seed, tier="open", budget="cpu",
        metrics={"macro_recall": recall, "nme": nme},
        config={"train": {"per_class": per_class, "landmark_weight": weight}},
        device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


def table(gain=0.0, weights=None):
    arms = (PROPOSED, *RIVALS)
    return [
        run(arm, s, 50 + s + 0.3 * NOISE[k, s] + gain * (arm == PROPOSED), 10 + 0.3 * NOISE[k, s],
            weight=(weights or {}).get(arm, 10.0))
        for k, arm in enumerate(arms)
        for s in range(3)
    ]  # fmt: skip


def curve(sizes=(20, 150)):
    return [
        run(
            f"{arm}({size})",
            s,
            40 + NOISE[k, s],
            11 + NOISE[k, s],
            per_class=size,
            experiment="learning_curve",
        )
        for k, arm in enumerate((PROPOSED, *RIVALS))
        for size in sizes
        for s in range(3)
    ]


def front(weights):
    return [
        run(f"{arm}({w:g})", s, 45 + NOISE[k, s], 9 + NOISE[k, s], weight=w, experiment="landmark_front")
        for k, arm in enumerate((PROPOSED, STRONG))
        for w in weights[arm]
        for s in range(3)
    ]


def places(found, rival, metric="nme"):
    return [each.place for each in found if (each.rival, each.metric) == (rival, metric)]


def test_in_table_4_every_rival_is_met_once_in_every_metric():
    found = meetings(table())
    assert {(each.rival, each.metric) for each in found} == {(r, m) for r in RIVALS for m in METRICS}
    assert len(found) == len(RIVALS) * len(METRICS) and {each.place for each in found} == {TABLE}


def test_what_is_varied_adds_contrasts_and_table_4s_own_value_is_not_counted_twice():
    found = meetings(table(), {LEARNING_CURVE.name: curve()})
    assert places(found, "laf") == [TABLE, "20 faces a class", "150 faces a class"]


def test_at_one_landmark_weight_runs_of_table_4_may_meet_runs_of_the_front():
    runs = table(weights={PROPOSED: 3.0, STRONG: 10.0})
    varied = front({PROPOSED: (1.0, 10.0, 30.0), STRONG: (1.0, 3.0, 30.0)})
    found = meetings(runs, {LANDMARK_FRONT.name: varied})
    assert places(found, STRONG) == [TABLE, *(f"landmark weight {w}" for w in (1, 3, 10, 30))]
    same = table(weights={PROPOSED: 3.0, STRONG: 3.0})
    varied = front(dict.fromkeys((PROPOSED, STRONG), (1.0, 10.0)))
    assert places(meetings(same, {LANDMARK_FRONT.name: varied}), STRONG) == [
        TABLE, "landmark weight 1", "landmark weight 10",
    ]  # fmt: skip


def test_arms_that_are_not_recorded_or_share_one_seed_do_not_meet():
    runs = [each for each in table() if each.method != "laf" and not (each.method == "single" and each.seed)]
    assert {each.rival for each in meetings(runs)} == set(RIVALS) - {"laf", "single"}
    assert meetings([each for each in runs if each.method != PROPOSED]) == []
    assert "have not met" in conclusion(meetings(runs), "laf")


def test_less_is_better_of_an_error():
    better = Meeting(TABLE, "laf", "nme", spread([-1.0, -1.1, -0.9]))
    worse = Meeting(TABLE, "laf", "macro_recall", spread([-1.0, -1.1, -0.9]))
    assert better.better and not worse.better
    found = count([better, worse])
    assert (found.of, found.better, found.worse, found.by_chance) == (2, 1, 1, pytest.approx(0.05))


def test_one_clear_contrast_among_many_does_not_make_a_conclusion():
    clear = Meeting(TABLE, STRONG, "nme", spread([-1.0, -1.2, -0.9]))
    p = clear.difference.p
    rest = [Meeting(TABLE, "laf", "nme", spread([1.0, -1.0, 0.1 * k])) for k in range(20)]
    assert p < 0.05 and p > 0.05 / 21
    assert "is better than" in conclusion([clear]) and count([clear]).better_together == 1
    assert count([clear, *rest]).better == 1 and count([clear, *rest]).better_together == 0
    assert conclusion([clear, *rest]).startswith("nothing tells")


def test_a_large_gain_is_found_and_its_loss_is_called_one():
    found = meetings(table(gain=30.0))
    assert "is better than hard4_private in 1 of 2 contrasts and worse in 0" in conclusion(found)
    assert "is better than hard4_private in 0 of 2 contrasts and worse in 1" in conclusion(
        meetings(table(gain=-30.0))
    )


def test_the_common_spread_is_of_one_metric():
    found = meetings(table())
    sd, freedom = spread_of(found, "nme")
    own = [each.difference for each in found if each.metric == "nme"]
    assert freedom == 2 * len(RIVALS) and sd == pytest.approx(np.sqrt(np.mean([d.sd**2 for d in own])))
