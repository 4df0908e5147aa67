"""Fine-tuning: a new training that starts where another one ended, on other faces with other classes.

Nothing of the loop is repeated here.  The new run's folder is given a checkpoint of step 0 whose trunks are those of
the source, and :func:`mtl_lib.train.fit` goes on from there, as it does after a break.  So a fine-tuning can be
killed and resumed like any run, and ends in the same bits.

What starts from the source are whole trunks: kernels, scales and shifts of batch norm, and its running
statistics.  Heads are new, because the classes are.  Which networks may start from which is a mapping from the
tasks of the new run to tasks of the source; the others, and the domain classifier, are drawn as ever.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mtl_lib import atomic
from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.devices import isolated, make_fabric
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.evaluate import CHECKPOINTS
from mtl_lib.faces.base import FaceSet
from mtl_lib.regularisers import make_regulariser
from mtl_lib.run import Run
from mtl_lib.run_folder import LAST
from mtl_lib.train import FitResult, fit

STARTED = "started_from.json"
"""In the new run's folder: which run, checkpoint and tasks it started from."""

ARCHITECTURE = ("backbone", "width", "blocks", "shortcut", "pixels")
"""Settings that decide about the shapes of a trunk (``pixels`` for AlexNet and VGG only)."""

SEPARATE = ("soft", "single")
"""Ways of sharing in which every task has a whole network of its own that can be taken out."""

SAME_TASK: Mapping[str, str] = {"expression": "expression"}
"""By default the expression network starts from the source's expression network."""


def finetune(
    source: str | os.PathLike,
    config: TrainConfig,
    sets: Mapping[str, FaceSet],
    *,
    out: str | os.PathLike,
    starts: Mapping[str, str] = SAME_TASK,
    which: str = "best",
    accelerator: str = "auto",
    progress: bool = True,
) -> FitResult:
    """Train the networks of a configuration, some of which start from those of an earlier run.

    Parameters
    ----------
    source : path-like
        The folder of the earlier run.
    config : TrainConfig
        All settings of the new one: its architecture must be the source's, its classes may be others.
    sets : mapping of str to FaceSet
        The new faces by task name.
    out : path-like
        The new run's folder.  If it holds an unfinished fine-tuning from the same source, that goes on.
    starts : mapping of str to str, optional
        Task of the new run -> task of the source whose trunk it starts from.
    which : {"best", "last"}, optional
        The source's checkpoint.
    accelerator, progress
        As for :func:`mtl_lib.train.fit`.

    Returns
    -------
    FitResult
        Where the new run stands.

    Raises
    ------
    ConfigError
        If a task or checkpoint does not exist, or the networks are not ones that stand alone.
    CheckpointError
        If the source does not fit the new networks, or ``out`` was started from another one.
    """
    out = Path(out)
    path = Path(source) / CHECKPOINTS.get(which, which)
    tensors, about = carried_over(source, config, starts=starts, which=which)
    if (out / LAST).exists():
        started = out / STARTED
        before = json.loads(started.read_text(encoding="utf-8")) if started.is_file() else None
        if before != about:
            raise CheckpointError(
                f"{out}: this run was started from {before or 'random weights'}, not from {about}; give the same"
                " source, or choose another folder"
            )
    else:
        fabric = make_fabric(accelerator, config.precision)
        with isolated(fabric.device, config.seed, config.tf32):
            run = Run(config, sets, out, fabric, resume=False, tensorboard=False)
            state = run.networks.state_dict()
            wrong = [
                name for name in tensors if name not in state or state[name].shape != tensors[name].shape
            ]
            if wrong:
                raise CheckpointError(f"{path}: does not fit the new networks, first at {wrong[0]}")
            run.networks.load_state_dict({**state, **tensors})
            # What the run remembers about its start: it starts here, not at the weights that were drawn.
            run.initial = {name: m.laf for name, m in run.norms.measures(run.kernels()).items()}
            run.regulariser = make_regulariser(config, run.networks.net.stacks())
            atomic.write_text(out / STARTED, json.dumps(about, indent=2) + "\n")
            run.save(LAST)
            run.folder.close()
    return fit(config, sets, out=out, resume=True, accelerator=accelerator, progress=progress)


def carried_over(
    source: str | os.PathLike,
    config: TrainConfig,
    *,
    starts: Mapping[str, str] = SAME_TASK,
    which: str = "best",
) -> tuple[dict[str, Tensor], dict]:
    """Return what new networks take over from an earlier run: all of a trunk, and nothing of a head.

    Parameters
    ----------
    source, config, starts, which
        As for :func:`finetune`.

    Returns
    -------
    dict of str to Tensor
        Kernels, scales, shifts and running statistics, by their names in the new networks.
    dict
        Run, hash, step and tasks that they come from.

    Raises
    ------
    ConfigError, CheckpointError
        As :func:`finetune`; that the shapes fit is seen there.

    Examples
    --------
    >>> import tempfile
    >>> from mtl_lib.faces.synthetic import synthetic_set
    >>> from mtl_lib.train import fit
    >>> faces = {"expression": synthetic_set(60, size=32, seed=0)}
    >>> small = {"pixels": 32, "width": 2, "blocks": (1, 1, 1, 1), "steps": 1, "batch_size": 4, "validate_every": 1}
    >>> config = TrainConfig(tasks=("expression",), sharing="single", ada=0.0, **small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = fit(config, faces, out=f"{folder}/run", accelerator="cpu", progress=False)
    ...     tensors, about = carried_over(f"{folder}/run", config)
    >>> about["step"], any("running_mean" in name for name in tensors), any("heads" in name for name in tensors)
    (1, True, False)
    """
    source = Path(source)
    if which not in CHECKPOINTS:
        raise ConfigError(f"the checkpoint is {which!r}; it must be one of {', '.join(CHECKPOINTS)}")
    path = source / CHECKPOINTS[which]
    stored, meta = load_checkpoint(path)
    old = meta["config"]
    for name, settings in (("source", old), ("new run", config.to_dict())):
        if settings["sharing"] not in SEPARATE:
            raise ConfigError(
                f"{path}: the {name} has sharing={settings['sharing']!r}, so its tasks have no network that stands alone;"
                f" take a run with sharing {' or '.join(map(repr, SEPARATE))}"
            )
    fixed = [name for name in ARCHITECTURE if name != "pixels" or config.backbone != "resnet34"]
    new = config.to_dict()
    if different := [
        f"{name} {old[name]} there, {new[name]} here" for name in fixed if old[name] != new[name]
    ]:
        wanted = ", ".join(f"{name}={old[name]}" for name in fixed if old[name] != new[name])
        raise CheckpointError(
            f"{path}: another architecture ({'; '.join(different)}); set {wanted} in the new configuration, or"
            " choose another source"
        )
    tensors: dict[str, Tensor] = {}
    for task, from_task in starts.items():
        if task not in config.tasks or from_task not in old["tasks"]:
            raise ConfigError(
                f"{path}: {task!r} cannot start from {from_task!r}; the new run has the tasks"
                f" {', '.join(config.tasks)}, the source {', '.join(old['tasks'])}"
            )
        here, there = config.tasks.index(task), old["tasks"].index(from_task)
        start = f"model/net.trunk.nets.{there}."
        tensors |= {
            f"net.trunk.nets.{here}.{name.removeprefix(start)}": value
            for name, value in stored.items()
            if name.startswith(start)
        }
    about = {"run": source.name, "hash": meta["hash"], "step": meta["step"], "starts": dict(starts)}
    return tensors, about
