"""The measures against their definitions, counted by hand on random answers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import DataError
from mtl_lib.metrics import accuracy, confusion, macro_recall, majority_rate

answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(answers)
def test_measures_equal_their_definitions(pairs):
    true, predicted = (torch.tensor(column) for column in zip(*pairs, strict=True))
    n = len(pairs)
    occurring = sorted({t for t, _ in pairs})
    recalls = [sum(t == p == k for t, p in pairs) / sum(t == k for t, _ in pairs) for k in occurring]
    assert accuracy(true, predicted) == pytest.approx(sum(t == p for t, p in pairs) / n)
    assert macro_recall(true, predicted) == pytest.approx(sum(recalls) / len(recalls))
    assert majority_rate(true) == pytest.approx(max(sum(t == k for t, _ in pairs) for k in occurring) / n)
    table = confusion(true, predicted, classes=5)
    for i in range(5):
        for j in range(5):
            assert table[i, j] == sum(pair == (i, j) for pair in pairs)


def test_a_constant_answer_scores_the_majority_rate_and_chance():
    true = torch.tensor([0] * 7 + [1] * 2 + [2])
    constant = torch.zeros_like(true)
    assert accuracy(true, constant) == majority_rate(true) == 0.7
    assert macro_recall(true, constant) == pytest.approx(1 / 3)


def test_bad_input_is_named():
    one, two, none = torch.tensor([1]), torch.tensor([1, 0]), torch.tensor([], dtype=torch.int64)
    with pytest.raises(DataError, match="2 predictions for 1 labels"):
        accuracy(one, two)
    with pytest.raises(DataError, match="no labels"):
        majority_rate(none)
    with pytest.raises(DataError, match="between 0 and 0"):
        confusion(one, one, classes=1)
