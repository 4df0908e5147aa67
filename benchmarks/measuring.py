"""What benchmarks have in common: the name of the machine, waits for a GPU, and the file of results."""

import csv
import datetime
import io
import os
import platform
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mtl_lib import atomic


def machine(device: str) -> str:
    """The device, in words."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 0.0
    busy = f", busy with other work ({load:.0f} processes per core)" if load > 1.5 else ""
    return f"one thread of a {cores}-core {platform.machine().replace('_', '-')} CPU{busy}"


def synchronisations(function: Callable) -> int:
    """How often the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(w.message) for w in caught)


def write_rows(
    path: Path, columns: str, rows: list[dict], key: Sequence[str], where: str, order: Callable | None = None
) -> None:
    """Write rows with versions and date, the whole file or nothing; what the file has under other keys is kept.

    Parameters
    ----------
    path : Path
        A CSV file.
    columns : str
        Their names, with spaces between.
    rows : list of dict
        What was measured.
    key : sequence of str
        The columns that say which rows are measured anew together.
    where : str
        The machine.
    order : callable, optional
        What the rows are sorted by; by default the key.
    """

    def keyed(row: dict) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in key)

    done, kept = {keyed(row) for row in rows}, []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if keyed(row) not in done]
    common = {"torch": torch.__version__, "machine": where, "date": datetime.date.today().isoformat()}
    text = io.StringIO()
    writer = csv.DictWriter(text, columns.split(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(kept + [{**row, **common} for row in rows], key=order or keyed))
    atomic.write_text(path, text.getvalue())
    print(f"written: {path}", flush=True)
