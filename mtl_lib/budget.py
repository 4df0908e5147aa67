"""How much computing the reader can afford: one switch, ``MTL_BUDGET``."""

import os

from mtl_lib.errors import ConfigError

BUDGETS = ("smoke", "cpu", "t4", "full")
"""From seconds in a test to a large GPU; what each costs is stated by the experiment that uses it."""


def current_budget() -> str:
    """Return the budget named by the environment variable ``MTL_BUDGET``, ``"cpu"`` when it is not set.

    Returns
    -------
    str
        One of :data:`BUDGETS`.

    Raises
    ------
    ConfigError
        If the variable names no budget.

    Examples
    --------
    >>> current_budget() in BUDGETS
    True
    """
    budget = os.environ.get("MTL_BUDGET") or "cpu"
    if budget not in BUDGETS:
        raise ConfigError(f"MTL_BUDGET is {budget!r}; it must be one of {', '.join(BUDGETS)}")
    return budget
