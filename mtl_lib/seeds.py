"""Mean, spread and interval over seeds, and the paired comparison of two arms.

Runs of two methods with one seed share the split by person, so their difference varies less than either
does.  An effect is judged by the interval of these differences; one that contains 0 is inside the noise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtl_lib.errors import DataError


@dataclass(frozen=True)
class Spread:
    """Mean and spread of a sample.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation (n - 1 in the denominator); sd is nan for n = 1.
    low, high : float
        Student's interval for the mean; nan for n = 1.
    n : int
        Number of values.
    positive : int
        How many of them are above 0.
    p : float
        Two-sided p-value of Student's t-test of mean 0; nan for n = 1.

    Examples
    --------
    >>> print(spread([1.0, 2.0, 3.0]))
    2.0 ± 1.0 (n = 3)
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    positive: int
    p: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.sd:.1f} (n = {self.n})" if self.n > 1 else f"{self.mean:.1f} (n = 1)"

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out: otherwise the effect is inside the noise.

        Examples
        --------
        >>> spread([1.0, 1.1, 0.9]).clear, spread([1.0, -1.1, 0.9]).clear, spread([1.0]).clear
        (True, False, False)
        """
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float | int] | np.ndarray, level: float = 0.95) -> Spread:
    """Return mean, standard deviation and Student's interval of a sample.

    Parameters
    ----------
    values : sequence or array of float
        One per seed.
    level : float, optional
        Coverage of the interval, if the values are normal.

    Raises
    ------
    DataError
        If there are no values.

    Examples
    --------
    >>> sample = spread([10.0, 12.0, 14.0, 16.0])
    >>> round(sample.mean, 1), round(sample.low, 1), round(sample.high, 1)
    (13.0, 8.9, 17.1)
    """
    x = np.asarray(list(values), dtype=np.float64)
    if not len(x):
        raise DataError("there are no values to average; has the experiment been recorded?")
    n, mean, positive = len(x), float(x.mean()), int((x > 0).sum())
    if n == 1:
        return Spread(mean, math.nan, math.nan, math.nan, 1, positive, math.nan)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    if sd > 0:
        p = float(2 * stats.t.sf(abs(mean) / sd * math.sqrt(n), n - 1))
    else:
        p = 1.0 if mean == 0 else 0.0
    return Spread(mean, sd, mean - half, mean + half, n, positive, p)


def paired(first: Mapping, second: Mapping, level: float = 0.95) -> Spread:
    """Return the spread of ``first - second`` over the seeds that both have.

    Parameters
    ----------
    first, second : mapping of seed to float
        One value per seed (or whatever names a common split).
    level : float, optional
        Coverage of the interval.

    Raises
    ------
    DataError
        If they have no seed in common.

    Examples
    --------
    >>> difference = paired({0: 5.0, 1: 9.0, 2: 7.0}, {0: 4.0, 1: 8.5, 2: 6.0, 3: 1.0})
    >>> print(difference, difference.positive)
    0.8 ± 0.3 (n = 3) 3
    """
    common = [seed for seed in first if seed in second]
    if not common:
        raise DataError(f"no seed in common: {sorted(first)} and {sorted(second)}")
    return spread([first[seed] - second[seed] for seed in common], level)


def verdict(difference: Spread, claimed: int = 1) -> str:
    """Say in words what an interval says about a claimed difference.

    Parameters
    ----------
    difference : Spread
        Paired differences over seeds.
    claimed : {1, -1, 0}, optional
        The sign that is claimed: 1 for "higher", -1 for "lower", 0 if nothing is.

    Returns
    -------
    str
        "reproduced" if the whole interval lies on the claimed side of 0, "the opposite" if on the other ("higher" or
        "lower" if nothing is claimed), "inside the noise" if it contains 0, and "one seed only" where there is none.

    Examples
    --------
    >>> verdict(spread([1.0, 1.1, 0.9])), verdict(spread([1.0, 1.1, 0.9]), claimed=-1)
    ('reproduced', 'the opposite')
    >>> verdict(spread([1.0, -1.1, 0.9])), verdict(spread([1.0]))
    ('inside the noise', 'one seed only')
    >>> verdict(spread([-1.0, -1.1, -0.9]), claimed=0)
    'lower'
    """
    if difference.n == 1:
        return "one seed only"
    if not difference.clear:
        return "inside the noise"
    if claimed == 0:
        return "higher" if difference.mean > 0 else "lower"
    return "reproduced" if difference.mean * claimed > 0 else "the opposite"


def holm(p_values: Sequence[float | int] | np.ndarray, level: float = 0.95) -> list[bool]:
    """Return which of several null hypotheses Holm's procedure rejects, all held to one error rate together.

    The smallest p-value must be at most ``(1 - level) / m``, the next one ``(1 - level) / (m - 1)``, and so on; the
    first that is larger ends it.  The probability of *any* false rejection is then at most ``1 - level``, however
    the tests depend on one another (Holm 1979).

    Parameters
    ----------
    p_values : sequence or array of float
        Of m tests; a nan is not rejected, and counts.
    level : float, optional
        One minus the error rate.

    Examples
    --------
    >>> holm([0.04, 0.001, 0.03])
    [False, True, False]
    >>> holm([0.04, 0.001, 0.02])
    [True, True, True]
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda k: (math.isnan(p_values[k]), p_values[k]))
    for rank, k in enumerate(order):
        if not p_values[k] <= (1 - level) / (len(p_values) - rank):
            break
        rejected[k] = True
    return rejected
