"""Every way to a trace norm and its sub-gradient that the benchmarks compare, and the kernels they are compared on."""

from collections.abc import Callable

import torch

from mtl_lib.polar import METHODS
from mtl_lib.trace_norm import TraceNormPenalty
from mtl_lib.unfold import fold, paper_order, torch_order, tt_fold, tt_unfold, unfold

KINDS = ("laf", "tucker", "tt")


def resnet34_shapes(widest: int = 512) -> list[tuple[int, int, int, int]]:
    """The kernels of the stem and of the 32 convolutions in blocks, up to a width."""
    shapes = [(64, 3, 7, 7)]
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(width, before if block == 0 else width, 3, 3), (width, width, 3, 3)]
        before = width
    return [shape for shape in shapes if shape[0] <= widest]


def stack_of(
    shape: tuple[int, ...], tasks: int, likeness: str, seed: int, device: str = "cpu"
) -> list[torch.nn.Parameter]:
    """T tasks' kernels at He initialisation: independent, or nearly equal, or nearly proportional."""
    generator = torch.Generator().manual_seed(seed)
    spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
    base = spread * torch.randn(shape, generator=generator)
    if (
        likeness == "power law"
    ):  # singular values of the filters that fall by the number of filters, as trained ones do
        turn = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator))[0]
        falling = turn / torch.arange(1, shape[0] + 1)
    tensors = []
    for task in range(tasks):
        noise = spread * torch.randn(shape, generator=generator)
        if likeness == "random":
            tensors.append(noise)
        elif likeness == "power law":
            tensors.append((falling @ noise.flatten(1)).view(shape))
        elif likeness == "equal":
            tensors.append(base.clone())
        elif likeness.startswith("near"):
            tensors.append(base + float(likeness.split()[1]) * noise)
        elif likeness.startswith("proportional"):
            tensors.append((1 + task) * base + float(likeness.split()[1]) * noise)
        elif likeness == "zero":
            tensors.append(torch.zeros(shape))
        else:  # "scale 1e-15"
            tensors.append(float(likeness.split()[1]) * (base + 1e-4 * noise))
    stack = [torch.nn.Parameter(tensor.to(device)) for tensor in tensors]
    for tensor in stack:
        tensor.grad = torch.zeros_like(tensor)
    return stack


# --- Every way takes layers and weights, adds to .grad and returns the value.


def unfoldings(x: torch.Tensor, kind: str) -> list[tuple[torch.Tensor, Callable]]:
    """The matrices of a kind, and how to fold each back."""
    n, shape = x.ndim, x.shape
    if kind == "tt":
        return [(tt_unfold(x, k), lambda m, k=k: tt_fold(m, k, shape)) for k in range(1, n)]
    modes = [n - 1] if kind == "laf" else range(n)
    return [(unfold(x, i), lambda m, i=i: fold(m, i, shape)) for i in modes]


def by_decomposition(decompose: Callable) -> Callable:
    """The way that one writes first: stack, unfold, decompose, fold back."""

    @torch.no_grad()
    def run(layers, kind, weights=None):
        total = 0.0
        for tensors in layers:
            terms = unfoldings(paper_order(torch.stack([t.detach() for t in tensors])), kind)
            for weight, (matrix, back) in zip(weights or [1.0] * len(terms), terms, strict=True):
                if not weight:
                    continue
                u, s, v = decompose(matrix)
                total = total + weight * s.sum()
                for tensor, part in zip(tensors, torch_order(back(u @ v)), strict=True):
                    tensor.grad.add_(part, alpha=weight)
        return total

    return run


def lowrank(matrix: torch.Tensor):
    """At most 32 singular values, as one does where an unfolding has hundreds."""
    u, s, v = torch.svd_lowrank(matrix, q=min(32, *matrix.shape))
    return u, s, v.T


def tall_svd(matrix: torch.Tensor):
    """The SVD of the transpose where that is taller than wide: LAPACK then starts with a QR factorisation."""
    if matrix.shape[-2] >= matrix.shape[-1]:
        return torch.linalg.svd(matrix, full_matrices=False)
    u, s, v = torch.linalg.svd(matrix.mT.contiguous(), full_matrices=False)
    return v.mT, s, u.mT


def autograd(layers, kind, weights=None):
    """What PyTorch offers."""
    total = 0.0
    for tensors in layers:
        terms = unfoldings(paper_order(torch.stack(list(tensors))), kind)
        for weight, (matrix, _) in zip(weights or [1.0] * len(terms), terms, strict=True):
            total = total + weight * torch.linalg.matrix_norm(matrix, ord="nuc")
    total.backward()
    return total.detach()


def library(method: str, precision: str = "accurate") -> Callable:
    """The penalty of the package."""

    def run(layers, kind, weights=None):
        penalty = TraceNormPenalty(kind, 1.0, weights, method, precision)
        return penalty.add_gradient_({str(i): tensors for i, tensors in enumerate(layers)})

    return run


def one_by_one(layers, kind, weights=None):
    """The package's route without joint Gram matrices: every unfolding by itself."""
    from mtl_lib.unfolded_norms import weighted_terms, weights_for

    total = 0.0
    for tensors in layers:
        stack = paper_order(torch.stack([t.detach() for t in tensors]))
        chosen = weights_for(kind, stack.ndim, weights)
        values, gradient = weighted_terms(stack, kind, chosen, "gram", "minimum", True)
        for tensor, part in zip(tensors, torch_order(gradient), strict=True):
            tensor.grad.add_(part)
        total = total + (values * values.new_tensor(chosen)).sum()
    return total


def ways(kind: str) -> dict[str, Callable]:
    """Everything that is compared for a kind, the reference of the times first."""
    found = {
        "torch svd": by_decomposition(lambda m: torch.linalg.svd(m, full_matrices=False)),
        "svd, tall": by_decomposition(tall_svd),
        "torch autograd": autograd,
        "svd_lowrank": by_decomposition(lowrank),
        "auto": library("auto"),
        "fast": library("auto", "fast"),
    }
    if kind == "laf":
        found["gram"] = library("gram")
    else:
        found["one by one"] = one_by_one
    for method in METHODS:  # ways that iterate
        if method not in ("auto", "svd", "gram", "closed"):
            found[method] = library(method)
    return found
