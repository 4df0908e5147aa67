"""Power against simulation: how often do intervals of simulated seeds leave out 0?"""

import math

import numpy as np
import pytest
from scipy import stats

from mtl_lib.errors import DataError
from mtl_lib.power import pooled_sd, power, sd_interval, seeds_for, smallest_effect
from mtl_lib.seeds import spread


@pytest.mark.parametrize(
    ("effect", "sd", "n", "level"), [(2.0, 2.5, 3, 0.95), (2.0, 2.5, 12, 0.95), (-1.5, 1.0, 4, 0.9)]
)
def test_power_is_the_share_of_simulated_intervals_that_show_the_effect(effect, sd, n, level):
    draws = np.random.default_rng(0).normal(effect, sd, (6000, n))
    found = [spread(row, level) for row in draws]
    shown = np.mean([each.clear and each.mean * effect > 0 for each in found])
    assert power(effect, sd, n, level) == pytest.approx(shown, abs=4 * math.sqrt(0.25 / len(draws)))


def test_without_an_effect_half_of_the_false_alarms_are_on_each_side():
    assert power(0.0, 1.0, 5) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize(
    ("effect", "sd", "wanted", "level"), [(2, 2.5, 0.8, 0.95), (0.5, 3, 0.9, 0.999), (50, 1, 0.8, 0.95)]
)
def test_so_many_seeds_are_enough_and_one_less_is_not(effect, sd, wanted, level):
    n = seeds_for(effect, sd, wanted, level)
    assert power(effect, sd, n, level) >= wanted
    assert n == 2 or power(effect, sd, n - 1, level) < wanted


def test_the_smallest_effect_is_seen_just_so_often_and_scales_with_the_spread():
    found = smallest_effect(2.5, 6)
    assert power(found, 2.5, 6) == pytest.approx(0.8, abs=1e-6)
    assert smallest_effect(5.0, 6) == pytest.approx(2 * found, rel=1e-6)


def test_the_pooled_spread_is_that_of_all_residuals_and_needs_two_seeds():
    rng = np.random.default_rng(1)
    samples = [rng.normal(mean, 2, n) for mean, n in ((0, 3), (10, 5), (-4, 2), (7, 1))]
    residuals = np.concatenate([x - x.mean() for x in samples if len(x) > 1])
    sd, freedom = pooled_sd([spread(x) for x in samples])
    assert freedom == 2 + 4 + 1 and sd == pytest.approx(math.sqrt((residuals**2).sum() / freedom))
    with pytest.raises(DataError, match="two seeds"):
        pooled_sd([spread([1.0])])


def test_the_interval_of_a_spread_covers_as_often_as_it_says():
    sds = np.random.default_rng(2).normal(0, 1.5, (20_000, 4)).std(1, ddof=1)
    low, high = sd_interval(1.0, 3)
    assert np.mean((sds * low < 1.5) & (1.5 < sds * high)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("sd", "n"), [(0.0, 3), (1.0, 1), (math.nan, 3)])
def test_without_seeds_or_spread_there_is_no_power(sd, n):
    with pytest.raises(DataError):
        power(1.0, sd, n)
    with pytest.raises(DataError):
        seeds_for(0.0, 1.0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: seeds_for(1.0, 2.0, wanted=1.0),
        lambda: seeds_for(1.0, 2.0, level=1.0),
        lambda: seeds_for(1.0, math.inf),
        lambda: seeds_for(math.nan, 2.0),
        lambda: smallest_effect(2.0, 5, wanted=1.0),
        lambda: smallest_effect(2.0, 5, wanted=0.02),
        lambda: sd_interval(1.0, 0),
    ],
)
def test_what_no_number_of_seeds_can_do_is_refused_and_not_searched_for(ask):
    with pytest.raises(DataError):
        ask()


@pytest.mark.parametrize(
    ("effect", "sd", "n", "level"), [(60, 2.41, 3, 1 - 0.05 / 58), (300, 1.0, 2, 0.9999)]
)
def test_far_from_zero_power_is_the_integral_over_the_spread(effect, sd, n, level):
    # T > t means that Z + nc > t sqrt(V / (n - 1)): integrate the normal tail over the spread's distribution.
    t, nc = stats.t.ppf((1 + level) / 2, n - 1), math.sqrt(n) * effect / sd
    v = stats.chi2.ppf(np.linspace(0, 1, 20_001)[1:-1], n - 1)
    assert power(effect, sd, n, level) == pytest.approx(
        stats.norm.sf(t * np.sqrt(v / (n - 1)) - nc).mean(), abs=1e-3
    )
