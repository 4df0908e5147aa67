"""One switch for how much computing a reader can afford."""

import pytest

from mtl_lib.budget import BUDGETS, current_budget
from mtl_lib.errors import ConfigError


def test_the_budget_is_what_the_environment_says_and_cpu_otherwise(monkeypatch):
    for budget in BUDGETS:
        monkeypatch.setenv("MTL_BUDGET", budget)
        assert current_budget() == budget
    for nothing in ("", None):
        monkeypatch.delenv("MTL_BUDGET", raising=False)
        if nothing is not None:
            monkeypatch.setenv("MTL_BUDGET", nothing)
        assert current_budget() == "cpu"


def test_an_unknown_budget_is_refused_with_the_allowed_ones(monkeypatch):
    monkeypatch.setenv("MTL_BUDGET", "huge")
    with pytest.raises(ConfigError, match="huge.*smoke, cpu, t4, full"):
        current_budget()
