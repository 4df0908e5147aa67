"""What is no real tensor, no number and no axis is refused with the package's own error; what is, is computed right."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matrix_samplers as samplers
import numpy as np
import pytest
import torch
from refused_calls import calls
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mtl_lib import polar, task_rows
from mtl_lib.arguments import FLOATING, at_least_zero, floating, of_matrices, several, sizes, whole
from mtl_lib.errors import ConfigError
from mtl_lib.trace_norm import TraceNormPenalty
from mtl_lib.unfold import tt_unfold, unfold

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def raised():
    """What every refused call raised, in a process without the type checks that come before it here."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "refused_calls.py")],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (kind, message) for name, kind, message in map(json.loads, done.stdout.splitlines())}


def test_whatever_cannot_be_computed_right_is_refused_with_what_was_given_and_what_is_allowed(raised):
    expected = {name: says for name, (_, says) in calls().items()}
    assert set(raised) == set(expected) and len(expected) > 350
    wrong = {
        name: (kind, message)
        for name, (kind, message) in raised.items()
        if kind != "ConfigError" or not all(each in message for each in expected[name])
    }
    assert not wrong


@pytest.mark.parametrize("dtype", FLOATING)
def test_every_type_that_is_let_through_is_computed_right(dtype):
    """To the type's own precision, by every function, against an SVD of the stored numbers in float64."""
    eps = torch.finfo(dtype).eps
    for shape in ((2, 9), (3, 9), (9, 3), (40, 50)):
        m = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)
        u, sigma, v = torch.linalg.svd(m.double(), full_matrices=False)
        near = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(polar.trace_norm(m).double(), sigma.sum(), **near)
        torch.testing.assert_close(polar.singular_values(m).double(), sigma, **near)
        torch.testing.assert_close(polar.polar_factor(m).double(), u @ v, rtol=eps, atol=1e-5 + eps)
        shrunk = polar.singular_value_threshold(m, 1)
        expected = (u * (sigma - 1).clamp_min(0)) @ v
        torch.testing.assert_close(shrunk.double(), expected, rtol=eps, atol=1e-5 + eps)
        assert polar.effective_rank(m, rtol=1e-6) == min(shape)


@pytest.mark.parametrize("method", ["auto", "svd", "gram", "randomized"])
def test_a_threshold_in_a_tensor_acts_as_the_number_or_not_at_all(monkeypatch, method):
    m = samplers.with_spectrum(3, 20, [4.0, 2.0, 0.5], seed=3).float()
    for tau in (0.0, 0.75, 3.0):
        for tensor in (torch.tensor(tau), torch.tensor([tau]), torch.tensor(tau, dtype=torch.float64)):
            number = polar.singular_value_threshold(m, tau, method)
            assert torch.equal(polar.singular_value_threshold(m, tensor.view(()), method), number)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"tau is {bad}"):
            polar.singular_value_threshold(m, torch.tensor(bad), method)
    # Where an answer costs a synchronisation nothing is asked, and nothing finite comes out.
    monkeypatch.setattr(polar, "may_ask", lambda tensor: False)
    for bad in (-1.0, -1e-30, float("nan"), float("inf")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the randomised one cannot say what it captures
            found = polar.singular_value_threshold(m, torch.tensor(bad), method)
        assert found.isnan().all()
    good = polar.singular_value_threshold(m, torch.tensor(0.75), method)
    torch.testing.assert_close(torch.linalg.svdvals(good), torch.tensor([3.25, 1.25, 0.0]), rtol=0, atol=1e-5)


def test_no_check_waits_for_a_device():
    """On tensors of a GPU that have no numbers: whoever asks for one fails."""
    with FakeTensorMode():
        m, tau = torch.empty(3, 9, device="cuda"), torch.empty((), device="cuda")
        with pytest.raises((DataDependentOutputException, RuntimeError)):
            at_least_zero(tau, "tau")
        assert of_matrices(lambda m: m)(m) is m and floating(tau, "tau") is tau
        assert polar._checked_tau(tau).device.type == "cuda"
        task_rows.check("conv", [m, m])
        assert len(list(TraceNormPenalty()._layers({"conv": [m, m], "fc": [m, m, m]}))) == 2


def test_numbers_and_axes_in_any_of_their_types_are_taken():
    for one in (1, np.int64(1), np.uint8(1), torch.tensor(1)):
        assert whole(one, "mode") == 1 and type(whole(one, "mode")) is int
    for half in (0.5, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5]).half()):
        assert at_least_zero(half, "gamma") == 0.5 and type(at_least_zero(half, "gamma")) is float
    for numbers in ([1, 2], (1.0, 2.0), torch.tensor([1.0, 2.0]), np.array([1.0, 2.0])):
        assert list(map(float, several(numbers, "weights", "numbers"))) == [1, 2]
    assert sizes(torch.Size([2, 3])) == sizes([np.int64(2), 3]) == (2, 3) and sizes(()) == ()
    x = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(unfold(x, -1), unfold(x, 2)) and tt_unfold(x.int(), 2).shape == (6, 4)
