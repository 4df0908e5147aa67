"""Unfoldings: TensorLy as the oracle, golden values of a small integer tensor, inverses, named axes."""

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorly
import torch
from hypothesis import given, settings

from mtl_lib.errors import ConfigError
from mtl_lib.unfold import PAPER_AXES, fold, paper_order, torch_order, tt_fold, tt_unfold, unfold

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(shapes)
def test_mode_unfolding_agrees_with_tensorly_and_folds_back(shape):
    x = torch.arange(np.prod(shape)).reshape(shape)
    for mode in range(len(shape)):
        matrix = unfold(x, mode)
        assert np.array_equal(matrix.numpy(), tensorly.unfold(x.numpy(), mode))
        assert torch.equal(matrix, unfold(x, mode - len(shape)))
        assert torch.equal(fold(matrix, mode, shape), x)
        assert torch.equal(fold(matrix, mode - len(shape), shape), x)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6))
def test_tensor_train_unfolding_keeps_the_first_axes_as_rows(shape):
    x = torch.arange(np.prod(shape)).reshape(shape)
    for k in range(1, len(shape)):
        matrix = tt_unfold(x, k)
        assert matrix.shape == (np.prod(shape[:k]), np.prod(shape[k:]))
        indices = np.indices(shape).reshape(len(shape), -1)
        rows = np.ravel_multi_index(tuple(indices[:k]), shape[:k])
        columns = np.ravel_multi_index(tuple(indices[k:]), shape[k:])
        assert np.array_equal(matrix.numpy()[rows, columns], x.numpy()[tuple(indices)])
        assert torch.equal(tt_fold(matrix, k, shape), x)
    assert torch.equal(tt_unfold(x, 1), unfold(x, 0))
    assert torch.equal(tt_unfold(x, len(shape) - 1).T, unfold(x, -1))


def test_golden_values():
    # x[i, j, k] = 100 i + 10 j + k, written out by hand.
    x = torch.tensor([[[0, 1, 2], [10, 11, 12]], [[100, 101, 102], [110, 111, 112]]])
    assert unfold(x, 0).tolist() == [[0, 1, 2, 10, 11, 12], [100, 101, 102, 110, 111, 112]]
    assert unfold(x, 1).tolist() == [[0, 1, 2, 100, 101, 102], [10, 11, 12, 110, 111, 112]]
    assert unfold(x, 2).tolist() == [[0, 10, 100, 110], [1, 11, 101, 111], [2, 12, 102, 112]]
    assert tt_unfold(x, 2).tolist() == [[0, 1, 2], [10, 11, 12], [100, 101, 102], [110, 111, 112]]


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 4), (2, 5, 4, 3), (2, 5, 4, 3, 7), (2, 5, 4, 3, 7, 6)])
def test_paper_order_names_every_axis_and_is_undone(shape):
    stack = torch.arange(np.prod(shape)).reshape(shape)
    x = paper_order(stack)
    assert x.shape[-1] == shape[0] and x.shape[-2] == shape[1]
    assert x.shape[:-3] == shape[3:]  # the kernel's own axes come first, in their order
    assert x.data_ptr() == stack.data_ptr()
    assert torch.equal(torch_order(x), stack)
    for task in range(shape[0]):
        assert torch.equal(torch_order(x)[task], stack[task])


def test_paper_order_of_a_convolution():
    x = paper_order(torch.zeros(2, 64, 3, 5, 7))
    assert dict(zip(PAPER_AXES, x.shape, strict=True)) == {"H": 5, "W": 7, "C": 3, "M": 64, "T": 2}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: unfold(torch.zeros(2, 3), 2), ["mode is 2", "0 to 1"]),
        (lambda: unfold(torch.zeros(2, 3), -3), ["mode is -3"]),
        (lambda: fold(torch.zeros(2, 3), 0, (2, 2)), ["(2, 3)", "(2, 2)"]),
        (lambda: fold(torch.zeros(2, 3), 5, (2, 3)), ["mode is 5"]),
        (lambda: tt_unfold(torch.zeros(2, 3), 2), ["k is 2", "1 to 1"]),
        (lambda: tt_unfold(torch.zeros(2, 3), 0), ["k is 0"]),
        (lambda: tt_fold(torch.zeros(2, 3), 1, (3, 2)), ["(2, 3)", "(3, 2)"]),
        (lambda: paper_order(torch.zeros(3)), ["(3,)", "task axis"]),
        (lambda: torch_order(torch.zeros(3)), ["(3,)", "task axis"]),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, says):
    with pytest.raises(ConfigError) as error:
        call()
    for part in says:
        assert part in str(error.value)
