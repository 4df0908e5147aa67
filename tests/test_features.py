"""LBP, LPQ and EOH against values worked out by hand; cells against counting; what each is blind to."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.features import (
    LinearBaseline,
    cell_histograms,
    describe,
    edge_directions,
    lbp_labels,
    lpq_codes,
)
from mtl_lib.loaders import generator
from mtl_lib.metrics import macro_recall


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=generator("cpu", seed))


# ---- LPQ

# A single bright pixel, seen by a 3x3 window whose middle is (dx, dy) away from it: y = (dx, dy) in the formula, so the
# coefficients are exp(-i 120 deg k) with k = dx, dy, dx + dy, dx - dy; its real part is positive for k = 0
# only, its imaginary part for k = -1 and k = 2 (mod 3 the same).  Bits: real, imaginary of the four in turn.
BY_HAND = {
    (0, 0): 0b01010101,  # k = 0, 0, 0, 0
    (1, 0): 0b00000100,  # k = 1, 0, 1, 1: only the second is real and positive
    (-1, 0): 0b10100110,  # k = -1, 0, -1, -1
    (0, 1): 0b10000001,  # k = 0, 1, 1, -1
    (0, -1): 0b00101001,  # k = 0, -1, -1, 1: imaginary of the 2nd and 3rd, real of the 1st
    (1, 1): 0b01100000,  # k = 1, 1, 2, 0: imaginary of the 3rd, real of the 4th
    (-1, -1): 0b01001010,  # k = -1, -1, -2, 0: imaginary of the 1st and 2nd, real of the 4th
    (1, -1): 0b10011000,  # k = 1, -1, 0, 2
    (-1, 1): 0b00010010,  # k = -1, 1, 0, -2
}  # fmt: skip


@pytest.mark.parametrize(("offset", "code"), BY_HAND.items(), ids=str)
def test_lpq_of_a_single_dot_is_what_was_worked_out_by_hand(offset, code):
    picture = torch.zeros(1, 1, 7, 7)
    picture[0, 0, 3, 3] = 1
    codes = lpq_codes(picture, window=3)  # valid codes begin at pixel 1
    dx, dy = offset
    assert codes[0, 3 + dy - 1, 3 + dx - 1] == code


@pytest.mark.parametrize("window", [3, 5, 7])
def test_lpq_against_the_formula_pixel_by_pixel(window):
    picture = noise(1, 1, 12, 11, seed=1)
    f, r, codes = picture[0, 0].double().numpy(), window // 2, lpq_codes(picture, window)
    assert codes.shape == (1, 12 - 2 * r, 11 - 2 * r)
    a = 1 / window
    for py, px in itertools.product(range(r, 12 - r), range(r, 11 - r)):
        code = 0
        for k, (u, v) in enumerate(((a, 0), (0, a), (a, a), (a, -a))):
            total = sum(
                f[py - y, px - x] * np.exp(-2j * np.pi * (u * x + v * y))
                for y in range(-r, r + 1)
                for x in range(-r, r + 1)
            )
            code |= (total.real > 0) << 2 * k | (total.imag > 0) << 2 * k + 1
        assert codes[0, py - r, px - r] == code


def test_lpq_keeps_most_signs_under_a_symmetric_blur_and_lbp_does_not():
    faces = synthetic_set(8, size=96).images.float() / 255
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    blurred = F.conv2d(F.pad(faces, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel)[None, None])

    def kept(code):
        return (code(faces) == code(blurred)).float().mean()

    assert kept(lpq_codes) > kept(lbp_labels) + 0.05
    assert torch.equal(lpq_codes(0.5 * faces + 0.2), lpq_codes(faces)), "exposure and contrast drop out"


def test_lpq_of_an_even_grey_is_0_whatever_the_grey():
    for grey in (0.0, 0.1, 0.3, 1.0):
        assert (lpq_codes(torch.full((1, 1, 20, 20), grey), 7) == 0).all()


# ---- EOH


def test_edges_of_known_direction_fall_into_the_bins_worked_out_by_hand():
    # g = cos(t) x + sin(t) y has the direction t everywhere and the length 1/100.
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    for degrees, bin_ in ((0, 0), (10, 0), (12, 1), (22.5, 1), (45, 2), (90, 4), (135, 6), (168, 7), (169, 0), (180, 0),
                          (-45, 6), (225, 2), (270, 4)):  # fmt: skip
        turn = np.deg2rad(degrees)
        ramp = (0.5 + (np.cos(turn) * (x - 4) + np.sin(turn) * (y - 4)) / 100)[None, None]
        direction, length = edge_directions(ramp, 8)
        assert direction.unique().tolist() == [bin_], degrees
        assert torch.allclose(length, torch.full_like(length, 0.01), atol=1e-6)


def test_eoh_of_a_step_worked_out_by_hand():
    # Black left half, white right half of 8x8: central differences see 1/2 at the two columns beside the step.
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1
    direction, length = edge_directions(step, 8)
    expected = torch.zeros(8, 8).double()
    expected[:, 3:5] = 0.5
    assert torch.equal(length[0], expected) and (direction[0, :, 3:5] == 0).all()
    found = describe(step, "eoh", grid=(2, 2)).view(4, 8)
    assert torch.equal(found, torch.eye(8)[0].expand(4, 8)), "every cell holds one edge, across x"
    fallen = describe(step.mT, "eoh", grid=(2, 2)).view(4, 8)
    assert torch.equal(fallen, torch.eye(8)[4].expand(4, 8))


def test_eoh_weighs_by_length():
    # In one cell a weak edge across x (0.3) and a strong one across y (0.4): the histogram is (3, 4)/5.
    labels = torch.tensor([[[0, 4]]])
    found = cell_histograms(labels, 8, (1, 1), torch.tensor([[[0.3, 0.4]]]))
    torch.testing.assert_close(found[0, [0, 4]], torch.tensor([0.6, 0.8]))


# ---- LBP


def test_lbp_has_59_labels_and_tells_directions_apart():
    labels = lbp_labels(noise(4, 1, 96, 96))
    assert labels.unique().tolist() == list(range(59))
    edge = torch.zeros(1, 1, 20, 20)
    edge[..., 10:] = 1
    across, down = lbp_labels(edge), lbp_labels(edge.mT)
    # Not the rotation-invariant variant: an edge and the same edge turned have different labels.
    assert across[0, 10, 10] != down[0, 10, 10]


def test_lbp_label_of_a_non_uniform_pattern_is_the_last_one():
    # Bright above, below, left and right, dark between: eight changes around the circle.
    y, x = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    plus = (((x - 10).abs() + (y - 10).abs() == 2) & ((x == 10) | (y == 10))).float()[None, None]
    plus[0, 0, 10, 10] = 0.5
    assert lbp_labels(plus)[0, 10, 10] == 58


# ---- cells


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (4, 4)])
def test_cells_against_counting(grid):
    labels = torch.randint(0, 5, (2, 13, 10), generator=generator("cpu", 3))
    weights = noise(2, 13, 10, seed=4)
    got = cell_histograms(labels, 5, grid, weights).view(2, *grid, 5)
    want = np.zeros((2, *grid, 5))
    for n, y, x in itertools.product(range(2), range(13), range(10)):
        want[n, y * grid[0] // 13, x * grid[1] // 10, labels[n, y, x]] += weights[n, y, x]
    want /= np.linalg.norm(want, axis=-1, keepdims=True)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)


def test_a_cell_without_edges_is_zero_and_not_nan():
    found = describe(torch.full((1, 1, 32, 32), 0.5), "eoh")
    assert (found == 0).all()


def test_the_batch_does_not_matter():
    faces = synthetic_set(7, size=48).images
    for kind in ("lbp", "lpq", "eoh"):
        assert torch.equal(describe(faces, kind, batch=3), describe(faces, kind))


# ---- the classifier


def test_every_descriptor_tells_posed_states_apart_far_above_chance():
    four = dict.fromkeys(("Happy", "Angry", "Surprised", "Indifferent"), 1)
    faces = synthetic_set(360, size=48, intensity=(1, 1), frequencies=four, seed=1)
    parts = [faces.select(range(start, stop)) for start, stop in ((0, 200), (200, 260), (260, 360))]
    for kind in ("lbp", "lpq", "eoh"):
        model = LinearBaseline(kind, penalties=(0.01, 0.1))
        model.fit(parts[0].images, parts[0].labels, parts[1].images, parts[1].labels)
        assert macro_recall(parts[2].labels, model.predict(parts[2].images)) > 0.4, kind
        assert model.validation[model.chosen] == max(model.validation.values())


def test_bad_requests_are_named():
    faces = synthetic_set(4, size=24)
    with pytest.raises(ConfigError, match="'hog'; it must be one of lbp, lpq, eoh"):
        describe(faces.images, "hog")
    for window in (4, 1, 25):
        with pytest.raises(ConfigError, match="odd"):
            lpq_codes(faces.images, window)
    with pytest.raises(ConfigError, match="30x1 cells"):
        cell_histograms(torch.zeros(1, 24, 24).long(), 3, (30, 1))
    with pytest.raises(DataError, match="0 to 3 for 3 bins"):
        cell_histograms(torch.arange(4).view(1, 2, 2), 3, (1, 1))
    with pytest.raises(ConfigError, match="call fit"):
        LinearBaseline("lbp").predict(faces.images)
    one_class = torch.zeros(4, dtype=torch.long)
    with pytest.raises(DataError, match="one class"):
        LinearBaseline("lbp").fit(faces.images, one_class, faces.images, one_class)
    with pytest.raises(ConfigError, match="above 0"):
        LinearBaseline("lbp", penalties=(0.0,))
