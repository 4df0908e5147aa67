"""One training run on faces: the sets and the scale of each budget, and what is measured of a run.

A job's configuration has two parts: ``train``, all of :class:`mtl_lib.config.TrainConfig`, and ``data``, which
faces there are.  Both are in the hash.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mtl_lib.config import TrainConfig
from mtl_lib.evaluate import evaluate
from mtl_lib.experiments.base import Job, Outcome
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.states import TABLE_2
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.faces.tiers import load_tier
from mtl_lib.run import Run
from mtl_lib.train import fit

FRACTIONS = (0.44, 0.2, 0.36)  # many test people: with few, nothing is seen above the noise

SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "pixels": 32, "width": 4, "blocks": (1, 1, 1, 1), "steps": 4, "batch_size": 8, "validate_every": 2,
        "save_every": 2, "per_class": 4, "landmark_faces": 40,
    },
    "cpu": {
        "pixels": 48, "width": 16, "blocks": (1, 1, 1, 1), "steps": 400, "batch_size": 32, "validate_every": 100,
        "save_every": 200, "per_class": 60, "landmark_faces": 1500,
    },
    "t4": {
        "pixels": 96, "width": 32, "blocks": (3, 4, 6, 3), "steps": 3000, "batch_size": 64, "validate_every": 300,
        "save_every": 300, "per_class": 150, "landmark_faces": 3000, "precision": "16-mixed",
    },
    "full": {
        "pixels": 96, "width": 64, "blocks": (3, 4, 6, 3), "steps": 12000, "batch_size": 256, "validate_every": 500,
        "save_every": 500, "precision": "bf16-mixed",
    },
}  # fmt: skip
"""Settings of a run at each budget, the same for all arms."""

DEFAULTS = {"train": TrainConfig().to_dict()}
"""See :func:`mtl_lib.experiments.base.same_settings`."""

RENDERED = {
    "smoke": {"expression": 260, "landmarks": 200},
    "cpu": {"expression": 7800, "landmarks": 5000},
    "t4": {"expression": 26_000, "landmarks": 8806},
    "full": {"expression": 175_679, "landmarks": 8806},
}
"""Rendered faces at each budget; the last row has the paper's sizes."""


def data_settings(tier: str, budget: str, seed: int) -> dict[str, Any]:
    """Return what describes the faces of a tier: for rendered ones subtle states as frequent as in Table 2.

    Every seed renders other people.  A split of the same people would hardly differ from seed to seed: all bring
    about as many pictures, so that :func:`~mtl_lib.faces.splits.split_by_person` deals them out in nearly one order.

    Examples
    --------
    >>> data_settings("synthetic", "cpu", 3)["seed"], data_settings("open", "cpu", 3)
    (3, {})
    """
    if tier != "synthetic":
        return {}
    return {**RENDERED[budget], "intensity": [0.2, 0.5], "frequencies": "table 2", "seed": seed}


@functools.lru_cache(maxsize=2)
def _sets(tier: str, pixels: int, data: str, root: str | None) -> dict[str, FaceSet]:
    settings = json.loads(data)
    if tier != "synthetic":
        return load_tier(tier, root, pixels=pixels)
    people = -(-settings["expression"] // 6)
    # As in the tier "synthetic", a third of the landmark people are also in the expression set.
    return {
        "expression": synthetic_set(
            settings["expression"],
            style="film",
            landmarks=False,
            intensity=tuple(settings["intensity"]),
            frequencies=TABLE_2 if settings["frequencies"] == "table 2" else None,
            size=pixels,
            seed=settings["seed"],
        ),
        "landmarks": synthetic_set(
            settings["landmarks"],
            style="wild",
            labelled=False,
            intensity=(0.0, 1.0),
            size=pixels,
            seed=settings["seed"],
            first=1_000_000,
            first_person=people - people // 3,
        ),
    }


def face_sets(job: Job, root: Path | None = None) -> dict[str, FaceSet]:
    """Return the faces that a job's configuration describes; the last ones are kept in memory."""
    data = json.dumps(job.config["data"], sort_keys=True)
    return _sets(job.tier, job.config["train"]["pixels"], data, None if root is None else str(root))


def run_config(tier: str, budget: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run as the ledger has it.

    Parameters
    ----------
    tier, budget : str
        Which faces, and which of :data:`SCALES`.
    seed : int
        Of the faces if they are rendered, of the split by person and of everything in training.
    settings : mapping
        What makes the method, and what was tuned for it.

    Examples
    --------
    >>> config = run_config("synthetic", "smoke", 3, {"gamma": 0.05})
    >>> config["train"]["gamma"], config["train"]["split_seed"], config["data"]["intensity"]
    (0.05, 3, [0.2, 0.5])
    """
    train = TrainConfig.for_budget(
        budget, tier=tier, fractions=FRACTIONS, seed=seed, split_seed=seed, **{**SCALES[budget], **settings}
    )
    return {"train": train.to_dict(), "data": data_settings(tier, budget, seed)}


def device_name(device: torch.device) -> str:
    """Return what a run was made on, in words.

    Examples
    --------
    >>> device_name(torch.device("cpu")).endswith("CPU")
    True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a CPU"


def run_faces(
    job: Job,
    workspace: Path,
    root: Path | None,
    accelerator: str,
    *,
    test: bool = True,
    watch: Callable[[Run], Any] | None = None,
) -> Outcome:
    """Train the networks of a job, choose the checkpoint on validation people, and measure it.

    Parameters
    ----------
    job : Job
        Its configuration is one of :func:`run_config`.
    workspace : Path
        The run's folder; a run that was killed goes on from there.
    root : Path, optional
        Where the tier's data are.
    accelerator : str
        As for :func:`mtl_lib.train.fit`.
    test : bool, optional
        Whether to look at the test people.  A search does not.
    watch : callable, optional
        As for :func:`mtl_lib.train.fit`.

    Returns
    -------
    Outcome
        Metrics in percent: ``validation_score`` and its parts, and of the test people accuracy, macro-recall,
        majority rate and NME.

    Raises
    ------
    Interrupted
        If it was stopped before its end: half a run is not measured.
    """
    sets = face_sets(job, root)
    config = TrainConfig.from_dict(job.config["train"])
    result = fit(
        config, sets, out=workspace, resume=True, accelerator=accelerator, progress=False, watch=watch
    ).completed()
    found = {f"validation_{name.split('/')[1]}": value for name, value in result.validation.items()}
    recall, error = found.get("validation_macro_recall", 0.0), found.get("validation_nme", 0.0)
    metrics = {"validation_score": recall - error, **found, "best_step": float(result.best_step)}
    device = "cpu" if accelerator == "cpu" or not torch.cuda.is_available() else "cuda"
    if test:
        measured = evaluate(workspace, sets, device=device)
        for name in ("accuracy", "macro_recall", "majority_rate", "nme", "mean_shape_nme"):
            value = getattr(measured, name)
            if value is not None:
                metrics[name] = value
    rounded = {name: round(float(value), 4) for name, value in metrics.items()}
    return Outcome(metrics=rounded, device=device_name(torch.device(device)), memory=result.memory)
