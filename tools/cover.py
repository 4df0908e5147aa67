"""Draw the cover (``_static/cover.png``): ``python -m tools.cover``.

Two kinds of rendered faces enter two networks of the same architecture.  Where the layers share much their slabs lie close
together and have one colour; towards the heads they drift apart.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, Polygon

from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.plots import BLUE, VERMILLION

PAPER, INK, SHARED = "#FBFAF7", "#22262B", "#7A5C86"
LAYERS = 9


def mixed(a: str, b: str, share: float) -> tuple[float, ...]:
    """The colour ``share`` of the way from ``a`` to ``b``."""
    return tuple((1 - share) * np.array(to_rgb(a)) + share * np.array(to_rgb(b)))


def faces(style: str, seed: int, count: int):
    """Faces with a strong expression; film frames for the expression task, photographs for the landmarks."""
    return synthetic_set(count, style=style, intensity=(0.8, 1.0), size=128, seed=seed)


def draw() -> plt.Figure:
    """The cover."""
    fig = plt.figure(figsize=(12, 4.6), dpi=110, facecolor=PAPER)
    ax = fig.add_axes((0, 0, 1, 1), xlim=(0, 12), ylim=(-2.3, 2.3))
    ax.axis("off")

    rows = [
        (1.12, faces("film", 3, 4), BLUE, "mental state"),
        (-1.12, faces("wild", 5, 4), VERMILLION, "landmarks"),
    ]
    for y, shown, colour, label in rows:
        for k in range(4):
            left, bottom = 0.3 + 0.84 * (k % 4), y - 0.4
            box = (left, left + 0.8, bottom, bottom + 0.8)
            ax.imshow(shown.images[k, 0], cmap="gray", extent=box, vmin=0, vmax=255, zorder=2, aspect="auto")
            if colour == VERMILLION:
                points = shown.landmarks[k] / 127
                ax.scatter(
                    left + 0.8 * points[:, 0],
                    bottom + 0.8 * (1 - points[:, 1]),
                    s=1.6,
                    color=colour,
                    zorder=3,
                )
        ax.text(0.3, y + (0.5 if y > 0 else -0.66), f"task: {label}", color=colour, size=13, weight="bold")

    for layer in range(LAYERS):
        depth = layer / (LAYERS - 1)
        x = 4.55 + 0.62 * layer
        height = 0.62 - 0.03 * layer
        apart = 0.36 + 0.78 * depth**1.4
        share = (1 - depth) ** 1.3
        if layer:
            ax.plot(
                [x, x],
                [-apart, apart],
                color=SHARED,
                lw=0.5 + 9 * share,
                alpha=0.28,
                solid_capstyle="butt",
                zorder=1,
            )
        else:
            ax.plot(
                [x, x], [-apart, apart], color=SHARED, lw=9.5, alpha=0.28, solid_capstyle="butt", zorder=1
            )
        for sign, colour in ((1, BLUE), (-1, VERMILLION)):
            y = sign * apart
            slab = np.array(
                [
                    [-0.13, -height / 2],
                    [0.13, -height / 2 + 0.16],
                    [0.13, height / 2 + 0.16],
                    [-0.13, height / 2],
                ]
            )
            ax.add_patch(
                Polygon(
                    slab + (x, y - 0.08),
                    facecolor=mixed(colour, SHARED, 0.85 * share),
                    edgecolor=PAPER,
                    lw=1.2,
                    zorder=4,
                )
            )
    for sign, colour in ((1, BLUE), (-1, VERMILLION)):
        ax.add_patch(
            FancyArrowPatch(
                (3.75, sign * 1.1),
                (4.33, sign * 0.42),
                arrowstyle="-|>",
                mutation_scale=14,
                color=colour,
                lw=1.6,
            )
        )
        ax.add_patch(
            FancyArrowPatch(
                (9.72, sign * 1.14),
                (10.25, sign * 1.14),
                arrowstyle="-|>",
                mutation_scale=14,
                color=colour,
                lw=1.6,
            )
        )
    ax.text(10.4, 1.14, "Surprised", color=BLUE, size=15, va="center", weight="bold")
    points = faces("wild", 5, 4).landmarks[0]
    points = (points - points.mean(0)) / 127
    ax.scatter(11.0 + 1.25 * points[:, 0], -1.14 - 1.25 * points[:, 1], s=5, color=VERMILLION)
    ax.text(7.0, 1.86, "How much should each layer share?", color=INK, size=19, ha="center", weight="bold")
    ax.text(
        7.0,
        -2.0,
        r"$\Vert\mathcal{W}\Vert_* = \gamma\,\Vert\mathcal{W}_{(N)}\Vert_*$",
        color=INK,
        size=16,
        ha="center",
    )
    return fig


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "_static" / "cover.png")
    out = parser.parse_args().out
    torch.manual_seed(0)
    fig = draw()
    fig.savefig(out, dpi=110, facecolor=PAPER, transparent=False, metadata={"Software": None})
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
