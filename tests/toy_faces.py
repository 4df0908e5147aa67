"""Pictures on which a tiny network learns both tasks in seconds; not faces, but in their format."""

import importlib.util
import sys
from pathlib import Path

import torch

from mtl_lib.config import TrainConfig
from mtl_lib.faces.base import FaceSet

CLASSES = ("across", "down", "plain")


def toy_sets(count=48, side=32, persons=12, seed=0):
    """Expression: the direction of stripes.  Landmarks: 68 points around a bright spot."""
    chance = torch.Generator().manual_seed(seed)
    ys, xs = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    noise = torch.rand(2, count, side, side, generator=chance) * 60
    labels = torch.arange(count) % 3
    stripes = torch.stack([(ys // 4 % 2).float(), (xs // 4 % 2).float(), torch.full((side, side), 0.5)])
    expression = 150 * stripes[labels] + noise[0]

    centre = side / 2 + (torch.rand(count, 2, generator=chance) - 0.5) * side / 2
    distance = (xs - centre[:, 0, None, None]) ** 2 + (ys - centre[:, 1, None, None]) ** 2
    spot = 180 * torch.exp(-distance / 20) + noise[1]
    angle = torch.linspace(0, 6.28, 68)
    ring = 3 * torch.stack([angle.cos(), angle.sin()], -1)
    who = tuple(f"p{i // 3 % persons}" for i in range(count))
    return {
        "expression": FaceSet(expression.byte()[:, None], labels, CLASSES, None, who, "stripes"),
        "landmarks": FaceSet(spot.byte()[:, None], None, (), centre[:, None] + ring, who, "spots"),
    }


def toy_config(**overrides):
    """A run of about two seconds."""
    settings = {
        "pixels": 32,
        "width": 2,
        "steps": 8,
        "batch_size": 4,
        "fractions": (0.5, 0.25, 0.25),
        "log_every": 1,
        "validate_every": 4,
        "save_every": 3,
    }
    return TrainConfig.for_budget("smoke", **{**settings, **overrides})


def unhooked(path):
    """A module of the package as users have it, without the type checks that the tests' import hook adds.

    The checks refuse some bad values before the package's own, clearer messages are reached.
    """
    name = "plain_" + Path(path).stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
