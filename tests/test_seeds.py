"""Intervals and tests over seeds, against scipy's own and against their meaning."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtl_lib.errors import DataError
from mtl_lib.seeds import holm, paired, spread

samples = st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-3)


@settings(max_examples=60, deadline=None)
@given(samples)
def test_spread_agrees_with_scipy(values):
    found, test = spread(values), stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.95)
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(test.pvalue, rel=1e-6)
    assert found.clear == (found.p < 0.05)


def test_the_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 4))
    inside = [(s := spread(row)).low <= 3.0 <= s.high for row in draws]
    assert 0.93 < np.mean(inside) < 0.97


def test_pairing_takes_out_what_both_have_in_common():
    rng = np.random.default_rng(1)
    split = dict(enumerate(rng.normal(50, 10, 8)))  # easy and hard splits
    better = {seed: value + 2 + rng.normal(0, 0.5) for seed, value in split.items()}
    difference = paired(better, split)
    assert difference.clear and difference.positive == 8
    assert difference.mean == pytest.approx(np.mean(list(better.values())) - np.mean(list(split.values())))
    # Unpaired, the same difference drowns.
    assert stats.ttest_ind(list(better.values()), list(split.values())).pvalue > 0.05
    assert paired(better, {**split, 99: 0.0}) == difference
    assert paired(dict(reversed(better.items())), split).mean == pytest.approx(difference.mean)


def test_one_run_has_no_spread_and_none_is_an_error():
    one = spread([5.0])
    assert one.mean == 5.0 and math.isnan(one.sd) and not one.clear and str(one) == "5.0 (n = 1)"
    assert spread([2.0, 2.0]).clear and spread([2.0, 2.0]).p == 0.0
    with pytest.raises(DataError, match="no values"):
        spread([])
    with pytest.raises(DataError, match="no seed in common"):
        paired({0: 1.0}, {1: 1.0})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0, 0.08), min_size=1, max_size=6))
def test_holm_rejects_what_every_group_that_holds_it_rejects_by_bonferroni(values):
    """Closed testing: an independent way to the same procedure."""
    everybody = range(len(values))
    groups = [g for size in range(1, len(values) + 1) for g in itertools.combinations(everybody, size)]
    fallen = {g for g in groups if min(values[k] for k in g) <= (1 - 0.95) / len(g)}
    assert holm(values) == [all(g in fallen for g in groups if k in g) for k in everybody]


def test_holm_keeps_the_error_of_all_tests_together_and_single_tests_do_not():
    draws = np.random.default_rng(3).uniform(size=(4000, 20))
    assert np.mean([any(holm(row)) for row in draws]) == pytest.approx(0.05, abs=0.012)
    assert np.mean((draws < 0.05).any(1)) > 0.6


def test_a_test_without_a_p_value_is_not_rejected_and_counts():
    assert holm([math.nan, 0.02]) == [False, True] and holm([math.nan, 0.03]) == [False, False]
