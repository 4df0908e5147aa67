"""A run: what is trained, how it is measured, what is told and kept, and how it goes on after a break.

The loop that drives it is in :mod:`mtl_lib.train`.  Here is what stands around the loop.
"""

import copy
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from mtl_lib import costs, run_state, tasks
from mtl_lib.config import TrainConfig
from mtl_lib.devices import Clock, peak_memory, start_memory_record
from mtl_lib.errors import DivergenceError
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches
from mtl_lib.processes import agreed, averaged, synchronise_batch_norm
from mtl_lib.regularisers import make_regulariser
from mtl_lib.run_folder import BEST, LAST, RunFolder
from mtl_lib.schedules import learning_rate, parameter_groups
from mtl_lib.trace_norm import KINDS, TraceNormPenalty
from mtl_lib.transforms import augment

LOOKS: dict[str, Callable | None] = {
    "none": None,
    "flip": functools.partial(augment, rotation=0.0, scale=(1.0, 1.0), shift=0.0, noise=0.0),
    "crop": functools.partial(augment, rotation=15.0, scale=(1.0, 1.0), shift=0.0, crop=0.9, noise=0.0),
    "full": augment,
}
"""What may happen to a training picture; see :func:`mtl_lib.transforms.augment`."""

EXPLODED = 1000.0
"""A loss so many times the first one counts as divergence, though it is still a number."""


class Run:
    """A run at step ``step``, which counts finished steps: a checkpoint's step n is the state after n.

    Parameters
    ----------
    config : TrainConfig
        All settings.
    sets : mapping of str to FaceSet
        All faces by task name; split here by person.
    out : path-like
        The run's folder.
    fabric : Fabric
        Device, precision and processes, from :func:`mtl_lib.devices.make_fabric`.
    resume : bool
        Go on from the last checkpoint, if there is one.
    tensorboard : bool
        Also write for TensorBoard.
    """

    def __init__(
        self,
        config: TrainConfig,
        sets: Mapping[str, FaceSet],
        out: Any,
        fabric: Fabric,
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
        trunk = self.networks.net.trunk
        groups = parameter_groups(self.networks.parameters(), trunk.parameters(), config.weight_decay)
        optimiser = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        self._stepped = False
        optimiser.register_step_post_hook(self._has_stepped)  # a scaler may call the optimiser, or not
        alignment = self.networks.alignment
        inner = None if alignment is None else alignment.optimiser()
        self.inner = [] if inner is None else [inner]  # moves the domain classifier, in the alternating form

        self.step = self.saved = 0
        self.best: dict[str, Any] = {"step": -1, "score": None, "validation": {}}
        self.ceiling = torch.full((), torch.inf, device=fabric.device)
        # The penalty's own norm where it is one, with gamma 0 too, so that arms can be compared.
        self.norms = TraceNormPenalty(config.norm if config.norm in KINDS else "laf")
        self.initial = {name: m.laf for name, m in self.norms.measures(self.kernels()).items()}
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

    def done(self) -> bool:
        """Whether all steps are done, or the score has not risen for ``patience`` validations."""
        waited = self.step - self.best["step"] >= self.config.patience * self.config.validate_every
        early = self.config.patience > 0 and self.best["step"] > 0 and waited
        return early or self.step == self.config.steps

    def _has_stepped(self, *_: Any) -> None:
        self._stepped = True

    def take_step(self) -> bool:
        """Let the optimiser take its step, and return whether it has.

        Under ``16-mixed`` the gradient scaler leaves a step out when a gradient has overflowed.  The regulariser
        must then do nothing, and count nothing, either.
        """
        self._stepped = False
        self.optimiser.step()
        return self._stepped

    def log_step(self, found: Mapping[str, Tensor], bar: tqdm) -> None:
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
        self.check_finite()
        self.log("train", {**numbers, **self.clock.report()})
        bar.set_postfix({name: f"{numbers[name]:.2f}" for name in config.tasks}, refresh=False)

    def check_finite(self) -> None:
        """Stop a run that has gone wrong before its state replaces a good one.

        Raises
        ------
        DivergenceError
            In every process, if one of them has seen a loss or weight that is not finite, or a loss that has
            exploded; or if 16-bit gradients overflow at every scale.
        """
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

    def validate(self, bar: tqdm) -> None:
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
        self.log("validation", {**measures, "score": score, "passes": passes, **self.layers()})
        if self.best["score"] is None or score > self.best["score"]:
            self.best = {"step": self.step, "score": score, "validation": measures}
            self.save(BEST)
        told = ("expression/accuracy", "expression/macro_recall", "landmarks/nme")
        self.tell(
            bar,
            f"step {self.step}: " + ", ".join(f"{k} {measures[k]:.1f}" for k in told if k in measures),
        )

    def kernels(self) -> dict[str, Sequence[Tensor]]:
        """Return the tasks' kernels by layer; factorised ones multiplied out."""
        net = self.networks.net
        return net.stacks() or {name: tuple(w) for name, w in net.trunk.joined().items()}

    def layers(self) -> dict[str, Any]:
        """Return trace norms summed over the layers, without gamma, and what every layer shares, in their order.

        One number per unfolding (LAF 1, TT 4, Tucker 5); the cosine is the mean over pairs of tasks.
        """
        found = self.norms.measures(self.kernels())
        layers: dict[str, list[float | None]] = {"cosine": [], "scale_free": [], "tndr": []}
        for name, layer in found.items():
            count = len(layer.cosine)  # 1 where hard sharing has one kernel for all
            pairs = (layer.cosine.sum() - count) / (count * (count - 1)) if count > 1 else None
            layers["cosine"].append(None if pairs is None else round(pairs.item(), 6))
            layers["scale_free"].append(round(layer.scale_free.item(), 6))
            layers["tndr"].append(round((layer.laf / self.initial[name]).item(), 6))
        terms = [layer.terms.double() for layer in found.values()]
        norms = torch.stack(terms).sum(0)
        return {"trace_norms": norms.tolist(), "layers": layers}

    def _predict(self, held: float) -> dict[str, Any]:
        """Expected memory and time; see :mod:`mtl_lib.costs`."""
        fabric, sets = self.fabric, self.batches.sets
        on_gpu = fabric.device.type == "cuda"
        batches = self.batches.batch(0)
        data = sum(b.images.numel() * b.images.element_size() for b in batches)
        pictures = [
            getattr(faces, "images", None) for faces in sets
        ]  # faces may also be drawn when asked for
        data += sum(p.numel() for p in pictures if p is not None and p.is_cuda)  # others are in `held`
        about = {"processes": fabric.world_size, "autocast": fabric.autocast}
        with torch.random.fork_rng(devices=[fabric.device] if on_gpu else []):
            probe = copy.deepcopy(self.networks).train()  # the run itself is not touched
            memory = costs.predict_memory(
                self.config, probe, self.tasks, batches, data=data / costs.MIB, base=held, **about
            )
            seconds = costs.predict_seconds(
                self.config,
                probe,
                self.tasks,
                self.batches,
                lambda: self.regulariser.add_gradient_(probe.net.stacks()),
                **about,
            )
        parts = {name: round(value, 1) for name, value in dataclasses.asdict(memory).items()}
        return {"memory": memory.total, "memory_parts": parts, "seconds_per_step": seconds}

    def forecast(self, bar: tqdm) -> None:
        """Tell the time left, once some steps have been timed."""
        memory = peak_memory(self.fabric.device)
        self.log("forecast", {**self.clock.report(), "memory": memory})
        minutes = self.clock.report()["seconds_left"] / 60
        self.tell(bar, f"{minutes:.1f} minutes to go on {self.fabric.device}; memory so far {memory:.0f} MiB")

    def where(self) -> dict[str, Any]:
        """Return on what the run goes."""
        fabric = self.fabric
        return {
            "device": str(fabric.device),
            "threads": torch.get_num_threads(),
            "processes": fabric.world_size,
        }

    def end(self) -> dict[str, Any]:
        """Return what the run has cost, beside what was expected."""
        expected = {f"{k}_expected": self.predicted[k] for k in ("memory", "seconds_per_step")}
        took = {"memory": peak_memory(self.fabric.device), "seconds_per_step": self.clock.seconds_per_step()}
        return {"finished": self.done(), **took, **expected}

    def tell(self, bar: tqdm, text: str) -> None:
        """Write a line above the bar, if there is one."""
        if not bar.disable:
            bar.write(text, file=sys.stderr)

    def log(self, event: str, values: Mapping[str, Any]) -> None:
        """Append a line to the log; see :func:`mtl_lib.run_folder.read_log`."""
        self.folder.log(event, self.step, values)

    def save(self, name: str) -> None:
        """Write a checkpoint, in the first process; the others wait."""
        if self.fabric.is_global_zero:
            kept = {f"initial/{layer}": value for layer, value in self.initial.items()}
            kept |= {f"regulariser/{key}": value for key, value in self.regulariser.state().items()}
            kept["ceiling"] = self.ceiling
            optimisers = [self.optimiser.optimizer, *self.inner]
            tensors = run_state.gather(self.networks, optimisers, self.tasks, kept, self.fabric)
            scaler = self.fabric.strategy.precision.state_dict()
            self.folder.save(name, tensors, {"step": self.step, "best": self.best, "scaler": scaler})
        self.fabric.barrier()
        if name == LAST:
            self.saved = self.step

    def _restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], optimiser: Any) -> None:
        last = self.folder.path / LAST
        kept = run_state.scatter(last, tensors, meta, self.networks, [optimiser, *self.inner], self.fabric)
        self.step = self.saved = meta["step"]
        self.best = meta["best"]
        self.ceiling = kept["ceiling"].to(self.fabric.device)
        self.initial = {name: kept[f"initial/{name}"].to(self.fabric.device) for name in self.initial}
        start = "regulariser/"
        self.regulariser.load_state(
            {k.removeprefix(start): v for k, v in kept.items() if k.startswith(start)}
        )
