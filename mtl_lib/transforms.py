"""Augmentation of a batch of faces on its device, landmarks along with the pixels.

Written on PyTorch's ``grid_sample`` rather than on kornia: the whole of it is one affine map and one noise term.
kornia's ``warp_affine`` gives the same pixels (to 4e-6 of full scale), in about the same time, and kornia
does not exchange left and right among the key points that it mirrors, so the one step that is easy to get wrong
would still be ours.
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mtl_lib.constants import constant
from mtl_lib.errors import ConfigError
from mtl_lib.landmarks import flip_landmarks


def to_float(images: UInt8[Tensor, "*N C H W"] | Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C H W"]:
    """Pixels on the scale (0, 1): ``uint8`` is divided by 255, floats pass through unchanged.

    Examples
    --------
    >>> to_float(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[0., 1.]]]])
    """
    return images.float() / 255 if images.dtype == torch.uint8 else images


def standardise(images: Float[Tensor, "N C H W"], floor: float | int = 1e-3) -> Float[Tensor, "N C H W"]:
    """Each picture to mean 0 and standard deviation 1, so that exposure and contrast drop out.

    Parameters
    ----------
    images : Tensor, [N, C, H, W]
    floor : float
        Smallest standard deviation that is divided by, so that a flat picture gives zeros.

    Examples
    --------
    >>> standardise(torch.rand(2, 1, 8, 8)).square().mean((1, 2, 3)).allclose(torch.ones(2))
    True
    """
    centred = images - images.mean((1, 2, 3), keepdim=True)
    spread = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / spread.clamp_min(floor)


def augment(
    images: UInt8[Tensor, "N C H W"] | Float[Tensor, "N C H W"],
    landmarks: Float[Tensor, "N 68 2"] | None,
    generator: torch.Generator,
    *,
    flip: float | int = 0.5,
    rotation: float | int = 30.0,
    scale: tuple[float | int, float | int] = (0.8, 1.2),
    shift: float | int = 0.08,
    crop: float | int = 1.0,
    noise: float | int = 0.02,
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "N 68 2"] | None]:
    """Mirror, turn, scale, shift, crop and add noise, each face by its own random amounts (section 4.1).

    Every face is mirrored with probability ``flip``, then mapped about the picture's centre by

    .. math:: p' = c + s R(\\theta)(p - c) + t

    a square window is cut out and enlarged to the size of the picture (if ``crop`` is below 1), and Gaussian noise
    is added.  Motion and crop are one map, so that pixels are interpolated once.  Pixels from outside repeat the border: black corners would tell the network
    the angle.

    Parameters
    ----------
    images : Tensor, [N, C, H, W]
        ``uint8``, or float on the scale (0, 1).
    landmarks : Tensor, [N, 68, 2] or None
        In pixels, pixel centres at integers; moved exactly as the pixels are.
    generator : torch.Generator
        The only source of randomness; the same state gives the same batch.
    flip : float
        Probability of mirroring.
    rotation : float
        Largest angle in degrees, either way.
    scale : (float, float)
        Smallest and largest factor.
    shift : float
        Largest shift along each axis, as a part of the picture's side.
    crop : float
        Side of the window as a part of the picture's; where it lies is a matter of chance.  1 is the whole
        picture.  A face may lose landmarks over the edge; their coordinates stay right.
    noise : float
        Standard deviation of the noise, on the scale (0, 1).  The paper does not give its value.

    Returns
    -------
    images : Tensor, [N, C, H, W]
        Float, clipped to (0, 1) if noise was added.
    landmarks : Tensor, [N, 68, 2] or None

    Raises
    ------
    ConfigError
        If a setting is outside its range.

    Examples
    --------
    >>> images = torch.randint(0, 256, (4, 1, 96, 96), dtype=torch.uint8)
    >>> out, points = augment(images, torch.rand(4, 68, 2) * 95, torch.Generator().manual_seed(0))
    >>> out.shape, out.dtype, points.shape
    (torch.Size([4, 1, 96, 96]), torch.float32, torch.Size([4, 68, 2]))
    """
    if not 0 <= flip <= 1:
        raise ConfigError(f"flip is {flip}; a probability lies between 0 and 1")
    if not 0 < scale[0] <= scale[1]:
        raise ConfigError(f"scale is {scale}; it must be (smallest, largest), both above 0")
    if not 0 < crop <= 1:
        raise ConfigError(
            f"crop is {crop}; the window's side is a part of the picture's, above 0 and at most 1"
        )
    if rotation < 0 or shift < 0 or noise < 0:
        raise ConfigError(f"rotation {rotation}, shift {shift} and noise {noise} must not be negative")

    images = to_float(images)
    count, _, height, width = images.shape
    # Small draws are made where the generator lives, so that a CPU generator serves any device; they are
    # made whether or not they are used, so that switching one augmentation off leaves the others as they were.
    draw = torch.rand(5, count, generator=generator, device=generator.device).to(images.device)

    if flip > 0:
        chosen = draw[0] < flip
        images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
        if landmarks is not None:
            landmarks = torch.where(chosen[:, None, None], flip_landmarks(landmarks, width), landmarks)

    if rotation > 0 or shift > 0 or scale != (1.0, 1.0) or crop < 1:
        angle = (2 * draw[1] - 1) * math.radians(rotation)
        factor = scale[0] + draw[2] * (scale[1] - scale[0])
        side = constant((width, height), images.dtype, images.device)
        move = (2 * draw[3:5].T - 1) * shift * side
        if crop < 1:
            # Enlarged about the middle by 1/crop, then moved by at most what then hangs over on either side.
            place = 2 * torch.rand(count, 2, generator=generator, device=generator.device).to(move) - 1
            factor, move = factor / crop, move / crop + place * side * (1 / crop - 1) / 2
        images, landmarks = affine(images, landmarks, angle, factor, move)

    if noise > 0:
        grain = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
        images = (images + noise * grain).clamp(0, 1)
    return images, landmarks


def affine(
    images: Float[Tensor, "N C H W"],
    landmarks: Float[Tensor, "N 68 2"] | None,
    angle: Float[Tensor, " N"],
    factor: Float[Tensor, " N"],
    move: Float[Tensor, "N 2"],
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "N 68 2"] | None]:
    """Turn by ``angle`` radians about the centre, scale by ``factor``, then move by ``move`` pixels.

    A positive angle turns the x axis towards the y axis, which is clockwise as a picture is seen.

    Parameters
    ----------
    images : Tensor, [N, C, H, W]
    landmarks : Tensor, [N, 68, 2] or None
    angle, factor : Tensor, [N]
    move : Tensor, [N, 2]
        ``(x, y)`` in pixels.

    Returns
    -------
    images, landmarks : as given

    Examples
    --------
    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> points = torch.full((1, 68, 2), 3.0)
    >>> affine(torch.rand(1, 1, 9, 9), points, zero, one, torch.tensor([[2.0, 0.0]]))[1][0, 0]
    tensor([5., 3.])
    """
    height, width = images.shape[-2:]
    centre = constant(((width - 1) / 2, (height - 1) / 2), images.dtype, images.device)
    cos, sin = angle.cos(), angle.sin()
    forward = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)  # [N, 2, 2]

    # Sampling asks, for every pixel of the result, where it comes from: the inverse map.
    ys, xs = torch.meshgrid(
        torch.arange(height, device=images.device, dtype=images.dtype),
        torch.arange(width, device=images.device, dtype=images.dtype),
        indexing="ij",
    )
    target = torch.stack((xs, ys), -1).view(1, -1, 2) - centre - move[:, None]
    source = target @ (forward / factor[:, None, None]) + centre  # rows times R is the inverse rotation
    grid = (source - centre) / centre.clamp_min(
        0.5
    )  # align_corners=True: -1 and 1 are the outer pixel centres
    images = F.grid_sample(
        images, grid.view(len(images), height, width, 2), padding_mode="border", align_corners=True
    )
    if landmarks is not None:
        landmarks = (landmarks - centre) @ (forward * factor[:, None, None]).mT + centre + move[:, None]
    return images, landmarks
