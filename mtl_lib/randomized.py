r"""Leading singular triples by random sampling, and how much of the matrix they are.

The paper computes its sub-gradient by "a fast randomized SVD [16]" (Section 2.2), without the number of
components, of extra columns or of power iterations.  This is the range finder of Halko, Martinsson and Tropp,
*Finding structure with randomness* (2011), Algorithms 4.4 and 5.1: an orthonormal basis Q of
:math:`(M M^\top)^p M \Omega` with a Gaussian :math:`\Omega`, a QR decomposition between any two products,
and the exact SVD of the few rows :math:`Q^\top M`.

**What comes out is another penalty.**  With k components the value is the sum of (almost) the k largest
singular values, the Ky Fan k norm, and :math:`U_k V_k^\top` (almost) a sub-gradient of *that*.  It is one of the
trace norm only if everything was captured: its duality gap is exactly the share that was not.  A freshly
initialised layer of 64 x 576 holds less than a third of its trace norm in its 16 leading components.  How much
was captured can be bounded from what is known.  With :math:`C = M - QQ^\top M`, whose Frobenius norm is
exactly :math:`(\|M\|_F^2 - \|Q^\top M\|_F^2)^{1/2}`,

.. math:: \big(\|Q^\top M\|_*^2 + \|C\|_F^2\big)^{1/2} \;\le\; \|M\|_* \;\le\; \|Q^\top M\|_* + \sqrt{m - q}\,\|C\|_F .

(Right: the triangle inequality, and C has rank m - q at most.  Left: the two parts have orthogonal ranges, so
:math:`\cos t` and :math:`\sin t` times their polar factors together have spectral norm at most one; take the
best t in Eq. (3.7) of the book's chapter 3, and :math:`\|C\|_* \ge \|C\|_F`.)
The functions of :mod:`mtl_lib.polar` warn where the lower end of the share that follows is not one.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.arguments import of_matrices
from mtl_lib.errors import ConfigError
from mtl_lib.scaling import in_double, normalised, working_dtype

COMPLETE = 1e-5
"""Share of the trace norm that may be unaccounted for without a warning: what rounding leaves of the bound."""


class TruncationWarning(UserWarning):
    """A randomised SVD left out a part of the matrix: the value is too small by that part."""


@dataclass(frozen=True)
class Randomized:
    """Settings of the method ``randomized``.

    Parameters
    ----------
    rank : int
        Components to keep, k; at least 1.  More than the shorter side has means all of them.
    oversample : int
        Extra random columns, for a better basis of the leading ones; Halko and others advise 5 or 10.
        Where rank and oversample together reach the shorter side nothing is drawn, and the SVD is exact.
    power_iterations : int
        Products with :math:`M M^\\top` before the basis is used, p; a flat spectrum needs them most.
    seed : int
        Of the Gaussian matrix, which is drawn on the CPU so that every device has the same.

    Raises
    ------
    ConfigError
        For a rank below 1, or another number below 0.

    Examples
    --------
    >>> Randomized(rank=8)
    Randomized(rank=8, oversample=8, power_iterations=2, seed=0)
    """

    rank: int = 32
    oversample: int = 8
    power_iterations: int = 2
    seed: int = 0

    def __post_init__(self):
        for name, least in (("rank", 1), ("oversample", 0), ("power_iterations", 0), ("seed", 0)):
            given = getattr(self, name)
            if not isinstance(given, int) or given < least:
                raise ConfigError(f"{name} is {given!r}; it must be a whole number, at least {least}")


@dataclass(frozen=True, eq=False)
class Captured:
    r"""The leading singular triples of a matrix, and what part of it they are.

    Parameters
    ----------
    left, sigma, right : Tensor
        ``[..., m, k]``, ``[..., k]`` and ``[..., k, n]``, float64 (float32 on a device without it);
        zero where a singular value cannot be told from zero.
    squared_share : Tensor
        ``[...]`` :math:`\sum_{i \le k} \sigma_i^2 / \|M\|_F^2`, exactly; 1 for the zero matrix.
    share_at_least, share_at_most : Tensor
        ``[...]`` bounds on :math:`\sum_{i \le k} \sigma_i / \|M\|_*`; the duality gap of
        :math:`U_k V_k^\top` is one minus that share.
    left_out : Tensor
        ``[...]`` Frobenius norm of the rest, so no singular value of the rest is larger.
    """

    left: Tensor
    sigma: Tensor
    right: Tensor
    squared_share: Tensor
    share_at_least: Tensor
    share_at_most: Tensor
    left_out: Tensor


@torch.compiler.assume_constant_result
def _gaussian(rows: int, columns: int, seed: int, device: str, dtype: torch.dtype) -> Tensor:
    """Drawn anew each time: that is cheaper than one product with it, and it can be too large to keep."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(device, dtype)


def _basis(wide: Tensor, columns: int, options: Randomized) -> Tensor:
    """Orthonormal basis ``[..., m, columns]`` of the leading left singular vectors."""
    noise = _gaussian(wide.shape[-1], columns, options.seed, str(wide.device), wide.dtype)
    basis = torch.linalg.qr(wide @ noise).Q
    for _ in range(options.power_iterations):
        # Orthonormal after every product: in floating point, powers would leave only the leading direction.
        basis = torch.linalg.qr(wide.mT @ basis).Q
        basis = torch.linalg.qr(wide @ basis).Q
    return basis


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, at most 1; 1 where there is nothing to capture, NaN where it is not known."""
    ratio = torch.where(whole == 0, 1, part / torch.where(whole == 0, 1, whole))
    return ratio.clamp_max(1)


@of_matrices
def randomized_svd(m: Float[Tensor, "*batch m n"], options: Randomized | None = None) -> Captured:
    r"""The leading singular triples, by the algorithm of Halko, Martinsson and Tropp.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]`` with at least one entry.
    options : Randomized, optional
        Rank, extra columns, power iterations, seed.

    Returns
    -------
    Captured
        The triples, and bounds on what they leave out; NaN where the matrix is not finite.

    Examples
    --------
    >>> m = torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0]))
    >>> found = randomized_svd(m, Randomized(rank=2, oversample=1))
    >>> found.sigma.float().round(decimals=3)
    tensor([8., 4.])
    >>> f"{found.share_at_least:.2f} <= {12 / 15} <= {found.share_at_most:.2f}"
    '0.80 <= 0.8 <= 0.85'
    """
    options = options or Randomized()
    with torch.no_grad(), torch.autocast(m.device.type, enabled=False):
        scaled, scale = normalised(m.to(working_dtype(m)))
        tall = m.shape[-2] > m.shape[-1]
        wide = in_double(scaled.mT if tall else scaled)
        side, long = wide.shape[-2:]
        kept, columns = min(options.rank, side), min(options.rank + options.oversample, side)
        basis = _basis(wide, columns, options) if columns < side else None
        rows = wide if basis is None else basis.mT @ wide
        # The SVD of a few long rows, by QR first: faster and more accurate than LAPACK on the rows.
        across, triangle = torch.linalg.qr(rows.mT)
        left, sigma, right = torch.linalg.svd(triangle.mT)
        right = right @ across.mT
        left = left if basis is None else basis @ left
        tolerance = 4 * torch.finfo(wide.dtype).eps * (side * long) ** 0.5
        sigma = torch.where(sigma > tolerance * sigma[..., :1], sigma, 0)

        found, leading = sigma.sum(-1), sigma[..., :kept].sum(-1)
        square, leading_square = wide.square().sum((-2, -1)), sigma[..., :kept].square().sum(-1)
        missed = (square - sigma.square().sum(-1)).clamp_min(0) * (columns < side)
        most = found + ((side - columns) * missed).sqrt()
        least = (found.square() + missed).sqrt()
        poison = 0 * scale[..., 0, 0]
        sigma, left, right = sigma[..., :kept], left[..., :kept], right[..., :kept, :]
        nonzero = (sigma > 0) + poison[..., None]
        left, right = left * nonzero.unsqueeze(-2), right * nonzero.unsqueeze(-1)
        return Captured(
            right.mT if tall else left,
            sigma * scale[..., 0],
            left.mT if tall else right,
            _share(leading_square, square) + poison,
            _share(leading, most) + poison,
            _share(leading, least) + poison,
            (square - leading_square).clamp_min(0).sqrt() * scale[..., 0, 0],
        )


def warn_of_truncation(
    captured: Captured, options: Randomized, what: str, tau: Tensor | float | int = 0
) -> None:
    """A `TruncationWarning` where something above `tau` may be left out; nothing is said while compiling.

    Parameters
    ----------
    captured : Captured
        Of one matrix or of many.
    options : Randomized
        What they were found with.
    what : str
        What is being computed, for the message.
    tau : float or Tensor
        What is at most this long does no harm where it is missing.

    Examples
    --------
    >>> import warnings
    >>> options = Randomized(rank=1, oversample=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_of_truncation(randomized_svd(torch.eye(2), options), options, "a trace norm")
    >>> print(str(caught[0].message)[:77])
    a trace norm by method 'randomized' with rank 1: possibly only 50% of the tra
    """
    if torch.compiler.is_compiling():  # the question needs a number from the device, which breaks the graph
        return
    share = torch.where(captured.left_out > tau, captured.share_at_least, 1).nan_to_num(1)
    least = float(share.min()) if share.numel() else 1.0
    if least < 1 - COMPLETE:
        warnings.warn(
            f"{what} by method 'randomized' with rank {options.rank}: possibly only {least:.0%} of the trace norm "
            "is captured, and the result belongs to the sum of the largest singular values instead. Raise rank, "
            "or take another method; mtl_lib.randomized.randomized_svd gives the bounds",
            TruncationWarning,
            stacklevel=5,
        )
