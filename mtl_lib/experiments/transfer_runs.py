"""One entry of Table 7: a source network per start and seed, and a fine-tuning from it for every fold.

A job holds all folds of one start, target and seed, so that the ledger has one line for it, with every fold's
accuracy in it.  Sources are kept in the workspace and shared by all jobs that need them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from mtl_lib.config import TrainConfig
from mtl_lib.evaluate import evaluate, load_run
from mtl_lib.experiments.base import Job, Outcome
from mtl_lib.experiments.face_runs import SCALES, data_settings, device_name
from mtl_lib.experiments.transfer_sets import (
    FOLDS,
    faces_of,
    load_target,
    source_sets,
    target_folds,
    with_roles,
)
from mtl_lib.finetune import finetune
from mtl_lib.ledger import config_hash
from mtl_lib.train import fit


@dataclass(frozen=True)
class Start:
    """What a network starts from, and whether it is fine-tuned alone.

    Parameters
    ----------
    source : str
        One of :data:`SOURCES`; empty: random weights.
    from_task : str, optional
        Whose trunk of the source it starts from.
    joint : bool, optional
        Fine-tuned together with the landmarks, with penalty and adversary, as the paper does; else alone.
    times : int, optional
        So many times the steps of the other starts.
    augment : {"crop", "none"}, optional
        "crop" is flip, crop and rotation, as in the paper.
    paper : str, optional
        The row of the paper's Table 7.
    answers : str, optional
        For a control: its question.
    """

    source: str
    from_task: str = "expression"
    joint: bool = False
    times: int = 1
    augment: str = "crop"
    paper: str = ""
    answers: str = ""


STARTS: dict[str, Start] = {
    "single": Start("single", paper="RN (FT)"),
    "laf": Start("laf", paper="RN+LAF (FT)"),
    "laf+ada": Start("laf+ada", paper="RN+LAF+ADA (FT)"),
    "laf+ada,joint": Start("laf+ada", joint=True, paper="RN+LAF+ADA (FT)"),
    "scratch,joint": Start("", joint=True, paper="RN+LAF+ADA (S)"),
    "scratch": Start("", answers="what do random weights come to in the same steps?"),
    "scratch,long": Start(
        "", times=4, answers="is it a head start only? Random weights with four times the steps"
    ),
    "landmarks": Start("single", from_task="landmarks", answers="does a network do that never saw a label?"),
    "shuffled": Start("shuffled", answers="does a network do that was trained on wrong labels?"),
    "laf+ada,plain": Start("laf+ada", augment="none", answers="what do flip, crop and rotation bring?"),
}
"""All starts; the names are the methods of the ledger, behind that of the target."""

_LAF = {"sharing": "soft", "norm": "laf", "gamma": 0.02}
SOURCES: dict[str, dict[str, Any]] = {
    "single": {"sharing": "single", "ada": 0.0},
    "laf": {**_LAF, "ada": 0.0},
    "laf+ada": {**_LAF, "ada": 0.1},
    "shuffled": {"sharing": "single", "ada": 0.0, "tasks": ("expression",)},
}
"""How the sources are trained: settings that small runs suggested, the same on all faces, not tuned."""

SCALE: dict[str, dict[str, Any]] = {
    "smoke": {"source_steps": 4, "steps": 2, "size": None, "folds": dict.fromkeys(FOLDS, 2), "validate_every": 2},
    "cpu": {"source_steps": 800, "steps": 150, "size": "full", "validate_every": 200},
    "t4": {"source_steps": 6000, "steps": 1000, "size": "full", "validate_every": 500},
    "full": {"source_steps": 20_000, "steps": 3000, "size": "full", "validate_every": 1000},
}  # fmt: skip
"""Steps of a source and of a fine-tuning, the twins' size, and how many of a target's folds are run if not all."""

SUBTLE = (0.2, 0.8)
"""Intensity of rendered sources; that of the twins' peaks begins where it ends."""

SOURCE_FRACTIONS = (0.85, 0.1, 0.05)
ALL_TRAIN = (0.98, 0.01, 0.01)  # the target's test people are those of the fold; one is needed to validate
SEARCHED = (0.75, 0.2, 0.05)
"""Of the training people of a fold, the second share is looked at to choose a rate."""


def transfer_config(
    tier: str, budget: str, seed: int, target: str, start: str, lr: float, *,
    per_class: int | None = None, fractions: tuple[float, float, float] = ALL_TRAIN, folds: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the configuration of a job: the source's, the target's, and which folds.

    Parameters
    ----------
    tier, budget, seed
        As in the ledger.
    target, start : str
        From :data:`~mtl_lib.experiments.transfer_sets.TARGETS` and :data:`STARTS`.
    lr : float
        The rate of the fine-tuning.
    per_class : int, optional
        At most so many training faces of each expression.
    fractions : (float, float, float), optional
        The first two share out a fold's training people.
    folds : int, optional
        Only the first ones; by default as many as :data:`SCALE` has for the target, or all.

    Examples
    --------
    >>> config = transfer_config("synthetic", "cpu", 3, "ckplus", "scratch", 0.05)
    >>> config["source"], config["train"]["expression_augment"], config["train"]["tasks"]
    (None, 'crop', ['expression'])
    >>> config["data"]["intensity"]
    [0.2, 0.8]
    >>> transfer_config("paper", "cpu", 3, "ckplus", "laf", 0.05)["data"] == config["data"]  # nobody has LSEMSW
    True
    """
    scale, chosen = SCALE[budget], STARTS[start]
    common = {key: value for key, value in SCALES[budget].items() if key != "per_class"}
    common |= {"tier": tier, "seed": seed, "split_seed": seed, "save_every": 10**6}
    source = None
    if chosen.source:
        settings = {**common, "steps": scale["source_steps"], "validate_every": scale["validate_every"]}
        settings |= {"lr": 0.05, "fractions": SOURCE_FRACTIONS, **SOURCES[chosen.source]}
        source = TrainConfig.for_budget(budget, **settings).to_dict()
    alone = {"sharing": "single", "ada": 0.0, "tasks": ("expression",)}
    own = SOURCES["laf+ada"] if chosen.joint else alone
    steps = scale["steps"] * chosen.times
    settings = {**common, "steps": steps, "validate_every": steps, "lr": lr, **own}
    settings |= {"fractions": fractions, "expression_augment": chosen.augment, "per_class": per_class}
    data = data_settings(tier if tier == "open" else "synthetic", budget, seed)
    if data:
        data |= {"intensity": list(SUBTLE)}
    return {
        "source": source,
        "start": {"source": chosen.source, "from": chosen.from_task, "joint": chosen.joint},
        "train": TrainConfig.for_budget(budget, **settings).to_dict(),
        "data": data,
        "target": {
            "name": target,
            "size": scale["size"],
            "folds": folds or scale.get("folds", {}).get(target),
        },
    }


def train_source(job: Job, kept: Path, root: Path | None, accelerator: str) -> Path:
    """Train the source network of a job, or find it among those that are kept.

    Parameters
    ----------
    job : Job
        Of :func:`transfer_config`, with a source.
    kept : Path
        Folder of the sources.
    root, accelerator
        As for a run.

    Returns
    -------
    Path
        The run's folder.
    """
    config = TrainConfig.from_dict(job.config["source"])
    which = job.config["start"]["source"]
    folder = (
        kept
        / f"{which}-s{job.seed}-{config_hash({**job.config['source'], 'data': job.config['data'], 'which': which})}"
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        sets = source_sets(job, root, config.tasks, which == "shuffled")
        fit(config, sets, out=folder, resume=True, accelerator=accelerator, progress=False).completed()
    return folder


def run_transfer(
    job: Job, workspace: Path, root: Path | None, accelerator: str, *, test: bool = True
) -> Outcome:
    """Fine-tune to every fold of a target, and measure the people of the fold.

    Parameters
    ----------
    job : Job
        Of :func:`transfer_config`.
    workspace : Path
        The job's folder; sources and twins lie beside those of all transfer experiments.
    root, accelerator
        As for :func:`mtl_lib.experiments.face_runs.run_faces`.
    test : bool, optional
        Whether to look at the folds' test people; a search looks at its validation people only.

    Returns
    -------
    Outcome
        In percent: accuracy and macro-recall as means over the folds, ``fold_1`` and so on the accuracy of each, and
        for Oulu-CASIA the accuracy of the same networks on the same people at weak lighting.
    """
    common = workspace.parent.parent / "transfer"
    config = TrainConfig.from_dict(job.config["train"])
    about = job.config["target"]
    target = load_target(about["name"], job.tier, config.pixels, common, root, about["size"])
    source = train_source(job, common / "sources", root, accelerator) if job.config["source"] else None
    parts = target_folds(about["name"], target.faces, job.seed)[: about["folds"]]
    device = "cpu" if accelerator == "cpu" or not torch.cuda.is_available() else "cuda"
    starts = {"expression": job.config["start"]["from"]}
    if job.config["start"]["joint"]:
        starts["landmarks"] = "landmarks"
    found: dict[str, list[float]] = {}
    memory = 0.0
    for number, fold in enumerate(parts, 1):
        sets = {"expression": with_roles(target.faces, fold.test)}
        if "landmarks" in config.tasks:
            sets["landmarks"] = faces_of(job, root)["landmarks"]
        out = workspace / f"fold{number}"
        about_fit = {"out": out, "accelerator": accelerator, "progress": False}
        if source is None:
            result = fit(config, sets, resume=True, **about_fit)
        else:
            result = finetune(source, config, sets, starts=starts, **about_fit)
        memory = max(memory, result.completed().memory)
        measured = evaluate(out, sets, part="test" if test else "validation", which="last", device=device)
        row = {"accuracy": measured.accuracy, "macro_recall": measured.macro_recall}
        row["majority_rate"] = measured.majority_rate
        if test and target.weak is not None:
            who = {target.faces.persons[i] for i in fold.test.tolist()}
            rows = [i for i, person in enumerate(target.weak.persons) if person in who]
            model = load_run(out, "last", device)
            weak = evaluate(model, {"expression": target.weak.select(rows)}, part="all", which="last")
            row["weak_accuracy"] = weak.accuracy
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
    metrics = {name: math.fsum(values) / len(values) for name, values in found.items()}
    if test:
        metrics |= {f"fold_{i}": value for i, value in enumerate(found["accuracy"], 1)}
    else:
        metrics = {
            "validation_accuracy": metrics["accuracy"],
            "validation_macro_recall": metrics["macro_recall"],
        }
    rounded = {name: round(value, 3) for name, value in metrics.items()}
    return Outcome(metrics=rounded, device=device_name(torch.device(device)), memory=memory)


def defaults() -> dict[str, Any]:
    """Return the defaults of the settings; see :func:`mtl_lib.experiments.base.same_settings`.

    Examples
    --------
    >>> import json
    >>> json.dumps(defaults())[:20]
    '{"train": {"budget":'
    """
    train = TrainConfig().to_dict()
    return {"train": train, "source": train}
