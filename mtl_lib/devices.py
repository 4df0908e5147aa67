"""What a run asks of the machine: device and precision, clean stopping, memory and time."""

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from mtl_lib.errors import ConfigError

WARM_UP = 3
"""Steps left out of the forecast: kernels are chosen and memory is claimed in the first ones."""


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """Return the Fabric that places networks on a device, joins the processes and chooses the arithmetic.

    Started by ``torchrun``, every process takes the GPU of its number (or the CPU) and joins the others;
    otherwise there is one process with one device.

    Parameters
    ----------
    accelerator : str
        "auto", "cpu", "cuda" or "mps".
    precision : str
        "32-true", "bf16-mixed" or "16-mixed".

    Raises
    ------
    ConfigError
        If this machine lacks the device, or the device lacks the precision.

    Examples
    --------
    >>> fabric = make_fabric("cpu", "32-true")
    >>> fabric.device, fabric.world_size
    (device(type='cpu'), 1)
    """
    on_cuda = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if precision == "16-mixed" and not on_cuda:  # Fabric would take bfloat16 instead, with a warning
        raise ConfigError("precision '16-mixed' needs a CUDA GPU, and there is none; use '32-true'")
    here, nodes, strategy = 1, 1, "auto"
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // here
        strategy = "ddp" if here * nodes > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=here, num_nodes=nodes, strategy=strategy, precision=precision
        )
        fabric.launch()
    except Exception as error:  # Fabric raises several types, among them one of its own
        raise ConfigError(f"accelerator {accelerator!r}, precision {precision!r}: {error}") from None
    return fabric


@contextlib.contextmanager
def isolated(device: torch.device, seed: int, tf32: bool) -> Iterator[None]:
    """Seed torch and set its rounding for the length of a run; then put both back as they were.

    Parameters
    ----------
    device : torch.device
        Where the run is.
    seed : int
        For everything that draws from torch's global random numbers.
    tf32 : bool
        Whether a GPU may round the factors of float32 products and convolutions to 10 bits (TF32).

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with isolated(torch.device("cpu"), seed=1, tf32=False):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]


class Stop(threading.Event):
    """A flag, and the signal that set it: ``number`` is None until one has."""

    number: int | None = None


@contextlib.contextmanager
def stop_signal() -> Iterator[Stop]:
    """Turn the first Ctrl-C (or SIGTERM) into a flag that a loop looks at between steps.

    A second one ends the program at once.  Outside the main thread, where Python allows no handlers, the
    flag is never set.

    Examples
    --------
    >>> with stop_signal() as stop:
    ...     stop.is_set(), stop.number
    (False, None)
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handler(number: int, frame: Any) -> None:
        stop.number = number
        stop.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start_memory_record(device: torch.device) -> float:
    """Begin to watch for the peak of memory, and return what is held now, in MiB.

    On a GPU that is what PyTorch has allocated, on the CPU the memory of the process.  Linux can forget an
    older peak of the process; elsewhere :func:`peak_memory` is the peak since the process began.

    Examples
    --------
    >>> start_memory_record(torch.device("cpu")) <= peak_memory(torch.device("cpu"))
    True
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")
    held = _status("VmRSS")
    return peak_memory(device) if held is None else held


def peak_memory(device: torch.device) -> float:
    """Return the peak memory in MiB: allocated on the GPU, or else of the whole process.

    Examples
    --------
    >>> peak_memory(torch.device("cpu")) > 10
    True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, kilobytes on Linux


def _status(name: str) -> float | None:
    """A line of Linux's account of this process, in MiB; None where there is no such thing."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 2**10
    return None


class Clock:
    """Steps per second and time left; warm-up left out, validation and checkpoints included.

    Parameters
    ----------
    start, steps : int
        Steps done before, and to be done in all.

    Examples
    --------
    >>> clock = Clock(0, 10)
    >>> for done in range(1, 6):
    ...     clock.tick(done)
    >>> sorted(clock.report())
    ['seconds_left', 'steps_per_second']
    >>> with clock.aside():
    ...     time.sleep(0.01)  # a validation
    >>> clock.seconds_per_step() < 0.01
    True
    """

    def __init__(self, start: int, steps: int):
        self.start, self.steps, self.done, self.began = start, steps, start, time.monotonic()
        self.beside = 0.0

    def tick(self, done: int) -> None:
        """Note that ``done`` steps are done."""
        self.done = done
        if done - self.start == WARM_UP:
            self.began, self.beside = time.monotonic(), 0.0

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Time that is not a step's: validation, checkpoints."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.beside += time.monotonic() - began

    def forecast_due(self) -> bool:
        """Whether enough steps have just been timed for a first forecast."""
        return self.done - self.start == 2 * WARM_UP

    def report(self) -> dict[str, float]:
        """Return ``steps_per_second`` and ``seconds_left``."""
        rate = self._timed() / max(time.monotonic() - self.began, 1e-9)
        return {"steps_per_second": rate, "seconds_left": (self.steps - self.done) / max(rate, 1e-9)}

    def seconds_per_step(self) -> float:
        """Return the mean time of a step by itself, what was done aside left out; 0 before the first."""
        timed = self._timed()
        return (time.monotonic() - self.began - self.beside) / timed if timed else 0.0

    def _timed(self) -> int:
        done = self.done - self.start
        return done - WARM_UP if done > WARM_UP else done
