"""What a run asks of the machine: device and precision, clean stopping, memory and time."""

import contextlib
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric

from mtl_lib.errors import ConfigError

WARM_UP = 3
"""Steps left out of the forecast: kernels are chosen and memory is claimed in the first ones."""


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """Return the Fabric that places networks on a device and chooses the arithmetic.

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
    >>> make_fabric("cpu", "32-true").device
    device(type='cpu')
    """
    on_cuda = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if precision == "16-mixed" and not on_cuda:  # Fabric would take bfloat16 instead, with a warning
        raise ConfigError("precision '16-mixed' needs a CUDA GPU, and there is none; use '32-true'")
    try:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    except Exception as error:  # Fabric raises several types, among them one of its own
        raise ConfigError(f"accelerator {accelerator!r}, precision {precision!r}: {error}") from None


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


@contextlib.contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into a flag that a loop looks at between steps.

    A second one ends the program at once.  Outside the main thread, where Python allows no handlers, the
    flag is never set.

    Examples
    --------
    >>> with stop_signal() as stop:
    ...     stop.is_set()
    False
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handler(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def peak_memory(device: torch.device) -> float:
    """Return the peak memory in MB: allocated on the GPU, or else of the whole process.

    Examples
    --------
    >>> peak_memory(torch.device("cpu")) > 10
    True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, kilobytes on Linux


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
    """

    def __init__(self, start: int, steps: int):
        self.start, self.steps, self.done, self.began = start, steps, start, time.monotonic()

    def tick(self, done: int) -> None:
        """Note that ``done`` steps are done."""
        self.done = done
        if done - self.start == WARM_UP:
            self.began = time.monotonic()

    def forecast_due(self) -> bool:
        """Whether enough steps have just been timed for a first forecast."""
        return self.done - self.start == 2 * WARM_UP

    def report(self) -> dict[str, float]:
        """Return ``steps_per_second`` and ``seconds_left``."""
        done = self.done - self.start
        rate = (done - WARM_UP if done > WARM_UP else done) / max(time.monotonic() - self.began, 1e-9)
        return {"steps_per_second": rate, "seconds_left": (self.steps - self.done) / max(rate, 1e-9)}
