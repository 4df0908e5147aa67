"""Training: one loop, written out, from batches to checkpoints.

Every step does what Section 2 of the paper says, in this order: a batch per task through its own network;
the tasks' losses and, behind a gradient reversal, the domain classifier's; one backward pass; the
sub-gradient of the penalty on top, once, in float32; one step of the optimiser.

A step depends on the configuration, the data, and the tensors in the checkpoint, and on nothing else.  So a
run that was killed and resumed ends, on the same CPU, in the same bits as one that was not.

What stands around the loop is elsewhere: what is trained, measured and kept in :mod:`mtl_lib.run`, rates and
parameter groups in :mod:`mtl_lib.schedules`, several processes in :mod:`mtl_lib.processes`, folder and log in
:mod:`mtl_lib.run_folder`, expected memory and time in :mod:`mtl_lib.costs`.
"""

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mtl_lib import tasks
from mtl_lib.config import TrainConfig
from mtl_lib.devices import isolated, make_fabric, peak_memory, stop_signal
from mtl_lib.errors import Interrupted
from mtl_lib.faces.base import FaceSet
from mtl_lib.processes import agreed, check_batch, shard
from mtl_lib.run import EXPLODED, Run
from mtl_lib.run_folder import LAST, read_log
from mtl_lib.schedules import learning_rate

__all__ = ["FitResult", "TrainConfig", "fit", "learning_rate", "read_log"]


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
        Peak memory in MiB: of the GPU if there is one, else of the process.
    predicted : dict of str to float
        What was expected before the start: ``memory`` in MiB, ``seconds_per_step``.
    seconds_per_step : float
        What a step took.
    signal : int, optional
        The signal that came while it ran.  It may have come in the last step: a run can be finished and its user want
        to stop all the same.
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
    signal: int | None = None

    def completed(self) -> "FitResult":
        """Return this result, if the run is finished and nobody wants to stop.

        Whoever measures a run, or goes on to the next one, asks for this first.

        Raises
        ------
        Interrupted
            Else.  The folder holds what is done; the next call with ``resume`` goes on there.
        """
        if self.finished and self.signal is None:
            return self
        raise Interrupted(f"{self.out}: stopped at step {self.step}", self.signal or signal.SIGINT)

    def __str__(self) -> str:
        state = "finished" if self.finished else "stopped; resume to go on"
        measures = ", ".join(f"{name} {value:.1f}" for name, value in self.validation.items())
        step, expected = self.seconds_per_step, self.predicted["seconds_per_step"]
        return (
            f"{self.out}: step {self.step}, {state}; {self.seconds / 60:.1f} min, {self.memory:.0f} MiB\n"
            f"a step took {step:.3g} s, {expected:.3g} s were expected; {self.predicted['memory']:.0f} MiB"
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
    watch: Callable[[Run], Any] | None = None,
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
    watch : callable, optional
        Called with the :class:`~mtl_lib.run.Run`, once before the first step and after each.  What it writes
        with ``run.log`` is kept, or done again, with the step that it belongs to when a run is resumed.

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
        run = Run(config, sets, out, fabric, resume, tensorboard)
        loop(run, stop, progress, on_step, watch)
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
        signal=stop.number,
    )


def train_step(run: Run) -> dict[str, Tensor]:
    """Do one step, and return what may be logged.

    After the first step, which copies constants to the device, nothing in it waits for the GPU, as long as two
    tasks share by ``laf``, ``norm_only`` or ``deviation``, or without a penalty, and the sets are kept on the
    device.  What does wait, and how often:

    * ``16-mixed``: once a step, when the scaler asks whether a gradient has overflowed;
    * a new pass over a set: once, for its order;
    * sets kept in memory of the host: every batch;
    * the placebo's labels, which are drawn on the CPU: their copy is asynchronous only if the driver will;
    * ``tucker`` and ``tt``: several times a layer, for eigendecompositions and to choose between ways;
    * LAF of more than two tasks: for every layer two calls of ``eigh`` and one of ``svd``.

    The tests count copies and questions on tensors without data; no GPU has been timed.

    Parameters
    ----------
    run : Run
        Moved on by one step.

    Returns
    -------
    dict of str to Tensor
        ``values`` (every task's loss, the total, the domain classifier's loss and accuracy), ``penalty`` and
        ``gradient_norm``, all on the device.
    """
    config, fabric = run.config, run.fabric
    progress, rate = run.step / config.steps, learning_rate(config, run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    batches = run.batches.batch(run.step)  # of all processes; this one takes its pieces
    pieces = fabric.world_size * config.accumulate
    first = fabric.global_rank * config.accumulate

    run.optimiser.zero_grad()
    seen = []
    for i in range(config.accumulate):
        own = shard(batches, first + i, pieces)
        with fabric.no_backward_sync(run.model, enabled=i + 1 < config.accumulate):
            outputs, domain, accuracy = run.model([b.images for b in own], progress)
            triples = zip(run.tasks, outputs, own, strict=True)
            losses = [task.loss(output, batch) for task, output, batch in triples]
            weighted = [w * loss for w, loss in zip(run.weights, losses, strict=True)]
            total = sum(weighted) + domain
            fabric.backward(total / config.accumulate)
        seen.append(torch.stack([*losses, total, domain, accuracy]).detach())
    # This also takes out the scale of 16-bit gradients; so the penalty's come after it.
    length = fabric.clip_gradients(
        run.model, run.optimiser, max_norm=config.clip, error_if_nonfinite=False
    )  # fmt: skip
    stacks = run.networks.net.stacks()
    penalty = run.regulariser.add_gradient_(stacks)
    if run.take_step():  # not where 16-bit gradients have overflowed: then there is nothing to follow either
        run.regulariser.after_step_(stacks, rate)

    values = torch.stack(seen).mean(dim=0)
    total = values[len(run.tasks)]
    if run.step == 0:
        run.ceiling = EXPLODED * total.clamp_min(1.0)
    finite = torch.isfinite(total) & torch.isfinite(penalty)
    run.bad |= ~finite | (total > run.ceiling)
    run.step += 1
    return {"values": values, "penalty": penalty, "gradient_norm": length}


def loop(
    run: Run,
    stop: threading.Event,
    progress: bool,
    on_step: Callable[[int], Any] | None,
    watch: Callable[[Run], Any] | None = None,
) -> None:
    """Train from ``run.step`` to the end, or until ``stop`` is set.

    Parameters
    ----------
    run : Run
        Where to begin.
    stop : threading.Event
        Set by Ctrl-C.
    progress : bool
        Show a bar.
    on_step : callable or None
        Called with the number of steps done, after each.
    watch : callable, optional
        Called with the run, once before the first step and after each.
    """
    config, clock = run.config, run.clock
    run.networks.train()
    if run.step == 0:
        run.log("start", {"layers": list(run.initial), **run.where()})
        run.log("layers", run.layers())
        if watch is not None:
            watch(run)
    else:
        run.log("start", run.where())
    run.log("predicted", run.predicted)
    bar = tqdm(total=config.steps, initial=run.step, disable=not progress, unit="step", mininterval=1.0)
    with bar:
        seconds = run.predicted["seconds_per_step"] * (config.steps - run.step)
        run.tell(bar, f"expected: {seconds / 60:.1f} minutes, {run.predicted['memory']:.0f} MiB")
        halt = False
        while not run.done() and not halt:
            found = train_step(run)
            clock.tick(run.step)
            bar.update()
            validate = run.step % config.validate_every == 0 or run.step == config.steps
            log = run.step % config.log_every == 0 or run.step == config.steps
            if log:
                with clock.aside():
                    run.log_step(found, bar)
            if clock.forecast_due():
                run.forecast(bar)
            with clock.aside():
                if watch is not None:
                    watch(run)  # before a checkpoint says that this step is done
                if validate:
                    run.check_finite()
                    run.validate(bar)
                    run.save(LAST)
                elif run.step % config.save_every == 0:
                    run.check_finite()
                    run.save(LAST)
                if on_step is not None:
                    on_step(run.step)
            if run.fabric.world_size == 1 or log:  # several processes have to agree, which takes time
                halt = agreed(run.fabric, stop.is_set())
    if run.saved != run.step:
        run.check_finite()
        run.save(LAST)
    run.log("end", run.end())
    run.folder.close()
    run.fabric.barrier()
