"""The 68 points: mirror, error measure, scaling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import CheckpointError, ConfigError, DataError
from mtl_lib.faces.shape import MEAN_SHAPE
from mtl_lib.landmarks import FLIP_68, GROUPS, LandmarkScaler, eye_distance, flip_landmarks, nme


def shapes(count: int, seed: int = 0) -> torch.Tensor:
    """Plausible faces: the mean shape, scaled, moved and perturbed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 68, 2, generator=generator)
    return MEAN_SHAPE[None, :, :2].float() * 30 + 48 + 2 * noise


def test_the_mirror_is_an_involution_with_the_known_fixed_points():
    assert sorted(FLIP_68) == list(range(68))
    assert [FLIP_68[i] for i in FLIP_68] == list(range(68))
    assert {i for i in range(68) if FLIP_68[i] == i} == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}


def test_the_groups_cover_all_points_once_and_mirror_into_one_another():
    assert sorted(i for group in GROUPS.values() for i in group) == list(range(68))
    partner = {"left_brow": "right_brow", "left_eye": "right_eye"}
    partner |= {b: a for a, b in partner.items()}
    for name, group in GROUPS.items():
        assert {FLIP_68[i] for i in group} == set(GROUPS[partner.get(name, name)])


def test_neighbours_stay_neighbours_in_the_mirror():
    # Within each closed or open curve, the mirror runs backwards along the curve: consecutive points
    # stay consecutive.  A swapped pair anywhere breaks this.
    for name in ("jaw", "left_brow", "nose_bridge", "nose_base"):
        mirrored = [FLIP_68[i] for i in GROUPS[name]]
        assert {abs(a - b) for a, b in zip(mirrored, mirrored[1:], strict=False)} == {1}
    for name in ("left_eye", "outer_lips", "inner_lips"):
        mirrored = [FLIP_68[i] for i in GROUPS[name]]
        steps = {(b - a) % len(mirrored) for a, b in zip(mirrored, mirrored[1:] + mirrored[:1], strict=True)}
        assert steps == {len(mirrored) - 1}


def test_a_symmetric_face_is_its_own_mirror():
    points = MEAN_SHAPE[None, :, :2].float() * 30 + torch.tensor([47.5, 50.0])
    assert torch.allclose(flip_landmarks(points, 96), points, atol=1e-4)


@given(st.integers(0, 1000), st.integers(32, 200))
@settings(max_examples=20, deadline=None)
def test_mirroring_twice_changes_nothing(seed, width):
    points = shapes(3, seed)
    twice = flip_landmarks(flip_landmarks(points, width), width)
    assert torch.allclose(twice, points, atol=1e-4)


@given(st.floats(0.1, 10), st.floats(-100, 100), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_nme_does_not_depend_on_scale_or_place(scale, shift, seed):
    true, predicted = shapes(4, seed), shapes(4, seed + 1)
    moved = nme(predicted * scale + shift, true * scale + shift)
    assert torch.allclose(moved, nme(predicted, true), rtol=1e-3)


def test_nme_against_a_plain_loop():
    true, predicted = shapes(3, 0).double(), shapes(3, 5).double()
    for k, value in enumerate(nme(predicted.float(), true.float()).tolist()):
        left = sum(true[k, i] for i in range(36, 42)) / 6
        right = sum(true[k, i] for i in range(42, 48)) / 6
        pupils = ((left - right) ** 2).sum().sqrt()
        errors = [((predicted[k, i] - true[k, i]) ** 2).sum().sqrt() for i in range(68)]
        assert value == pytest.approx((100 * sum(errors) / 68 / pupils).item(), rel=1e-4)


def test_the_two_normalisers_differ_by_the_ratio_of_their_distances():
    true, predicted = shapes(5, 1), shapes(5, 2)
    ratio = eye_distance(true, "ocular") / eye_distance(true, "pupil")
    assert torch.allclose(nme(predicted, true, "pupil") / nme(predicted, true, "ocular"), ratio)
    assert (ratio > 1.2).all()


def test_nme_refuses_what_it_cannot_measure():
    true = shapes(3)
    true[1, 36:48] = 5.0
    with pytest.raises(DataError, match="picture 1"):
        nme(true, true)
    with pytest.raises(DataError, match="picture 2"):
        nme(shapes(3), torch.cat((shapes(2), torch.full((1, 68, 2), float("nan")))))


def test_an_unknown_normaliser_is_named():
    # Called past the type check, as a user without it would.
    with pytest.raises(ConfigError, match="'eyes'.*'pupil' or 'ocular'"):
        eye_distance.__wrapped__(shapes(1), "eyes") if hasattr(eye_distance, "__wrapped__") else eye_distance(
            shapes(1), "eyes"
        )


def test_scaled_training_landmarks_have_mean_0_and_deviation_1():
    points = shapes(200)
    targets = LandmarkScaler.fit(points, 96).transform(points)
    assert torch.allclose(targets.mean(0), torch.zeros(136), atol=1e-4)
    assert torch.allclose(targets.std(0), torch.ones(136), atol=1e-3)


@given(st.integers(0, 1000), st.sampled_from([24, 96, 350]))
@settings(max_examples=20, deadline=None)
def test_the_scaler_undoes_itself(seed, size):
    scaler = LandmarkScaler.fit(shapes(20, seed), size)
    other = shapes(7, seed + 1) * 3 - 50
    assert torch.allclose(scaler.inverse(scaler.transform(other)), other, atol=1e-3)


def test_the_unit_scale_runs_from_edge_to_edge_of_the_crop():
    scaler = LandmarkScaler(torch.zeros(136), torch.ones(136), size=96)
    points = torch.tensor([-0.5, 95.5]).expand(1, 68, 2)  # the picture's edges
    assert torch.equal(scaler.transform(points)[0, :2], torch.tensor([0.0, 1.0]))


def test_a_coordinate_that_never_moves_does_not_divide_by_zero():
    points = shapes(10)
    points[:, 3] = 7.0
    scaler = LandmarkScaler.fit(points, 96)
    assert scaler.transform(points).isfinite().all()
    assert torch.allclose(scaler.inverse(scaler.transform(points)), points, atol=1e-3)


def test_the_state_holds_everything():
    points = shapes(10)
    scaler = LandmarkScaler.fit(points, 96)
    state = scaler.state()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    again = LandmarkScaler.from_state(state)
    assert torch.equal(again.transform(points), scaler.transform(points))
    scaler.mean.zero_()
    assert not torch.equal(state["mean"], scaler.mean), "the state must be a copy"


def test_a_damaged_state_is_refused():
    state = LandmarkScaler.fit(shapes(10), 96).state()
    with pytest.raises(CheckpointError, match="lacks std"):
        LandmarkScaler.from_state({k: v for k, v in state.items() if k != "std"})
    with pytest.raises(CheckpointError, match="136 are needed"):
        LandmarkScaler.from_state(state | {"mean": torch.zeros(134)})


def test_too_few_or_broken_shapes_are_refused():
    with pytest.raises(DataError, match="at least 2"):
        LandmarkScaler.fit(shapes(1), 96)
    broken = shapes(3)
    broken[1, 4, 0] = float("inf")
    with pytest.raises(DataError, match="finite"):
        LandmarkScaler.fit(broken, 96)
