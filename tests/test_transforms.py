"""Augmentation moves landmarks exactly as it moves pixels."""

import math

import pytest
import torch

from mtl_lib.errors import ConfigError
from mtl_lib.faces.shape import MEAN_SHAPE
from mtl_lib.landmarks import FLIP_68
from mtl_lib.transforms import affine, augment, standardise, to_float

SIZE = 96
SHAPE = MEAN_SHAPE[:, :2].float() * 16 + torch.tensor([46.0, 44.0])  # small: stays inside when moved
NOTHING = dict(flip=0.0, rotation=0.0, scale=(1.0, 1.0), shift=0.0, noise=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dots() -> torch.Tensor:
    """68 pictures, each with a soft dot at one landmark of SHAPE."""
    axis = torch.arange(SIZE).float()
    dx = axis[None, None, :] - SHAPE[:, 0, None, None]
    dy = axis[None, :, None] - SHAPE[:, 1, None, None]
    return torch.exp(-(dx**2 + dy**2) / (2 * 1.5**2))[:, None]


def centre_of_mass(images: torch.Tensor) -> torch.Tensor:
    axis = torch.arange(SIZE).float()
    mass = images[:, 0]
    total = mass.sum((1, 2))
    return torch.stack(((mass.sum(1) * axis).sum(1) / total, (mass.sum(2) * axis).sum(1) / total), 1)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_dot_stays_under_its_landmark(flip, seed):
    landmarks = SHAPE.expand(68, 68, 2)
    images, moved = augment(dots(), landmarks, generator(seed), flip=flip, noise=0.0)
    found = centre_of_mass(images)
    # The dot of point i carries the name of its mirror image once the picture is mirrored.
    name = torch.tensor(FLIP_68 if flip else range(68))
    expected = moved[torch.arange(68), name]
    assert (found - expected).norm(dim=1).max() < 0.1
    assert (expected - SHAPE).norm(dim=1).median() > 2, "nothing was moved, so nothing was tested"


def test_mirroring_twice_is_the_identity_bit_for_bit():
    images = torch.randint(0, 256, (5, 1, SIZE, SIZE), dtype=torch.uint8, generator=generator())
    landmarks = SHAPE.round().expand(5, 68, 2)  # whole numbers, so that subtraction is exact
    settings = NOTHING | {"flip": 1.0}
    once = augment(images, landmarks, generator(), **settings)
    twice = augment(*once, generator(), **settings)
    assert not torch.equal(once[0], to_float(images))
    assert torch.equal(twice[0], to_float(images)) and torch.equal(twice[1], landmarks)


def test_no_augmentation_is_the_identity_bit_for_bit():
    images = torch.randint(0, 256, (5, 1, SIZE, SIZE), dtype=torch.uint8, generator=generator())
    landmarks = SHAPE.expand(5, 68, 2)
    out, points = augment(images, landmarks, generator(), **NOTHING)
    assert torch.equal(out, images.float() / 255) and torch.equal(points, landmarks)


def test_a_null_motion_keeps_the_picture():
    images = torch.rand(3, 1, 37, 53, generator=generator())
    zero = torch.zeros(3)
    out, _ = affine(images, None, zero, zero + 1, torch.zeros(3, 2))
    assert torch.allclose(out, images, atol=1e-4)


def test_a_quarter_turn_is_a_quarter_turn():
    images = torch.rand(2, 1, 33, 33, generator=generator())
    zero = torch.zeros(2)
    out, _ = affine(images, None, zero + math.pi / 2, zero + 1, torch.zeros(2, 2))
    assert torch.allclose(out, torch.rot90(images, -1, (2, 3)), atol=1e-4)  # clockwise as seen


def test_the_motion_stays_within_its_limits_and_uses_them():
    count = 400
    landmarks = SHAPE.expand(count, 68, 2)
    images = torch.zeros(count, 1, SIZE, SIZE)
    _, moved = augment(images, landmarks, generator(), flip=0.0, noise=0.0, shift=0.05)
    # Recover the similarity from the two outermost jaw points and the centre's image.
    before, after = SHAPE[16] - SHAPE[0], moved[:, 16] - moved[:, 0]
    factor = after.norm(dim=1) / before.norm()
    angle = torch.rad2deg(torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[1], before[0]))
    assert 0.8 - 1e-4 <= factor.min() < 0.82 and 1.18 < factor.max() <= 1.2 + 1e-4
    assert -30.01 <= angle.min() < -28 and 28 < angle.max() <= 30.01
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    centre = torch.tensor([(SIZE - 1) / 2] * 2)
    arm = SHAPE[0] - centre
    turned = torch.stack((cos * arm[0] - sin * arm[1], sin * arm[0] + cos * arm[1]), 1) * factor[:, None]
    shift = moved[:, 0] - centre - turned
    assert shift.abs().max() <= 0.05 * SIZE + 1e-3 and shift.abs().max() > 0.045 * SIZE


def test_the_crop_is_a_window_of_the_picture_and_may_lie_anywhere_in_it():
    # A picture whose value is its own x coordinate: what is seen at the edges says where the window lay.
    ramp = torch.arange(SIZE).float().expand(1, 1, SIZE, SIZE) / SIZE
    ramp = torch.cat((ramp, ramp.mT), 1).expand(500, 2, SIZE, SIZE)
    landmarks = SHAPE.expand(500, 68, 2)
    out, moved = augment(ramp, landmarks, generator(), **(NOTHING | {"crop": 0.75}))
    for channel, axis in ((0, -1), (1, -2)):
        near, far = (out[:, channel].select(axis, i)[:, 48] * SIZE for i in (0, SIZE - 1))
        # Pixel centres: the window's edges are half a small pixel further out.
        half = (far - near) / (SIZE - 1) / 2
        assert torch.allclose(far - near + 2 * half, torch.full((500,), 0.75 * SIZE), atol=0.6)
        left = near - half + 0.5
        assert left.min() >= -0.6 and left.max() <= 0.25 * SIZE + 0.6
        assert left.min() < 0.02 * SIZE and left.max() > 0.23 * SIZE
    # The landmarks went along: the value under each is still its own coordinate.
    for k in (0, 7, 400):
        inside = ((moved[k] > 1) & (moved[k] < SIZE - 2)).all(1)
        x, y = moved[k][inside].round().long().unbind(1)
        assert inside.sum() > 20
        assert (out[k, 0, y, x] * SIZE - SHAPE[inside, 0]).abs().max() < 0.6
        assert (out[k, 1, y, x] * SIZE - SHAPE[inside, 1]).abs().max() < 0.6


def test_a_dot_stays_under_its_landmark_in_a_crop():
    landmarks = SHAPE.expand(68, 68, 2)
    images, moved = augment(dots(), landmarks, generator(2), flip=0.0, noise=0.0, scale=(0.8, 0.9), crop=0.85)
    expected = moved[torch.arange(68), torch.arange(68)]
    inside = ((expected > 8) & (expected < SIZE - 9)).all(1)
    assert inside.sum() > 30
    assert (centre_of_mass(images) - expected)[inside].norm(dim=1).max() < 0.1


def test_about_half_of_the_faces_are_mirrored():
    landmarks = SHAPE.expand(400, 68, 2)
    _, moved = augment(torch.zeros(400, 1, SIZE, SIZE), landmarks, generator(), **(NOTHING | {"flip": 0.5}))
    share = (moved != landmarks).any((1, 2)).float().mean().item()
    assert 0.4 < share < 0.6


def test_the_noise_has_the_asked_for_strength():
    images = torch.full((4, 1, SIZE, SIZE), 0.5)
    out, _ = augment(images, None, generator(), **(NOTHING | {"noise": 0.03}))
    assert (out - images).std().item() == pytest.approx(0.03, rel=0.05)
    black, _ = augment(torch.zeros(1, 1, SIZE, SIZE), None, generator(), **(NOTHING | {"noise": 0.03}))
    assert black.min() == 0


def test_the_generator_alone_decides():
    images = torch.rand(4, 1, SIZE, SIZE, generator=generator())
    first, again = (augment(images, None, generator(3))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, None, generator(4))[0])


def test_switching_the_noise_off_leaves_the_motion_as_it_was():
    landmarks = SHAPE.expand(4, 68, 2)
    images = torch.rand(4, 1, SIZE, SIZE, generator=generator())
    assert torch.equal(
        augment(images, landmarks, generator())[1], augment(images, landmarks, generator(), noise=0.0)[1]
    )


@pytest.mark.parametrize(
    "setting",
    [
        dict(crop=0.0),
        dict(crop=1.2),
        dict(flip=1.5),
        dict(scale=(1.2, 0.8)),
        dict(scale=(0.0, 1.0)),
        dict(rotation=-1.0),
        dict(noise=-0.1),
    ],
)
def test_bad_settings_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        augment(torch.zeros(1, 1, 8, 8), None, generator(), **setting)


def test_standardised_pictures_ignore_exposure_and_contrast():
    images = torch.rand(3, 1, 20, 20, generator=generator())
    assert torch.allclose(standardise(images), standardise(0.3 * images + 0.2), atol=1e-4)
    assert standardise(torch.full((1, 1, 4, 4), 0.7)).abs().max() < 1e-3
