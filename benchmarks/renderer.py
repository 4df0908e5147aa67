"""Faces per second of the renderer and of the loaders, beside the training step that they must feed.

Run from the repository root: ``python benchmarks/renderer.py``.  Time is processor time on one thread, so a
busy machine disturbs it less than a clock on the wall would; the two agree on an idle one.  On a GPU (``--device
cuda``) it is time on the clock, after waiting for the device.  A loader that makes fewer faces a second than
the step takes keeps the step waiting; its ratio is then below 1.
"""

import argparse
import tempfile
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from mtl_lib.backbones import resnet34
from mtl_lib.faces.render import render
from mtl_lib.faces.rendered import rendered_faces
from mtl_lib.faces.scene import STYLES, sample_scene
from mtl_lib.faces.states import STATES
from mtl_lib.loaders import TaskBatches
from mtl_lib.transforms import augment

WANTED = 200  # faces per second and core at 96 x 96


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


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=256, help="faces per measurement of the renderer")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the best counts")
    parser.add_argument("--batch", type=int, default=32, help="faces per task and step (256 on a GPU, say)")
    parser.add_argument("--width", type=int, default=64, help="filters of the network's stem")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    on = "core" if device.type == "cpu" else device.type
    print(f"renderer, on one {on}")
    for size in (48, 96):
        for style in STYLES:
            speed = rendering(options.faces, size, style, options.repeats, device)
            note = f"  ({speed / WANTED:.1f} x the {WANTED} wanted)" if size == 96 else ""
            print(f"  {size}x{size} {style}: {speed:.0f} faces per second{note}")

    step = training(96, options.batch, options.width, max(1, options.repeats // 2), device)
    print(f"training step of two ResNet-34s of width {options.width} at 96x96, {options.batch} faces each")
    print(f"  {step:.0f} faces per second")
    print("loaders, two tasks at 96x96, and how many times as many faces as the step takes")
    drawn = [rendered_faces(4 * options.batch, style=style) for style in STYLES]
    with tempfile.TemporaryDirectory() as folder:
        kept = [faces.cached(folder) for faces in drawn]
        start = time.perf_counter()
        again = sum(len(faces.cached(folder)) for faces in drawn)
        reading = again / (time.perf_counter() - start)
    for name, sets, look in (
        ("kept in memory", kept, None),
        ("kept in memory, augmented", kept, augment),
        ("drawn on the fly, augmented", drawn, augment),
    ):
        speed = loading(sets, options.batch, options.repeats, device, look)
        print(f"  {name}: {speed:.0f} faces per second, {speed / step:.1f} x the step")
    print(f"  (read back from the renderer's cache: {reading:.0f} faces per second)")


if __name__ == "__main__":
    main()
