"""SIGTERM as an exception, so that what a command has begun is put in order before it ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mtl_lib.errors import Interrupted


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise :class:`~mtl_lib.errors.Interrupted`, as Ctrl-C raises KeyboardInterrupt.

    Without it the program would be gone before it could say what is kept.  Within it :func:`mtl_lib.devices.stop_signal` lets the first
    signal wait for the end of a step.

    Examples
    --------
    >>> import os, time
    >>> with ended_by_sigterm():
    ...     try:
    ...         os.kill(os.getpid(), signal.SIGTERM)
    ...         time.sleep(5)
    ...     except Interrupted as end:
    ...         print(end.status)
    143
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: Any) -> None:
        raise Interrupted("stopped", number)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
