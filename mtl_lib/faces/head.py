"""What a portrait has besides the features: backdrop, hair, skin and the light on it, things in front.

Lengths are in units of the face (half its width); brightness is linear light.
"""

import torch
from torch import Tensor

from mtl_lib.faces.draw import bell, cover, outline_distance
from mtl_lib.faces.sitter import Sitter, enlarge, over

_FOREHEAD = torch.tensor(
    [(0.97, -0.60, -0.50), (0.86, -0.90, -0.42), (0.62, -1.14, -0.34), (0.32, -1.27, -0.28), (0.0, -1.31, -0.26),
     (-0.32, -1.27, -0.28), (-0.62, -1.14, -0.34), (-0.86, -0.90, -0.42), (-0.97, -0.60, -0.50)]
)  # fmt: skip
# What stands out from the egg of the head: place, half-axes, height.
_RELIEF = (
    ((0.0, 0.11, 0.40), 0.105, 0.10, 0.17),  # tip of the nose
    ((0.0, -0.05, 0.30), 0.075, 0.13, 0.12),  # bridge
    ((0.0, -0.24, 0.20), 0.075, 0.12, 0.07),
    ((-0.145, 0.19, 0.22), 0.07, 0.07, 0.07),  # wings
    ((0.145, 0.19, 0.22), 0.07, 0.07, 0.07),
    ((-0.45, -0.52, 0.10), 0.30, 0.08, 0.055),  # brow ridges
    ((0.45, -0.52, 0.10), 0.30, 0.08, 0.055),
    ((-0.44, -0.30, 0.02), 0.22, 0.12, -0.075),  # eye sockets
    ((0.44, -0.30, 0.02), 0.22, 0.12, -0.075),
    ((-0.56, 0.10, 0.02), 0.24, 0.17, 0.07),  # cheeks
    ((0.56, 0.10, 0.02), 0.24, 0.17, 0.07),
    ((0.0, 0.60, 0.24), 0.28, 0.15, 0.07),  # the mouth's mound
    ((0.0, 0.98, 0.12), 0.19, 0.10, 0.07),  # chin
    ((0.0, 0.80, 0.16), 0.20, 0.05, -0.05),  # groove above the chin
)  # fmt: skip


def surroundings(who: Sitter) -> Tensor:
    """Backdrop, hair behind the head, neck and clothes; returns the canvas [B, S, S]."""
    look, coarse = who.look, who.size // 2
    axis = torch.linspace(-1, 1, coarse, device=who.points.device)
    x, y = axis[None, None, :], axis[None, :, None]
    turned = (x * look["clutter turn"].cos() + y * look["clutter turn"].sin()) * look["clutter size"]
    other = (y * look["clutter turn"].cos() - x * look["clutter turn"].sin()) * look["clutter size"]
    waves = torch.sin(2 * turned + look["clutter phase"]) + torch.sin(3.1 * other + 2 * look["clutter phase"])
    step = ((turned / look["clutter size"] - look["edge"]) * 12).clamp(-1, 1)
    back = look["backdrop"] + look["backdrop slope x"] * x + look["backdrop slope y"] * y
    back = (back + look["clutter"] * (0.5 * waves + step)).clamp(0.02, 1.1)
    back = back * back  # as seen to linear light

    hx, hy = who.head_frame(coarse)
    skin, lit = look["skin"] ** 1.6, look["ambient"] * 0.75
    # Clothes, then the neck, then the hair that falls behind both.
    shoulder = cover(1.42 + 0.28 * hx * hx - hy, 0.06)
    neck = cover(hx.abs() - 0.52 - 0.25 * (hy - 1.0).clamp_min(0) ** 2, 0.05) * cover(0.4 - hy, 0.05)
    hair = cover(_hair_outline(who, hx, hy), 0.04)
    back = over(back, hair, look["hair"] * lit * 0.45)
    back = over(back, neck, skin * lit * (0.42 + 0.3 * (hy - 1.0).clamp(0, 1)))
    back = over(back, shoulder, look["cloth"] ** 2 * lit * 1.2)
    return enlarge(back, who.size).contiguous()


def _hair_outline(who: Sitter, hx: Tensor, hy: Tensor) -> Tensor:
    """Signed distance to the mass of the hair: a cap that falls straight down at the sides, to the ears or
    to the shoulders; far away for the bald."""
    look = who.look
    fall = look["long hair"]
    reach = 1.16 + 0.10 * fall + 0.14 * fall * (hy - 0.1).clamp(0, 1)
    bottom = torch.where(fall > 0, 0.45 + 0.9 * fall, torch.full_like(fall, -0.12))
    cap = ((hx / reach) ** 2 + (hy.clamp_max(0) / 1.46) ** 2).sqrt() - 1
    bald = 9.0 * (look["hairline"] < -1.42)
    return torch.maximum(cap, (hy - bottom) * (1.6 - 0.8 * (fall > 0))) + bald


def shading(who: Sitter) -> Tensor:
    """Light that falls on the skin at every pixel, [B, S, S]: an egg with a relief, lit from one side."""
    coarse = who.size // 3  # it is smooth
    hx, hy = who.head_frame(coarse)
    nx, ny = hx / 1.22, hy / 1.55
    relief_x, relief_y = torch.zeros_like(hx), torch.zeros_like(hx)
    gloom = torch.zeros_like(hx)
    places = torch.tensor([spot[0] for spot in _RELIEF])
    # The relief is drawn where the turned head carries it, in the frame of hx and hy.
    spots = who.view.project(places)
    middle = who.view.project(torch.tensor([[0.0, -0.10, -0.30]]))
    flat = (spots - middle) / who.unit[:, None, None]
    roll = who.scene.pose[:, 2].float()[:, None]
    cx = roll.cos() * flat[..., 0] + roll.sin() * flat[..., 1]
    cy = roll.cos() * flat[..., 1] - roll.sin() * flat[..., 0]
    jaw = who.unit_strength(26)[:, :, 0] * 0.2
    smile = who.unit_strength(12, 6)
    for i, (_, width, height, amount) in enumerate(_RELIEF):
        centre_y = cy[:, i, None, None] + (jaw[:, :, None] if i >= 12 else 0)
        u, v = (hx - cx[:, i, None, None]) / width, (hy - centre_y) / height
        hump = torch.exp(-0.5 * (u * u + v * v)) * amount
        if i in (9, 10):
            hump = hump * (1 + 0.5 * smile)
        relief_x = torch.addcmul(relief_x, hump, u, value=1 / width)  # minus the slope of the height
        relief_y = torch.addcmul(relief_y, hump, v, value=1 / height)
        if amount < 0:
            gloom = gloom - hump
    nx, ny = nx + 0.75 * relief_x, ny + 0.75 * relief_y
    nz = (1.05 - (hx / 1.3) ** 2 - (hy / 1.7) ** 2).clamp_min(0.06).sqrt()
    length = (nx * nx + ny * ny + nz * nz).sqrt()
    look = who.look
    lx, ly = look["light x"], look["light y"]
    norm = (lx * lx + ly * ly + 1).sqrt()
    facing = ((nx * lx + ny * ly + nz) / (length * norm)).clamp_min(0)
    shine = torch.exp(
        9 * (((nx * lx / norm + ny * ly / norm) * 0.5 + nz * (1 / norm + 1) * 0.5) / length - 1)
    )
    light = look["ambient"] * (0.55 + 0.45 * nz / length) + (1.12 - look["ambient"]) * facing
    light = light * (1 - 2.2 * gloom).clamp_min(0.4) + look["specular"] * shine * facing
    return enlarge(light, who.size)


def head(who: Sitter, canvas: Tensor, light: Tensor) -> None:
    """Ears, the face itself, stubble, furrows of the forehead, hair in front."""
    look, coarse = who.look, who.size // 2
    x, y = who.grid(coarse)
    jaw = who.points[:, :17]
    scalp = who.view.project(_FOREHEAD)
    # The outline passes through all jaw points; above them it closes over the forehead.  Between two jaw
    # points the straight line is off the curve by a tenth of a pixel.
    outline = torch.cat((jaw, scalp, jaw[:, :1]), 1)
    distance = outline_distance(*who.grid(who.size // 3), outline)[0]
    face, distance = enlarge(distance, who.size), enlarge(distance, coarse)
    skin = look["skin"] ** 1.6

    hx, hy = who.head_frame(coarse)
    ears = torch.zeros_like(x)
    covered = 1 - (look["long hair"] > 0).float()
    for side in (-1, 1):
        place = who.view.project(torch.tensor([[side * 1.03, -0.16, -0.62]]))[:, 0]
        ear = bell(x, y, place, 0.085 * who.unit, 0.17 * who.unit)
        ears = torch.maximum(ears, ((ear - 0.35) * 6).clamp(0, 1))
    ear_alpha = enlarge(ears * covered, who.size)
    canvas.copy_(over(canvas, ear_alpha, skin * light * 0.72))

    # Skin is not uniform: redder cheeks and darker beard areas in gray mean small differences of reflectance.
    tone = torch.ones_like(x)
    chin = ((hy - 0.42) * 4).clamp(0, 1) * cover(distance + 0.06 * who.length(1.0), 1.0)
    lip_free = 1 - bell(hx, hy, _at(who, 0.0, 0.70), *_pair(who, 0.24, 0.08))
    side_burn = ((hx.abs() - 0.80) * 8).clamp(0, 1) * ((hy + 0.2) * 3).clamp(0, 1)
    tone = tone * (1 - 0.75 * look["beard"] * torch.maximum(chin * (0.55 + 0.45 * lip_free), side_burn))
    lines = _furrows(who, hx, hy)
    tone = tone * (1 - lines)
    skin_colour = enlarge(tone, who.size) * skin * light
    canvas.copy_(over(canvas, cover(face, who.soft), skin_colour))

    # Hair in front: its mass, less the opening in which the face is seen.
    line = look["hairline"] + 0.40 * hx.abs() ** 3 + look["fringe"] * (hx - look["parting"]).abs()
    opening = torch.maximum(line - hy, distance / who.length(1.0) - 0.02)
    alpha = cover(_hair_outline(who, hx, hy), 0.04) * (1 - cover(opening, 0.05))
    swept = hx - look["parting"]
    flow = swept * 14 / (0.55 + 0.5 * (hy + 1.2).clamp_min(0)) + 4 * hy
    strands = 1 + 0.10 * torch.sin(flow) + 0.09 * torch.sin(2.7 * flow + 5 * hy)
    gleam = 0.75 + 0.5 * torch.exp(-10 * (hy + 0.95 + 0.3 * look["light x"] * hx) ** 2)
    colour = enlarge(look["hair"] * strands * gleam, who.size) * (0.25 + 0.6 * light.clamp_max(1.3))
    canvas.copy_(over(canvas, enlarge(alpha, who.size), colour))


def _at(who: Sitter, x: float | int, y: float | int) -> Tensor:
    """A place in the head frame, [B, 2], shifted with yaw and pitch as the front of the face is."""
    spot = who.view.project(torch.tensor([[x, y, 0.2], [0.0, -0.10, -0.30]]))
    flat = (spot[:, 0] - spot[:, 1]) / who.unit[:, None]
    roll = who.scene.pose[:, 2].float()
    return torch.stack(
        (
            roll.cos() * flat[:, 0] + roll.sin() * flat[:, 1],
            roll.cos() * flat[:, 1] - roll.sin() * flat[:, 0],
        ),
        1,
    )


def _pair(who: Sitter, width: float | int, height: float | int) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(who.unit)
    return width * one, height * one


def _furrows(who: Sitter, hx: Tensor, hy: Tensor) -> Tensor:
    """Horizontal lines of a forehead that is drawn up, deeper with age."""
    strength = (who.unit_strength(1, 2) * (0.10 + 0.16 * who.look["age"])).clamp_max(0.3)
    place = _at(who, 0.0, -0.82)
    x, y = hx - place[:, 0, None, None], hy - place[:, 1, None, None]
    across = torch.exp(-((x / 0.45) ** 4))
    total = torch.zeros_like(hx)
    for offset in (-0.13, 0.0, 0.12):
        bend = y - offset + 0.05 * torch.cos(6 * x)
        total = total + torch.exp(-((bend / 0.03) ** 2))
    return strength * across * total


def obstacle(who: Sitter, canvas: Tensor) -> None:
    """Something in front of the face, in the pictures that have it: a straight edge with a shade of its own."""
    look = who.look
    if not bool((look["hidden"] > 0).any()):
        return
    axis = torch.linspace(-1, 1, who.size, device=canvas.device)
    x, y = axis[None, None, :], axis[None, :, None]
    turn = look["hidden turn"]
    depth = (
        x * turn.cos() + y * turn.sin() - look["hidden depth"] + 0.15 * (y * turn.cos() - x * turn.sin()) ** 2
    )
    alpha = cover(-depth, 0.03) * look["hidden"]
    canvas.copy_(over(canvas, alpha, look["hidden shade"] ** 2 * (1 + 0.2 * x)))
