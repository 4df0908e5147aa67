"""What the joint route of Tucker and TT gains over one unfolding after the other, per shape of layer.

Run from the root of the repository::

    python benchmarks/joint_unfoldings.py            # kernels of ResNet-34, a linear layer, a 3-d kernel: a minute
    python benchmarks/joint_unfoldings.py --quick

Three routes, float32 weights, value and sub-gradient: ``one by one`` (stack, unfold, Gram matrix in float64,
fold, for each unfolding), ``no sharing`` (the joint module, but a Gram matrix for each unfolding) and ``joint``.
Processor times, best of several interleaved runs on one thread.
"""

import argparse
import time

import torch

from mtl_lib import joint
from mtl_lib.gram import in_full_precision
from mtl_lib.task_rows import add_polars
from mtl_lib.unfold import paper_order
from mtl_lib.unfolded_norms import weighted_terms

SHAPES = {
    "3x3, 64 to 64": (64, 64, 3, 3),
    "3x3, 256 to 256": (256, 256, 3, 3),
    "3x3, 512 to 512": (512, 512, 3, 3),
    "3x3x3, 128 to 128": (128, 128, 3, 3, 3),
    "linear, 512 to 1024": (1024, 512),
}


def one_by_one(tensors, gradients, kind, weights):
    stack = paper_order(torch.stack(tensors))
    _, gradient = weighted_terms(stack, kind, weights, "gram", "minimum", True)
    for into, part in zip(gradients, gradient.unbind(-1), strict=True):
        paper_order(into[None])[..., 0].add_(part)


def jointly(joint_rows):
    @in_full_precision
    def run(tensors, gradients, kind, weights):
        tensors = [paper_order(t[None])[..., 0] for t in tensors]
        into = [paper_order(g[None])[..., 0] for g in gradients]
        shape = (*tensors[0].shape, len(tensors))
        alpha = joint.task_weight(shape, kind, weights)
        (factor,) = add_polars([tensors], [into], alpha, "auto")
        joint.add_terms(tensors, kind, weights, into, 1.0, factor.sigma.sum(), joint_rows=joint_rows)

    return run


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="without the large layers")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    routes = {"one by one": one_by_one, "no sharing": jointly(0), "joint": jointly(joint.JOINT_ROWS)}
    print(f"T = {arguments.tasks}, milliseconds (ratio to one by one)")
    print(f"{'':8}{'':22}" + "".join(f"{name:>22}" for name in routes))
    for kind in ("tucker", "tt"):
        for name, shape in SHAPES.items():
            size = torch.Size(shape).numel()
            if arguments.quick and size > 100_000:
                continue
            tensors = [0.05 * torch.randn(shape) for _ in range(arguments.tasks)]
            gradients = [torch.zeros_like(t) for t in tensors]
            weights = [1e-6] * (len(shape) + (kind == "tucker"))
            best = dict.fromkeys(routes, float("inf"))
            for repeat in range(arguments.repeats + 1):  # the first does not count
                for route, function in routes.items():
                    start = time.process_time()
                    function(tensors, gradients, kind, weights)
                    if repeat:
                        best[route] = min(best[route], time.process_time() - start)
            cells = [f"{1e3 * s:.1f} ({s / best['one by one']:.2f})" for s in best.values()]
            print(f"{kind:8}{name:22}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
