"""Matrices with a given rank, spectrum and scale, and stacks of tasks with a given likeness."""

import random

import hypothesis.strategies as st
import torch
from torch import Tensor

ALLOWED = 1e-6
"""The defects that a method may have in float32."""


def randn(*shape: int, seed: int = 0, dtype=torch.float32) -> Tensor:
    """Normal random numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal columns, float64; rows at least columns."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]


def with_spectrum(rows: int, columns: int, sigma: list[float], seed: int) -> Tensor:
    """A float64 matrix with these singular values (up to min(rows, columns) of them, the rest zero)."""
    generator = torch.Generator().manual_seed(seed)
    left = orthonormal(rows, len(sigma), generator)
    right = orthonormal(columns, len(sigma), generator)
    return (left * torch.tensor(sigma, dtype=torch.float64)) @ right.T


@st.composite
def matrices(draw, max_side: int = 10, max_long: int = 24, decades: int = 7, dtype=torch.float32):
    """Any orientation, any rank from none to full, repeated and widely spread singular values, any scale."""
    short, long = draw(st.integers(1, max_side)), draw(st.integers(1, max_long))
    limit = min(short, long)
    rank = draw(st.integers(0, limit))
    seed = draw(st.integers(0, 2**20))
    scale = 10.0 ** draw(st.integers(-15, 15))
    exponents = draw(
        st.lists(st.sampled_from([0.0, -0.5, -1, -3, -5, -decades]), min_size=rank, max_size=rank)
    )
    matrix = (
        with_spectrum(short, long, [10.0**e for e in exponents], seed) if rank else torch.zeros(short, long)
    )
    matrix = (matrix * scale).to(dtype)
    return matrix.T.contiguous() if draw(st.booleans()) else matrix


def related_tasks(tasks: int, size: int, kind: str, difference: float, seed: int) -> Tensor:
    """T float32 rows: ``near`` identical, ``opposite``, ``proportional`` or ``random``, up to a relative difference."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=generator, dtype=torch.float64)
    noise = torch.randn(tasks, size, generator=generator, dtype=torch.float64)
    factor = {
        "near": torch.ones(tasks),
        "opposite": torch.tensor([(-1.0) ** t for t in range(tasks)]),
        "proportional": torch.arange(1, tasks + 1) / 1.7,
        "random": torch.zeros(tasks),
    }[kind].double()
    amount = 1.0 if kind == "random" else difference
    return (factor[:, None] * base + amount * noise).float()


def oracle(matrix: Tensor) -> tuple[float, Tensor]:
    """Trace norm and singular values of the stored numbers, by a float64 SVD."""
    sigma = torch.linalg.svdvals(matrix.double())
    return sigma.sum().item(), sigma


def defects(matrix: Tensor, value: Tensor, polar: Tensor) -> tuple[float, float, float]:
    """Relative error of the value, overshoot of the spectral norm, relative duality gap."""
    true, _ = oracle(matrix)
    norm = torch.linalg.matrix_norm(polar.double(), ord=2).item()
    inner = (polar.double() * matrix.double()).sum().item()
    size = true or 1.0
    return abs(value.double().item() - true) / size, norm - 1, abs(inner - true) / size


def drawn(seed: int, longest_side: int = 10) -> Tensor:
    """A matrix of drawn shape, rank, spectrum, scale, type and orientation; the same for the same seed.

    Cheaper than a hypothesis strategy by the factor that thousands of cases in a few seconds need.
    """
    rng = random.Random(seed)
    short, long = rng.randint(1, longest_side), rng.randint(1, 3 * longest_side)
    rank = rng.randint(0, min(short, long))
    spectrum = rng.choice(["repeated", "geometric", "gap", "any"])
    decades = rng.choice([0.5, 2, 4, 7])
    sigma = {
        "repeated": [1.0] * rank,
        "geometric": [10 ** (-decades * i / max(1, rank - 1)) for i in range(rank)],
        "gap": [1.0 if i < (rank + 1) // 2 else 10**-decades for i in range(rank)],
        "any": [10 ** (-decades * rng.random()) for _ in range(rank)],
    }[spectrum]
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16])
    exponent = rng.randint(-15, 15) if dtype != torch.float16 else rng.randint(-2, 3)
    matrix = with_spectrum(short, long, sigma, seed) if rank else torch.zeros(short, long)
    matrix = (matrix.double() * 10.0**exponent).to(dtype)
    return matrix.T.contiguous() if rng.random() < 0.5 else matrix
