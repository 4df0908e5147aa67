"""Faces per second and core of the renderer, and of the loaders that read pictures.

Run from the repository root: ``python benchmarks/renderer.py``.  Time is processor time on one thread, so a
busy machine disturbs it less than a clock on the wall would; the two agree on an idle one.
"""

import argparse
import time

import torch

from mtl_lib.faces.render import render
from mtl_lib.faces.scene import STYLES, sample_scene
from mtl_lib.faces.states import STATES

WANTED = 200  # faces per second and core at 96 x 96


def faces_per_second(count: int, size: int, style: str, repeats: int) -> float:
    """The best of some repeats; the first, which warms up, does not count."""
    index = torch.arange(count)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.process_time()
        render(sample_scene(index, state=index % len(STATES), style=style), size)
        best = min(best, time.process_time() - start)
    return count / best


def main() -> None:
    """Print one line per style and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=256, help="faces per measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the best counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in (48, 96):
        for style in STYLES:
            speed = faces_per_second(options.faces, size, style, options.repeats)
            note = f"  ({speed / WANTED:.1f} x the {WANTED} wanted)" if size == 96 else ""
            print(f"{size}x{size} {style}: {speed:.0f} faces per second and core{note}")


if __name__ == "__main__":
    main()
