"""Nose, eyes, brows and mouth, each drawn in its own window through its own landmarks."""

import torch
from torch import Tensor

from mtl_lib.faces.draw import Window, bell, cover, curve_distance, outline_distance, smooth_curve
from mtl_lib.faces.sitter import Sitter, over

_EYES = torch.tensor([(-0.465, -0.30, -0.02), (0.465, -0.30, -0.02)])


def nose(who: Sitter, canvas: Tensor) -> None:
    """Nostrils, wings, the shadow below, and the folds from the nose to the corners of the mouth."""
    p, look = who.points, who.look
    window = Window(canvas, (p[:, 30] + p[:, 33]) / 2, round(who.size * 0.40), round(who.size * 0.26))
    x, y, patch = window.x, window.y, window.get()
    width = who.length(0.045)
    base = smooth_curve(p[:, 31:36])
    under = curve_distance(x, y, base)
    patch = patch * (1 - 0.34 * torch.exp(-((under / width) ** 2)))
    down = (p[:, 33] - p[:, 30]) / ((p[:, 33] - p[:, 30]).norm(dim=1, keepdim=True) + 1e-6)
    shadow = p[:, 33] + 0.07 * who.unit[:, None] * down
    patch = patch * (1 - 0.25 * bell(x, y, shadow, 0.15 * who.unit, 0.045 * who.unit))
    for side, (wing, inner) in enumerate(((31, 32), (35, 34))):
        outward = (p[:, wing] - p[:, 33]) / who.unit[:, None]
        hole = p[:, inner] * 0.75 + p[:, wing] * 0.25 - 0.012 * who.unit[:, None] * down
        patch = patch * (1 - 0.62 * bell(x, y, hole, 0.046 * who.unit, 0.026 * who.unit))
        # The wing: a short crease that curls up beside its landmark.
        top = p[:, wing] + who.unit[:, None] * (0.12 * outward - 0.10 * down)
        crease = torch.stack(
            (
                p[:, wing],
                p[:, wing] + who.unit[:, None] * 0.18 * outward - 0.05 * who.unit[:, None] * down,
                top,
            ),
            1,
        )
        depth = 0.22 + 0.18 * who.unit_strength(9, 10, side=side)
        patch = patch * (1 - depth * torch.exp(-((curve_distance(x, y, crease) / (0.6 * width)) ** 2)))
    window.put(patch)

    for side, (wing, corner) in enumerate(((31, 48), (35, 54))):
        outward = torch.stack(
            (torch.full_like(who.unit, 0.10 if side else -0.10), torch.zeros_like(who.unit)), 1
        )
        start = p[:, wing] + who.unit[:, None] * outward * 0.9
        end = p[:, corner] + who.unit[:, None] * outward * 1.1
        middle = (start + end) / 2 + who.unit[:, None] * outward * 0.35
        fold = smooth_curve(torch.stack((start, middle, end), 1))
        window = Window(canvas, middle, round(who.size * 0.20), round(who.size * 0.26))
        depth = (0.03 + 0.12 * look["age"] + 0.16 * who.unit_strength(12, 9, 10, 14, side=side)).clamp_max(
            0.4
        )
        distance = curve_distance(window.x, window.y, fold)
        window.put(window.get() * (1 - depth * torch.exp(-((distance / who.length(0.045)) ** 2))))


def eyes_and_brows(who: Sitter, canvas: Tensor, light: Tensor) -> None:
    """Both eyes with gaze, lids, lashes and creases; brows; frown lines; glasses."""
    p, look = who.points, who.look
    for side in (0, 1):
        # From the corner at the left of the picture to the one at its right.
        upper = p[:, [36, 37, 38, 39]] if side == 0 else p[:, [42, 43, 44, 45]]
        lower = p[:, [39, 40, 41, 36]] if side == 0 else p[:, [45, 46, 47, 42]]
        middle = p[:, 36 + 6 * side : 42 + 6 * side].mean(1)
        brow = p[:, 17 + 5 * side : 22 + 5 * side]
        window = Window(canvas, middle, round(who.size * 0.32), round(who.size * 0.22))
        window.put(_eye(who, window, window.get(), window.get(light), upper, lower, side))

        window = Window(canvas, brow[:, 2], round(who.size * 0.36), round(who.size * 0.24))
        patch = _brow(who, window, window.get(), brow, side)
        frown = p[:, 21 + side] + who.arrow(-0.10 if side else 0.10, 0.0)
        up = who.arrow(0.0, 0.085)
        stroke = curve_distance(window.x, window.y, torch.stack((frown - up, frown + up), 1))
        depth = (who.unit_strength(4, side=side) * (0.20 + 0.12 * look["age"])).clamp_max(0.4)
        window.put(patch * (1 - depth * torch.exp(-((stroke / who.length(0.03)) ** 2))))
    if bool((look["glasses"] > 0).any()):
        _glasses(who, canvas)


def _glasses(who: Sitter, canvas: Tensor) -> None:
    p, worn = who.points, who.look["glasses"]
    rims = []
    for side in (0, 1):
        middle = p[:, 36 + 6 * side : 42 + 6 * side].mean(1)
        window = Window(canvas, middle, round(who.size * 0.36), round(who.size * 0.30))
        rim = (bell(window.x, window.y, middle, 0.31 * who.unit, 0.24 * who.unit) - 0.5).abs()
        window.put(window.get() * (1 - 0.8 * worn * (1 - rim * 9).clamp(0, 1)))
        rims.append(middle)
    across = rims[1] - rims[0]
    bridge = torch.stack((rims[0] + 0.40 * across, rims[1] - 0.40 * across), 1)
    window = Window(canvas, bridge.mean(1), round(who.size * 0.12), round(who.size * 0.10))
    distance = curve_distance(window.x, window.y, bridge)
    window.put(window.get() * (1 - 0.7 * worn * cover(distance - 0.5, 0.7)))


def _eye(
    who: Sitter, window: Window, patch: Tensor, light: Tensor, upper: Tensor, lower: Tensor, side: int
) -> Tensor:
    x, y, look = window.x, window.y, who.look
    inside, to_lid, to_lower = outline_distance(x, y, smooth_curve(upper), smooth_curve(lower))
    # The eyeball turns in its socket; lids move over it.
    ball = who.view.project(_EYES[side : side + 1])[:, 0]
    corners = (upper[:, 0] + upper[:, -1]) / 2
    lift = torch.stack((torch.zeros_like(who.unit), -0.022 * who.unit), 1)
    pupil = 0.15 * ball + 0.85 * corners + lift + who.scene.gaze.float() * who.arrow(0.085, 0.050)
    radius = ((x - pupil[:, 0, None, None]) ** 2 + (y - pupil[:, 1, None, None]) ** 2).sqrt()

    shade = 0.30 + 0.55 * light.clamp_max(1.2)
    white = 0.78 * shade * (0.62 + 0.38 * (to_lid / who.length(0.09)).clamp_max(1))
    ball_colour = white
    iris = cover(radius - who.length(0.088), 0.6)
    ring = 0.55 + 0.45 * cover(radius - who.length(0.068), 0.6)
    ball_colour = over(ball_colour, iris, look["iris"] * 0.6 * ring * shade)
    ball_colour = over(ball_colour, cover(radius - who.length(0.036), 0.6), torch.full_like(x, 0.012))
    glint = pupil + who.unit[:, None] * torch.stack(
        (0.035 * who.flat["light x"].clamp(-1, 1), torch.full_like(who.unit, -0.035)), 1
    )
    spot = bell(x, y, glint, 0.018 * who.unit, 0.018 * who.unit)
    ball_colour = ball_colour + 0.5 * spot * iris

    # Socket and crease first, then the ball seen between the lids, then the lashes on the lid's edge.
    crease = upper - torch.stack((torch.zeros_like(who.unit), 0.075 * who.unit), 1)[:, None]
    openness = ((lower.mean(1) - upper.mean(1)).norm(dim=1) / who.unit / 0.06)[:, None, None].clamp(0, 1.5)
    fold = torch.exp(-((curve_distance(x, y, crease) / who.length(0.028)) ** 2))
    patch = patch * (1 - (0.10 + 0.20 * openness.clamp_max(1)) * fold)
    bag = lower + torch.stack((torch.zeros_like(who.unit), 0.08 * who.unit), 1)[:, None]
    depth = (
        0.06
        + 0.10 * look["age"]
        + 0.16 * who.unit_strength(6, side=side)
        + 0.08 * who.unit_strength(7, side=side)
    )
    patch = patch * (1 - depth * torch.exp(-((curve_distance(x, y, bag) / who.length(0.03)) ** 2)))
    patch = over(patch, cover(inside, who.soft), ball_colour)
    lashes = torch.exp(-((to_lid / who.length(0.024)) ** 2)) * look["lashes"]
    patch = patch * (1 - 0.88 * lashes)
    return patch * (1 - 0.34 * torch.exp(-((to_lower / who.length(0.018)) ** 2)))


def _brow(who: Sitter, window: Window, patch: Tensor, brow: Tensor, side: int) -> Tensor:
    x, y, look = window.x, window.y, who.look
    distance = curve_distance(x, y, smooth_curve(brow))
    inner, outer = (brow[:, 4], brow[:, 0]) if side == 0 else (brow[:, 0], brow[:, 4])
    along = (x - outer[:, 0, None, None]) * (inner - outer)[:, 0, None, None] + (
        y - outer[:, 1, None, None]
    ) * (inner - outer)[:, 1, None, None]
    along = (along / (inner - outer).square().sum(1)[:, None, None].clamp_min(1e-6)).clamp(0, 1)
    half = who.length(look["brow width"]) * (0.45 + 0.75 * along)
    alpha = cover(distance - half, 0.8) * 0.85
    hairs = 0.94 + 0.06 * torch.sin((x + 0.7 * y * (1 if side else -1)) * (2.4 * 96 / who.size))
    return over(patch, alpha * hairs, look["brow"] ** 1.4 * 0.55 * torch.ones_like(x))


def mouth(who: Sitter, canvas: Tensor, light: Tensor) -> None:
    """Lips with their line and gloss, teeth and darkness between them, moustache."""
    p, look = who.points, who.look
    centre = (p[:, 48] + p[:, 54] + p[:, 51] + p[:, 57]) / 4
    window = Window(canvas, centre, round(who.size * 0.47), round(who.size * 0.31))
    x, y = window.x, window.y
    patch, lit = window.get(), window.get(light)
    top, bottom = p[:, [48, 49, 50, 51, 52, 53, 54]], p[:, [54, 55, 56, 57, 58, 59, 48]]
    gap_top, gap_bottom = p[:, [60, 61, 62, 63, 64]], p[:, [64, 65, 66, 67, 60]]
    lips = outline_distance(x, y, smooth_curve(top), smooth_curve(bottom))[0]
    hollow = outline_distance(x, y, smooth_curve(gap_top), smooth_curve(gap_bottom))[0]
    skin = look["skin"] ** 1.6

    # Below the lower lip lies its shadow; under the nose the moustache.
    down = p[:, 57] - p[:, 51]
    down = down / (down.norm(dim=1, keepdim=True) + 1e-6)
    shadow = p[:, 57] + 0.06 * who.unit[:, None] * down
    patch = patch * (1 - 0.26 * bell(x, y, shadow, 0.17 * who.unit, 0.045 * who.unit))
    hairy = (p[:, 33] + p[:, 51]) / 2 + 0.02 * who.unit[:, None] * down
    patch = patch * (1 - 0.8 * look["moustache"] * bell(x, y, hairy, 0.22 * who.unit, 0.06 * who.unit))
    philtrum = bell(x, y, (p[:, 33] + p[:, 51]) / 2, 0.03 * who.unit, 0.08 * who.unit)
    patch = patch * (1 - 0.10 * philtrum)

    # The upper lip faces down and is darker than the lower one, which has the gloss.
    middle = (p[:, 62] + p[:, 66]) / 2
    below = (x - middle[:, 0, None, None]) * down[:, 0, None, None] + (y - middle[:, 1, None, None]) * down[
        :, 1, None, None
    ]
    lower_side = (0.5 + below / who.length(0.06)).clamp(0, 1)
    colour = skin * look["lips"] * lit * (0.66 + 0.36 * lower_side)
    gloss = (p[:, 57] + p[:, 66]) / 2
    colour = colour + 0.10 * look["specular"] * 4 * bell(x, y, gloss, 0.10 * who.unit, 0.025 * who.unit) * lit
    patch = over(patch, cover(lips, 0.8), colour)
    patch = patch * (1 - 0.12 * torch.exp(-((lips / who.length(0.03)) ** 2)))

    # Between the lips: teeth hang from the upper lip, more of them in a smile.
    drop = (x - p[:, 62, 0, None, None]) * down[:, 0, None, None] + (y - p[:, 62, 1, None, None]) * down[
        :, 1, None, None
    ]
    span = (p[:, 64] - p[:, 60]).norm(dim=1)[:, None, None].clamp_min(1e-3)
    aside = (
        (x - middle[:, 0, None, None]) * down[:, 1, None, None]
        - (y - middle[:, 1, None, None]) * down[:, 0, None, None]
    ) / span
    bite = (
        who.length(0.075)
        + who.length(1.0) * 0.05 * who.unit_strength(12, 10).clamp(0, 1.5)
        - 0.25 * who.length(1.0) * aside**2
    )
    teeth = cover(drop - bite, 0.7) * (1 - (aside.abs() * 2.1).clamp(0, 1) ** 4)
    inside = torch.full_like(x, 0.02) + 0.05 * skin * ((drop - bite) / who.length(0.2)).clamp(0, 1)
    inside = over(inside, teeth, look["teeth"] ** 1.6 * (0.25 + 0.5 * lit.clamp_max(1.2)))
    opening = (p[:, 66] - p[:, 62]).norm(dim=1)[:, None, None]
    alpha = cover(hollow, who.soft)
    patch = over(patch, alpha, inside)
    line = torch.exp(-((hollow / who.length(0.022)) ** 2)) * (
        1 - 0.6 * (opening / who.length(0.1)).clamp(0, 1)
    )
    patch = patch * (1 - 0.62 * line)
    for corner in (48, 54):
        patch = patch * (1 - 0.30 * bell(x, y, p[:, corner], 0.035 * who.unit, 0.03 * who.unit))
    window.put(patch)
