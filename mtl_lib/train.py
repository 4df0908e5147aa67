"""Training: one loop, written out, from batches to checkpoints.

Every step does what Section 2 of the paper says, in this order: a batch per task through its own network;
the tasks' losses and, behind a gradient reversal, the domain classifier's; one backward pass; the
sub-gradient of the trace norm on top, once, in float32; one step of the optimiser.

A step depends on the configuration, the data, and the tensors in the checkpoint, and on nothing else.  So a
run that was killed and resumed ends, on the same CPU, in the same bits as one that was not.
"""

import dataclasses
import functools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mtl_lib import checkpoint, tasks
from mtl_lib.adversary import ganin_ramp
from mtl_lib.config import TrainConfig
from mtl_lib.devices import Clock, isolated, make_fabric, peak_memory, stop_signal
from mtl_lib.errors import DivergenceError
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches
from mtl_lib.run_folder import BEST, LAST, RunFolder, read_log
from mtl_lib.trace_norm import TraceNormPenalty
from mtl_lib.transforms import augment

__all__ = ["FitResult", "TrainConfig", "fit", "learning_rate", "read_log"]

LOOKS: dict[str, Callable | None] = {
    "none": None,
    "flip": functools.partial(augment, rotation=0.0, scale=(1.0, 1.0), shift=0.0, noise=0.0),
    "full": augment,
}
"""What may happen to a training picture; see :func:`mtl_lib.transforms.augment`."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a run has come to.

    Attributes
    ----------
    out : pathlib.Path
        The run's folder.
    step : int
        Steps done.
    finished : bool
        Whether these are all; a run stopped by Ctrl-C can be resumed.
    best_step : int
        The step of ``best.safetensors``; -1 before the first validation.
    validation : dict of str to float
        The measures at that step, in percent.
    seconds : float
        Time spent in this call.
    memory : float
        Peak memory in MB: of the GPU if there is one, else of the process.
    """

    out: Path
    step: int
    finished: bool
    best_step: int
    validation: dict[str, float]
    seconds: float
    memory: float

    def __str__(self) -> str:
        state = "finished" if self.finished else "stopped; resume to go on"
        measures = ", ".join(f"{name} {value:.1f}" for name, value in self.validation.items())
        return (
            f"{self.out}: step {self.step}, {state}; {self.seconds / 60:.1f} min, {self.memory:.0f} MB\n"
            f"best on validation at step {self.best_step}: {measures}"
        )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of step ``step``: constant, or half a cosine from ``lr`` down to 0.

    Examples
    --------
    >>> config = TrainConfig(lr=0.1, steps=100)
    >>> [round(learning_rate(config, step), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))


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
    on_step: Callable[[int], Any] | None = None,
) -> FitResult:
    """Train the networks of a configuration and keep the run in a folder.

    The folder gets what :mod:`mtl_lib.run_folder` lists.  "Best" is the largest macro-recall minus NME on
    the validation people; the test people are never looked at.  Ctrl-C ends the run after the current step
    with a checkpoint.

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
    on_step : callable, optional
        Called with the number of steps done, after each.

    Returns
    -------
    FitResult
        Where the run stands.

    Raises
    ------
    ConfigError
        If ``out`` holds a run and ``resume`` is not set, or the device cannot do ``config.precision``.
    CheckpointError
        If the run to resume has another configuration or other data, or its checkpoint is damaged.
    DataError
        If the data do not serve the tasks.
    DivergenceError
        If a loss or a weight is no longer finite; the last good checkpoint stays.
    """
    started = time.monotonic()
    fabric = make_fabric(accelerator, config.precision)
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
    if sets is None:
        if progress and (config.tier == "synthetic" or root is not None):
            # It can take a minute in which nothing else is heard.
            doing = "rendering faces" if config.tier == "synthetic" else f"reading the pictures in {root}"
            print(f"{doing}, {config.pixels}x{config.pixels} pixels ...", file=sys.stderr, flush=True)
        sets = tasks.load_sets(config, root, cache)
    with isolated(fabric.device, config.seed, config.tf32), stop_signal() as stop:
        run = _Run(config, sets, out, fabric, resume)
        run.loop(stop, progress, on_step)
    return FitResult(
        out=run.folder.path,
        step=run.step,
        finished=run.step == config.steps,
        best_step=run.best["step"],
        validation=run.best["validation"],
        seconds=time.monotonic() - started,
        memory=peak_memory(fabric.device),
    )


class _Run:
    """A run and its loop.  ``step`` counts finished steps: a checkpoint's step n is the state after n."""

    def __init__(self, config: TrainConfig, sets: Mapping[str, FaceSet], out: Any, fabric: Any, resume: bool):
        self.config, self.fabric = config, fabric
        parts = tasks.split_sets(config, sets)
        self.validation = parts["validation"]
        self.tasks = tasks.make_tasks(config, parts["train"])
        # The settings of a task are named by its singular: expression_weight, landmark_weight.
        singular = [name.removesuffix("s") for name in config.tasks]
        self.weights = [getattr(config, f"{name}_weight") for name in singular]
        looks = [LOOKS[getattr(config, f"{name}_augment")] for name in singular]
        self.batches = TaskBatches(parts["train"], config.batch_size, config.seed, fabric.device, looks)

        self.networks = tasks.Networks(config, self.tasks).to(fabric.device)
        optimiser = torch.optim.SGD(
            _parameter_groups(self.networks, config.weight_decay), lr=config.lr, momentum=config.momentum
        )
        self.penalty = TraceNormPenalty(config.norm, config.gamma)
        stacks = self.networks.net.stacks()
        self.pins = [torch.stack(torch._foreach_norm(list(weights))) for weights in stacks.values()]

        self.step = self.saved = 0
        self.best: dict[str, Any] = {"step": -1, "score": None, "validation": {}}
        classes = [list(task.classes) for task in self.tasks if task.name == "expression"]
        data = tasks.fingerprint(sets)  # of untrained sets too: the split depends on all
        self.folder = RunFolder(out, config, classes[0] if classes else [], data)
        found = self.folder.begin(resume)
        if found is not None:
            self._restore(*found, optimiser)
        self.model, self.optimiser = fabric.setup(self.networks, optimiser)

    def loop(self, stop: threading.Event, progress: bool, on_step: Callable[[int], Any] | None) -> None:
        """Train from ``self.step`` to the end, or until ``stop`` is set."""
        config, fabric = self.config, self.fabric
        self.networks.train()
        clock = Clock(self.step, config.steps)
        bad = torch.zeros((), dtype=torch.bool, device=fabric.device)
        self._log("start", {"device": str(fabric.device), "threads": torch.get_num_threads()})
        bar = tqdm(total=config.steps, initial=self.step, disable=not progress, unit="step", mininterval=1.0)
        with bar:
            while self.step < config.steps and not stop.is_set():
                # --- One step.  Nothing in it waits for the GPU; numbers are fetched when they are logged.
                batches = self.batches.batch(self.step)
                rate = learning_rate(config, self.step)
                reversal = config.ada * (ganin_ramp(self.step / config.steps) if config.ada_ramp else 1.0)
                for group in self.optimiser.param_groups:
                    group["lr"] = rate

                self.optimiser.zero_grad()
                outputs, domain, domain_accuracy = self.model([batch.images for batch in batches], reversal)
                losses = [t.loss(o, b) for t, o, b in zip(self.tasks, outputs, batches, strict=True)]
                total = sum(w * loss for w, loss in zip(self.weights, losses, strict=True)) + domain
                fabric.backward(total)
                # This also undoes the scaling of 16-bit gradients; so the penalty's must come after it.
                length = fabric.clip_gradients(
                    self.model, self.optimiser, max_norm=config.clip, error_if_nonfinite=False
                )
                stacks = self.networks.net.stacks()
                penalty = self.penalty.add_gradient_(stacks)
                self.optimiser.step()
                if config.pinned:
                    self._pin(stacks)
                bad |= ~(torch.isfinite(total.detach()) & torch.isfinite(penalty))
                self.step += 1

                # --- What is told and kept.
                clock.tick(self.step)
                bar.update()
                end = self.step == config.steps or stop.is_set()
                if self.step % config.log_every == 0 or end:
                    values = dict(zip(config.tasks, losses, strict=True))
                    values |= {"loss": total, "penalty": penalty, "gradient_norm": length}
                    if self.networks.adversary is not None:
                        values |= {"domain": domain, "domain_accuracy": domain_accuracy}
                    numbers = {name: float(value.detach()) for name, value in values.items()}
                    self._check_finite(bad)
                    self._log("train", {**numbers, "lr": rate, "reversal": reversal, **clock.report()})
                    bar.set_postfix({name: f"{numbers[name]:.2f}" for name in config.tasks}, refresh=False)
                if clock.forecast_due():
                    self._forecast(clock, bar)
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    self._check_finite(bad)
                    self._validate(bar)
                    self._save(LAST)
                elif self.step % config.save_every == 0:
                    self._check_finite(bad)
                    self._save(LAST)
                if on_step is not None:
                    on_step(self.step)
        if self.saved != self.step:
            self._check_finite(bad)
            self._save(LAST)
        self._log("end", {"finished": self.step == config.steps, "memory": peak_memory(fabric.device)})

    @torch.no_grad()
    def _pin(self, stacks: Mapping[str, Sequence[Tensor]]) -> None:
        """Scale every task's kernel back to the norm it started with."""
        for weights, pin in zip(stacks.values(), self.pins, strict=True):
            for weight, norm in zip(weights, pin, strict=True):
                weight.mul_(norm / weight.norm())

    def _check_finite(self, bad: Tensor) -> None:
        finite = all(bool(value.isfinite().all()) for value in self.networks.state_dict().values())
        if bool(bad) or not finite:
            last = self.folder.path / LAST
            kept = f"the last good state is kept in {last}" if last.exists() else "nothing was saved before"
            raise DivergenceError(
                f"training diverged at or shortly before step {self.step}: the loss or a weight is not finite;"
                f" {kept}. Try a smaller lr (now {self.config.lr}), a smaller gamma (now {self.config.gamma})"
                " or a finite clip"
            )

    def _validate(self, bar: tqdm) -> None:
        measures = {}
        for t, task in enumerate(self.tasks):
            faces = self.validation[task.name]
            found = task.measure(tasks.outputs_of(self.networks, t, faces.images), faces)
            measures |= {f"{task.name}/{name}": value for name, value in found.items()}
        score = tasks.score(measures)
        # One number per unfolding, summed over the layers, without gamma: LAF 1, TT 4, Tucker 5.
        modes = sum(self.penalty.terms(self.networks.net.stacks()).values())
        self._log("validation", {**measures, "score": score, "trace_norms": modes.tolist()})
        if self.best["score"] is None or score > self.best["score"]:
            self.best = {"step": self.step, "score": score, "validation": measures}
            self._save(BEST)
        told = ("expression/accuracy", "expression/macro_recall", "landmarks/nme")
        _tell(bar, f"step {self.step}: " + ", ".join(f"{k} {measures[k]:.1f}" for k in told if k in measures))

    def _forecast(self, clock: Clock, bar: tqdm) -> None:
        memory = peak_memory(self.fabric.device)
        self._log("forecast", {**clock.report(), "memory": memory})
        minutes = clock.report()["seconds_left"] / 60
        _tell(bar, f"{minutes:.1f} minutes to go on {self.fabric.device}; memory so far {memory:.0f} MB")

    def _log(self, event: str, values: Mapping[str, Any]) -> None:
        self.folder.log(event, self.step, values)

    def _save(self, name: str) -> None:
        tensors = checkpoint.collect(self.networks, self.optimiser.optimizer)
        tensors |= {f"task/{task.name}/{key}": v for task in self.tasks for key, v in task.state().items()}
        tensors |= {f"pins/{i}": pin for i, pin in enumerate(self.pins)}
        tensors["rng/cpu"] = torch.get_rng_state()
        if self.fabric.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        scaler = self.fabric.strategy.precision.state_dict()
        self.folder.save(name, tensors, {"step": self.step, "best": self.best, "scaler": scaler})
        if name == LAST:
            self.saved = self.step

    def _restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], optimiser: Any) -> None:
        last = self.folder.path / LAST
        checkpoint.restore(last, tensors, self.networks, optimiser)
        self.step = self.saved = meta["step"]
        self.best = meta["best"]
        self.pins = [tensors[f"pins/{i}"].to(self.fabric.device) for i in range(len(self.pins))]
        torch.set_rng_state(tensors["rng/cpu"])
        if "rng/cuda" in tensors and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng/cuda"], self.fabric.device)
        self.fabric.strategy.precision.load_state_dict(meta["scaler"])


def _tell(bar: tqdm, text: str) -> None:
    if not bar.disable:
        bar.write(text, file=sys.stderr)


def _parameter_groups(networks: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for weights that no penalty acts on; none for stacked weights, biases and batch norm."""
    stacked = {id(w) for weights in networks.net.stacks().values() for w in weights}
    decayed = [p for p in networks.parameters() if p.ndim >= 2 and id(p) not in stacked]
    chosen = {id(p) for p in decayed}
    free = [p for p in networks.parameters() if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
