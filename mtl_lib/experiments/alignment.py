"""Figure 3c of the paper: do features forget their data set, and what do they cost to forget it?

The paper shows two t-SNE maps.  Here every arm is trained as in Table 4, and of its features of both test sets, the
ones the heads see, is measured what a map is meant to show: whether somebody new can tell the sets apart (linear, and
with a hidden layer, people disjoint), how far apart the distributions lie, how mixed neighbours are; whether there
is anything left in the features; what the training's own adversary thought; and what recognition and landmarks
became.  Everything is measured at the *last* step, where the reversal is at its full strength: the checkpoint that
is best on validation may be one from before.

What the pictures themselves give away, grey, of one size and standardised as they are, is measured beside it
(:mod:`mtl_lib.experiments.untrained_features`).
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_lib import tasks
from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.domain_maps import domain_map
from mtl_lib.domain_probe import domain_probe
from mtl_lib.evaluate import evaluate, load_run
from mtl_lib.experiments.alignment_measures import (
    adversary_measures,
    features_of,
    looked_at,
    null_measures,
    set_measures,
    shape_measures,
)
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, device_name, face_sets, run_config, run_faces
from mtl_lib.experiments.untrained_features import REFERENCES, reference_features

NAME = "alignment"

COMMON = {"lr": 0.05, "landmark_weight": 10.0}
"""Learning rate and landmark weight of all arms; not tuned."""

_LAF = {"sharing": "soft", "norm": "laf", "gamma": 0.02}
_ONE = {"sharing": "hard", "batch_norm": "shared"}
_IN_TURN = {"ada_form": "alternating", "ada_inner_steps": 3, "ada_lr": 3e-3}

ARMS: dict[str, dict[str, Any]] = {
    "single": {"sharing": "single", "ada": 0.0},
    "laf": {**_LAF, "ada": 0.0},
    "laf+ada0.1": {**_LAF, "ada": 0.1},
    "laf+ada0.3": {**_LAF, "ada": 0.3},
    "laf+ada1": {**_LAF, "ada": 1.0},
    "laf+ada10": {**_LAF, "ada": 10.0},
    "laf+placebo1": {**_LAF, "ada": 1.0, "ada_placebo": True},
    "laf+turns1": {**_LAF, "ada": 1.0, **_IN_TURN},
    "single+ada1": {"sharing": "single", "ada": 1.0},
    "one": {**_ONE, "ada": 0.0},
    "one+ada1": {**_ONE, "ada": 1.0},
    "one+ada10": {**_ONE, "ada": 10.0},
    "one+placebo1": {**_ONE, "ada": 1.0, "ada_placebo": True},
}
"""Settings of the arms: ``ada`` and its strength (of the reversal), ``turns`` the alternating form, ``one`` a single
trunk with a single batch norm for both tasks."""

MAPPED = ("laf", "laf+ada1", "one", "one+ada10")
"""Arms whose features are kept as maps, for the first seed."""

MAPS = {"points": 150, "perplexities": [5, 15, 40, 100], "seeds": [0, 1]}
PICTURES = {"smoke": 60, "cpu": 800, "t4": 1500, "full": 1500}
"""Test pictures of each set that are looked at, by budget."""


def alignment_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the references and the arms of every seed."""
    found = []
    first = SEEDS[budget][0]
    for seed in seeds:
        for name in (*REFERENCES, *ARMS):
            settings = {**COMMON, **ARMS.get(name, ARMS["single"])}
            if name in ARMS and settings["sharing"] == "hard":
                settings["hard_after"] = 2 * sum(SCALES[budget]["blocks"])
            config = run_config(tier, budget, seed, settings)
            config["alignment"] = {
                "pictures": PICTURES[budget],
                "reference": name if name in REFERENCES else "",
                "map": MAPS if name in MAPPED and seed == first and budget != "smoke" else {},
            }
            found.append(
                Job(experiment=NAME, method=name, seed=seed, tier=tier, budget=budget, config=config)
            )
    return found


def run_alignment(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Train an arm, or take a reference, and measure its features of both test sets.

    Parameters
    ----------
    job : Job
        From :func:`alignment_jobs`.
    workspace, root, accelerator
        As for :func:`mtl_lib.experiments.face_runs.run_faces`.

    Returns
    -------
    Outcome
        The metrics of :func:`set_measures`, :func:`null_measures`, :func:`shape_measures` and
        :func:`adversary_measures`; ``networks_linear``: the probe on *the same* expression pictures sent through
        both tasks' networks; ``pictures_linear``: on both sets sent through the expression network; and, of a
        trained arm, accuracy, macro-recall and NME on the test people.
    """
    sets, own = face_sets(job, root), job.config["alignment"]
    config = TrainConfig.from_dict(job.config["train"])
    parts = tasks.split_sets(config, sets)
    faces = looked_at(parts["test"], own["pictures"], job.seed)
    persons = [part.persons for part in faces]
    metrics: dict[str, float] = {}
    files = {}
    if own["reference"]:
        features = reference_features(own["reference"], config, faces, list(parts["train"].values()))
        device, memory = device_name(torch.device("cpu")), peak_memory(torch.device("cpu"))
    else:
        trained = run_faces(job, workspace, root, accelerator, test=False)
        device, memory = trained.device, trained.memory
        on_gpu = accelerator != "cpu" and torch.cuda.is_available()
        model = load_run(workspace, "last", "cuda" if on_gpu else "cpu")
        measured = evaluate(model, sets)
        for name in ("accuracy", "macro_recall", "majority_rate", "nme", "mean_shape_nme"):
            metrics[name] = getattr(measured, name)
        features = [features_of(model.networks, t, part.images) for t, part in enumerate(faces)]
        metrics |= adversary_measures(workspace, model, features)
        crossed = [features_of(model.networks, 1 - t, part.images) for t, part in enumerate(faces)]
        probe = functools.partial(domain_probe, kind="linear", seed=job.seed)
        metrics["networks_linear"] = 100 * probe([features[0], crossed[0]], [persons[0]] * 2).accuracy
        metrics["pictures_linear"] = 100 * probe([features[0], crossed[1]], persons).accuracy
    metrics |= set_measures(features, persons, job.seed) | null_measures(features, persons, job.seed)
    metrics |= shape_measures(features)
    if own["map"]:
        count = min(own["map"]["points"], len(features[0]))
        drawn = np.sort(np.random.default_rng(job.seed).permutation(len(features[0]))[:count])
        labels = [None if part.labels is None else part.labels[drawn].tolist() for part in faces]
        maps = domain_map(
            [f[drawn] for f in features], labels, own["map"]["perplexities"], own["map"]["seeds"]
        )
        files["map"] = maps.to_json()
    rounded = {name: round(float(value), 4) for name, value in metrics.items()}
    return Outcome(metrics=rounded, device=device, memory=memory, files=files)


SEEDS = {"smoke": (0,), "cpu": (0, 1, 2), "t4": (0, 1, 2), "full": (0, 1, 2)}

ALIGNMENT = Experiment(
    name=NAME,
    title="Fig. 3c: what features still know about their data set, with and without an adversary",
    seeds=SEEDS,
    jobs=alignment_jobs,
    run=run_alignment,
    defaults=DEFAULTS,
)
