"""Figure 3c of the paper: do features forget their data set, and what do they cost to forget it?

The paper shows two t-SNE maps.  Here every arm is trained as in Table 4, and of its features of both test sets, the
ones the heads see, is measured what a map is meant to show: whether somebody new can tell the sets apart (linear, and
with a hidden layer, people disjoint), how far apart the distributions lie, how mixed neighbours are; whether there
is anything left in the features; what the training's own adversary thought; and what recognition and landmarks
became.  Everything is measured at the *last* step, where the reversal is at its full strength: the checkpoint that
is best on validation may be one from before.

Colour and resolution are matched before: all pictures are grey, cut out by one rule, of one size, and standardised
one by one (:func:`mtl_lib.loaders.prepare_images`).  What the pictures themselves give away after that is the arm
``pixels``, and what an untrained network makes of them, the arm ``untrained``.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mtl_lib import tasks
from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.domain_maps import between_share, domain_map, mixing, standardised
from mtl_lib.domain_probe import KINDS, domain_probe
from mtl_lib.errors import ConfigError
from mtl_lib.evaluate import evaluate, load_run
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, device_name, face_sets, run_config, run_faces
from mtl_lib.faces.base import FaceSet
from mtl_lib.feature_measures import energy_distance, feature_shape
from mtl_lib.loaders import prepare_images
from mtl_lib.train import read_log

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

REFERENCES = ("pixels", "pixels6", "untrained")
"""Without training: the standardised pictures at half their side, at 6 x 6, and features at initial weights."""

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


@torch.no_grad()
def features_of(
    networks: tasks.Networks, task: int, images: UInt8[Tensor, "N 1 S S"], batch: int = 256
) -> Float[Tensor, "N D"]:
    """Return what task ``task``'s head, and the domain classifier, see of raw pictures; on the CPU, in float32.

    Parameters
    ----------
    networks : Networks
        Its mode is put back afterwards; meanwhile it is the evaluation mode.
    task : int
        Through which task's network the pictures go.
    images : Tensor, uint8, [N, 1, S, S]
    batch : int, optional
        Pictures at a time.
    """
    was_training = networks.training
    networks.eval()
    device = next(networks.parameters()).device
    parts = [
        networks.net.features(prepare_images(part.to(device)).contiguous(memory_format=networks.layout), task)
        for part in images.split(batch)
    ]
    networks.train(was_training)
    return torch.cat(parts).float().cpu()


def looked_at(parts: Mapping[str, FaceSet], pictures: int, seed: int) -> list[FaceSet]:
    """Return the test pictures that are looked at: equally many of every set, the same for all arms of a seed.

    Parameters
    ----------
    parts : mapping of str to FaceSet
        Test faces by task.
    pictures : int
        At most so many of each set.
    seed : int
    """
    count = min(pictures, *map(len, parts.values()))
    draw = torch.Generator().manual_seed(seed)
    return [
        faces.select(torch.randperm(len(faces), generator=draw)[:count].sort().values)
        for faces in parts.values()
    ]


def in_one_set(persons: Sequence[Sequence[str]], seed: int) -> list[np.ndarray]:
    """Say which rows to keep so that nobody is in two sets; whoever is in both stays in one of them, drawn by lot.

    Parameters
    ----------
    persons : sequence of sequences of str
        Who is in each picture, one sequence for each of two sets.
    seed : int
        Of the lots.

    Returns
    -------
    list of array of bool
        One per set.

    Examples
    --------
    >>> [keep.tolist() for keep in in_one_set([("a", "b"), ("c", "c")], 0)]
    [[True, True], [True, True]]
    >>> sum(keep.sum() for keep in in_one_set([("a", "b"), ("b", "c")], 0)).item()
    3
    """
    both = sorted(set(persons[0]) & set(persons[1]))
    home = dict(zip(both, np.random.default_rng(seed).permutation(len(both)) % 2, strict=True))
    return [np.array([home.get(who, t) == t for who in own]) for t, own in enumerate(persons)]


def halves(persons: Sequence[str], seed: int) -> list[np.ndarray]:
    """Return positions in two halves of one set, people disjoint: domains that do not differ.

    Parameters
    ----------
    persons : sequence of str
        Who is in each picture.
    seed : int
        Of the deal.

    Examples
    --------
    >>> first, second = halves(["a", "b", "b", "c", "d"], 0)
    >>> sorted([*first.tolist(), *second.tolist()])
    [0, 1, 2, 3, 4]
    """
    names = np.random.default_rng(seed).permutation(sorted(set(persons)))
    counts = {name: 0 for name in names}
    for who in persons:
        counts[who] += 1
    # The half with fewer pictures takes the next person: an even deal although some have many.
    sizes, home = [0, 0], {}
    for name in sorted(names, key=lambda name: -counts[name]):
        home[name] = int(sizes[1] < sizes[0])
        sizes[home[name]] += counts[name]
    side = np.array([home[who] for who in persons])
    return [np.flatnonzero(side == t) for t in (0, 1)]


def set_measures(
    features: Sequence[Float[Tensor, "_ D"]], persons: Sequence[Sequence[str]], seed: int
) -> dict[str, float]:
    """Return how well two sets of features can be told apart; shares and rates in percent.

    Parameters
    ----------
    features : sequence of Tensor
        One [N, D] per set, equally many.
    persons : sequence of sequences of str
        Who is in each picture.
    seed : int
        Of probes, lots and permutations.

    Returns
    -------
    dict of str to float
        ``linear``, ``mlp``: balanced accuracy of a fresh probe, with ``_low`` and ``_high``; ``energy``,
        ``energy_null``: energy distance and its 95th percentile under permuted people; ``between``: share of the
        variance that lies between the sets; ``mixing``: of the ten nearest neighbours, 100 for well shuffled sets.

    Examples
    --------
    >>> draw = torch.Generator().manual_seed(0)
    >>> a, b = torch.randn(2, 120, 4, generator=draw)
    >>> found = set_measures([a, b + 2], [[f"a{i}" for i in range(120)], [f"b{i}" for i in range(120)]], 0)
    >>> found["linear"] > 90, found["energy"] > found["energy_null"], found["mixing"] < 50
    (True, True, True)
    """
    found: dict[str, float] = {}
    for kind in KINDS:
        probe = domain_probe(features, persons, kind, seed=seed)
        found |= {kind: probe.accuracy, f"{kind}_low": probe.low, f"{kind}_high": probe.high}
    found = {name: 100 * value for name, value in found.items()}
    keep = in_one_set(persons, seed)
    # Its time grows with the square of their number; four hundred of each do.
    own = [np.flatnonzero(k) for k in keep]
    count = min(400, *map(len, own))
    rng = np.random.default_rng(seed)
    own = [np.sort(rng.permutation(rows)[:count]) for rows in own]
    apart = energy_distance(
        [f[torch.from_numpy(rows)] for f, rows in zip(features, own, strict=True)],
        [[who[i] for i in rows] for who, rows in zip(persons, own, strict=True)],
        permutations=99,
        seed=seed,
    )
    found |= {"energy": apart.distance, "energy_null": apart.null[1]}
    found["between"] = 100 * between_share(features)
    size = min(map(len, features))
    found["mixing"] = 100 * mixing(*standardised([f[:size] for f in features]))
    return found


def null_measures(
    features: Sequence[Tensor], persons: Sequence[Sequence[str]], seed: int
) -> dict[str, float]:
    """Return the same measures of sets that do not differ: halves of each set, the mean of both.

    Parameters
    ----------
    features, persons, seed
        As for :func:`set_measures`.

    Returns
    -------
    dict of str to float
        Names as there, with ``null_`` before.
    """
    each = []
    for f, who in zip(features, persons, strict=True):
        sides = halves(who, seed)
        count = min(map(len, sides))
        sides = [np.sort(np.random.default_rng(seed).permutation(side)[:count]) for side in sides]
        parts = [f[torch.from_numpy(side)] for side in sides]
        each.append(set_measures(parts, [[who[i] for i in side] for side in sides], seed))
    return {f"null_{name}": float(np.mean([found[name] for found in each])) for name in each[0]}


def adversary_measures(workspace: Path, model: Any, features: Sequence[Tensor]) -> dict[str, float]:
    """Return the balanced accuracy of the training's own domain classifier, in percent.

    Parameters
    ----------
    workspace : Path
        The run's folder.
    model : TrainedModel
        Of it.
    features : sequence of Tensor
        Of the test sets.

    Returns
    -------
    dict of str to float
        ``adversary``: over the last tenth of the training, as its log has it (a placebo's by its own random
        labels); ``adversary_test``: on the test people, by the true sets.  Empty without an adversary.
    """
    alignment = model.networks.alignment
    if alignment is None:
        return {}
    steps = model.config.steps
    logged = [
        line["domain_accuracy"]
        for line in read_log(workspace)
        if line["event"] == "train" and line["step"] > 0.9 * steps
    ]
    with torch.no_grad():
        classifier = alignment.classifier.cpu().float()
        right = [(classifier(f).argmax(dim=1) == t).float().mean().item() for t, f in enumerate(features)]
    return {"adversary": 100 * float(np.mean(logged)), "adversary_test": 100 * float(np.mean(right))}


def shape_measures(features: Sequence[Tensor]) -> dict[str, float]:
    """Return norm, spread and rank of features, the mean over the sets."""
    shapes = [feature_shape(f) for f in features]
    return {
        name: float(np.mean([getattr(shape, name) for shape in shapes]))
        for name in ("norm", "spread", "rank")
    }


def reference_features(kind: str, config: TrainConfig, faces: Sequence[FaceSet]) -> list[Tensor]:
    """Return what a probe may have of pictures without any training.

    Parameters
    ----------
    kind : str
        One of :data:`REFERENCES`.
    config : TrainConfig
        Of the run that is compared with.
    faces : sequence of FaceSet
        One set per task.

    Raises
    ------
    ConfigError
        If there is no such reference.
    """
    if kind not in REFERENCES:
        raise ConfigError(f"the reference is {kind!r}; it must be one of {', '.join(REFERENCES)}")
    if kind == "untrained":
        # One network: the tasks' start from the same weights, and batch norm from the same statistics.
        trained = {name: own for name, own in zip(config.tasks, faces, strict=True)}
        networks = tasks.Networks(config, tasks.make_tasks(config, trained))
        return [features_of(networks, 0, own.images) for own in faces]
    side = faces[0].size // 2 if kind == "pixels" else 6
    return [F.adaptive_avg_pool2d(prepare_images(own.images), side).flatten(1) for own in faces]


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
    faces = looked_at(tasks.split_sets(config, sets)["test"], own["pictures"], job.seed)
    persons = [part.persons for part in faces]
    metrics: dict[str, float] = {}
    files = {}
    if own["reference"]:
        features = reference_features(own["reference"], config, faces)
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
