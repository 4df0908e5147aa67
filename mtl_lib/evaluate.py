"""What a finished run is worth, on people it has never seen; and what it says about new pictures.

A run's folder holds everything that prediction needs: settings, weights, batch-norm statistics, class names
and the scaling of landmarks.  Evaluation also needs the faces themselves, splits them as the run did, and
refuses faces that are not the run's.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mtl_lib import checkpoint, metrics, tasks
from mtl_lib.config import TrainConfig
from mtl_lib.errors import CheckpointError, ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.landmarks import nme
from mtl_lib.run_folder import BEST, LAST

__all__ = ["Evaluation", "Prediction", "TrainedModel", "evaluate", "load_run", "predict"]

CHECKPOINTS = {"best": BEST, "last": LAST}


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A run, loaded: settings, networks in evaluation mode, and tasks.

    Attributes
    ----------
    path : pathlib.Path
        The run's folder.
    config : TrainConfig
        Its settings.
    networks : Networks
        See :class:`mtl_lib.tasks.Networks`.
    tasks : list of Task
        In the order of ``config.tasks``.
    step : int
        The checkpoint's step.
    data : dict
        Which faces the run was made with.
    """

    path: Path
    config: TrainConfig
    networks: tasks.Networks
    tasks: list[tasks.Task]
    step: int
    data: dict

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the expressions; empty if the run has no such task."""
        return next((t.classes for t in self.tasks if isinstance(t, tasks.Expression)), ())

    def outputs(self, name: str, images: UInt8[Tensor, "N C S S"]) -> Float[Tensor, "N _"] | None:
        """Return the outputs of a task for raw pictures, on the CPU; None if it was not trained."""
        if name not in self.config.tasks:
            return None
        return tasks.outputs_of(self.networks, self.config.tasks.index(name), images).cpu()


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the networks say about N pictures.

    Attributes
    ----------
    classes : tuple of str
        Names of the expressions.
    probabilities : Tensor, [N, K], or None
        One row of softmax probabilities per picture; None without that task.
    landmarks : Tensor, [N, 68, 2], or None
        Pixels of the picture given; None without that task.
    """

    classes: tuple[str, ...]
    probabilities: Float[Tensor, "N K"] | None
    landmarks: Float[Tensor, "N 68 2"] | None

    def expressions(self) -> list[str]:
        """Return the most probable expression of each picture."""
        if self.probabilities is None:
            return []
        return [self.classes[i] for i in self.probabilities.argmax(dim=1).tolist()]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measures of a run on one part of its faces; ``print`` shows them as a table.

    All rates and errors are in percent.  What was not trained is None.

    Attributes
    ----------
    run, checkpoint, step, part
        What was evaluated, and on which people.
    expression_faces, landmark_faces : int or None
        Numbers of pictures.
    accuracy, macro_recall, majority_rate : float or None
        See :mod:`mtl_lib.metrics`.
    recall : dict of str to (float, int), or None
        Share recognised and number of pictures, per class that occurs.
    confusion : Tensor, [K, K], or None
        Rows are true classes.
    nme, nme_ocular : float or None
        Per-image means, normalised by the distance of the pupils (the paper's) and of the outer eye corners.
    mean_shape_nme : float or None
        The error of always answering the mean training shape: what a network must beat.
    nme_per_face : Tensor, [N], or None
        For the cumulative error distribution.
    """

    run: str
    checkpoint: str
    step: int
    part: str
    expression_faces: int | None = None
    accuracy: float | None = None
    macro_recall: float | None = None
    majority_rate: float | None = None
    recall: dict[str, tuple[float, int]] | None = None
    confusion: Int64[Tensor, "K K"] | None = None
    landmark_faces: int | None = None
    nme: float | None = None
    nme_ocular: float | None = None
    mean_shape_nme: float | None = None
    nme_per_face: Float[Tensor, " N"] | None = None

    def measures(self) -> dict[str, float]:
        """Return the plain numbers, for a table or a JSON line."""
        names = ("accuracy", "macro_recall", "majority_rate", "nme", "nme_ocular", "mean_shape_nme")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __str__(self) -> str:
        lines = [f"{self.run}, {self.checkpoint} checkpoint (step {self.step}), {self.part} people"]
        if self.accuracy is not None:
            chance = 100 / max(len(self.recall), 1)
            lines += [
                f"expression, {self.expression_faces} pictures",
                f"  accuracy           {self.accuracy:6.1f} %   always the largest class: {self.majority_rate:.1f} %",
                f"  macro-recall       {self.macro_recall:6.1f} %   any constant answer: {chance:.1f} %",
            ]
            lines += [f"    {name:16} {value:6.1f} %   of {n}" for name, (value, n) in self.recall.items()]
        if self.nme is not None:
            lines += [
                f"landmarks, {self.landmark_faces} pictures",
                f"  NME (pupils)       {self.nme:6.2f} %   always the mean shape: {self.mean_shape_nme:.2f} %",
                f"  NME (eye corners)  {self.nme_ocular:6.2f} %",
            ]
        return "\n".join(lines)


def load_run(
    run: str | os.PathLike,
    which: Literal["best", "last"] = "best",
    device: torch.device | str = "cpu",
) -> TrainedModel:
    """Load a run from its folder.

    Parameters
    ----------
    run : path-like
        The folder that :func:`mtl_lib.train.fit` wrote.
    which : {"best", "last"}, optional
        Which checkpoint.
    device : torch.device or str, optional
        Where the networks go.

    Returns
    -------
    TrainedModel
        With its networks in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder or the checkpoint is missing or damaged, or of another version.
    ConfigError
        If ``which`` is neither.
    """
    path = Path(run)
    if which not in CHECKPOINTS:
        raise ConfigError(f"the checkpoint is {which!r}; it must be 'best' or 'last'")
    if not path.is_dir():
        raise CheckpointError(f"{path}: there is no such run; `mtl train` makes one")
    file = path / CHECKPOINTS[which]
    tensors, meta = checkpoint.load_checkpoint(file)
    config = TrainConfig.from_dict(meta["config"])
    found = tasks.tasks_from_state(config, meta["classes"], tensors)
    networks = tasks.Networks(config, found)
    checkpoint.restore(file, tensors, networks)
    return TrainedModel(path, config, networks.to(device).eval(), found, meta["step"], meta["data"])


def evaluate(
    run: str | os.PathLike | TrainedModel,
    sets: Mapping[str, FaceSet] | None = None,
    *,
    root: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    part: Literal["train", "validation", "test", "all"] = "test",
    which: Literal["best", "last"] = "best",
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Measure a run.

    Parameters
    ----------
    run : path-like or TrainedModel
        The run's folder, or what :func:`load_run` made of it.
    sets : mapping of str to FaceSet, optional
        The faces the run was made with.  By default loaded as the run's settings say.
    root, cache : path-like, optional
        See :func:`mtl_lib.tasks.load_sets`; only without ``sets``.
    part : {"train", "validation", "test", "all"}, optional
        Which people.  "all" measures every face given and accepts other faces than the run's; it is for
        data of which no one was trained on.
    which, device : optional
        See :func:`load_run`.

    Returns
    -------
    Evaluation
        The measures.

    Raises
    ------
    CheckpointError
        If the run cannot be loaded.
    DataError
        If the faces are not those of the run, or have other classes.
    ConfigError
        If ``part`` is unknown.
    """
    if part not in (*tasks.PARTS, "all"):
        raise ConfigError(f"part is {part!r}; it must be one of {', '.join(tasks.PARTS)}, all")
    model = run if isinstance(run, TrainedModel) else load_run(run, which, device)
    sets = tasks.load_sets(model.config, root, cache) if sets is None else sets
    if part == "all":
        chosen = {name: sets[name] for name in model.config.tasks if name in sets}
    else:
        _check_faces(model, sets)
        chosen = tasks.split_sets(model.config, sets)[part]
    values: dict = {}
    for task in model.tasks:
        faces = chosen.get(task.name)
        if faces is None:
            continue
        output = model.outputs(task.name, faces.images)
        if isinstance(task, tasks.Expression):
            if faces.classes != task.classes:
                raise DataError(f"{faces.name!r} has the classes {faces.classes}, the run {task.classes}")
            table = metrics.confusion(faces.labels.cpu(), output.argmax(dim=1), len(task.classes))
            totals = table.sum(dim=1).tolist()
            recall = {
                name: (100 * table[i, i].item() / totals[i], totals[i])
                for i, name in enumerate(task.classes)
                if totals[i]
            }
            values |= task.measure(output, faces)
            values |= {"expression_faces": len(faces), "recall": recall, "confusion": table}
        else:
            points, true = task.points(output), faces.landmarks.cpu()
            values |= task.measure(output, faces)
            values |= {
                "landmark_faces": len(faces),
                "nme_per_face": nme(points, true),
                "nme_ocular": nme(points, true, "ocular").mean().item(),
            }
    return Evaluation(str(model.path), which, model.step, part, **values)


def predict(model: TrainedModel, images: UInt8[Tensor, "N C S S"]) -> Prediction:
    """Return expressions and landmarks of pictures, cropped as the run's pictures were.

    Both networks look at every picture: the expression network at faces of the landmark set's kind too.

    Parameters
    ----------
    model : TrainedModel
        From :func:`load_run`.
    images : Tensor, uint8, [N, 1, S, S]
        Gray face crops of the run's size.

    Returns
    -------
    Prediction
        Landmarks are in pixels of ``images``.

    Raises
    ------
    DataError
        If there are no pictures, or they have another size or number of channels.
    """
    expected = (1, model.config.pixels, model.config.pixels)
    if len(images) == 0 or tuple(images.shape[1:]) != expected:
        raise DataError(f"pictures of shape {tuple(images.shape)}; the networks need (N, {str(expected)[1:]}")
    logits, points = model.outputs("expression", images), model.outputs("landmarks", images)
    scaler = next((t for t in model.tasks if isinstance(t, tasks.Landmarks)), None)
    return Prediction(
        model.classes,
        None if logits is None else logits.softmax(dim=1),
        None if points is None else scaler.points(points),
    )


def _check_faces(model: TrainedModel, sets: Mapping[str, FaceSet]) -> None:
    """A split of other faces would mix training people into the test."""
    if set(sets) != set(model.data):
        raise DataError(
            f"{model.path} was made with faces for {', '.join(model.data)}; given: {', '.join(sets) or 'nothing'}"
        )
    found = json.loads(json.dumps(tasks.fingerprint(sets)))
    for name, described in found.items():
        if described != model.data[name]:
            raise DataError(
                f"{model.path} was made with other faces for {name!r} ({model.data[name]}; given {described});"
                " give the same data, or part='all' for faces nobody of whom was trained on"
            )
