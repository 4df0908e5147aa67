"""Mistakes that are easily made, each as a small run with its healthy twin: what the failures of the book are made from.

Three cases need no faces; five train two small networks on rendered ones.  A case is run as ``run(faulty, seed,
scale, workspace)`` and returns what was measured, at the end and on the way;
:mod:`mtl_lib.experiments.failures` says what gives it away.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mtl_lib.adversary import DomainClassifier, domain_loss, ganin_ramp
from mtl_lib.config import TrainConfig
from mtl_lib.domain_probe import domain_probe
from mtl_lib.evaluate import evaluate, load_run
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.run_folder import read_log
from mtl_lib.sharing_measures import as_rows
from mtl_lib.trace_norm import tensor_trace_norm
from mtl_lib.train import fit

Numbers = dict[str, float]


class Measured(NamedTuple):
    """What a run gave.

    Attributes
    ----------
    numbers : dict of str to float
        At the end.
    curve : dict
        What a plot shows: ``at``, the places on its axis (steps, unless a case says otherwise), and ``lines``, a list
        of as many values for every name: None where nothing was measured, a list for one number per layer.
    """

    numbers: Numbers
    curve: dict[str, Any]


SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"faces": (300, 260), "steps": 60, "width": 4, "batch_size": 16},
    "cpu": {"faces": (600, 500), "steps": 120, "width": 8, "batch_size": 32},
}
"""Faces of each set, steps, filters and batch of the cases that train networks."""


EVERY = 20
"""Steps from one point of a curve to the next, in the cases without faces."""

# ---- without faces


def reversed_sign(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Align two sets with the gradient reversal the right way round, or with its sign lost.

    Two sets of points differ in the mean of two coordinates, on one of which the labels depend.  One encoder serves
    both sets; its features are measured against those of the same encoder trained without an adversary.
    """
    steps = 400

    def points(count: int, draw: torch.Generator) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        inputs = [torch.randn(count, 8, generator=draw) for _ in range(2)]
        labels = [(x[:, 0] + x[:, 2] > 0).long() for x in inputs]
        inputs[1][:, :2] += 1.5
        return inputs, labels

    def encoder(coefficient: float) -> tuple[nn.Module, dict[str, list[float]]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
            head, classifier = nn.Linear(8, 2), DomainClassifier(8, (32, 16))
        parameters = [*net.parameters(), *head.parameters(), *classifier.parameters()]
        optimiser = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
        draw = torch.Generator().manual_seed(seed)
        lines: dict[str, list[float]] = {"domain loss": [], "apart": []}
        recent: list[float] = []
        for step in range(steps):
            inputs, labels = points(64, draw)
            features = [net(x) for x in inputs]
            loss = F.cross_entropy(head(torch.cat(features)), torch.cat(labels))
            if coefficient:
                domain = domain_loss(classifier, features, coefficient * ganin_ramp(step / steps))[0]
                loss = loss + domain
                recent.append(domain.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if coefficient and (step + 1) % EVERY == 0:
                lines["domain loss"].append(sum(recent) / len(recent))
                lines["apart"].append(apart(net)[0])
                recent.clear()
        return net, lines

    def apart(net: nn.Module) -> tuple[float, list[torch.Tensor]]:
        inputs, _ = points(500, torch.Generator().manual_seed(seed + 1000))
        with torch.no_grad():
            first, second = (net(x) for x in inputs)
        gap = first.mean(0) - second.mean(0)
        spread = 0.5 * (first.var(0).sum() + second.var(0).sum())
        return float(gap.norm() / spread.sqrt()), [first, second]

    def told(features: list[torch.Tensor]) -> float:
        people = [[f"{t}-{i}" for i in range(500)] for t in (0, 1)]
        return 100 * domain_probe(features, people, seed=seed).accuracy

    net, lines = encoder(-1.0 if faulty else 1.0)
    distance, features = apart(net)
    without, plain = apart(encoder(0.0)[0])
    numbers = {
        "apart": distance, "apart_without": without, "probe": told(features), "probe_without": told(plain),
    }  # fmt: skip
    return Measured(numbers, {"at": list(range(EVERY, steps + 1, EVERY)), "lines": lines})


def task_axis_first(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Stack the tasks along the last axis, as last-axis flattening needs it, or along the first one.

    Two tasks' kernels have a part in common.  They go down the squared distance to where they are plus the trace norm
    of the stack, which should make them proportional: its second singular value, over tasks, should vanish.
    """
    draw = torch.Generator().manual_seed(seed)
    common = torch.randn(8, 4, 3, 3, generator=draw)
    start = [common + 0.5 * torch.randn(8, 4, 3, 3, generator=draw) for _ in range(2)]
    kernels = [w.clone().requires_grad_() for w in start]

    def stacked(kernels: list[torch.Tensor]) -> torch.Tensor:
        if faulty:
            return torch.stack(kernels)  # T, M, C, H, W: the last axis is the kernel's width
        return torch.stack([w.permute(2, 3, 1, 0) for w in kernels], dim=-1)  # H, W, C, M, T

    def ratio(stack: torch.Tensor) -> float:
        sigma = torch.linalg.svdvals(stack.double())
        return float(sigma[1] / sigma[0])

    def columns(weights: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([w.detach() for w in weights]).movedim(-1, 0).flatten(1)

    steps = 300
    lines: dict[str, list[float]] = {"penalty": [], "tasks": [], "columns": []}
    for step in range(steps + 1):
        norm = tensor_trace_norm(stacked(kernels), "laf")
        if step % EVERY == 0:
            lines["penalty"].append(norm.item())
            lines["tasks"].append(ratio(as_rows([w.detach() for w in kernels])))
            lines["columns"].append(ratio(columns(kernels)))
        if step == steps:
            break
        loss = sum(0.5 * (w - s).square().sum() for w, s in zip(kernels, start, strict=True))
        gradients = torch.autograd.grad(loss + 12 * norm, kernels)
        with torch.no_grad():
            for w, g in zip(kernels, gradients, strict=True):
                w -= 0.05 * (1 - step / steps) * g
    numbers = {
        "tasks_before": lines["tasks"][0], "tasks_after": lines["tasks"][-1],
        "columns_before": lines["columns"][0], "columns_after": lines["columns"][-1],
    }  # fmt: skip
    return Measured(numbers, {"at": list(range(0, steps + 1, EVERY)), "lines": lines})


def test_for_choice(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Choose among forty classifiers on validation faces, or on the very test faces whose score is reported.

    There is nothing to learn: five labels are drawn whatever the features are.  The mean of fifty repetitions.  The
    curve's places are numbers of classifiers that were looked at.
    """
    rng = np.random.default_rng(seed)
    looks = np.arange(1, 41)
    reported, fresh = [], []
    for _ in range(50):
        candidates = rng.normal(size=(40, 20, 5))

        def scores(count: int, candidates: np.ndarray = candidates) -> np.ndarray:
            x, y = rng.normal(size=(count, 20)), rng.integers(5, size=count)
            return 100 * ((x @ candidates).argmax(-1) == y).mean(-1)

        validation, test, new = scores(100), scores(100), scores(1000)
        by = test if faulty else validation
        chosen = [int(by[:k].argmax()) for k in looks]
        reported.append(test[chosen])
        fresh.append(new[chosen])
    lines = {"reported": np.mean(reported, 0).tolist(), "fresh": np.mean(fresh, 0).tolist()}
    numbers = {"reported": lines["reported"][-1], "fresh": lines["fresh"][-1]}
    numbers["optimism"] = numbers["reported"] - numbers["fresh"]
    return Measured(numbers, {"at": looks.tolist(), "lines": lines})


test_for_choice.__test__ = False  # its name is no test's


# ---- two small networks on rendered faces


@functools.lru_cache(maxsize=2)
def faces_of(scale: str) -> dict[str, FaceSet]:
    """Return rendered faces, plain expressions, 32 pixels wide."""
    expression, landmarks = SCALES[scale]["faces"]
    return {
        "expression": synthetic_set(
            expression, style="film", landmarks=False, intensity=(0.8, 1.2), size=32, seed=0
        ),
        "landmarks": synthetic_set(
            landmarks, style="wild", labelled=False, intensity=(0.0, 1.0), size=32, seed=0,
            first=1_000_000, first_person=expression // 9,
        ),
    }  # fmt: skip


def trained(settings: dict[str, Any], seed: int, scale: str, workspace: Path) -> Measured:
    """Train two tasks for a few seconds, and return what a suspicious reader would look at.

    The numbers are of the test people at the last step; the curve is of the validation people.

    Parameters
    ----------
    settings : dict
        Fields of :class:`mtl_lib.config.TrainConfig`.
    seed : int
        Of split and training.
    scale : str
        One of :data:`SCALES`.
    workspace : Path
        The run's folder.
    """
    own = {name: value for name, value in SCALES[scale].items() if name != "faces"}
    steps = own["steps"]
    every = max(1, steps // 10)
    config = TrainConfig.for_budget(
        "smoke",
        **{
            **own, "pixels": 32, "blocks": (1, 1, 1, 1), "channels_last": False, "fractions": (0.5, 0.2, 0.3),
            "validate_every": every, "save_every": steps, "log_every": every, "lr": 0.05, "ada": 0.0,
            "seed": seed, "split_seed": seed, **settings,
        },
    )  # fmt: skip
    sets = faces_of(scale)
    fit(config, sets, out=workspace, resume=True, accelerator="cpu", progress=False).completed()
    log = read_log(workspace)
    seen = [line for line in log if line["event"] == "validation"]
    losses = [line for line in log if line["event"] == "train"]
    layers, last = seen[-1]["layers"], losses[-1]
    model = load_run(workspace, "last")
    test = evaluate(model, sets)
    validation = evaluate(model, sets, part="validation")
    found = {
        "loss": last["expression"], "macro_recall": test.macro_recall, "nme": test.nme,
        "mean_shape_nme": test.mean_shape_nme,
        "score": validation.macro_recall - validation.nme,
        "tndr": float(np.median(layers["tndr"])),
    }  # fmt: skip
    if None not in layers["cosine"]:
        found |= {
            "cosine": float(np.median(layers["cosine"])),
            "rank_one": float(sum(value < 1.01 for value in layers["scale_free"])),
            "opposite": float(sum(value < -0.9 for value in layers["cosine"])),
            "aligned": float(sum(value > 0.9 for value in layers["cosine"])),
        }
    if "domain_accuracy" in last:
        found["adversary"] = 100 * last["domain_accuracy"]
    start = next(line for line in log if line["event"] == "layers")
    lines = {
        "loss": [None, *(line["expression"] for line in losses)],
        "NME": [None, *(line["landmarks/nme"] for line in seen)],
        "TNDR": [line["layers"]["tndr"] for line in (start, *seen)],
        "cosine": [line["layers"]["cosine"] for line in (start, *seen)],
    }
    return Measured(found, {"at": [line["step"] for line in (start, *seen)], "lines": lines})


def gamma_too_large(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Train with a trace norm of common strength, or one that is a hundred times as strong."""
    return trained({"gamma": 2.0 if faulty else 0.02}, seed, scale, workspace)


def adversary_too_strong(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Train with a reversal of strength 0.1 that rises slowly, or of strength 30 from the first step on."""
    ada = {"ada": 30.0, "ada_ramp": False} if faulty else {"ada": 0.1}
    return trained({"gamma": 0.02, **ada}, seed, scale, workspace)


def shrinkage_for_sharing(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Read sharing off TNDR, from networks with different initial weights or from networks that start equal."""
    return trained({"gamma": 0.1, "init": "independent" if faulty else "same"}, seed, scale, workspace)


def rank_one_opposite(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Pin the norms and press hard on the trace norm, from different initial weights or from equal ones."""
    init = "independent" if faulty else "same"
    return trained({"gamma": 4.0, "pinned": True, "init": init}, seed, scale, workspace)


LANDMARK_WEIGHTS = (1.0, 10.0)
_RIVALS: dict[tuple[int, str], dict[tuple[str, float], Numbers]] = {}


def _rivals(seed: int, scale: str, workspace: Path) -> dict[tuple[str, float], Numbers]:
    """Single tasks and hard sharing at every landmark weight; kept, because both twins compare the same four runs."""
    if (seed, scale) not in _RIVALS:
        arms = {
            "single": {"sharing": "single"},
            "hard": {"sharing": "hard", "hard_after": 8, "batch_norm": "private"},
        }
        _RIVALS[seed, scale] = {
            (arm, weight): trained(
                {**settings, "landmark_weight": weight}, seed, scale, workspace / f"{arm}-{weight:g}"
            ).numbers
            for arm, settings in arms.items()
            for weight in LANDMARK_WEIGHTS
        }
    return _RIVALS[seed, scale]


def one_loss_weight(faulty: bool, seed: int, scale: str, workspace: Path) -> Measured:
    """Compare hard sharing with single tasks at one landmark weight for both, or each at its own on validation.

    The curve's places are landmark weights, its lines the test people's NME; ``taken`` are the weights compared.
    """
    found = _rivals(seed, scale, workspace)
    own = {
        arm: max(LANDMARK_WEIGHTS, key=lambda w, a=arm: found[a, w]["score"]) for arm in ("single", "hard")
    }
    taken = dict.fromkeys(own, 1.0) if faulty else own
    rival = found["hard", taken["hard"]]["nme"]
    numbers = {
        "gap": rival - found["single", taken["single"]]["nme"],
        "to_gain": rival - found["hard", own["hard"]]["nme"],
        "rival_at_1": found["hard", 1.0]["nme"],
        "rival_at_10": found["hard", 10.0]["nme"],
        "weight_single": own["single"],
        "weight_hard": own["hard"],
    }
    lines = {arm: [found[arm, weight]["nme"] for weight in LANDMARK_WEIGHTS] for arm in own}
    return Measured(numbers, {"at": list(LANDMARK_WEIGHTS), "lines": lines, "taken": taken})
