"""How many seeds would show an effect, given the spread of the differences that were measured?

With few seeds an effect of the size of interest may well be there and stay inside the noise.  The *power* is the
probability that it does not: that Student's interval of the paired differences leaves out 0, on the effect's side.
"""

import math
from collections.abc import Sequence

from scipy import optimize, stats

from mtl_lib.errors import DataError
from mtl_lib.seeds import Spread


def power(effect: float | int, sd: float | int, n: int, level: float = 0.95) -> float:
    r"""Return the probability that n seeds show a true effect.

    With differences :math:`d_k \sim N(\delta, s^2)` the statistic :math:`\sqrt n\, \bar d / s` has a non-central
    :math:`t` distribution with n - 1 degrees of freedom and non-centrality :math:`\sqrt n\, \delta / s`; the interval
    leaves out 0 on the effect's side if it exceeds Student's quantile.

    Parameters
    ----------
    effect : float
        The true mean difference; its sign does not matter.
    sd : float
        Standard deviation of the differences.
    n : int
        Number of seeds, at least 2.
    level : float, optional
        Coverage of the interval.

    Raises
    ------
    DataError
        For fewer than two seeds, a spread that is not positive and finite, an effect that is no number, or a level
        that is not between 0 and 1.

    Examples
    --------
    >>> round(power(2.0, 2.5, 3), 2), round(power(2.0, 2.5, 15), 2)
    (0.13, 0.82)
    """
    if n < 2 or not 0 < sd < math.inf:
        raise DataError(f"{n} seeds of spread {sd}: power needs two seeds at least, and a positive spread")
    if not math.isfinite(effect):
        raise DataError(f"an effect of {effect} is none that could be shown")
    _check_share("level", level)
    quantile = float(stats.t.ppf((1 + level) / 2, n - 1))
    return float(stats.nct.sf(quantile, n - 1, math.sqrt(n) * abs(effect) / sd))


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise DataError(f"{name} is {value}; it must be between 0 and 1")


def seeds_for(effect: float | int, sd: float | int, wanted: float = 0.8, level: float = 0.95) -> int:
    r"""Return the least number of seeds whose power is at least ``wanted``: min {n : power(n) >= wanted}.

    The power grows with n: the non-centrality does, and Student's quantile falls.

    Parameters
    ----------
    effect, sd : float
        As for :func:`power`; the effect is not 0.
    wanted : float, optional
        The power.
    level : float, optional
        Coverage of the interval.

    Raises
    ------
    DataError
        As for :func:`power`; for an effect of 0, or a power that is not between 0 and 1.

    Examples
    --------
    >>> seeds_for(2.0, 2.5), seeds_for(2.0, 2.5, level=1 - 0.05 / 40)
    (15, 32)
    """
    if effect == 0:
        raise DataError("no number of seeds shows an effect that is not there")
    _check_share("wanted", wanted)
    low, high = 1, 2
    while power(effect, sd, high, level) < wanted:
        low, high = high, 2 * high
    while high - low > 1:  # power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, level) >= wanted else (middle, high)
    return high


def smallest_effect(sd: float | int, n: int, wanted: float = 0.8, level: float = 0.95) -> float:
    """Return the smallest true effect that n seeds show with probability ``wanted``: power(effect) = wanted.

    Parameters
    ----------
    sd, n, wanted, level
        As for :func:`power` and :func:`seeds_for`; without an effect the power is (1 - level)/2, and ``wanted`` is more.

    Raises
    ------
    DataError
        As for :func:`power`; if ``wanted`` is not between (1 - level)/2 and 1.

    Examples
    --------
    >>> round(smallest_effect(2.5, 3), 1), round(smallest_effect(2.5, 15), 1)
    (8.2, 1.9)
    """
    least = power(0, sd, n, level)
    if not least < wanted < 1:
        raise DataError(
            f"wanted is {wanted}; it must be between {least:g}, the power without an effect, and 1"
        )
    high = sd
    while power(high, sd, n, level) < wanted:
        high *= 2
    return float(optimize.brentq(lambda effect: power(effect, sd, n, level) - wanted, 0, high))


def pooled_sd(spreads: Sequence[Spread]) -> tuple[float, int]:
    r"""Return the common standard deviation of several samples, and its degrees of freedom.

    .. math:: s^2 = \frac{\sum_i (n_i - 1)\, s_i^2}{\sum_i (n_i - 1)}

    Samples of one seed have no spread and are left out.

    Parameters
    ----------
    spreads : sequence of Spread
        Of paired differences, in one unit.

    Raises
    ------
    DataError
        If none has two seeds.

    Examples
    --------
    >>> from mtl_lib.seeds import spread
    >>> found, freedom = pooled_sd([spread([0.0, 2.0]), spread([5.0, 5.0, 8.0])])
    >>> round(found**2, 4), freedom  # (2 + 6) / (1 + 2)
    (2.6667, 3)
    """
    counted = [each for each in spreads if each.n > 1]
    freedom = sum(each.n - 1 for each in counted)
    if not freedom:
        raise DataError("no sample has two seeds; without a spread nothing can be planned")
    return math.sqrt(sum((each.n - 1) * each.sd**2 for each in counted) / freedom), freedom


def sd_interval(sd: float | int, freedom: int, level: float = 0.95) -> tuple[float, float]:
    r"""Return the interval for a standard deviation that was estimated with so many degrees of freedom.

    With :math:`f` of them :math:`f s^2 / \sigma^2 \sim \chi^2_f`, so that :math:`\sigma` lies between
    :math:`s \sqrt{f / q_{1 - \alpha/2}}` and :math:`s \sqrt{f / q_{\alpha/2}}`, the quantiles being those of
    :math:`\chi^2_f`.

    Parameters
    ----------
    sd : float
        The estimate.
    freedom : int
        One less than the number of values; for pooled samples the sum.
    level : float, optional
        Coverage, if the values are normal and independent.

    Raises
    ------
    DataError
        Without any degrees of freedom, or if the level is not between 0 and 1.

    Examples
    --------
    >>> [round(bound, 2) for bound in sd_interval(1.0, 2)]  # three seeds: no more than an order of magnitude
    [0.52, 6.28]
    """
    if freedom < 1:
        raise DataError("a spread of one value has no interval; give two seeds at least")
    _check_share("level", level)
    tail = (1 - level) / 2
    low, high = stats.chi2.ppf([1 - tail, tail], freedom)
    return sd * math.sqrt(freedom / low), sd * math.sqrt(freedom / high)
