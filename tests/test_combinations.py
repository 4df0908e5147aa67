"""Every way of sharing, with every way of aligning, trains on rendered faces and on photographs' layouts."""

import pytest
import torch
from open_copies import make_expressions, make_keypoints

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.evaluate import evaluate
from mtl_lib.faces.tiers import load_tier
from mtl_lib.run_folder import read_log
from mtl_lib.train import fit

SHARING = {
    "single": {"sharing": "single"},
    "one task": {"tasks": ("expression",)},
    "hard": {"sharing": "hard", "hard_after": 4},
    "hard, statistics": {
        "sharing": "hard",
        "hard_after": 3,
        "hard_count": "literal",
        "batch_norm": "statistics",
    },
    "hard, shared": {"sharing": "hard", "hard_after": 6, "batch_norm": "shared"},
    "cross-stitch": {"sharing": "cross_stitch"},
    "factorised": {"sharing": "factorised", "factorisation": "tt", "factor_tolerance": 0.3},
    "LAF": {"norm": "laf", "init": "independent"},
    "Tucker": {"norm": "tucker"},
    "TT": {"norm": "tt"},
    "LAF, the paper's factor": {"norm": "laf", "penalty_null": "full"},
    "LAF, proximal": {"norm": "laf", "penalty_step": "proximal", "pinned": True, "gamma_schedule": "linear"},
    "norm only": {"norm": "norm_only"},
    "deviation": {"norm": "deviation", "penalty_step": "proximal", "pinned": True},
}
ADA = {
    "without": {"ada": 0.0},
    "reversal": {"ada": 0.5},
    "alternating": {"ada": 0.5, "ada_form": "alternating", "ada_inner_steps": 2},
    "placebo": {"ada": 0.5, "ada_placebo": True},
}
EVENTS = ("train", "validation")
SMALL = {
    "pixels": 32, "width": 2, "batch_size": 8, "fractions": (0.4, 0.3, 0.3), "split_seed": 5, "gamma": 0.05,
    "steps": 2, "validate_every": 2, "save_every": 2, "log_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    root = tmp_path_factory.mktemp("open")
    make_expressions(root)
    make_keypoints(root)
    return {
        "synthetic": load_tier("synthetic", size=26, pixels=32),
        "open": load_tier("open", root, pixels=32),
    }


def one_epoch(out, tier, sets, settings):
    """Two steps, in which every training picture is seen, and a validation."""
    config = TrainConfig.for_budget("smoke", tier=tier, **SMALL, **settings)
    result = fit(config, sets, out=out, progress=False, accelerator="cpu")
    assert result.finished and result.best_step == 2
    lines = {event: [line for line in read_log(out) if line["event"] == event] for event in EVENTS}
    assert [len(found) for found in lines.values()] == [2, 1]
    (validation,) = lines["validation"]
    assert min(validation["passes"].values()) >= 1
    for line in [*lines["train"], validation]:
        numbers = [value for value in line.values() if isinstance(value, float)]
        assert torch.tensor(numbers).isfinite().all()
    return config, lines["train"], validation


@pytest.mark.parametrize("ada", ADA)
@pytest.mark.parametrize("sharing", SHARING)
def test_every_sharing_with_every_alignment_on_rendered_faces(tmp_path, tiers, sharing, ada):
    settings = {**SHARING[sharing], **ADA[ada]}
    config, lines, validation = one_epoch(tmp_path / "run", "synthetic", tiers["synthetic"], settings)
    adversary = ada != "without" and len(config.tasks) > 1
    assert all(("domain" in line) == adversary for line in lines)
    # The penalty acts where weights are stacked, and there only.
    assert all(
        (line["penalty"] > 0) == (config.sharing == "soft" and len(lines) > 0) for line in lines[1:]
    ), lines
    assert len(validation["layers"]["tndr"]) == 9
    tensors, _ = load_checkpoint(tmp_path / "run" / "last.safetensors")
    own = [key for key in tensors if key.startswith("optimiser/alignment") and "exp_avg" in key]
    assert bool(own) == (adversary and ada == "alternating")


@pytest.mark.parametrize("ada", ADA)
@pytest.mark.parametrize("sharing", SHARING)
def test_every_sharing_with_every_alignment_on_photographs_layouts(tmp_path, tiers, sharing, ada):
    settings = {**SHARING[sharing], **ADA[ada]}
    config, lines, _ = one_epoch(tmp_path / "run", "open", tiers["open"], settings)
    adversary = ada != "without" and len(config.tasks) > 1
    assert all(("domain" in line) == adversary for line in lines)
    if ada == list(ADA)[list(SHARING).index(sharing) % 4]:  # what is stored is read in the same way for all
        assert evaluate(tmp_path / "run", tiers["open"], part="validation").step == 2
