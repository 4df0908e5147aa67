"""The two tasks of the book: what each predicts, its loss, and how good it is.

A task knows how many numbers its head puts out, the loss of a batch (with whatever it took from the training
set: class weights, the scaling of landmarks) and the measures of a whole set.  The loop in
:mod:`mtl_lib.train` treats all tasks alike.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_lib import metrics
from mtl_lib.alignment import make_alignment
from mtl_lib.config import TrainConfig
from mtl_lib.constants import Copies
from mtl_lib.errors import CheckpointError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.splits import split_faces
from mtl_lib.faces.tiers import SYNTHETIC_SIZES, load_tier
from mtl_lib.landmark_whitening import ShapeWhitener
from mtl_lib.landmarks import LandmarkScaler, nme
from mtl_lib.loaders import Batch, prepare_images
from mtl_lib.sharing import MultiTaskNet
from mtl_lib.training_sets import prepare_training
from mtl_lib.trunks import make_trunk

PARTS = ("train", "validation", "test")

SCALERS = {"coordinate": LandmarkScaler, "shape": ShapeWhitener}
"""How landmarks become targets, by the name in the configuration."""


class Expression:
    """Which class: softmax cross-entropy.

    Parameters
    ----------
    classes : tuple of str
        Names of the classes.
    weights : Tensor, [K]
        Weight of each class in the loss.

    Examples
    --------
    >>> task = Expression(("calm", "glad"), torch.ones(2))
    >>> task.outputs
    2
    """

    name = "expression"

    def __init__(self, classes: tuple[str, ...], weights: Float[Tensor, " K"]):
        self.classes, self.weights = classes, weights
        self._copies = Copies()

    @property
    def outputs(self) -> int:
        """Numbers that the head puts out."""
        return len(self.classes)

    def loss(self, output: Float[Tensor, "B K"], batch: Batch) -> Float[Tensor, ""]:
        """Return the mean over the pictures of cross-entropy times the weight of the picture's class.

        It is divided by the number of pictures, not by the sum of their weights: so the loss of a batch is
        the mean of the losses of its equal parts, on one device or several.
        """
        weights = self._copies.of(self.weights, output.device, self.weights.dtype)
        summed = F.cross_entropy(output.float(), batch.labels, weights, reduction="sum")
        return summed / len(output)

    def measure(self, output: Float[Tensor, "N K"], faces: FaceSet) -> dict[str, float]:
        """Return accuracy, macro-recall and majority rate, each in percent."""
        predicted, true = output.argmax(dim=1).cpu(), faces.labels.cpu()
        return {
            "accuracy": 100 * metrics.accuracy(true, predicted),
            "macro_recall": 100 * metrics.macro_recall(true, predicted),
            "majority_rate": 100 * metrics.majority_rate(true),
        }

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps."""
        return {"weights": self.weights}


class Landmarks:
    """Where the 68 points are: l1 or l2 loss on scaled coordinates.

    Parameters
    ----------
    scaler : LandmarkScaler or ShapeWhitener
        Fitted on the training landmarks.
    loss_kind : {"l1", "l2"}
        Mean absolute or mean squared difference over the 136 targets.
    """

    name = "landmarks"
    outputs = 136

    def __init__(self, scaler: LandmarkScaler | ShapeWhitener, loss_kind: str = "l1"):
        self.scaler, self.loss_kind = scaler, loss_kind

    def loss(self, output: Float[Tensor, "B 136"], batch: Batch) -> Float[Tensor, ""]:
        """Return the mean distance from the targets."""
        target = self.scaler.transform(batch.landmarks)
        return (F.l1_loss if self.loss_kind == "l1" else F.mse_loss)(output.float(), target)

    def points(self, output: Float[Tensor, "N 136"]) -> Float[Tensor, "N 68 2"]:
        """Return the points in pixels of the crop."""
        return self.scaler.inverse(output.float())

    def measure(self, output: Float[Tensor, "N 136"], faces: FaceSet) -> dict[str, float]:
        """Return NME in percent of the inter-pupil distance: the network's, and the mean shape's."""
        true = faces.landmarks.to(output.device)
        mean_shape = self.points(torch.zeros_like(output))
        return {
            "nme": nme(self.points(output), true).mean().item(),
            "mean_shape_nme": nme(mean_shape, true).mean().item(),
        }

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps."""
        return self.scaler.state()


Task = Expression | Landmarks


def score(measures: Mapping[str, float]) -> float:
    """Return the number that chooses between checkpoints: macro-recall minus NME, both in percent.

    Examples
    --------
    >>> score({"expression/macro_recall": 50.0, "landmarks/nme": 10.0})
    40.0
    """
    return measures.get("expression/macro_recall", 0.0) - measures.get("landmarks/nme", 0.0)


def load_sets(
    config: TrainConfig, root: str | os.PathLike | None = None, cache: str | os.PathLike | None = None
) -> dict[str, FaceSet]:
    """Load the faces that a configuration names; see :func:`mtl_lib.faces.tiers.load_tier`.

    Parameters
    ----------
    config : TrainConfig
        Its ``tier``, ``pixels``, ``faces``, ``data_seed`` and ``budget``.
    root, cache : path-like, optional
        Where the tier's data are, and where prepared pictures may be kept.

    Examples
    --------
    >>> sets = load_sets(TrainConfig.for_budget("smoke", faces=13))
    >>> sets["landmarks"].size, len(sets["expression"])
    (48, 13)
    """
    count = config.faces
    if count is None and config.tier == "synthetic":
        count = SYNTHETIC_SIZES[config.budget]
    return load_tier(
        config.tier,
        root,
        count,
        config.data_seed,
        pixels=config.pixels,
        cache=cache,
        expression_set=config.expression_set,
        landmark_sets=config.landmark_sets,
    )


def split_sets(config: TrainConfig, sets: Mapping[str, FaceSet]) -> dict[str, dict[str, FaceSet]]:
    """Split all sets jointly by person, or as their owners say: part -> task -> faces.

    All given sets take part in the split, also those of tasks that are not trained, so that a single-task
    run has the same test people as the run of both tasks that it is compared with.

    Parameters
    ----------
    config : TrainConfig
        Its ``tasks``, ``fractions`` and ``split_seed``; of the training people, ``per_class``,
        ``landmark_faces`` and ``shuffle_landmarks``.
    sets : mapping of str to FaceSet
        By task name.

    Raises
    ------
    DataError
        If a task has no set, or its set lacks labels or landmarks, or its pictures have another size than
        ``config.pixels``.
    """
    for name in config.tasks:
        if name not in sets:
            raise DataError(
                f"there are no faces for the task {name!r}; given: {', '.join(sets) or 'nothing'}"
            )
        if (sets[name].labels if name == "expression" else sets[name].landmarks) is None:
            what = "labels" if name == "expression" else "landmarks"
            raise DataError(f"the set {sets[name].name!r} has no {what}, which the task {name!r} needs")
        if sets[name].size != config.pixels:
            raise DataError(
                f"the set {sets[name].name!r} has pictures of {sets[name].size} pixels; the configuration says"
                f" {config.pixels}"
            )
    names = sorted(sets)
    index = split_faces([sets[name] for name in names], config.fractions, config.split_seed)
    parts = {
        part: {name: sets[name].select(index[names.index(name)][i]) for name in config.tasks}
        for i, part in enumerate(PARTS)
    }
    parts["train"] = prepare_training(
        parts["train"], config.per_class, config.landmark_faces, config.shuffle_landmarks, config.split_seed
    )
    return parts


def fingerprint(sets: Mapping[str, FaceSet]) -> dict[str, dict]:
    """Describe sets so that a run can tell whether it is given the same ones again.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b"), "toy")
    >>> fingerprint({"expression": faces})["expression"]["faces"]
    2
    """
    result = {}
    for name, faces in sorted(sets.items()):
        digest = hashlib.blake2b(json.dumps([faces.classes, faces.persons]).encode(), digest_size=8)
        for value in (faces.images, faces.labels, faces.landmarks):
            digest.update(b"-" if value is None else value.cpu().contiguous().numpy().tobytes())
        result[name] = {
            "name": faces.name,
            "faces": len(faces),
            "size": faces.size,
            "classes": list(faces.classes),
            "digest": digest.hexdigest(),
        }
    return result


def make_tasks(config: TrainConfig, train: Mapping[str, FaceSet]) -> list[Task]:
    """Return the tasks of a run, fitted on its training sets (class weights, landmark scaling)."""
    tasks: list[Task] = []
    for name in config.tasks:
        faces = train[name]
        if name == "expression":
            counts = torch.bincount(faces.labels.cpu(), minlength=len(faces.classes)).double()
            share = counts / counts.sum()
            power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[config.class_weights]
            # A class without training pictures would weigh infinitely much; it cannot occur, so 0.
            weights = torch.where(counts > 0, share.clamp_min(1e-12) ** -power, 0.0)
            weights = weights / (weights * share).sum()  # the mean picture weighs 1
            tasks.append(Expression(faces.classes, weights.float()))
        else:
            scaler = SCALERS[config.landmark_targets].fit(faces.landmarks.cpu(), faces.size)
            tasks.append(Landmarks(scaler, config.landmark_loss))
    return tasks


def tasks_from_state(
    config: TrainConfig, classes: Sequence[str], tensors: Mapping[str, Tensor]
) -> list[Task]:
    """Return the tasks that a checkpoint describes; tensors are named ``task/<name>/<key>``.

    Raises
    ------
    CheckpointError
        If something is missing.
    """
    tasks: list[Task] = []
    for name in config.tasks:
        start = f"task/{name}/"
        state = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        if name == "landmarks":
            scaler = SCALERS[config.landmark_targets].from_state(state)
            tasks.append(Landmarks(scaler, config.landmark_loss))
        elif "weights" in state:
            tasks.append(Expression(tuple(classes), state["weights"]))
        else:
            raise CheckpointError("the checkpoint lacks the class weights of the task 'expression'")
    return tasks


class Networks(nn.Module):
    """All that is trained: the trunk that the tasks share in one way or another, heads, domain classifier.

    Parameters
    ----------
    config : TrainConfig
        Architecture, initialisation and sharing.
    tasks : sequence of Task
        Their number is T; their ``outputs`` size the heads.

    Attributes
    ----------
    net : MultiTaskNet
        The trunk (:func:`mtl_lib.trunks.make_trunk`) and T linear heads.
    alignment : Alignment or None
        The domain classifier and its schedule; None with one task or ``config.ada == 0``.
    """

    def __init__(self, config: TrainConfig, tasks: Sequence[Task]):
        super().__init__()
        # The seed fixes the initial weights without touching the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            trunk, features = make_trunk(config, len(tasks))
            self.net = MultiTaskNet(trunk, [nn.Linear(features, task.outputs) for task in tasks])
            self.alignment = make_alignment(config, features, len(tasks))
        if config.channels_last:
            self.to(memory_format=torch.channels_last)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format

    def forward(
        self, images: Sequence[Float[Tensor, "_ C S S"]], progress: float
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the tasks' outputs, the domain loss, and the domain classifier's accuracy.

        Parameters
        ----------
        images : sequence of Tensor
            One batch per task.
        progress : float
            Share of training done, 0 to 1: the strength of the reversal follows it.
        """
        features = [
            self.net.features(x.contiguous(memory_format=self.layout), t) for t, x in enumerate(images)
        ]
        outputs = [head(f) for head, f in zip(self.net.heads, features, strict=True)]
        if self.alignment is None:
            zero = features[0].new_zeros(())
            return outputs, zero, zero
        if self.training:
            self.alignment.inner_step_(features, progress)  # the min of Eq. (4); nothing under reversal
        return outputs, *self.alignment(features, progress)


@torch.no_grad()
def outputs_of(networks: Networks, task: int, images: UInt8[Tensor, "N C S S"], batch: int = 256) -> Tensor:
    """Return task ``task``'s outputs for raw pictures, in evaluation mode and float32, batch by batch.

    Parameters
    ----------
    networks : Networks
        Its mode (training or evaluation) is put back afterwards.
    task : int
        Which task's network and head.
    images : Tensor, uint8, [N, 1, S, S]
        On any device.
    batch : int, optional
        Pictures at a time.

    Returns
    -------
    Tensor
        [N, outputs], on the networks' device.
    """
    was_training = networks.training
    networks.eval()
    device = next(networks.parameters()).device
    parts = [
        networks.net(prepare_images(part.to(device)).contiguous(memory_format=networks.layout), task)
        for part in images.split(batch)
    ]
    networks.train(was_training)
    return torch.cat(parts).float()
