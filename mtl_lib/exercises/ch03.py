"""Checks for the exercises of chapter 3, the sub-gradient of the trace norm.

Each check builds its own matrices, with a fixed seed and from drawn singular values, compares the answer with
a float64 singular value decomposition, and says in which case it fails first.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_lib.teach import Case, check


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64)).Q


def _parts(rows: int, sigma: list[float], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Square U, the singular values and V of a tall matrix with given singular values."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor(sigma, dtype=torch.float64)
    return _orthonormal(rows, rows, generator), values, _orthonormal(len(sigma), len(sigma), generator)


def _is_subgradient_cases(answer: Callable) -> Iterator[Case]:
    u, s, v = _parts(7, [3.0, 2.0, 1.0, 0.5], seed=31)
    full = (u[:, :4] * s) @ v.T
    polar = u[:, :4] @ v.T
    yield Case("U V' of a matrix of full rank", answer(polar, full), True, "It is one")
    yield Case("the same, transposed", answer(polar.T, full.T), True, "Wide matrices have sub-gradients too")
    low = (u[:, :2] * s[:2]) @ v[:, :2].T
    minimum = u[:, :2] @ v[:, :2].T
    generator = torch.Generator().manual_seed(32)
    room = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    room = u[:, 2:] @ (room / torch.linalg.matrix_norm(room, 2)) @ v[:, 2:].T
    yield Case("the minimum-norm one at rank 2", answer(minimum, low), True, "K = 0 is allowed in (3.9)")
    yield Case(
        "U_r V_r' + 0.7 K", answer(minimum + 0.7 * room, low), True, "There is more than one at low rank"
    )
    yield Case("U_r V_r' + 1.2 K", answer(minimum + 1.2 * room, low), False, "Its spectral norm is 1.2")
    yield Case(
        "0.9 U V'", answer(0.9 * polar, full), False, "It stays inside the ball but does not reach the norm"
    )
    other = _orthonormal(7, 4, generator)
    yield Case(
        "U V' of another matrix", answer(other, full), False, "Its spectral norm is 1, but it misses the norm"
    )
    steep = polar + 0.3 * (u[:, :1] @ v[:, 1:2].T)
    yield Case(
        "U V' and a part that cancels in <G, W>", answer(steep, full), False, "Its spectral norm is above 1"
    )
    for scale in (1e6, 1e-9):
        yield Case(
            f"U V' at weights of size {scale:g}",
            answer(polar, scale * full),
            True,
            "The scale must not matter",
        )
        yield Case(
            f"0.9 U V' at weights of size {scale:g}",
            answer(0.9 * polar, scale * full),
            False,
            "The tolerance of the gap is relative",
        )
    for tol, verdict in ((0.05, True), (1e-4, False)):
        hint = f"`tol` is {tol:g}; overshoot and gap are measured against it"
        yield Case(f"0.99 U V', tol = {tol:g}", answer(0.99 * polar, full, tol), verdict, hint)
        yield Case(f"1.01 U V', tol = {tol:g}", answer(1.01 * polar, full, tol), verdict, hint)
    zero = torch.zeros(4, 2, dtype=torch.float64)
    small = 0.5 * _orthonormal(4, 2, generator)
    yield Case(
        "W = 0 and a G of spectral norm 0.5", answer(small, zero), True, "At 0 the whole ball is allowed"
    )
    yield Case(
        "W = 0 and a G of spectral norm 1.5",
        answer(3 * small, zero),
        False,
        "At 0 the ball still has an edge",
    )


def check_3_1(answer: Callable[..., bool]) -> bool:
    """Exercise 3.1: `answer(G, W, tol)` says whether G is a sub-gradient of the trace norm at W."""
    return check("3.1", answer, _is_subgradient_cases)


class _Decompositions(TorchDispatchMode):
    """Notes the names of the decompositions that PyTorch is asked for, however they were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if "svd" in name or "eig" in name:
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def _pair_cases(answer: Callable) -> Iterator[Case]:
    for name, sigma, turn in (
        ("two tasks of rank 2", [3.0, 1.0], 0.4),
        ("tasks with a negative product", [3.0, 1.0], -0.9),
        ("tasks of different length", [10.0, 0.3], 0.2),
        ("nearly orthogonal tasks", [1.0, 0.99], 0.1),
    ):
        u, s, _ = _parts(9, sigma, seed=33)
        angle = torch.tensor(turn, dtype=torch.float64)
        v = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
        w = (u[:, :2] * s) @ v.T
        with _Decompositions() as used:
            value, *gradients = answer(w[:, 0].clone(), w[:, 1].clone())
        yield Case(
            f"{name}: without a decomposition",
            not used.names,
            True,
            "The exercise is to do without an SVD and eigenvalues",
        )
        wrong_values = {
            "that is its square": s.sum() ** 2,
            "that is the Frobenius norm": s.norm(),
            "that is only the larger singular value": s[0],
        }
        yield Case(
            f"{name}: the norm",
            value,
            s.sum(),
            "It is the root of A11 + A22 + 2 sqrt(A11 A22 - A12^2)",
            wrong_values,
        )
        polar = u[:, :2] @ v.T
        wrong_sign = w @ torch.linalg.inv(v @ torch.diag(s) @ v.T).abs()
        for t in range(2):
            yield Case(
                f"{name}: gradient for task {t + 1}",
                gradients[t],
                polar[:, t],
                "It should be a column of U V'",
                {
                    "that is the gradient for the other task": polar[:, 1 - t],
                    "the coupling has the wrong sign": wrong_sign[:, t],
                    "it points the other way": -polar[:, t],
                },
            )


def check_3_2(answer: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Exercise 3.2: `answer(w1, w2)` returns the trace norm of the two columns and its gradient for each."""
    return check("3.2", answer, _pair_cases)


def _decay_cases(answer: Callable) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(34)
    for name, lengths in (
        ("three orthogonal tasks of length 1", [1.0, 1.0, 1.0]),
        ("three orthogonal tasks of length 5", [5.0, 5.0, 5.0]),
        ("lengths 1, 2 and 4", [1.0, 2.0, 4.0]),
        ("two tasks, lengths 0.1 and 30", [0.1, 30.0]),
    ):
        length = torch.tensor(lengths, dtype=torch.float64)
        w = _orthonormal(12, len(lengths), generator) * length
        yield Case(
            name,
            answer(w.clone()),
            1 / length,
            "With these rates the columns kappa_t w_t must be those of U V', of length 1",
            {
                "these are the lengths themselves": length,
                "that divides by the squared lengths": 1 / length**2,
                "one rate for all is right only for equal lengths": (1 / length.mean()).expand(len(lengths)),
                "the Frobenius norm mixes the tasks": (1 / length.norm()).expand(len(lengths)),
            },
        )


def check_3_3(answer: Callable[[Tensor], Tensor]) -> bool:
    """Exercise 3.3: `answer(W)` returns the T decay rates of orthogonal columns."""
    return check("3.3", answer, _decay_cases)


def _float32_cases(answer: Callable) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(35)
    size = 60_000
    base, *others = (torch.randn(size, generator=generator, dtype=torch.float32) / 20 for _ in range(4))
    stacks = {
        f"two tasks, difference {difference:.0e}": torch.stack([base, base + difference * others[0]], 1)
        for difference in (1.0, 1e-1, 1e-2, 1e-3, 10**-3.5, 1e-4, 1e-5, 1e-6, 1e-7)
    }
    stacks["three tasks, differences 1e-2 and 1e-5"] = torch.stack(
        [base, base + 1e-2 * others[0], base + 1e-5 * others[1]], 1
    )
    stacks["four unlike tasks"] = torch.stack([base, *others], 1)
    stacks["weights as small as 1e-25"] = 1e-25 * stacks["four unlike tasks"]
    for number, word in ((2, "two"), (3, "three"), (5, "five"), (8, "eight")):
        stacks[f"{word} equal tasks"] = torch.stack([base] * number, 1)
    for name, w in stacks.items():
        g = answer(w.clone())
        yield Case(f"{name}: type of the result", g.dtype, torch.float32, "Round at the end, and do round")
        finite = bool(g.isfinite().all())
        yield Case(f"{name}: is every entry finite?", finite, True, "Something was divided by zero")
        g, w = g.double(), w.double()
        spectral = torch.linalg.svdvals(g)[0]
        yield Case(f"{name}: the spectral norm of G", spectral, 1.0, "See (3.8)", tolerance=1e-5)
        norm = torch.linalg.svdvals(w).sum()
        yield Case(f"{name}: <G, W> / ||W||_*", (g * w).sum() / norm, 1.0, "See (3.8)", tolerance=1e-5)
    hint = "With K = 0 the null space gives nothing"
    for name, equal in stacks.items():
        if "equal" in name:
            minimum = equal / torch.linalg.norm(equal)
            yield Case(f"{name}: minimum norm", answer(equal.clone()), minimum, hint)
    zero = torch.zeros(100, 2, dtype=torch.float32)
    yield Case("W = 0", answer(zero.clone()), zero, "Of all sub-gradients at 0 the smallest is 0")


def check_3_4(answer: Callable[[Tensor], Tensor]) -> bool:
    """Exercise 3.4: `answer(W)` is a float32 minimum-norm sub-gradient, accurate for nearly equal tasks."""
    return check("3.4", answer, _float32_cases)


def _prox_cases(answer: Callable) -> Iterator[Case]:
    for name, sigma, tau in (
        ("full rank, one value removed", [3.0, 2.0, 0.5], 1.0),
        ("full rank, none removed", [3.0, 2.0, 1.5], 1.0),
        ("tau larger than every singular value", [3.0, 2.0, 0.5], 5.0),
        ("rank 1", [3.0, 0.0, 0.0], 0.5),
        ("tau = 0 at full rank", [3.0, 2.0, 0.5], 0.0),
        ("zero", [0.0, 0.0, 0.0], 0.1),
        ("zero", [0.0, 0.0, 0.0], 0.0),
    ):
        u, s, v = _parts(8, sigma, seed=36)
        w = (u[:, :3] * s) @ v.T
        expected = (u[:, :3] * (s - tau).clamp_min(0)) @ v.T
        polar = u[:, :3] @ v.T
        yield Case(
            f"{name} (tau = {tau:g})",
            answer(w.clone(), tau),
            expected,
            "It should be U max(S - tau, 0) V'",
            {
                "that is a sub-gradient step: what cannot pay goes below zero": w - tau * polar,
                "small values were removed, but the others must pay too": (u[:, :3] * (s * (s > tau))) @ v.T,
                "S multiplies W, so its eigenvalues are factors of sigma, not new values of it": (
                    (u[:, :3] * s * (s - tau).clamp_min(0)) @ v.T
                ),
            },
        )


def check_3_5(answer: Callable[[Tensor, float], Tensor]) -> bool:
    """Exercise 3.5: `answer(W, tau)` is the proximal step of tau times the trace norm."""
    return check("3.5", answer, _prox_cases)
