"""Sheets of augmented faces, on a small copy of the open sets: every dot lies where its landmark has gone."""

from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch
from open_copies import make_expressions, make_keypoints
from PIL import Image

from mtl_lib import cli
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.keypoints import load_keypoints
from mtl_lib.faces.sheet import LOOKS, _choice, augmentation_sheet, augmented
from mtl_lib.landmarks import FLIP_68
from mtl_lib.transforms import augment


@pytest.fixture
def root(tmp_path):
    make_expressions(tmp_path)
    make_keypoints(tmp_path)
    return tmp_path


def test_landmarks_stay_where_they_should_under_every_augmentation(root, tmp_path):
    # What lies under a landmark stays under it: the same brightness, of its mirror image the partner's.
    faces, _ = load_keypoints(root, size=96)

    def under(some: FaceSet) -> torch.Tensor:
        grid = some.landmarks / (some.size - 1) * 2 - 1
        return torch.nn.functional.grid_sample(some.images.float(), grid[:, None], align_corners=True)[
            :, 0, 0
        ]

    before = under(faces)
    looks = dict(augmented(faces))
    for name, look in looks.items():
        inside = ((look.landmarks >= 0) & (look.landmarks <= 95)).all(-1)
        assert inside.float().mean() > 0.8 and look.landmarks.shape == faces.landmarks.shape
        moved = (look.landmarks - faces.landmarks).norm(dim=-1).mean()
        assert moved < 1e-4 if name in ("as it is", "noise") else moved > 1, name
        # Left stays left, also in the mirror: the eyes' outer corners.
        assert bool((look.landmarks[:, 36, 0] < look.landmarks[:, 45, 0]).all()), name
        if name == "as in training":  # some are mirrored, some are not
            continue
        expected = before[:, list(FLIP_68)] if name == "mirrored" else before
        gap = (under(look) - expected)[:, 17:][inside[:, 17:]].abs().mean()
        assert gap < 4, (name, gap)
        assert (
            name in ("as it is", "noise")
            or (under(replace(look, landmarks=faces.landmarks)) - before)[:, 17:].abs().mean() > 5 * gap
        ), name
    # No augmentation is left out: every setting of augment is switched on in some column.
    settings = {p.name for p in signature(augment).parameters.values() if p.kind == p.KEYWORD_ONLY}
    for setting in settings:
        assert any(look.get(setting) != LOOKS["as it is"][setting] for look in list(LOOKS.values())[1:-1])
    assert LOOKS["as in training"] == {}
    sheet = np.asarray(augmentation_sheet(faces, 3, side=96))
    cells = [(22 + 102 * row, 6 + 102 * column) for row in range(3) for column in range(len(looks))]
    assert sheet.shape == (22 + 3 * 102, len(looks) * 102 + 6, 3)
    chosen = faces.select(_choice(faces, 3, 0))
    drawn = list(dict(augmented(chosen)).values())
    for number, (y, x) in enumerate(cells):
        points = drawn[number % len(looks)].landmarks[number // len(looks)].round().long()
        for px, py in points[((points >= 1) & (points <= 94)).all(-1)].tolist():
            assert tuple(sheet[y + py, x + px]) == (255, 196, 0)


def test_the_command_shows_every_augmentation_of_the_open_faces(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "s.png"
    command = ["data", "show", "--tier", "open", "--root", str(root), "--augmented", "--faces", "2"]
    assert cli.main([*command, "--out", str(out)]) == 0
    sheets = [np.asarray(Image.open(path)) for path in (out, out.with_name("s-landmarks.png"))]
    yellow = [(sheet == (255, 196, 0)).all(-1).sum() for sheet in sheets]
    assert sheets[0].shape[1] == sheets[1].shape[1] == len(LOOKS) * 150 + 6
    assert yellow[0] == 0 and yellow[1] > 2 * len(LOOKS) * 40
