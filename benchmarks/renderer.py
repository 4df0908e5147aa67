"""Faces per second of the renderer and of the loaders, beside the training step that they must feed.

Run from the root of the repository::

    python benchmarks/renderer.py            # a minute of one quiet core
    python benchmarks/renderer.py --record   # also writes data/results/renderer_benchmark.csv

Time is processor time on one thread, so a
busy machine disturbs it less than a clock on the wall would; the two agree on an idle one.  On a GPU (``--device
cuda``) it is time on the clock, after waiting for the device.  A loader that makes fewer faces a second than
the step takes keeps the step waiting; its ratio is then below 1.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import machine, write_rows
from torch.nn import functional as F

from mtl_lib.backbones import resnet34
from mtl_lib.faces.render import render
from mtl_lib.faces.rendered import rendered_faces
from mtl_lib.faces.scene import STYLES, sample_scene
from mtl_lib.faces.states import STATES
from mtl_lib.loaders import TaskBatches
from mtl_lib.transforms import augment

WANTED = 200  # faces per second and core at 96 x 96
RESULTS = Path("data/results/renderer_benchmark.csv")
KEY = ("table", "name", "size", "width", "batch")
TABLES = ("renderer", "step", "loaders")
COLUMNS = "table name size width batch faces_per_second ratio repeats torch machine date"


def best_of(work: Callable[[], int], repeats: int, device: torch.device) -> float:
    """Faces per second, the best of some repeats; the first, which warms up, does not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    best = 0.0
    for repeat in range(repeats + 1):
        start = clock()
        faces = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            best = max(best, faces / (clock() - start))
    return best


def rendering(count: int, size: int, style: str, repeats: int, device: torch.device) -> float:
    """Faces per second of the renderer alone."""
    index = torch.arange(count, device=device)

    def work() -> int:
        render(sample_scene(index, state=index % len(STATES), style=style), size)
        return count

    return best_of(work, repeats, device)


def loading(sets: list, batch: int, repeats: int, device: torch.device, look: Callable | None) -> float:
    """Faces per second of both tasks' batches, augmented or not."""
    batches = TaskBatches(sets, batch, device=device, augment=look)
    steps = iter(range(10_000))

    def work() -> int:
        return sum(len(each.images) for each in batches.batch(next(steps)))

    return best_of(work, repeats, device)


def training(size: int, batch: int, width: int, repeats: int, device: torch.device) -> float:
    """Faces per second of a plain step: two ResNet-34s, forward and backward, one batch each."""
    nets = [resnet34(1, width).to(device) for _ in range(2)]
    heads = [
        torch.nn.Linear(net.out_features, outputs).to(device)
        for net, outputs in zip(nets, (13, 136), strict=True)
    ]
    images = torch.randn(batch, 1, size, size, device=device)

    def work() -> int:
        states, points = (head(net(images)) for net, head in zip(nets, heads, strict=True))
        (
            F.cross_entropy(states, torch.zeros(batch, dtype=torch.long, device=device)) + points.abs().mean()
        ).backward()
        return 2 * batch

    return best_of(work, repeats, device)


def record(rows: list[dict], where: str) -> None:
    """Write the rows with versions and date; rows of other settings stay."""
    write_rows(RESULTS, COLUMNS, rows, KEY, where, order=lambda row: TABLES.index(row["table"]))


def digits(value: float, count: int) -> str:
    """The number with so many digits that count, without an exponent."""
    return f"{float(f'{value:.{count}g}'):.10g}"


def measure(
    faces: int = 256, repeats: int = 5, batch: int = 32, width: int = 64, device: torch.device | str = "cpu"
) -> list[dict]:
    """Print one line per measurement, and return them.

    Parameters
    ----------
    faces : int
        Per measurement of the renderer.
    repeats : int
        Measurements, of which the best counts.
    batch : int
        Faces per task and step.
    width : int
        Filters of the network's stem.
    device : torch.device or str

    Returns
    -------
    list of dict
        Rows for :func:`record`.  ``ratio`` is how many times the wanted speed the renderer has, and how many times as
        many faces a loader makes as the step takes.
    """
    device, rows = torch.device(device), []

    def note(table: str, name: str, size: int, speed: float, ratio: float | None, **settings: int) -> None:
        row = {
            "table": table,
            "name": name,
            "size": size,
            "width": "",
            "batch": "",
            "repeats": repeats,
            **settings,
        }
        found = {"faces_per_second": digits(speed, 4), "ratio": "" if ratio is None else digits(ratio, 3)}
        rows.append({**row, **found})

    print(f"renderer, on one {'core' if device.type == 'cpu' else device.type}")
    for size in (48, 96):
        for style in STYLES:
            speed = rendering(faces, size, style, repeats, device)
            wanted = speed / WANTED if size == 96 else None
            note("renderer", style, size, speed, wanted)
            told = "" if wanted is None else f"  ({wanted:.1f} x the {WANTED} wanted)"
            print(f"  {size}x{size} {style}: {speed:.0f} faces per second{told}")

    fewer = max(1, repeats // 2)
    step = training(96, batch, width, fewer, device)
    note("step", "two ResNet-34s", 96, step, None, width=width, batch=batch, repeats=fewer)
    print(f"training step of two ResNet-34s of width {width} at 96x96, {batch} faces each")
    print(f"  {step:.3g} faces per second")
    print("loaders, two tasks at 96x96, and how many times as many faces as the step takes")
    drawn = [rendered_faces(4 * batch, style=style) for style in STYLES]
    with tempfile.TemporaryDirectory() as folder:
        kept = [each.cached(folder) for each in drawn]
        start = time.perf_counter()
        again = sum(len(each.cached(folder)) for each in drawn)
        reading = again / (time.perf_counter() - start)
    for name, sets, look in (
        ("kept in memory", kept, None),
        ("kept in memory, augmented", kept, augment),
        ("drawn on the fly, augmented", drawn, augment),
    ):
        speed = loading(sets, batch, repeats, device, look)
        note("loaders", name, 96, speed, speed / step, width=width, batch=batch)
        print(f"  {name}: {speed:.0f} faces per second, {speed / step:.1f} x the step")
    note(
        "loaders",
        "read back from the renderer's cache",
        96,
        reading,
        reading / step,
        width=width,
        batch=batch,
        repeats=1,
    )
    print(f"  (read back from the renderer's cache: {reading:.0f} faces per second)")
    return rows


def main() -> None:
    """Print one line per measurement, and record them if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=256, help="faces per measurement of the renderer")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the best counts")
    parser.add_argument("--batch", type=int, default=32, help="faces per task and step (256 on a GPU, say)")
    parser.add_argument("--width", type=int, default=64, help="filters of the network's stem")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = machine(options.device)
    print(f"torch {torch.__version__}, {where}")
    rows = measure(options.faces, options.repeats, options.batch, options.width, options.device)
    if options.record:
        record(rows, where)


if __name__ == "__main__":
    main()
