r"""Trace norm, polar factor, effective rank and singular-value thresholding of matrices.

With the singular value decomposition :math:`M = U \Sigma V^\top` the trace norm is
:math:`\|M\|_* = \sum_i \sigma_i`, its sub-gradients are :math:`U V^\top + N` with :math:`U^\top N = 0`,
:math:`N V = 0` and :math:`\|N\|_2 \le 1`, and the one of least length is the *polar factor*
:math:`U_r V_r^\top` over the non-zero singular values.

Five methods compute them, and ``auto`` chooses:

``svd``
    The decomposition itself, in the precision of the matrix (float32 at least), after scaling it to entries
    of about one.  Made for checks in float64.  In float32 LAPACK loses up to three digits on a matrix of
    2 x 2,000,000.
``gram``
    From the small Gram matrix in float64 (:mod:`mtl_lib.gram`): right to about 1e-7 whatever the spectrum.
    For a shorter side above 32 an eigendecomposition of the plain float64 Gram matrix; where that cannot
    tell small singular values from none, a float64 SVD instead.
``closed``
    The same for matrices with two rows (or columns), in closed form: no iteration, no library call, no
    synchronisation.  Two passes over the matrix, three where the rows are almost proportional.
``newton_schulz``
    Matrix products alone (:mod:`mtl_lib.newton_schulz`), in float64: for devices on which an
    eigendecomposition is slow.  As exact as ``gram`` but for singular values below some 1e-9 of the largest.
    It knows no singular values, so it serves the value and the polar factor only.
``randomized``
    The leading components by random sampling, as in the paper (:mod:`mtl_lib.randomized`).  **Another
    penalty**, with another sub-gradient, wherever it does not capture everything; it warns where that may be.
``auto``
    ========================================== =============================================
    matrix                                     method
    ========================================== =============================================
    float64, or on a device without float64    ``svd``
    shorter side of 2                          ``closed``
    shorter side above 32, on CUDA             ``newton_schulz`` (``gram`` for singular values)
    any other                                  ``gram``
    ========================================== =============================================

A method is given by its name, or with settings: ``polar_factor(m, method=Randomized(rank=8))``,
``trace_norm(m, method=NewtonSchulz(steps=12))``.  The names stand for the settings by default.

Everything is batched over leading axes.  Matrices in float16 and bfloat16 are computed in float32 or better
and returned in their own type; values are float32 at least, because a sum of singular values soon leaves
float16.  A matrix with an entry that is not finite gives NaN: never a finite number, never an exception.
A value beyond the largest number of its type is infinite; the polar factor is right even then.

Integers, complex numbers, sparse tensors and what is no tensor are refused with a
:class:`mtl_lib.errors.ConfigError`; no check reads an entry of a tensor on a GPU.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from mtl_lib.arguments import at_least_zero, described, of_matrices
from mtl_lib.closed import decompose_two
from mtl_lib.errors import ConfigError
from mtl_lib.gram import Factor, decompose, in_full_precision, may_ask, mixed
from mtl_lib.large_gram import decompose_large
from mtl_lib.methods import METHODS as METHODS
from mtl_lib.methods import NULLS as NULLS
from mtl_lib.methods import SMALL_SIDE, Method, checked_method, checked_null, known_method
from mtl_lib.newton_schulz import NewtonSchulz, newton_schulz
from mtl_lib.randomized import Captured, Randomized, randomized_svd, warn_of_truncation
from mtl_lib.scaling import in_double, normalised, product, working_dtype


def _svd_parts(m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """U, sigma, V^T of the normalised matrix, which singular values are not zero, and the scale."""
    scaled, scale = normalised(m.to(working_dtype(m)))
    left, sigma, right = torch.linalg.svd(scaled, full_matrices=False)
    eps = torch.finfo(scaled.dtype).eps
    # LAPACK's error grows about as the root of the number of entries; below it, zero and small look alike.
    tolerance = eps * (m.shape[-2] * m.shape[-1]) ** 0.5
    return left, sigma, right, sigma > tolerance * sigma[..., :1], scale


def _wide(m: Tensor) -> tuple[Tensor, bool]:
    """The matrix with its shorter side as rows, and whether that took a transposition."""
    tall = m.shape[-2] > m.shape[-1]
    return (m.mT if tall else m), tall


def _factor_of(wide: Tensor, method: Method) -> tuple[Factor, Tensor, Tensor]:
    """Factor of a wide matrix, the matrix it belongs to (float64 ones are scaled), and the scale."""
    scale = torch.ones((*wide.shape[:-2], 1, 1), dtype=torch.float64, device=wide.device)
    if wide.dtype == torch.float64:
        wide, scale = normalised(wide)  # squares of what float32 can hold fit into float64 unscaled
    if method == "closed":
        return decompose_two(wide.unbind(-2)), wide, scale
    if wide.shape[-2] <= SMALL_SIDE:
        return decompose(wide.unbind(-2)), wide, scale
    return decompose_large(wide), wide, scale


def _apply(mixing: Tensor, wide: Tensor, centred: bool, scale: Tensor | None = None) -> Tensor:
    """``mixing @ wide`` in the type of the matrix, computed in float64."""
    out = torch.empty_like(wide)
    for columns, block in mixed(wide.unbind(-2), mixing, centred) if centred else _plain(mixing, wide):
        out[..., columns] = block if scale is None else block * scale
    return out


def _plain(mixing: Tensor, wide: Tensor):
    """Blocks of columns of a product with many rows."""
    width = max(wide.shape[-2], 2048)
    for start in range(0, wide.shape[-1], width):
        columns = slice(start, start + width)
        yield columns, mixing @ wide[..., columns].double()


def _empty(m: Tensor) -> bool:
    return m.numel() == 0


def _captured(m: Tensor, options: Randomized, what: str, tau: Tensor | float | int = 0) -> Captured:
    found = randomized_svd(m, options)
    warn_of_truncation(found, options, what, tau)
    return found


@of_matrices
@in_full_precision
def value_and_polar(
    m: Float[Tensor, "*batch m n"], method: Method = "auto", null: str = "minimum", value_only: bool = False
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch m n"] | None]:
    r"""Trace norm and a sub-gradient of it, together.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.
    null : {"minimum", "full"}
        ``minimum`` gives the polar factor :math:`U_r V_r^\top`, the sub-gradient of least length; ``full`` the
        paper's :math:`U V^\top` over all min(m, n) singular vectors.  They differ only where the rank is not
        full, and there the second is one arbitrary choice of many, made by a (float64) SVD; not by
        ``randomized`` and ``newton_schulz``, which see no null space.
    value_only : bool
        Leave the second result out.

    Returns
    -------
    value : Tensor
        ``[...]``, float32 or float64.
    polar : Tensor or None
        ``[..., m, n]`` in the type of `m`.

    Raises
    ------
    ConfigError
        For an `m` that is no real matrix, or a `method` or `null` that does not exist or does not fit the shape.

    Examples
    --------
    >>> value, polar = value_and_polar(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    >>> value
    tensor(7.)
    >>> torch.allclose(polar, torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    True
    """
    known_method(method)
    vectors = method == "auto" and null == "full"
    method = checked_method(method, min(m.shape[-2:]), m, vectors)
    null = checked_null(null, method)
    m = m.detach()
    if _empty(m):
        return m.new_zeros(m.shape[:-2], dtype=working_dtype(m)), torch.zeros_like(m)
    if isinstance(method, NewtonSchulz):
        return newton_schulz(m, method)
    if isinstance(method, Randomized):
        found = _captured(m, method, "a trace norm")
        polar = None if value_only else (found.left @ found.right).to(m.dtype)
        return found.sigma.sum(-1).to(working_dtype(m)), polar
    if method == "svd":
        left, sigma, right, kept, scale = _svd_parts(m)
        value = (sigma.sum(-1, keepdim=True).unsqueeze(-1) * scale)[..., 0, 0]
        if value_only:
            return value, None
        if null == "minimum":
            left = left * kept.unsqueeze(-2)
        return value, (product(left, right) + 0 * scale).to(m.dtype)
    wide, tall = _wide(m)
    factor, wide, scale = _factor_of(wide, method)
    value = (factor.sigma.sum(-1) * scale[..., 0, 0]).to(working_dtype(m))
    if value_only:
        return value, None
    if null == "full":
        left, _, right, _, poison = _svd_parts(m.double())
        return value, (product(left, right) + 0 * poison).to(m.dtype)
    polar = _apply(factor.polar + 0 * scale, wide, factor.centred)
    return value, (polar.mT if tall else polar)


def trace_norm(m: Float[Tensor, "*batch m n"], method: Method = "auto") -> Float[Tensor, "*batch"]:
    r"""Trace norm (nuclear norm) :math:`\|M\|_* = \sum_i \sigma_i`.  Not differentiable; see `tensor_trace_norm`.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.

    Returns
    -------
    Tensor
        ``[...]``, float32 or float64; NaN where the matrix is not finite.

    Raises
    ------
    ConfigError
        For an `m` that is no real matrix, or a `method` that does not exist or does not fit the shape.

    Examples
    --------
    >>> trace_norm(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tensor(7.)
    """
    return value_and_polar(m, method, value_only=True)[0]


def polar_factor(
    m: Float[Tensor, "*batch m n"], method: Method = "auto", null: str = "minimum"
) -> Float[Tensor, "*batch m n"]:
    r"""Polar factor :math:`U V^\top`: a sub-gradient of the trace norm, the paper's Section 2.2.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.
    null : {"minimum", "full"}
        See :func:`value_and_polar`.

    Returns
    -------
    Tensor
        ``[..., m, n]`` in the type of `m`; NaN where the matrix is not finite.

    Raises
    ------
    ConfigError
        For an `m` that is no real matrix, or a `method` or `null` that does not exist or does not fit the shape.

    Examples
    --------
    >>> polar_factor(torch.tensor([[2.0, 2.0], [2.0, 2.0]]))  # rank one: u v^T
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    polar = value_and_polar(m, method, null)[1]
    assert polar is not None
    return polar


@of_matrices
@in_full_precision
def singular_values(m: Float[Tensor, "*batch m n"], method: Method = "auto") -> Float[Tensor, "*batch k"]:
    """Singular values, largest first.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.

    Returns
    -------
    Tensor
        ``[..., min(m, n)]``, float32 or float64; by ``randomized`` only the leading `rank` of them.

    Raises
    ------
    ConfigError
        For an `m` that is no real matrix, or a `method` that does not exist, does not fit the shape, or knows no
        singular values.

    Examples
    --------
    >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tensor([4., 3.])
    """
    method = checked_method(method, min(m.shape[-2:]), m, values=True)
    m = m.detach()
    if _empty(m):
        return m.new_zeros((*m.shape[:-2], min(m.shape[-2:])), dtype=working_dtype(m))
    if method == "svd":
        _, sigma, _, _, scale = _svd_parts(m)
        return sigma * scale[..., 0]
    if isinstance(method, Randomized):
        return _captured(m, method, "singular values").sigma.to(working_dtype(m))
    factor, _, scale = _factor_of(_wide(m)[0], method)
    return (factor.sigma * scale[..., 0]).sort(-1, descending=True).values.to(working_dtype(m))


@of_matrices
def effective_rank(
    m: Float[Tensor, "*batch m n"], rtol: float | int | None = None, method: Method = "auto"
) -> Integer[Tensor, "*batch"]:
    """Number of singular values above `rtol` times the largest.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    rtol : float, optional
        Default: min(m, n) times the machine epsilon of the type of `m`, just above what rounding the
        entries of a matrix of lower rank leaves behind.  Sub-gradient steps never reach exact low rank:
        give 1e-3 there.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.

    Returns
    -------
    Tensor
        ``[...]``, int64; 0 for the zero matrix, and 0 where the matrix is not finite.

    Raises
    ------
    ConfigError
        For an `m` that is no real matrix, an `rtol` outside of [0, 1), or a `method` as for :func:`singular_values`.

    Examples
    --------
    >>> int(effective_rank(torch.tensor([[1.0, 2.0], [2.0, 4.0]])))
    1
    """
    if rtol is None:
        rtol = min(m.shape[-2:]) * torch.finfo(m.dtype).eps
    if not at_least_zero(rtol, "rtol") < 1:
        raise ConfigError(f"rtol is {rtol}; it must be at least 0 and less than 1")
    sigma = singular_values(m, method)
    return (sigma > rtol * sigma[..., :1]).sum(-1)


@of_matrices
@in_full_precision
def singular_value_threshold(
    m: Float[Tensor, "*batch m n"], tau: float | int | Float[Tensor, ""], method: Method = "auto"
) -> Float[Tensor, "*batch m n"]:
    r"""Proximal step of the trace norm: :math:`U (\Sigma - \tau)_+ V^\top`.

    It is :math:`\arg\min_X \tfrac12 \|X - M\|_F^2 + \tau \|X\|_*`.  By `gram` and `closed` it is the
    mixing :math:`U\,\mathrm{diag}((1 - \tau/\sigma)_+)\,U^\top M`, which divides by no singular value
    below `tau`.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``.
    tau : float or scalar Tensor
        How much every singular value loses; at least 0 and finite.  A tensor is looked at where that is free, on
        the CPU; elsewhere one that is negative or not finite gives NaN, and no synchronisation.
    method : str, Randomized or NewtonSchulz
        A name in ``METHODS`` or settings; see the top of :mod:`mtl_lib.polar`.

    Returns
    -------
    Tensor
        ``[..., m, n]`` in the type of `m`.

    Raises
    ------
    ConfigError
        For a `tau` that is no number, negative or not finite, or a `method` that does not exist or does not fit the
        shape.

    Examples
    --------
    >>> singular_value_threshold(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), 0.5)
    tensor([[0.5000, 0.0000],
            [0.0000, 3.5000]])
    """
    tau = _checked_tau(tau)
    method = checked_method(method, min(m.shape[-2:]), m, values=True)
    m = m.detach()
    if _empty(m):
        return m.clone()
    # A tensor, because a number over a tensor is computed as its product with 1 / scale, which may not exist.
    tau = torch.as_tensor(tau, device=m.device, dtype=in_double(m[..., :0, :0]).dtype)
    if isinstance(method, Randomized):
        scaled, scale = normalised(m.to(working_dtype(m)))
        found = _captured(scaled, method, "a threshold of singular values", tau / scale[..., 0, 0])
        kept = (found.sigma - tau / scale[..., 0]).clamp_min(0)
        return ((found.left * kept.unsqueeze(-2)) @ found.right * scale).to(m.dtype)
    if method == "svd":
        left, sigma, right, _, scale = _svd_parts(m)
        kept = (sigma - tau / scale[..., 0]).clamp_min(0)
        return (product(left * kept.unsqueeze(-2), right) * scale).to(m.dtype)
    wide, tall = _wide(m)
    factor, wide, scale = _factor_of(wide, method)
    result = _apply(shrinkage(factor, tau / scale[..., 0]), wide, factor.centred, scale)
    return result.mT if tall else result


def _checked_tau(tau: Tensor | float | int) -> Tensor | float:
    """A threshold that can be used: a number, or a tensor without axes that is NaN where it would be refused."""
    if not isinstance(tau, Tensor):
        return at_least_zero(tau, "tau")
    if tau.numel() != 1 or tau.is_complex() or tau.dtype == torch.bool:
        raise ConfigError(
            f"tau is {described(tau)} and type {tau.dtype}; it must be one real number, at least 0"
        )
    tau = tau.detach().reshape(())
    if may_ask(tau):
        at_least_zero(tau, "tau")
    return torch.where((tau >= 0) & tau.isfinite(), tau, torch.nan)


def shrinkage(factor: Factor, tau: Tensor | float) -> Tensor:
    r"""The mixing :math:`U\,\mathrm{diag}((1 - \tau/\sigma)_+)\,U^\top` of singular-value thresholding."""
    sigma = factor.sigma
    share = torch.where(sigma > 0, 1 - tau / torch.where(sigma > 0, sigma, 1), 0).clamp_min(0)
    share = share + 0 * sigma  # NaN stays NaN
    return (factor.left * share.unsqueeze(-2)) @ factor.left.mT
