"""The renderer: same face in any batch, landmarks on what they name, states that landmarks tell apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtl_lib.errors import ConfigError
from mtl_lib.faces.camera import View
from mtl_lib.faces.render import render, render_faces
from mtl_lib.faces.scene import STYLES, balanced_states, sample_scene
from mtl_lib.faces.shape import ACTIONS, MEAN_SHAPE, MODES, face_points, rotate
from mtl_lib.faces.states import PATTERNS, STATES
from mtl_lib.landmarks import FLIP_68

ROWS, COLUMNS = np.mgrid[:96, :96]
PIXELS = np.stack((COLUMNS.ravel(), ROWS.ravel()), 1)


def clean_scene(count=12, seed=0, **settings):
    """Turned heads in focus, without grain, spectacles, beards or things in front."""
    scene = sample_scene(torch.arange(count), style="wild", occlusion=0.0, seed=seed, **settings)
    look = scene.look | {
        name: torch.zeros(count, dtype=torch.float64)
        for name in ("grain", "glasses", "beard", "moustache", "age")
    }
    look["blur"] = torch.full((count,), 0.2, dtype=torch.float64)
    return replace(scene, look=look)


def change(scene, **values):
    """Where the picture changes when only the named looks do."""
    other = replace(
        scene, look=scene.look | {k: torch.full_like(scene.look[k], v) for k, v in values.items()}
    )
    first, second = render(scene)[0][:, 0].int(), render(other)[0][:, 0].int()
    return ((first - second).abs() > 6).numpy()


def filled(points: np.ndarray, grow: float = 0.0) -> np.ndarray:
    """The pixels inside a polygon, by matplotlib; grown or shrunk by about ``grow`` pixels."""
    inside = Polygon(points).contains_points(PIXELS).reshape(96, 96)
    if not grow:
        return inside
    vertices = np.concatenate((points, points[:1]))
    nearest = np.full(len(PIXELS), np.inf)
    for a, b in zip(vertices[:-1], vertices[1:], strict=True):
        along = np.clip(((PIXELS - a) @ (b - a)) / max(((b - a) ** 2).sum(), 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.hypot(*(PIXELS - a - along[:, None] * (b - a)).T))
    edge = nearest.reshape(96, 96)
    return inside | (edge <= grow) if grow > 0 else inside & (edge > -grow)


# ---- the same face in any batch


def test_a_face_is_the_same_bit_for_bit_in_any_batch():
    together, points = render_faces(torch.arange(70), size=48, style="wild")  # more than one chunk
    for index in ([69, 3, 3, 40], [12], list(range(60, 70))):
        alone, own = render_faces(torch.tensor(index), size=48, style="wild")
        assert torch.equal(alone, together[index]) and torch.equal(own, points[index])


def test_a_seed_is_another_world():
    first, second = (render_faces(torch.arange(4), size=32, seed=s)[0].float() for s in (0, 1))
    assert ((first - second).abs().mean((1, 2, 3)) > 5).all()


def test_a_person_keeps_face_and_hair_but_not_light_and_pose():
    scene = sample_scene(torch.arange(4), person=torch.tensor([8, 8, 9, 9]), state=None)
    for name in ("skin", "hair", "hairline", "iris", "glasses", "long hair"):
        assert scene.look[name][0] == scene.look[name][1] and scene.look[name][2] == scene.look[name][3]
    assert scene.look["skin"][0] != scene.look["skin"][2]
    for name in ("light x", "backdrop", "exposure"):
        assert scene.look[name].unique().numel() == 4
    assert scene.pose[:, 0].unique().numel() == 4


# ---- landmarks lie on what they name


def test_landmarks_are_the_turned_and_projected_points():
    # An independent way to the same points: rotation matrices, then the affine map fitted to two of them.
    scene = sample_scene(torch.arange(6), style="wild")
    _, landmarks = render(scene, 96)
    for k in range(6):
        yaw, pitch, roll = scene.pose[k].tolist()
        about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        flat = (scene.points[k].numpy() @ (about_z @ about_x @ about_y).T)[:, :2]
        found = landmarks[k].numpy()
        scale = np.linalg.norm(found[45] - found[8]) / np.linalg.norm(flat[45] - flat[8])
        assert np.abs((found - found[8]) - scale * (flat - flat[8])).max() < 1e-3


@pytest.mark.parametrize("size", [48, 96])
def test_the_face_fills_the_frame_by_the_box_rule(size):
    scene = sample_scene(torch.arange(20), style="wild")
    still = torch.zeros(20, dtype=torch.float64)
    scene = replace(scene, look=scene.look | {"frame x": still, "frame y": still, "frame size": still + 1})
    _, landmarks = render(scene, size)
    low, high = landmarks.amin(1) + 0.5, landmarks.amax(1) + 0.5
    assert torch.allclose((high - low).amax(1) * 1.4, torch.full((20,), float(size)), rtol=1e-4)
    assert torch.allclose(low + high, torch.full((20, 2), float(size)), atol=1e-3)


def test_all_landmarks_are_in_the_picture():
    _, landmarks = render_faces(torch.arange(300), size=24, style="wild", state=torch.arange(300) % 13)
    assert landmarks.min() > 0 and landmarks.max() < 23


def test_lips_are_drawn_inside_the_lip_landmarks():
    scene = clean_scene(state=torch.full((12,), STATES.index("Surprised")), intensity=0.7)
    changed = change(scene, lips=0.15)
    filled_with_lip, all_lip = 0, 0
    for k, points in enumerate(View(scene, 96).landmarks.numpy()):
        lips, hole = points[48:60], points[60:68]
        assert not (changed[k] & ~filled(lips, 2.0)).any(), "lips beyond their landmarks"
        flesh = filled(lips, -1.2) & ~filled(hole, 1.5)
        filled_with_lip, all_lip = filled_with_lip + changed[k][flesh].sum(), all_lip + flesh.sum()
    assert all_lip > 100 and filled_with_lip / all_lip > 0.9, "lips do not fill their landmarks"


def test_teeth_are_seen_between_the_inner_lip_landmarks_only():
    scene = clean_scene(state=torch.full((12,), STATES.index("Surprised")), intensity=0.9)
    changed = change(scene, teeth=0.05)
    seen, gap = 0, 0
    for k, points in enumerate(View(scene, 96).landmarks.numpy()):
        assert not (changed[k] & ~filled(points[60:68], 1.5)).any(), "teeth outside the mouth"
        seen, gap = seen + changed[k].sum(), gap + filled(points[60:68]).sum()
    assert gap > 200 and 0.1 < seen / gap < 1.0


def test_brows_are_drawn_along_the_brow_landmarks():
    scene = clean_scene()
    scene = replace(scene, look=scene.look | {"hairline": torch.full((12,), -1.4, dtype=torch.float64)})
    changed = change(scene, brow=1.0)
    for k, points in enumerate(View(scene, 96).landmarks.numpy()):
        near = np.zeros((96, 96), bool)
        for brow in (points[17:22], points[22:27]):
            thin = np.concatenate((brow, brow[::-1]))  # a polygon without area: the curve itself
            near |= filled(thin, 3.5)
            nearest = np.round(brow).astype(int)
            assert changed[k][nearest[:, 1], nearest[:, 0]].mean() >= 0.6, "no brow at its landmarks"
        assert not (changed[k] & ~near).any(), "brow away from its landmarks"


def test_the_gaze_moves_inside_the_lids_only():
    scene = clean_scene()
    other = replace(scene, gaze=-scene.gaze.sign() * 0.9)
    moved = (render(scene)[0].int() - render(other)[0].int()).abs()[:, 0].numpy() > 6
    open_eyes = 0
    for k, points in enumerate(View(scene, 96).landmarks.numpy()):
        lids = filled(points[36:42], 1.5) | filled(points[42:48], 1.5)
        assert not (moved[k] & ~lids).any()
        open_eyes += moved[k].any()
    assert open_eyes >= 9  # some faces blink


def test_skin_begins_at_the_jaw_landmarks():
    # Everything but the face is made black: just inside each jaw point must be brighter than just outside.
    scene = clean_scene(count=16, gap=0.3)
    dark = {"backdrop": 0.02, "clutter": 0.0, "cloth": 0.0, "hair": 0.0, "ambient": 0.6, "light x": 0.0}
    look = scene.look | {k: torch.full_like(scene.look[k], v) for k, v in dark.items()}
    look |= {k: torch.zeros_like(look[k]) for k in ("backdrop slope x", "backdrop slope y", "long hair")}
    images, landmarks = render(replace(scene, look=look))
    right = []
    for picture, points in zip(images[:, 0].numpy().astype(float), landmarks.numpy(), strict=True):
        middle = points[27:36].mean(0)
        for i in range(3, 14):
            outward = (points[i] - middle) / np.linalg.norm(points[i] - middle)
            x, y = np.round(points[i] - 2.5 * outward).astype(int)
            u, v = np.clip(np.round(points[i] + 2.5 * outward).astype(int), 0, 95)
            right.append(picture[y, x] > 1.15 * picture[v, u])
    assert np.mean(right) > 0.95


# ---- shape


def test_the_face_at_rest_is_symmetric_and_the_sides_of_an_action_mirror_each_other():
    mirror = torch.tensor([-1.0, 1.0, 1.0]).double()
    order = list(FLIP_68)
    assert torch.allclose(MEAN_SHAPE[order] * mirror, MEAN_SHAPE)
    assert torch.allclose(ACTIONS[0][:, order] * mirror, ACTIONS[1])
    assert torch.allclose(MODES[:, order] * mirror, MODES)


def test_lids_and_lips_meet_but_do_not_cross():
    strong = torch.zeros(50, 2, 18).double()
    strong[:] = torch.rand(50, 1, 18, generator=torch.Generator().manual_seed(0)) * 1.6
    points = face_points(torch.zeros(50, len(MODES)).double(), strong)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65)):
        assert (points[:, upper, 1] <= points[:, lower, 1] + 1e-12).all()


def test_turning_the_head_keeps_distances():
    points = MEAN_SHAPE.expand(5, 68, 3)
    turned = rotate(
        points, torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), (0.0, 0.1, -0.5)
    )
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(points, points), atol=1e-6)


# ---- mental states


def landmark_table(intensity: float, count: int = 1300):
    state = balanced_states(count, 0)
    scene = sample_scene(torch.arange(count), state=state, intensity=intensity)
    return View(scene, 96).landmarks.flatten(1).numpy(), state.numpy()


def probe(intensity: float) -> float:
    features, state = landmark_table(intensity)
    model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05))
    return cross_val_score(model, features, state, cv=4).mean()


def test_every_state_of_the_table_has_a_pattern_of_its_own():
    assert set(PATTERNS) == set(STATES) and len(STATES) == 13
    assert len({str(pattern) for pattern in PATTERNS.values()}) == 13


def test_landmarks_tell_states_apart_the_better_the_stronger_they_are_shown():
    chance = 1 / 13
    subtle, middling, posed = probe(0.25), probe(0.5), probe(1.0)
    assert 2 * chance < subtle < 0.6, "subtle states: above chance, far from perfect"
    assert subtle + 0.1 < middling < posed < 0.97


def test_at_intensity_0_nothing_is_shown():
    images = [
        render_faces(torch.arange(6), state=torch.full((6,), s), intensity=0.0, size=32)[0] for s in (0, 7)
    ]
    assert torch.equal(*images)
    spread = (1 / 13 * 12 / 13 / 1300) ** 0.5
    assert abs(probe(0.0) - 1 / 13) < 4 * spread


def test_every_pair_of_states_differs_when_posed():
    scene = [
        sample_scene(torch.arange(200), state=torch.full((200,), s), intensity=1.0, pose=0.0)
        for s in range(13)
    ]
    seen = torch.stack(
        [torch.cat((s.points.mean(0).flatten(), s.gaze.abs().mean(0) * 0.3, s.pose.mean(0))) for s in scene]
    )
    distance = torch.cdist(seen, seen) + torch.eye(13) * 9
    assert distance.min() > 0.08, [STATES[i] for i in divmod(int(distance.argmin()), 13)]


# ---- styles


def test_without_a_gap_the_styles_are_one():
    film, wild = (render_faces(torch.arange(8), style=style, gap=0.0, size=48)[0] for style in STYLES)
    assert torch.equal(film, wild)


def test_the_domain_shift_grows_with_the_gap():
    def domain_probe(gap: float) -> float:
        tables = []
        for offset, style in enumerate(STYLES):
            index = torch.arange(110) + 10_000 * offset  # other people, other pictures
            images = render_faces(index, style=style, gap=gap, size=24)[0].float()[:, 0] / 255
            detail = (images[:, 1:] - images[:, :-1]).abs().mean((1, 2))
            border = torch.cat((images[:, 0], images[:, :, 0], images[:, :, -1]), 1)
            parts = (images.mean((1, 2)), images.std((1, 2)), detail, border.mean(1), border.std(1))
            tables.append(torch.stack(parts, 1))
        labels = np.repeat([0, 1], 110)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        return cross_val_score(model, torch.cat(tables).numpy(), labels, cv=5).mean()

    none, some, full = domain_probe(0.0), domain_probe(0.5), domain_probe(1.0)
    assert none < 0.62 and full > 0.8 and none < some < full


def test_occlusion_covers_some_of_the_face_and_no_landmark_moves():
    free, points = render_faces(torch.arange(8), occlusion=0.0)
    covered, same = render_faces(torch.arange(8), occlusion=1.0)
    assert torch.equal(points, same)
    share = (free != covered).float().mean((1, 2, 3))
    assert (share > 0.005).all() and share.mean() < 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(style="noir"), "'noir'; it must be one of film, wild"),
        (dict(gap=-1.0), "gap is -1.0"),
        (dict(intensity=2.0), "intensity"),
        (dict(occlusion=1.5), "occlusion is 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        sample_scene(torch.arange(2), **settings)


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ConfigError, match="at least 24"):
        render_faces(torch.arange(1), size=16)


def test_no_faces_are_no_faces():
    images, landmarks = render_faces(torch.arange(0))
    assert images.shape == (0, 1, 96, 96) and landmarks.shape == (0, 68, 2)
