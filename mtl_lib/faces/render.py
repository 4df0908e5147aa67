"""Faces drawn from a scene, with landmarks exact to the pixel.

There is no mesh.  The 68 points are turned in space and projected; every outline in the picture (jaw, lids,
lips, brows, nose) is a smooth curve *through* its landmarks, filled and shaded pixel by pixel.  So a landmark
lies on what it names, for any pose, by construction.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from mtl_lib.errors import ConfigError
from mtl_lib.faces import face_parts, head
from mtl_lib.faces.camera import View
from mtl_lib.faces.numbers import grain
from mtl_lib.faces.scene import Scene, sample_scene
from mtl_lib.faces.sitter import Sitter

_CHUNK = 64  # faces drawn at once: small enough for the cache, large enough to hide PyTorch's overhead


def render(scene: Scene, size: int = 96) -> tuple[UInt8[Tensor, "N 1 size size"], Float[Tensor, "N 68 2"]]:
    """Draw every face of a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the picture in pixels, at least 24.

    Returns
    -------
    images : Tensor, uint8, [N, 1, size, size]
    landmarks : Tensor, float32, [N, 68, 2]
        In pixels, pixel centres at integers.

    Raises
    ------
    ConfigError
        If the picture is too small for a face.

    Examples
    --------
    >>> images, landmarks = render(sample_scene(torch.arange(3)), size=48)
    >>> images.shape, landmarks.shape
    (torch.Size([3, 1, 48, 48]), torch.Size([3, 68, 2]))
    """
    if size < 24:
        raise ConfigError(f"pictures of {size} pixels are too small for a face; use at least 24")
    images, landmarks = [], []
    for start in range(0, len(scene), _CHUNK):
        part = _rows(scene, slice(start, start + _CHUNK))
        view = View(part, size)
        images.append(_draw(part, view))
        landmarks.append(view.landmarks)
    if not images:
        empty = torch.zeros(0, 1, size, size, dtype=torch.uint8, device=scene.points.device)
        return empty, torch.zeros(0, 68, 2, device=scene.points.device)
    return torch.cat(images), torch.cat(landmarks)


def render_faces(
    index: Int64[Tensor, " N"], size: int = 96, **settings
) -> tuple[UInt8[Tensor, "N 1 size size"], Float[Tensor, "N 68 2"]]:
    """Sample a scene and draw it; the settings are those of :func:`~mtl_lib.faces.scene.sample_scene`.

    Face ``i`` is the same bit for bit whichever faces are drawn with it.

    Examples
    --------
    >>> both, _ = render_faces(torch.tensor([4, 9]), size=32)
    >>> one, _ = render_faces(torch.tensor([9]), size=32)
    >>> torch.equal(both[1:], one)
    True
    """
    return render(sample_scene(index, **settings), size)


def _rows(scene: Scene, rows: slice) -> Scene:
    look = {name: value[rows] for name, value in scene.look.items()}
    return Scene(
        scene.points[rows], scene.pose[rows], scene.gaze[rows], scene.action[rows], look, scene.index[rows],
        scene.seed,
    )  # fmt: skip


def _draw(scene: Scene, view: View) -> Tensor:
    sitter = Sitter(scene, view)
    canvas = head.surroundings(sitter)
    light = head.shading(sitter)
    head.head(sitter, canvas, light)
    face_parts.nose(sitter, canvas)
    face_parts.eyes_and_brows(sitter, canvas, light)
    face_parts.mouth(sitter, canvas, light)
    head.obstacle(sitter, canvas)
    return _photograph(scene, canvas)


def _photograph(scene: Scene, canvas: Tensor) -> Tensor:
    """Exposure, focus, grain and eight bits."""
    look = {name: value.float()[:, None, None] for name, value in scene.look.items()}
    size = canvas.shape[-1]
    axis = torch.linspace(-1, 1, size, device=canvas.device)
    radius = axis[:, None] ** 2 + axis[None, :] ** 2
    # Cameras meter: dark skin gets more light than bright skin, though not so much that they look alike.
    metered = look["exposure"] * (0.45 / look["skin"] ** 1.6) ** 0.45
    canvas = canvas * metered * (1 - look["vignette"] * radius)

    # Out of focus: five taps each way, weights from each picture's own blur.
    spread = look["blur"] * (size / 96)
    near, far = torch.exp(-0.5 / spread**2), torch.exp(-2 / spread**2)
    total = 1 + 2 * near + 2 * far
    for dim in (-1, -2):
        pad = (2, 2, 0, 0) if dim == -1 else (0, 0, 2, 2)
        wide = F.pad(canvas[:, None], pad, mode="replicate")[:, 0]
        taps = [wide.narrow(dim, i, size) for i in range(5)]
        canvas = torch.addcmul(taps[2] + near * (taps[1] + taps[3]), far, taps[0] + taps[4]) / total

    # Linear light to pixel values roughly as sRGB does: a power, with highlights compressed, not cut off.
    canvas = canvas.clamp_(1e-4, 2.5)
    canvas = torch.exp(torch.log(canvas) * (look["contrast"] * 0.72))
    canvas = look["black"] + (1 - look["black"]) * (1.30 * canvas / (1 + 0.30 * canvas * canvas))
    noise = grain(scene.seed, scene.index, size * size, stream=7).view_as(canvas)
    return (canvas + look["grain"] * noise).clamp_(0, 1).mul_(255).round_().to(torch.uint8)[:, None]
