"""What a run will need, told before it starts: memory from shapes, time from a few small batches.

Memory is a sum of parts that can be counted: weights, gradients, momentum, the data on the device, and what
the forward pass keeps for the backward pass.  The last is found by watching two small batches: autograd says
which tensors it saves.  It grows with the batch, hardly anything else does.

Time is measured, not computed: two small batches give the line "so much per pass, so much per picture", and
what does not depend on the batch (penalty, optimiser) is timed as it is.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mtl_lib.config import TrainConfig
from mtl_lib.loaders import Batch, TaskBatches
from mtl_lib.tasks import Networks, Task

MIB = 2**20
PROBES = (2, 8)
"""Pictures per task in the two small batches: batch norm needs two."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Where the memory of training goes, in MiB.

    What is not counted: buffers of convolution algorithms, what an allocator holds in reserve, and the
    validation, whose forward pass keeps nothing.

    Parameters
    ----------
    weights, gradients, momentum : float
        Of all parameters, float32.  With several processes the gradients lie twice: once with the weights,
        once in the buffers that travel.
    activations : float
        What one forward pass over all tasks keeps for the backward pass.
    data : float
        The training sets on the device, and one augmented batch.
    base : float
        What the process held before; 0 on a GPU, whose memory is counted by itself.
    """

    weights: float
    gradients: float
    momentum: float
    activations: float
    data: float
    base: float = 0.0

    @property
    def total(self) -> float:
        """The sum."""
        return sum(dataclasses.astuple(self))

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.0f}" for name, value in dataclasses.asdict(self).items() if value)
        return f"{self.total:.0f} MiB ({parts})"


def saved_bytes(forward: Callable[[], Tensor], own: Sequence[Tensor] = ()) -> int:
    """Return how many bytes autograd keeps for the backward pass of what ``forward`` computes.

    Parameters
    ----------
    forward : callable
        Does the forward pass and returns its result.
    own : sequence of Tensor, optional
        Tensors that are there anyway (weights, pictures) and do not count.

    Examples
    --------
    >>> x = torch.ones(1000, requires_grad=True)
    >>> saved_bytes(lambda: x.exp().sum()), saved_bytes(lambda: (x.exp() * x).sum(), own=[x])
    (4000, 4000)
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    found: dict[int, int] = {}
    kept = []  # until all is counted: a freed tensor's address could be given to the next

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in known:
            found[memory.data_ptr()] = memory.nbytes()
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward()
    return sum(found.values())


def _total(networks: nn.Module, tasks: Sequence[Task], batches: Sequence[Batch]) -> Tensor:
    outputs, domain, _ = networks([batch.images for batch in batches], 0.5)
    return domain + sum(t.loss(o, b) for t, o, b in zip(tasks, outputs, batches, strict=True))


def _first(batches: Sequence[Batch], count: int) -> list[Batch]:
    """The first pictures of every task's batch; repeated where there are too few."""
    result = []
    for batch in batches:
        index = torch.arange(count, device=batch.index.device) % len(batch.index)
        values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        result.append(Batch(**{name: None if v is None else v[index] for name, v in values.items()}))
    return result


def predict_memory(
    config: TrainConfig,
    networks: Networks,
    tasks: Sequence[Task],
    batches: Sequence[Batch],
    *,
    processes: int = 1,
    data: float = 0.0,
    base: float = 0.0,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Memory:
    """Count what training will need at its peak, from two small forward passes.

    Parameters
    ----------
    config : TrainConfig
        Its ``batch_size``, ``accumulate`` and ``momentum``.
    networks : Networks
        In training mode, and not those to be trained: their batch statistics move.
    tasks : sequence of Task
        For the losses.
    batches : sequence of Batch
        Any pictures, one batch per task; a few are used.
    processes : int, optional
        Among how many the batch is divided.
    data, base : float, optional
        MiB of data on the device, and held before.
    autocast : callable, optional
        Returns the context of the run's precision.

    Returns
    -------
    Memory
        In MiB.

    Examples
    --------
    >>> from mtl_lib.tasks import load_sets, make_tasks
    >>> config = TrainConfig.for_budget("smoke", faces=13)
    >>> sets = load_sets(config)
    >>> tasks, batches = make_tasks(config, sets), TaskBatches(sets, 8).batch(0)
    >>> memory = predict_memory(config, Networks(config, tasks), tasks, batches)
    >>> memory.weights == memory.gradients == memory.momentum, round(memory.activations, 1)
    (True, 0.7)
    """
    trained = sum(p.numel() * p.element_size() for p in networks.parameters() if p.requires_grad) / MIB
    kept = {}
    for count in PROBES:
        small = _first(batches, count)
        own = [*networks.parameters(), *networks.buffers(), *(b.images for b in small)]

        def forward(small: Sequence[Batch] = small) -> Tensor:
            with autocast():
                return _total(networks, tasks, small)

        kept[count] = saved_bytes(forward, own) / MIB
    # A part is kept whatever the batch: weights rounded to 16 bits, say.
    few, many = PROBES
    per_picture = (kept[many] - kept[few]) / (many - few)
    fixed = kept[few] - few * per_picture
    pictures = config.batch_size / processes / config.accumulate
    return Memory(
        weights=sum(p.numel() * p.element_size() for p in networks.parameters()) / MIB,
        gradients=trained * (2 if processes > 1 else 1),
        momentum=trained if config.momentum else 0.0,
        activations=fixed + per_picture * pictures,
        data=data,
        base=base,
    )


def predict_seconds(
    config: TrainConfig,
    networks: Networks,
    tasks: Sequence[Task],
    stream: TaskBatches,
    penalty: Callable[[], object],
    *,
    processes: int = 1,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> float:
    """Extrapolate the seconds of one training step from a few small ones.

    Parameters
    ----------
    config, networks, tasks, processes, autocast
        As for :func:`predict_memory`.
    stream : TaskBatches
        Where the run's batches come from.
    penalty : callable
        Adds the penalty's gradient to these networks.

    Returns
    -------
    float
        Seconds per step, without validation, checkpoints and communication between processes.
    """
    optimiser = torch.optim.SGD([p for p in networks.parameters() if p.requires_grad], lr=0.0, momentum=0.9)
    share = config.batch_size / processes / config.accumulate
    device = next(networks.parameters()).device
    # The line is drawn through batches not much smaller than the run's, of which a CPU gets no large ones.
    half = max(2, int(share / 2)) if device.type == "cuda" else max(2, min(16, int(share / 2)))
    sizes = (max(1, half // 4), half) if half >= 8 else (2, max(4, half))
    whole = _timed(lambda: stream.batch(0), device)
    drawn = stream.batch(0)

    def go(count: int) -> None:
        with autocast():
            total = _total(networks, tasks, small[count])
        total.backward()

    small = {count: _first(drawn, count) for count in sizes}
    many, few = (_timed(lambda count=count: go(count), device) for count in sizes[::-1])
    slope = max(0.0, many - few) / (sizes[1] - sizes[0])
    one_pass = max(few, few + slope * (share - sizes[0]))
    rest = _timed(lambda: (penalty(), optimiser.step()), device)
    return whole + config.accumulate * one_pass + rest


def _timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, after one to warm up; a GPU is waited for, and the shortest of three is taken."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    call()
    times = []
    for _ in range(3 if device.type == "cuda" else 1):
        began = now()
        call()
        times.append(now() - began)
    return min(times)
