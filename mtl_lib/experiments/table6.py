"""Table 6 of the paper: how far landmarks are missed, by loss, by way of sharing and by difficulty of the pose.

``table6_search`` tries the same learning rates for every network on validation people; ``table6`` trains every row on
other seeds and measures the test people in pixels of the original pictures.  Every row is measured at the *end* of
training: a network of two tasks whose checkpoint is chosen by both would otherwise be compared with one
that is chosen by landmarks alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.errors import DataError
from mtl_lib.evaluate import evaluate, load_run
from mtl_lib.experiments.arms import arm_settings
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, device_name, face_sets, run_config, run_faces
from mtl_lib.experiments.rate_search import RATES, SEARCH_SEEDS, TABLE_SEEDS, best_rate, run_trial, trial_jobs
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.crops import to_original
from mtl_lib.landmark_errors import cumulative_errors, landmark_report
from mtl_lib.landmark_subsets import HARD_SHARE, pose_subsets
from mtl_lib.landmarks import nme
from mtl_lib.ledger import read
from mtl_lib.tasks import split_sets

SEARCH, TABLE = "table6_search", "table6"

UNTUNED = {"gamma": 0.02, "ada": 0.1, "landmark_weight": 10.0}
"""Strengths of all rows.  They come from small runs on other splits and are not tuned for this table."""

ARMS: dict[str, dict[str, Any]] = {
    "single": {"arm": "single", "tasks": ("landmarks",)},
    "single_l2": {"arm": "single", "tasks": ("landmarks",), "landmark_loss": "l2"},
    "single_shape": {"arm": "single", "tasks": ("landmarks",), "landmark_targets": "shape"},
    "hard": {"arm": "hard4_private"},
    "laf": {"arm": "laf"},
    "norm_only": {"arm": "norm_only", "like": "laf"},
    "laf+ada": {"arm": "laf+ada"},
    "laf+placebo": {"arm": "laf+placebo", "like": "laf+ada"},
    "laf+ada_l2": {"arm": "laf+ada", "landmark_loss": "l2"},
}
"""The networks: the arm of Table 4, and what differs.  ``like`` marks a control that takes over another row's rate."""

MEAN_SHAPE = "mean_shape"
"""The row without a network: the mean of the training landmarks, in every picture."""

LIMITS = [round(0.25 * k, 2) for k in range(81)]
"""Where the error curves are kept: 0 to 20 % of the distance between the outer eye corners."""


def network_settings(method: str, budget: str) -> dict[str, Any]:
    """Return the settings of a row, without its learning rate.

    Examples
    --------
    >>> found = network_settings("laf+ada_l2", "cpu")
    >>> found["landmark_loss"], found["norm"], found["ada"]
    ('l2', 'laf', 0.1)
    """
    own = {name: value for name, value in ARMS[method].items() if name not in ("arm", "like")}
    arm = arm_settings(ARMS[method]["arm"], SCALES[budget]["blocks"])
    return {**UNTUNED, **arm, **own}


def search_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the trials: every network that is tuned with every rate."""
    tuned = [method for method, arm in ARMS.items() if "like" not in arm]
    return trial_jobs(SEARCH, tuned, network_settings, tier, budget, seeds)


def table_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the rows, networks with the rates that the recorded search chose."""
    found = read(SEARCH, folder, tier=tier, budget=budget)
    wanted = (RATES[budget], len(SEARCH_SEEDS[budget]), "validation_nme")
    jobs = []
    for seed in seeds:
        split = run_config(tier, budget, seed, network_settings("single", budget))
        configs: dict[str, dict[str, Any]] = {MEAN_SHAPE: {**split, "constant": MEAN_SHAPE}}
        for method, arm in ARMS.items():
            rate = best_rate(arm.get("like", method), found, *wanted, lowest=True)
            configs[method] = run_config(tier, budget, seed, {**network_settings(method, budget), "lr": rate})
        jobs += [
            Job(
                experiment=TABLE, method=method, seed=seed, tier=tier, budget=budget,
                config={**config, "subsets": {"share": round(HARD_SHARE, 4)}},
            )
            for method, config in configs.items()
        ]  # fmt: skip
    return jobs


def run_search(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Train one network; what counts is the error of validation people at the end of training."""
    outcome = run_trial(job, workspace, root, accelerator, diverged={"validation_nme": 100.0})
    if "diverged" in outcome.metrics:
        return outcome
    at_end = evaluate(workspace, face_sets(job, root), part="validation", which="last")
    kept = {"validation_nme": round(at_end.nme, 4), "best_step": outcome.metrics["best_step"]}
    return Outcome(metrics=kept, device=outcome.device, memory=outcome.memory)


def in_original(points: Tensor, faces: FaceSet) -> Tensor:
    """Return points in pixels of the original pictures; of rendered faces, which were never cropped, as they are."""
    if "crop" not in faces.extra:
        return points.double()
    return to_original(points.double(), faces.extra["crop"].double().cpu(), faces.size)


def measures(
    predicted: Tensor, test: FaceSet, subsets: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the numbers of a row, and its error curves.

    Parameters
    ----------
    predicted : Tensor, [N, 68, 2]
        In pixels of the crops.
    test : FaceSet
        With true landmarks.
    subsets : mapping of str to Tensor
        Masks over the test faces.

    Returns
    -------
    dict of str to float
        ``nme/<subset>`` (percent of the distance between the pupils, the paper's), ``nme_ocular``, ``auc``,
        ``failures`` (all three between the outer eye corners) and ``count``, for each subset and ``full``.
    dict of str to list of float
        The share of faces within each of :data:`LIMITS` (between the outer eye corners), by subset.

    Raises
    ------
    DataError
        If a subset is empty.
    """
    points, true = in_original(predicted.cpu(), test), in_original(test.landmarks.cpu(), test)
    rows = landmark_report(points, true, subsets)
    numbers = {}
    for name, row in rows.items():
        numbers |= {
            f"nme/{name}": row.nme_pupil,
            f"nme_ocular/{name}": row.nme_ocular,
            f"auc/{name}": row.auc,
            f"failures/{name}": row.failures,
            f"count/{name}": float(row.count),
        }
    errors = nme(points, true, "ocular")
    everyone = torch.ones(len(test), dtype=torch.bool)
    curves = {
        name: [round(share, 4) for share in cumulative_errors(errors[mask], LIMITS).tolist()]
        for name, mask in {**subsets, "full": everyone}.items()
    }
    return {name: round(value, 4) for name, value in numbers.items()}, curves


def subsets_of_test(config: TrainConfig, sets: Mapping[str, FaceSet], share: float) -> dict[str, Tensor]:
    """Return the subsets as masks over the test faces of a split.

    Raises
    ------
    DataError
        If the split has none of one kind.
    """
    whole = pose_subsets(sets["landmarks"], share)
    marked = {name: faces if name != "landmarks" else _with(faces, whole) for name, faces in sets.items()}
    test = split_sets(config, marked)["test"]["landmarks"]
    found = {name: test.extra[f"is {name}"].bool() for name in whole}
    for name, mask in found.items():
        if not bool(mask.any()):
            raise DataError(f"no test face of {test.name!r} is {name}; take more faces or another split")
    return found


def _with(faces: FaceSet, masks: Mapping[str, Tensor]) -> FaceSet:
    return replace(faces, extra={**faces.extra, **{f"is {name}": mask for name, mask in masks.items()}})


def run_row(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Make one row for one seed; see :func:`measures`."""
    sets = face_sets(job, root)
    config = TrainConfig.from_dict(job.config["train"])
    parts = split_sets(config, sets)
    train, test = parts["train"]["landmarks"], parts["test"]["landmarks"]
    subsets = subsets_of_test(config, sets, job.config["subsets"]["share"])
    if "constant" in job.config:
        predicted = train.landmarks.mean(0, keepdim=True).expand(len(test), -1, -1)
        cpu = torch.device("cpu")
        device, memory, trained = device_name(cpu), peak_memory(cpu), {}
    else:
        outcome = run_faces(job, workspace, root, accelerator, test=False)
        device, memory = outcome.device, outcome.memory
        model = load_run(workspace, "last", "cpu" if "CPU" in device else "cuda")
        task = next(task for task in model.tasks if task.name == "landmarks")
        predicted = task.points(model.outputs("landmarks", test.images))
        whole = evaluate(model, sets)
        trained = {
            name: round(value, 4)
            for name, value in whole.measures().items()
            if name in ("accuracy", "macro_recall")
        }
    numbers, curves = measures(predicted, test, subsets)
    files = {"ced": json.dumps({"limits": LIMITS, **curves})}
    return Outcome(metrics={**numbers, **trained}, device=device, memory=memory, files=files)


SEARCH_EXPERIMENT = Experiment(
    name=SEARCH,
    title="the learning rate of every network of Table 6, on validation people, the same trials for all",
    seeds=SEARCH_SEEDS,
    jobs=search_jobs,
    run=run_search,
    defaults=DEFAULTS,
)
TABLE_EXPERIMENT = Experiment(
    name=TABLE,
    title="Table 6: landmark errors by loss, sharing and pose, on test people",
    seeds=TABLE_SEEDS,
    jobs=table_jobs,
    run=run_row,
    needs=(SEARCH,),
    defaults=DEFAULTS,
)
