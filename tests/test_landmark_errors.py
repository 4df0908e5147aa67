"""Error curves, failures and subsets against counting; whitening and its inverse; NME in original pixels."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import CheckpointError, ConfigError, DataError
from mtl_lib.faces.crops import cut, landmark_box, to_crop
from mtl_lib.faces.shape import MEAN_SHAPE
from mtl_lib.landmark_errors import (
    area_under_curve,
    cumulative_errors,
    failure_rate,
    landmark_report,
    nme_in_original,
)
from mtl_lib.landmark_whitening import ShapeWhitener
from mtl_lib.landmarks import LandmarkScaler, nme
from mtl_lib.loaders import generator

errors_ = st.lists(st.floats(0, 40, width=32), min_size=1, max_size=30)


def shapes(count: int, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    noise = torch.randn(count, 68, 2, generator=generator("cpu", seed))
    return MEAN_SHAPE[None, :, :2].float() * 30 + 48 + spread * noise


@settings(max_examples=40, deadline=None)
@given(errors_, st.floats(0.5, 20))
def test_curve_and_failures_count_pictures(errors, limit):
    values = torch.tensor(errors)
    below = sum(e <= limit for e in errors) / len(errors)
    assert cumulative_errors(values, [limit]).item() == pytest.approx(below)
    assert failure_rate(values, limit) == pytest.approx(100 * (1 - below))


@settings(max_examples=25, deadline=None)
@given(errors_, st.floats(0.5, 20))
def test_the_area_is_the_integral_of_the_curve(errors, limit):
    values = torch.tensor(errors)
    steps = 20_000
    middle = (torch.arange(steps).double() + 0.5) / steps * limit  # midpoint rule on the staircase
    assert area_under_curve(values, limit) == pytest.approx(
        cumulative_errors(values, middle).mean().item(), abs=2 / steps * len(errors)
    )


def test_an_error_at_the_limit_is_within_it():
    assert cumulative_errors(torch.tensor([2.0, 4.0, 4.0, 9.0]), [3.9, 4.0]).tolist() == [0.25, 0.75]


def test_area_at_its_ends():
    assert area_under_curve(torch.zeros(3)) == 1
    assert area_under_curve(torch.full((3,), 8.0)) == 0
    assert failure_rate(torch.full((3,), 8.0)) == 0, "at the limit is not beyond it"


def test_what_cannot_be_described_is_refused():
    for function in (area_under_curve, failure_rate):
        with pytest.raises(DataError, match="no errors"):
            function(torch.zeros(0))
        with pytest.raises(DataError, match="not a finite"):
            function(torch.tensor([1.0, float("nan")]))
        with pytest.raises(ConfigError, match="limit is 0"):
            function(torch.ones(2), limit=0)
    with pytest.raises(DataError, match="'empty' has no pictures"):
        landmark_report(shapes(3), shapes(3, 1), {"empty": torch.zeros(3, dtype=torch.bool)})


def test_the_full_row_is_the_mean_over_pictures_as_in_table_6():
    path = Path(__file__).parents[1] / "data" / "paper" / "table6_landmark_300w.csv"
    true = shapes(689, 3)
    eyes = (true[:, 36:42].mean(1) - true[:, 42:48].mean(1)).norm(dim=1)
    challenging = torch.arange(689) % 5 == 0
    challenging[135 * 5 :] = False
    assert challenging.sum() == 135
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        # Predictions that are off by just what the paper's two subsets say, each in a direction of its own.
        wanted = torch.where(challenging, float(row["challenging_subset"]), float(row["common_subset"]))
        angle = torch.rand(689, 68, generator=generator("cpu", 5)) * 6.28
        off = torch.stack((angle.cos(), angle.sin()), -1) * (wanted * eyes / 100)[:, None, None]
        report = landmark_report(true + off, true, {"common": ~challenging, "challenging": challenging})
        assert {name: each.count for name, each in report.items()} == {
            "common": 554, "challenging": 135, "full": 689,
        }  # fmt: skip
        assert report["common"].nme_pupil == pytest.approx(float(row["common_subset"]), abs=1e-3)
        assert report["challenging"].nme_pupil == pytest.approx(float(row["challenging_subset"]), abs=1e-3)
        assert report["full"].nme_pupil == pytest.approx(float(row["full_set"]), abs=0.01)
        mean_of_means = (report["common"].nme_pupil + report["challenging"].nme_pupil) / 2
        assert abs(mean_of_means - float(row["full_set"])) > 0.5, "the other mean would have been noticed"


def test_area_and_failures_use_the_outer_eye_corners():
    true = shapes(50, 1, spread=0.5)
    predicted = true + 2.5 * torch.randn(50, 68, 2, generator=generator("cpu", 8))
    row = landmark_report(predicted, true)["full"]
    assert row.auc == pytest.approx(area_under_curve(nme(predicted, true, "ocular")))
    assert row.failures == failure_rate(nme(predicted, true, "ocular")) < failure_rate(nme(predicted, true))


def test_nme_in_original_pixels_inverts_the_crop():
    true = shapes(6, 2) * torch.linspace(0.5, 4, 6)[:, None, None] + 20
    crop = landmark_box(true)
    inside = to_crop(true, crop, 96)
    assert nme_in_original(inside, true, crop, 96).max() < 1e-2
    # A miss by 3 pixels of the crop is a miss by 3 side/96 pixels of the original.
    miss = nme_in_original(inside + torch.tensor([3.0, 0.0]), true, crop, 96, "ocular")
    corners = (true[:, 36] - true[:, 45]).norm(dim=1)
    torch.testing.assert_close(miss, 100 * 3 * crop[:, 2] / 96 / corners, rtol=1e-3, atol=0)


def test_the_crop_that_is_inverted_is_the_one_that_was_cut():
    # A dot drawn in the original is found in the pixels of the crop, and led back to where it was.
    picture = np.zeros((200, 260), np.uint8)
    picture[120:124, 150:154] = 255  # middle at (151.5, 121.5)
    crop = torch.tensor([[90.0, 70.0, 110.0]])
    small = torch.from_numpy(cut(picture, tuple(crop[0].tolist()), 96).copy()).double()
    axis = torch.arange(96).double()
    found = torch.stack(((small.sum(0) * axis).sum(), (small.sum(1) * axis).sum())) / small.sum()
    true = shapes(1, 0) + 50
    true[0, 30] = torch.tensor([151.5, 121.5])
    predicted = to_crop(true, crop, 96)
    predicted[0, 30] = found
    eyes = (true[0, 36:42].mean(0) - true[0, 42:48].mean(0)).norm()
    assert nme_in_original(predicted, true, crop, 96).item() * eyes / 100 * 68 < 0.1  # pixels


# ---- whitening


def test_whitened_training_shapes_are_uncorrelated_with_spread_1():
    points = shapes(500, 4) + 3 * torch.randn(500, 1, 2, generator=generator("cpu", 9))
    z = ShapeWhitener.fit(points, 96).transform(points).double()
    assert z.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(torch.cov(z.T), torch.eye(136).double(), atol=2e-3, rtol=0)
    scaled = LandmarkScaler.fit(points, 96).transform(points).double()
    assert (torch.cov(scaled.T) - torch.eye(136)).abs().max() > 0.5, "scaling alone leaves them correlated"


@pytest.mark.parametrize("count", [2, 50, 400])
@pytest.mark.parametrize("size", [24, 96, 350])
def test_whitening_is_undone_also_for_shapes_outside_the_training_space(count, size):
    whitener = ShapeWhitener.fit(shapes(count, 1), size)
    other = shapes(9, 7, spread=20.0).double() - 30
    assert torch.allclose(whitener.inverse(whitener.transform(other)), other, atol=1e-6)
    z = torch.randn(5, 136, generator=generator("cpu", 3)).double()
    assert torch.allclose(whitener.transform(whitener.inverse(z)), z, atol=1e-6)


def test_the_squared_length_is_the_mahalanobis_distance():
    points = shapes(400, 2).double()
    z = ShapeWhitener.fit(points, 96).transform(points[:5])
    flat = points.flatten(1).numpy()
    precision = np.linalg.inv(np.cov(flat.T))
    off = flat[:5] - flat.mean(0)
    expected = np.einsum("ni,ij,nj->n", off, precision, off)
    np.testing.assert_allclose(z.square().sum(1).numpy(), expected, rtol=1e-5)


def test_the_first_axis_is_the_one_along_which_shapes_vary_most():
    push = 12 * torch.randn(300, 1, 1, generator=generator("cpu", 6)) * torch.tensor([1.0, 0.0])
    whitener = ShapeWhitener.fit(shapes(300, 5, spread=0.3) + push, 96)
    first = whitener.axes[:, 0].view(68, 2)
    assert (first[:, 0].abs() > 0.1).all() and first[:, 1].abs().max() < 0.02  # all points to one side
    assert (whitener.spread.diff() <= 1e-12).all()


def test_the_whiteners_state_holds_everything_and_a_damaged_one_is_refused():
    points = shapes(200)
    whitener = ShapeWhitener.fit(points, 96)
    state = whitener.state()
    assert torch.equal(ShapeWhitener.from_state(state).transform(points), whitener.transform(points))
    with pytest.raises(CheckpointError, match="lacks axes"):
        ShapeWhitener.from_state({k: v for k, v in state.items() if k != "axes"})
    with pytest.raises(CheckpointError, match="68 points"):
        ShapeWhitener.from_state(state | {"spread": torch.ones(134)})
    with pytest.raises(DataError, match="at least 2"):
        ShapeWhitener.fit(shapes(1), 96)
    broken = shapes(3)
    broken[1, 4, 0] = float("inf")
    with pytest.raises(DataError, match="finite"):
        ShapeWhitener.fit(broken, 96)
