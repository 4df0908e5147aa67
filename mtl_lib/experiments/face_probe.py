"""What do pixels and what do landmarks know about a mental state?  Probes on rendered faces, with controls.

A probe is a classifier that is trained on what it is given and on nothing else: a linear one (discriminant analysis),
a small network, or a strong one: a ResNet-34 of half the paper's width with three times as many faces.  It is given pixels, landmarks, both, or, as controls, both with the landmarks of another
picture, and landmarks with permuted labels (chance).  Every probe of a seed sees the same faces and the same
split by person.  Faces are shown subtly or posed.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_lib import metrics
from mtl_lib.backbones import resnet34
from mtl_lib.devices import peak_memory
from mtl_lib.errors import ConfigError
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.states import STATES
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.landmarks import LandmarkScaler
from mtl_lib.loaders import TaskBatches, generator, prepare_images
from mtl_lib.transforms import augment

STRENGTHS = {"subtle": (0.2, 0.5), "posed": (0.9, 1.1)}
"""Ranges of intensity."""

INPUTS = ("pixels", "landmarks", "both", "shuffled", "chance")
"""``"shuffled"``: both, but the landmarks are another picture's.  ``"chance"``: landmarks, labels permuted."""

ARMS = {"linear": INPUTS, "network": ("pixels", "landmarks", "both"), "resnet": ("pixels",)}
"""What each kind of probe is given in the experiment; the controls are made with the linear one, which is quick."""

SIZES = {"smoke": (260, 1), "cpu": (4000, 10), "t4": (30_000, 20), "full": (100_000, 30)}
"""Faces, and passes of the network, by budget."""

STRONG_SIZES = {"smoke": (260, 1), "cpu": (12_000, 10), "t4": (60_000, 20), "full": (176_000, 30)}
"""The same for the strong network; at ``full`` as many faces as the paper had."""

PIXELS = 48
_BATCH = 64
_SHRINKAGE = (0.01, 0.1, 0.5)
_PIXEL_WEIGHTS = (1.0, 0.3, 0.1)


def parts_of(seed: int, strength: str, count: int) -> list[FaceSet]:
    """Rendered film faces, split by person into training, validation and test (0.6, 0.2, 0.2).

    Examples
    --------
    >>> [len(part) for part in parts_of(0, "subtle", 60)]
    [30, 18, 12]
    """
    faces = synthetic_set(count, size=PIXELS, intensity=STRENGTHS[strength], seed=seed)
    [index] = split_by_person([faces], seed=seed)
    return [faces.select(part) for part in index]


def shuffled_landmarks(faces: FaceSet, seed: int) -> Float[Tensor, "N 68 2"]:
    """The set's landmarks, each with another picture.

    Examples
    --------
    >>> faces = parts_of(0, "subtle", 60)[0]
    >>> (shuffled_landmarks(faces, 0) == faces.landmarks).all((1, 2)).any()
    tensor(False)
    """
    order = torch.randperm(len(faces), generator=generator("cpu", seed, 1))
    moved = torch.empty_like(order)
    moved[order] = order.roll(1)  # one cycle through all: nobody keeps their own
    return faces.landmarks[moved]


def linear_inputs(faces: FaceSet, given: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (24x24, standardised picture by picture) and landmarks of a set, either with no columns if not given.

    Parameters
    ----------
    faces : FaceSet
    given : str
        One of :data:`INPUTS`.
    seed : int
        Of the shuffling.

    Examples
    --------
    >>> pixels, points = linear_inputs(parts_of(0, "subtle", 60)[1], "both", 0)
    >>> pixels.shape, points.shape
    ((18, 576), (18, 136))
    """
    pixels = F.avg_pool2d(prepare_images(faces.images), 2).flatten(1).numpy()
    points = shuffled_landmarks(faces, seed) if given == "shuffled" else faces.landmarks
    points = points.flatten(1).numpy()
    return (
        pixels if given in ("pixels", "both", "shuffled") else pixels[:, :0],
        points if given != "pixels" else points[:, :0],
    )


def linear_probe(parts: Sequence[FaceSet], given: str, seed: int) -> dict[str, float]:
    """Linear discriminant analysis; its shrinkage, and the weight of pixels beside landmarks, by validation.

    Parameters
    ----------
    parts : sequence of FaceSet
        Training, validation, test.
    given : str
        One of :data:`INPUTS`.
    seed : int

    Returns
    -------
    dict of str to float
        Accuracy and macro-recall on the test part, in percent.

    Examples
    --------
    >>> sorted(linear_probe(parts_of(0, "posed", 260), "landmarks", 0))
    ['accuracy', 'macro_recall']
    """
    if given not in INPUTS:
        raise ConfigError(f"the probe is given {given!r}; it can be given {', '.join(INPUTS)}")
    blocks = [linear_inputs(faces, given, seed) for faces in parts]
    scalers = [StandardScaler().fit(block) if block.shape[1] else None for block in blocks[0]]
    scaled = [
        [
            block if scaler is None else scaler.transform(block)
            for block, scaler in zip(each, scalers, strict=True)
        ]
        for each in blocks
    ]
    labels = parts[0].labels
    if given == "chance":
        labels = labels[torch.randperm(len(labels), generator=generator("cpu", seed, 2))]
    best, result = -1.0, {}
    for weight in _PIXEL_WEIGHTS if given in ("both", "shuffled") else (1.0,):
        train, validation, test = (np.concatenate((weight * a, b), 1) for a, b in scaled)
        for shrinkage in _SHRINKAGE:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(train, labels.numpy())
            found = metrics.macro_recall(parts[1].labels, torch.from_numpy(model.predict(validation)))
            if found > best:
                best, result = found, _measures(parts[2], torch.from_numpy(model.predict(test)))
    return result


def _measures(faces: FaceSet, predicted: Tensor) -> dict[str, float]:
    return {
        "accuracy": 100 * metrics.accuracy(faces.labels, predicted),
        "macro_recall": 100 * metrics.macro_recall(faces.labels, predicted),
    }


class ProbeNet(nn.Module):
    """Four convolutions, or a ResNet-34, for pixels; two layers for landmarks; one layer on what is given.

    Parameters
    ----------
    given : str
        One of :data:`INPUTS`.
    width : int
        Filters of the first convolution.
    strong : bool
        A ResNet-34 sees the pixels, its first convolution twice as wide.

    Examples
    --------
    >>> ProbeNet("both")(torch.zeros(2, 1, 48, 48), torch.zeros(2, 136)).shape
    torch.Size([2, 13])
    >>> [sum(p.numel() for p in ProbeNet("pixels", strong=strong).pixels.parameters()) for strong in (False, True)]
    [97328, 5297184]
    """

    def __init__(self, given: str, width: int = 16, strong: bool = False):
        super().__init__()
        self.pixels = _strong_pixels(2 * width) if strong else _small_pixels(width)
        self.points = nn.Sequential(
            nn.Linear(136, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.uses = (given not in ("landmarks", "chance"), given != "pixels")
        self.head = nn.Linear(64 * sum(self.uses), len(STATES))

    def forward(self, images: Float32[Tensor, "B 1 S S"], points: Float32[Tensor, "B 136"]) -> Tensor:
        """Return the scores of the 13 states."""
        parts = [
            branch(x)
            for branch, x, used in zip((self.pixels, self.points), (images, points), self.uses, strict=True)
            if used
        ]
        return self.head(torch.cat(parts, 1))


def _small_pixels(width: int) -> nn.Sequential:
    layers, inputs = [], 1
    for filters in (width, 2 * width, 4 * width, 4 * width):
        layers += [
            nn.Conv2d(inputs, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        inputs = filters
    side = PIXELS // 16
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * side * side, 64), nn.ReLU())


def _strong_pixels(width: int) -> nn.Sequential:
    return nn.Sequential(resnet34(width=width, size=PIXELS), nn.Linear(8 * width, 64), nn.ReLU())


def _mirrored_half(images: Tensor, landmarks: Tensor | None, chance: torch.Generator):
    return augment(images, landmarks, chance, rotation=0.0, scale=(1.0, 1.0), shift=0.0, noise=0.0)


def network_probe(
    parts: Sequence[FaceSet], given: str, seed: int, passes: int, device: str = "cpu", strong: bool = False
) -> dict[str, float]:
    """Train :class:`ProbeNet` with Adam; the pass that is best on validation counts.

    Half of the pictures are mirrored, landmarks too: a state looks the same in the mirror.

    Parameters
    ----------
    parts : sequence of FaceSet
        Training, validation, test.
    given : str
        One of :data:`INPUTS`.
    seed : int
        Of weights and order.
    passes : int
        Through the training part.
    device : str
    strong : bool
        As in :class:`ProbeNet`.

    Returns
    -------
    dict of str to float
        Accuracy and macro-recall on the test part, and macro-recall on the training part (as it is after the
        last pass), in percent.

    Examples
    --------
    >>> sorted(network_probe(parts_of(0, "posed", 130), "landmarks", 0, passes=1))
    ['accuracy', 'macro_recall', 'train_macro_recall']
    """
    if given not in INPUTS:
        raise ConfigError(f"the probe is given {given!r}; it can be given {', '.join(INPUTS)}")
    scaler = LandmarkScaler.fit(parts[0].landmarks, PIXELS)
    train, validation, test = (_as_given(faces, given, seed, part) for part, faces in enumerate(parts))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ProbeNet(given, strong=strong).to(device)
    batches = TaskBatches([train], _BATCH, seed, device, _mirrored_half)
    per_pass = -(-len(train) // _BATCH)
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, passes * per_pass)
    best, result = -1.0, {}
    for done in range(1, passes + 1):
        net.train()
        for step in range((done - 1) * per_pass, done * per_pass):
            (batch,) = batches.batch(step)
            scores = net(batch.images, scaler.transform(batch.landmarks))
            loss = F.cross_entropy(scores, batch.labels, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        found = metrics.macro_recall(validation.labels, _predict(net, validation, scaler, device))
        if found > best:
            best, result = found, _measures(test, _predict(net, test, scaler, device))
    fitted = metrics.macro_recall(train.labels, _predict(net, train, scaler, device))
    return {**result, "train_macro_recall": 100 * fitted}


def _as_given(faces: FaceSet, given: str, seed: int, part: int) -> FaceSet:
    """A part as the probe gets it: with the landmarks of other pictures, or (training) permuted labels."""
    if given == "shuffled":
        return replace(faces, landmarks=shuffled_landmarks(faces, seed))
    if given == "chance" and part == 0:
        return replace(
            faces, labels=faces.labels[torch.randperm(len(faces), generator=generator("cpu", seed, 2))]
        )
    return faces


@torch.no_grad()
def _predict(net: ProbeNet, faces: FaceSet, scaler: LandmarkScaler, device: str) -> Tensor:
    net.eval()
    answers = [
        net(prepare_images(images.to(device)), scaler.transform(points.to(device))).argmax(1).cpu()
        for images, points in zip(faces.images.split(512), faces.landmarks.split(512), strict=True)
    ]
    return torch.cat(answers)


def _jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    found = []
    for seed in seeds:
        for strength, intensity in STRENGTHS.items():
            for kind, inputs in ARMS.items():
                count, passes = (STRONG_SIZES if kind == "resnet" else SIZES)[budget]
                for given in inputs:
                    config: dict[str, Any] = {
                        "probe": kind, "given": given, "strength": strength, "intensity": list(intensity),
                        "faces": count, "pixels": PIXELS, "passes": 0 if kind == "linear" else passes,
                    }  # fmt: skip
                    name = f"{kind}-{given}-{strength}"
                    found.append(
                        Job(
                            experiment="face_probe",
                            method=name,
                            seed=seed,
                            tier=tier,
                            budget=budget,
                            config=config,
                        )
                    )
    return found


def _run(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    config = job.config
    on_gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    device = "cuda" if on_gpu and config["probe"] != "linear" else "cpu"
    parts = parts_of(job.seed, config["strength"], config["faces"])
    if config["probe"] == "linear":
        measures = linear_probe(parts, config["given"], job.seed)
    else:
        strong = config["probe"] == "resnet"
        measures = network_probe(parts, config["given"], job.seed, config["passes"], device, strong)
    words = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return Outcome(metrics=measures, device=words, memory=peak_memory(torch.device(device)))


FACE_PROBE = Experiment(
    name="face_probe",
    title="what pixels and landmarks know about a mental state (rendered faces)",
    seeds={"smoke": (0, 1), "cpu": (0, 1, 2), "t4": tuple(range(5)), "full": tuple(range(5))},
    jobs=_jobs,
    run=_run,
    tiers=("synthetic",),
)
