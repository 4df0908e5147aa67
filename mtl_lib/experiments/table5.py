"""Table 5 of the paper: descriptors, three architectures and the full method, beside the answers that look at nothing.

Two experiments.  ``table5_search`` tries the same learning rates for every network on validation people;
``table5`` trains every row on other seeds and measures the test people.  Descriptors (LBP, EOH, LPQ) feed a linear
SVM whose C is chosen on the validation people of its own split, among as many values as the networks have rates.

All rows of a seed see the same pictures: the same size, the same split by person, the same training faces (at most
``per_class`` of each state, descriptors too) and classes weighed alike.  Networks get the same number of steps.  AlexNet
needs 63 pixels, so that all rows see larger pictures here than in Table 4 at the budget ``cpu``.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mtl_lib import metrics
from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.evaluate import evaluate
from mtl_lib.experiments.arms import arm_settings
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, device_name, face_sets, run_config, run_faces
from mtl_lib.experiments.rate_search import RATES, SEARCH_SEEDS, TABLE_SEEDS, best_rate, run_trial, trial_jobs
from mtl_lib.features import KINDS, LinearBaseline
from mtl_lib.ledger import read
from mtl_lib.tasks import split_sets

SEARCH, TABLE = "table5_search", "table5"

CONSTANT = ("majority", "chance")
"""Rows without a model: always the most frequent state of the test faces, and guessing evenly."""

NETWORKS = ("alexnet", "vgg16_bn", "resnet", "resnet+laf+ada")

PENALTIES = (0.01, 0.1, 1.0)
"""Values of C that every descriptor's SVM tries."""

PIXELS = {"smoke": 64, "cpu": 64, "t4": 96, "full": 96}

WIDTHS = {
    "smoke": {"resnet34": 4, "alexnet": 4, "vgg16_bn": 2},
    "cpu": {"resnet34": 16, "alexnet": 16, "vgg16_bn": 8},
    "t4": {"resnet34": 32, "alexnet": 32, "vgg16_bn": 16},
    "full": {"resnet34": 64, "alexnet": 64, "vgg16_bn": 64},
}
"""Filters of the first layer; VGG, whose first layers see the picture at full size, costs most and is narrower."""

UNTUNED = {"gamma": 0.02, "ada": 0.1, "landmark_weight": 10.0}
"""Strengths of the full method.  They come from small runs on other splits and are not tuned for this table."""


def network_settings(method: str, budget: str) -> dict[str, Any]:
    """Return the settings of a network of the table, without its learning rate.

    Parameters
    ----------
    method : str
        One of :data:`NETWORKS`.
    budget : str
        A budget.

    Examples
    --------
    >>> found = network_settings("alexnet", "cpu")
    >>> found["backbone"], found["tasks"], found["pixels"]
    ('alexnet', ('expression',), 64)
    """
    together = method == "resnet+laf+ada"
    backbone = "resnet34" if method.startswith("resnet") else method
    arm = arm_settings("laf+ada" if together else "single", SCALES[budget]["blocks"])
    return {
        **arm,
        **(UNTUNED if together else {}),
        "backbone": backbone,
        "width": WIDTHS[budget][backbone],
        "pixels": PIXELS[budget],
        "tasks": ("expression", "landmarks") if together else ("expression",),
    }


def search_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the trials: every network with every rate."""
    return trial_jobs(SEARCH, NETWORKS, network_settings, tier, budget, seeds)


def table_jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the rows: constant answers, descriptors, and networks with the rates that the recorded search chose."""
    found = read(SEARCH, folder, tier=tier, budget=budget)
    wanted = (RATES[budget], len(SEARCH_SEEDS[budget]), "validation_macro_recall")
    rates = {method: best_rate(method, found, *wanted) for method in NETWORKS}
    jobs = []
    for seed in seeds:
        # What looks at no network still needs the split, the size of the pictures and the training faces.
        common = run_config(tier, budget, seed, network_settings("resnet", budget))
        svm = {"penalties": list(PENALTIES), "class_weight": "balanced"}
        configs: dict[str, Mapping[str, Any]] = {name: {**common, "constant": name} for name in CONSTANT}
        configs |= {kind: {**common, "svm": {"kind": kind, **svm}} for kind in KINDS}
        configs |= {
            method: run_config(tier, budget, seed, {**network_settings(method, budget), "lr": rates[method]})
            for method in NETWORKS
        }
        jobs += [
            Job(experiment=TABLE, method=method, seed=seed, tier=tier, budget=budget, config=config)
            for method, config in configs.items()
        ]
    return jobs


def run_row(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Make one row for one seed.

    Returns
    -------
    Outcome
        In percent, on test people: ``accuracy``, ``macro_recall``, ``majority_rate``, and ``recall/<state>`` for each
        state; of a descriptor also the ``C`` that was chosen.
    """
    sets = face_sets(job, root)
    if "constant" not in job.config and "svm" not in job.config:
        outcome = run_faces(job, workspace, root, accelerator, test=False)
        measured = evaluate(workspace, sets, device="cuda" if "CPU" not in outcome.device else "cpu")
        found = {**outcome.metrics, **measured.measures()}
        found |= {f"recall/{name}": share for name, (share, _) in measured.recall.items()}
        return Outcome(metrics=_rounded(found), device=outcome.device, memory=outcome.memory)
    parts = split_sets(TrainConfig.from_dict(job.config["train"]), sets)
    faces = {part: each["expression"] for part, each in parts.items()}
    true, count = faces["test"].labels.cpu(), len(faces["test"].classes)
    found = {"majority_rate": 100 * metrics.majority_rate(true)}
    if job.config.get("constant") == "chance":
        # What guessing comes to on average, in every class and so over all of them.
        share = {name: 100 / count for name, n in faces["test"].counts().items() if n}
        found |= {"accuracy": 100 / count, "macro_recall": 100 / count}
    else:
        if "svm" in job.config:
            svm = dict(job.config["svm"])
            model = LinearBaseline(svm.pop("kind"), **svm)
            model.fit(*(x for p in ("train", "validation") for x in (faces[p].images, faces[p].labels)))
            predicted = model.predict(faces["test"].images)
            found |= {"C": model.chosen, "validation_macro_recall": 100 * model.validation[model.chosen]}
        else:
            predicted = torch.full_like(true, int(torch.bincount(true).argmax()))
        table = metrics.confusion(true, predicted, count)
        share = {
            name: 100 * float(table[k, k] / table[k].sum())
            for k, name in enumerate(faces["test"].classes)
            if table[k].sum()
        }
        found |= {
            "accuracy": 100 * metrics.accuracy(true, predicted),
            "macro_recall": 100 * metrics.macro_recall(true, predicted),
        }
    found |= {f"recall/{name}": value for name, value in share.items()}
    cpu = torch.device("cpu")
    return Outcome(metrics=_rounded(found), device=device_name(cpu), memory=peak_memory(cpu))


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}


SEARCH_EXPERIMENT = Experiment(
    name=SEARCH,
    title="the learning rate of every network of Table 5, on validation people, the same trials for all",
    seeds=SEARCH_SEEDS,
    jobs=search_jobs,
    run=functools.partial(run_trial, diverged={"validation_macro_recall": 0.0}),
    defaults=DEFAULTS,
)
TABLE_EXPERIMENT = Experiment(
    name=TABLE,
    title="Table 5: descriptors, networks and constant answers, on test people",
    seeds=TABLE_SEEDS,
    jobs=table_jobs,
    run=run_row,
    needs=(SEARCH,),
    defaults=DEFAULTS,
)
