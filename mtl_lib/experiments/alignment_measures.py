"""What is measured of the features of two test sets: for the experiment of Fig. 3c, and for chapter 11."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mtl_lib import tasks
from mtl_lib.domain_maps import between_share, mixing, standardised
from mtl_lib.domain_probe import KINDS, domain_probe
from mtl_lib.faces.base import FaceSet
from mtl_lib.feature_measures import energy_distance, feature_shape
from mtl_lib.loaders import prepare_images
from mtl_lib.train import read_log


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
