"""Training: one loop, written out, from batches to checkpoints.

Every step does what Section 2 of the paper says, in this order: a batch per task through its own network;
the tasks' losses and, behind a gradient reversal, the domain classifier's; one backward pass; the
sub-gradient of the penalty on top, once, in float32; one step of the optimiser.

A step depends on the configuration, the data, and the tensors in the checkpoint, and on nothing else.  So a
run that was killed and resumed ends, on the same CPU, in the same bits as one that was not.

What is not the loop is elsewhere: rates and parameter groups in :mod:`mtl_lib.schedules`, several processes
in :mod:`mtl_lib.processes`, the folder and the log in :mod:`mtl_lib.run_folder`, checkpoints in
:mod:`mtl_lib.run_state`, expected memory and time in :mod:`mtl_lib.costs`.
"""

import dataclasses
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mtl_lib import costs, run_state, tasks
from mtl_lib.config import TrainConfig
from mtl_lib.devices import Clock, isolated, make_fabric, peak_memory, start_memory_record, stop_signal
from mtl_lib.errors import DivergenceError
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches
from mtl_lib.processes import agreed, averaged, check_batch, shard, synchronise_batch_norm
from mtl_lib.regularisers import make_regulariser
from mtl_lib.run_folder import BEST, LAST, RunFolder, read_log
from mtl_lib.schedules import learning_rate, parameter_groups
from mtl_lib.transforms import augment

__all__ = ["FitResult", "TrainConfig", "fit", "learning_rate", "read_log"]

LOOKS: dict[str, Callable | None] = {
    "none": None,
    "flip": functools.partial(augment, rotation=0.0, scale=(1.0, 1.0), shift=0.0, noise=0.0),
    "full": augment,
}
"""What may happen to a training picture; see :func:`mtl_lib.transforms.augment`."""

EXPLODED = 1000.0
"""A loss so many times the first one counts as divergence, though it is still a number."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a run has come to.

    Parameters
    ----------
    out : pathlib.Path
        The run's folder.
    step : int
        Steps done.
    finished : bool
        Whether nothing is left to do; a run stopped by Ctrl-C can be resumed.
    best_step : int
        The step of ``best.safetensors``; -1 before the first validation.
    validation : dict of str to float
        The measures at that step, in percent.
    seconds : float
        Time spent in this call.
    memory : float
        Peak memory in MB: of the GPU if there is one, else of the process.
    predicted : dict of str to float
        What was expected before the start: ``memory`` in MB, ``seconds_per_step``.
    seconds_per_step : float
        What a step took.
    """

    out: Path
    step: int
    finished: bool
    best_step: int
    validation: dict[str, float]
    seconds: float
    memory: float
    predicted: dict[str, float]
    seconds_per_step: float

    def __str__(self) -> str:
        state = "finished" if self.finished else "stopped; resume to go on"
        measures = ", ".join(f"{name} {value:.1f}" for name, value in self.validation.items())
        step, expected = self.seconds_per_step, self.predicted["seconds_per_step"]
        return (
            f"{self.out}: step {self.step}, {state}; {self.seconds / 60:.1f} min, {self.memory:.0f} MB\n"
            f"a step took {step:.3g} s, {expected:.3g} s were expected; {self.predicted['memory']:.0f} MB"
            " were expected\n"
            f"best on validation at step {self.best_step}: {measures}"
        )


def fit(
    config: TrainConfig,
    sets: Mapping[str, FaceSet] | None = None,
    *,
    out: str | os.PathLike,
    root: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    progress: bool = True,
    tensorboard: bool = False,
    on_step: Callable[[int], Any] | None = None,
) -> FitResult:
    """Train the networks of a configuration and keep the run in a folder.

    The folder gets what :mod:`mtl_lib.run_folder` lists.  "Best" is the largest macro-recall minus NME on
    the validation people; the test people are never looked at.  Ctrl-C ends the run after the current step
    with a checkpoint.  Under ``torchrun`` every process calls this; see :mod:`mtl_lib.processes`.

    Parameters
    ----------
    config : TrainConfig
        All settings.
    sets : mapping of str to FaceSet, optional
        All faces by task name; split here by person.  By default those of ``config.tier``.
    out : path-like
        The run's folder.
    root, cache : path-like, optional
        Where the tier's data are, and where prepared pictures may be kept; only without ``sets``.
    resume : bool, optional
        Go on from ``last.safetensors`` if there is one, else begin.
    accelerator : str, optional
        "auto", "cpu", "cuda" or "mps".
    progress : bool, optional
        Show on standard error that pictures are being rendered or read, a progress bar, the expected time and
        memory, and the validations.
    tensorboard : bool, optional
        Also write the log for TensorBoard (``pip install mtl-lib[tensorboard]``).
    on_step : callable, optional
        Called with the number of steps done, after each.

    Returns
    -------
    FitResult
        Where the run stands.

    Raises
    ------
    ConfigError
        If ``out`` holds a run and ``resume`` is not set, the device cannot do ``config.precision``, or the
        batch does not fall into equal parts.
    CheckpointError
        If the run to resume has another configuration or other data, or its checkpoint is damaged.
    DataError
        If the data do not serve the tasks.
    DivergenceError
        If a loss or a weight is no longer finite, or the loss is a thousand times what it was at first; the
        last good checkpoint stays.
    """
    started = time.monotonic()
    fabric = make_fabric(accelerator, config.precision)
    check_batch(config, fabric.world_size)
    progress = progress and fabric.is_global_zero
    if sets is None:
        if progress and (config.tier == "synthetic" or root is not None):
            # It can take a minute in which nothing else is heard.
            doing = "rendering faces" if config.tier == "synthetic" else f"reading the pictures in {root}"
            print(f"{doing}, {config.pixels}x{config.pixels} pixels ...", file=sys.stderr, flush=True)
        sets = tasks.load_sets(config, root, cache)
    with isolated(fabric.device, config.seed, config.tf32), stop_signal() as stop:
        run = _Run(config, sets, out, fabric, resume, tensorboard)
        run.loop(stop, progress, on_step)
    return FitResult(
        out=run.folder.path,
        step=run.step,
        finished=run.done(),
        best_step=run.best["step"],
        validation=run.best["validation"],
        seconds=time.monotonic() - started,
        memory=peak_memory(fabric.device),
        predicted=run.predicted,
        seconds_per_step=run.clock.seconds_per_step(),
    )


class _Run:
    """A run and its loop.  ``step`` counts finished steps: a checkpoint's step n is the state after n."""

    def __init__(
        self,
        config: TrainConfig,
        sets: Mapping[str, FaceSet],
        out: Any,
        fabric: Any,
        resume: bool,
        tensorboard: bool,
    ):
        self.config, self.fabric = config, fabric
        held = start_memory_record(fabric.device)
        parts = tasks.split_sets(config, sets)
        self.validation = parts["validation"]
        self.tasks = tasks.make_tasks(config, parts["train"])
        # The settings of a task are named by its singular: expression_weight, landmark_weight.
        singular = [name.removesuffix("s") for name in config.tasks]
        self.weights = [getattr(config, f"{name}_weight") for name in singular]
        looks = [LOOKS[getattr(config, f"{name}_augment")] for name in singular]
        self.batches = TaskBatches(parts["train"], config.batch_size, config.seed, fabric.device, looks)

        self.networks = tasks.Networks(config, self.tasks).to(fabric.device)
        if config.sync_batch_norm:
            synchronise_batch_norm(self.networks, fabric.device)
        stacks = self.networks.net.stacks()
        self.regulariser = make_regulariser(config, stacks)
        groups = parameter_groups(self.networks.parameters(), stacks, config.weight_decay)
        optimiser = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        alignment = self.networks.alignment
        inner = None if alignment is None else alignment.optimiser()
        self.inner = [] if inner is None else [inner]  # moves the domain classifier, in the alternating form

        self.step = 0
        self.best: dict[str, Any] = {"step": -1, "score": None, "validation": {}}
        self.ceiling = torch.full((), torch.inf, device=fabric.device)
        self.initial = {name: m.laf for name, m in self.regulariser.measures(stacks).items()}
        classes = [list(task.classes) for task in self.tasks if task.name == "expression"]
        data = tasks.fingerprint(sets)  # of untrained sets too: the split depends on all
        self.folder = RunFolder(
            out, config, classes[0] if classes else [], data, fabric.world_size, fabric.is_global_zero
        )
        found = self.folder.find(resume)
        if found is not None:
            self._restore(*found, optimiser)
        self.predicted = self._predict(held)
        fabric.barrier()  # nobody writes before all have looked
        self.folder.open(self.step, tensorboard)
        if config.compile:
            self.networks.net.trunk.compile()
        self.model, self.optimiser = fabric.setup(self.networks, optimiser)
        self.clock = Clock(self.step, config.steps)
        self.bad = torch.zeros((), dtype=torch.bool, device=fabric.device)

    def train_step(self) -> dict[str, Tensor]:
        """Do one step, and return what may be logged.  Nothing in it waits for the GPU."""
        config, fabric = self.config, self.fabric
        progress, rate = self.step / config.steps, learning_rate(config, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batches = self.batches.batch(self.step)  # of all processes; this one takes its own pieces of it
        pieces, first = fabric.world_size * config.accumulate, fabric.global_rank * config.accumulate

        self.optimiser.zero_grad()
        seen = []
        for i in range(config.accumulate):
            own = shard(batches, first + i, pieces)
            with fabric.no_backward_sync(self.model, enabled=i + 1 < config.accumulate):
                outputs, domain, accuracy = self.model([batch.images for batch in own], progress)
                losses = [t.loss(o, b) for t, o, b in zip(self.tasks, outputs, own, strict=True)]
                total = sum(w * loss for w, loss in zip(self.weights, losses, strict=True)) + domain
                fabric.backward(total / config.accumulate)
            seen.append(torch.stack([*losses, total, domain, accuracy]).detach())
        # This also undoes the scaling of 16-bit gradients; so the penalty's must come after it.
        length = fabric.clip_gradients(
            self.model, self.optimiser, max_norm=config.clip, error_if_nonfinite=False
        )
        stacks = self.networks.net.stacks()
        penalty = self.regulariser.add_gradient_(stacks)
        self.optimiser.step()
        self.regulariser.after_step_(stacks, rate)

        values = torch.stack(seen).mean(dim=0)
        total = values[len(self.tasks)]
        if self.step == 0:
            self.ceiling = EXPLODED * total.clamp_min(1.0)
        self.bad |= ~(torch.isfinite(total) & torch.isfinite(penalty)) | (total > self.ceiling)
        self.step += 1
        return {"values": values, "penalty": penalty, "gradient_norm": length}

    def loop(self, stop: threading.Event, progress: bool, on_step: Callable[[int], Any] | None) -> None:
        """Train from ``self.step`` to the end, or until ``stop`` is set."""
        config, clock = self.config, self.clock
        self.networks.train()
        if self.step == 0:
            self._log("start", {"layers": list(self.initial), **self._where()})
            self._log("layers", self._layers())
        else:
            self._log("start", self._where())
        self._log("predicted", self.predicted)
        bar = tqdm(total=config.steps, initial=self.step, disable=not progress, unit="step", mininterval=1.0)
        with bar:
            seconds = self.predicted["seconds_per_step"] * (config.steps - self.step)
            self._tell(bar, f"expected: {seconds / 60:.1f} minutes, {self.predicted['memory']:.0f} MB")
            halt = False
            while not self.done() and not halt:
                found = self.train_step()
                clock.tick(self.step)
                bar.update()
                validate = self.step % config.validate_every == 0 or self.step == config.steps
                log = self.step % config.log_every == 0 or self.step == config.steps
                if self.fabric.world_size == 1 or log:  # several processes have to agree, which takes time
                    halt = agreed(self.fabric, stop.is_set())
                if log or halt:
                    with clock.aside():
                        self._log_step(found, bar)
                if clock.forecast_due():
                    self._forecast(bar)
                with clock.aside():
                    if validate:
                        self._check_finite()
                        self._validate(bar)
                        self._save(LAST)
                    elif self.step % config.save_every == 0 or halt:
                        self._check_finite()
                        self._save(LAST)
                if on_step is not None:
                    on_step(self.step)
        self._log("end", self._end())
        self.folder.close()
        self.fabric.barrier()

    def done(self) -> bool:
        """Whether all steps are done, or the score has not risen for ``patience`` validations."""
        waited = self.step - self.best["step"] >= self.config.patience * self.config.validate_every
        early = self.config.patience > 0 and self.best["step"] > 0 and waited
        return early or self.step == self.config.steps

    # --- What is told and kept.

    def _log_step(self, found: Mapping[str, Tensor], bar: tqdm) -> None:
        """Fetch the numbers of a step from the device, and write a line of the log."""
        config = self.config
        values = averaged(self.fabric, found["values"]).tolist()
        numbers = dict(zip([*config.tasks, "loss", "domain", "domain_accuracy"], values, strict=True))
        reversal = 0.0
        if self.networks.alignment is None:
            del numbers["domain"], numbers["domain_accuracy"]
        else:
            reversal = self.networks.alignment.coefficient((self.step - 1) / config.steps)
        numbers |= {name: found[name].item() for name in ("penalty", "gradient_norm")}
        numbers |= {"lr": learning_rate(config, self.step - 1), "reversal": reversal}
        if scale := self.fabric.strategy.precision.state_dict().get("scale"):
            numbers["loss_scale"] = scale
        self._check_finite()
        self._log("train", {**numbers, **self.clock.report()})
        bar.set_postfix({name: f"{numbers[name]:.2f}" for name in config.tasks}, refresh=False)

    def _check_finite(self) -> None:
        weights = [v for v in self.networks.state_dict().values() if v.is_floating_point()]
        finite = torch.stack([value.isfinite().all() for value in weights]).all()
        scale = self.fabric.strategy.precision.state_dict().get("scale", 1.0)  # halved after every overflow
        if agreed(self.fabric, self.bad | ~finite | (scale < 2**-20)):
            last = self.folder.path / LAST
            kept = f"the last good state is kept in {last}" if last.exists() else "nothing was saved before"
            raise DivergenceError(
                f"training diverged at or shortly before step {self.step}: the loss or a weight is not finite,"
                f" or the loss is more than {EXPLODED:.0f} times the first; {kept}. Try a smaller lr (now"
                f" {self.config.lr}), a smaller gamma (now {self.config.gamma}) or a finite clip"
            )

    def _validate(self, bar: tqdm) -> None:
        """Measure the validation people and the layers; the first process does, and tells the others."""
        measures: dict[str, float] = {}
        if self.fabric.is_global_zero:
            for t, task in enumerate(self.tasks):
                faces = self.validation[task.name]
                found = task.measure(tasks.outputs_of(self.networks, t, faces.images), faces)
                measures |= {f"{task.name}/{name}": value for name, value in found.items()}
        measures = self.fabric.broadcast(measures)
        score = tasks.score(measures)
        passes = dict(zip(self.config.tasks, self.batches.passes(self.step), strict=True))
        self._log("validation", {**measures, "score": score, "passes": passes, **self._layers()})
        if self.best["score"] is None or score > self.best["score"]:
            self.best = {"step": self.step, "score": score, "validation": measures}
            self._save(BEST)
        told = ("expression/accuracy", "expression/macro_recall", "landmarks/nme")
        self._tell(
            bar,
            f"step {self.step}: " + ", ".join(f"{k} {measures[k]:.1f}" for k in told if k in measures),
        )

    def _layers(self) -> dict[str, Any]:
        """Trace norms summed over the layers, without gamma, and what every layer shares, in their order.

        One number per unfolding (LAF 1, TT 4, Tucker 5); the cosine is the mean over pairs of tasks.
        """
        found = self.regulariser.measures(self.networks.net.stacks())
        if not found:
            return {}
        layers: dict[str, list[float]] = {"cosine": [], "scale_free": [], "tndr": []}
        for name, layer in found.items():
            tasks_ = len(layer.cosine)
            pairs = (layer.cosine.sum() - tasks_) / max(1, tasks_ * (tasks_ - 1))
            layers["cosine"].append(round(pairs.item(), 6))
            layers["scale_free"].append(round(layer.scale_free.item(), 6))
            layers["tndr"].append(round((layer.laf / self.initial[name]).item(), 6))
        norms = sum(layer.terms.double() for layer in found.values())
        return {"trace_norms": norms.tolist(), "layers": layers}

    def _predict(self, held: float) -> dict[str, Any]:
        """Expected memory and time; see :mod:`mtl_lib.costs`."""
        fabric, sets = self.fabric, self.batches.sets
        on_gpu = fabric.device.type == "cuda"
        batches = self.batches.batch(0)
        data = sum(b.images.numel() * b.images.element_size() for b in batches)
        data += sum(faces.images.numel() for faces in sets) if on_gpu else 0  # else they are in `held`
        about = {"processes": fabric.world_size, "autocast": fabric.autocast}
        self.networks.train()
        with torch.random.fork_rng(devices=[fabric.device] if on_gpu else []):
            memory = costs.predict_memory(
                self.config, self.networks, self.tasks, batches, data=data / costs.MB, base=held, **about
            )
            seconds = costs.predict_seconds(
                self.config,
                self.networks,
                self.tasks,
                self.batches,
                lambda probe: self.regulariser.add_gradient_(probe.net.stacks()),
                **about,
            )
        parts = {name: round(value, 1) for name, value in dataclasses.asdict(memory).items()}
        return {"memory": memory.total, "memory_parts": parts, "seconds_per_step": seconds}

    def _forecast(self, bar: tqdm) -> None:
        memory = peak_memory(self.fabric.device)
        self._log("forecast", {**self.clock.report(), "memory": memory})
        minutes = self.clock.report()["seconds_left"] / 60
        self._tell(bar, f"{minutes:.1f} minutes to go on {self.fabric.device}; memory so far {memory:.0f} MB")

    def _where(self) -> dict[str, Any]:
        fabric = self.fabric
        return {
            "device": str(fabric.device),
            "threads": torch.get_num_threads(),
            "processes": fabric.world_size,
        }

    def _end(self) -> dict[str, Any]:
        """What the run has cost, beside what was expected."""
        expected = {f"{k}_expected": self.predicted[k] for k in ("memory", "seconds_per_step")}
        took = {"memory": peak_memory(self.fabric.device), "seconds_per_step": self.clock.seconds_per_step()}
        return {"finished": self.done(), **took, **expected}

    def _tell(self, bar: tqdm, text: str) -> None:
        if not bar.disable:
            bar.write(text, file=sys.stderr)

    def _log(self, event: str, values: Mapping[str, Any]) -> None:
        self.folder.log(event, self.step, values)

    def _save(self, name: str) -> None:
        if self.fabric.is_global_zero:
            kept = {f"initial/{layer}": value for layer, value in self.initial.items()}
            kept |= {f"regulariser/{key}": value for key, value in self.regulariser.state().items()}
            kept["ceiling"] = self.ceiling
            optimisers = [self.optimiser.optimizer, *self.inner]
            tensors = run_state.gather(self.networks, optimisers, self.tasks, kept, self.fabric)
            scaler = self.fabric.strategy.precision.state_dict()
            self.folder.save(name, tensors, {"step": self.step, "best": self.best, "scaler": scaler})
        self.fabric.barrier()

    def _restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], optimiser: Any) -> None:
        last = self.folder.path / LAST
        kept = run_state.scatter(last, tensors, meta, self.networks, [optimiser, *self.inner], self.fabric)
        self.step, self.best = meta["step"], meta["best"]
        self.ceiling = kept["ceiling"].to(self.fabric.device)
        self.initial = {name: kept[f"initial/{name}"].to(self.fabric.device) for name in self.initial}
        start = "regulariser/"
        self.regulariser.load_state(
            {k.removeprefix(start): v for k, v in kept.items() if k.startswith(start)}
        )
