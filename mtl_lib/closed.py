r"""Two tasks: the trace norm and everything about it in closed form.

Centre the two rows, :math:`s = (w_1 + w_2)/\sqrt2` and :math:`d = (w_1 - w_2)/\sqrt2`, and split :math:`d`
into a part along :math:`s` and a rest: :math:`d = t\,s + r` with :math:`t = s \cdot d / s \cdot s`.  With
:math:`a = \|s\|,\ b = t a,\ e = \|r\|`,

.. math::

    \begin{pmatrix} s \\ d \end{pmatrix} =
    \begin{pmatrix} a & 0 \\ b & e \end{pmatrix} \begin{pmatrix} s / a \\ r / e \end{pmatrix},
    \qquad
    \sigma_1 + \sigma_2 = \sqrt{(a + e)^2 + b^2}, \qquad
    U V^\top = \frac{1}{\sigma_1 + \sigma_2}
    \begin{pmatrix} a + e & -b \\ b & a + e \end{pmatrix} \begin{pmatrix} s / a \\ r / e \end{pmatrix}.

Nothing is subtracted that is nearly equal, except in :math:`e^2 = d \cdot d - b^2` when the rows are nearly
proportional; then a second pass over the columns measures :math:`r` itself.  With :math:`e = 0` the second
row of the basis is dropped, which is the minimum-norm choice.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mtl_lib.gram import CONDITION_FOR_ONE_PASS, Factor, gram, may_ask, without_poison


def _inverse(x: Tensor) -> Tensor:
    """1/x, and 0 where x is 0."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)


def _solve(s2: Tensor, t: Tensor, e2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Singular values, left vectors and polar mixing in the basis (s, d), from |s|^2, t and |r|^2.

    And the polar factor itself in the orthonormal basis (s/a, r/e); a vector of zeros does not count there.
    """
    a, e = s2.sqrt(), e2.sqrt()
    b = t * a
    total = torch.hypot(a + e, b)
    difference = torch.hypot(a - e, b)
    sigma1 = (total + difference) / 2
    sigma2 = a * e * _inverse(sigma1)
    # The angle of the principal axis of [[a^2, ab], [ab, b^2 + e^2]].
    angle = torch.atan2(2 * a * b, s2 - b * b - e2) / 2
    cosine, sine = angle.cos(), angle.sin()
    left = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    over_a, over_e, over_total = _inverse(a), _inverse(e), _inverse(total)
    main, side = (a + e) * over_total, b * over_total
    polar = torch.stack(
        [
            torch.stack([main * over_a + side * t * over_e, -side * over_e], -1),
            torch.stack([side * over_a - main * t * over_e, main * over_e], -1),
        ],
        -2,
    )
    rotation = torch.stack([torch.stack([main, -side], -1), torch.stack([side, main], -1)], -2)
    return torch.stack([sigma1, sigma2], -1), left, polar, rotation


def solve_centred(s2: Tensor, t: Tensor, e2: Tensor) -> tuple[Factor, Tensor]:
    """Factor of two rows given by |s|^2, t and |r|^2 in d = t s + r, and the polar factor over s/|s| and r/|r|.

    Parameters
    ----------
    s2, t, e2 : Tensor
        ``[...]``, float64.

    Returns
    -------
    factor : Factor
        In the centred basis.
    rotation : Tensor
        ``[..., 2, 2]``.

    Examples
    --------
    >>> one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    >>> factor, rotation = solve_centred(4 * one, zero, one)
    >>> factor.sigma, rotation
    (tensor([2., 1.], dtype=torch.float64), tensor([[1., -0.],
            [0., 1.]], dtype=torch.float64))
    """
    sigma, left, polar, rotation = _solve(s2, t, e2)
    return Factor(sigma, left, polar), rotation


def _residual(rows: Sequence[Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """``r . r`` and ``r . s`` of the rest r = d - t s, measured on the columns themselves."""
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    basis = torch.stack([torch.stack([one, zero], -1), torch.stack([-t, one], -1)], -2)
    g = gram(rows, basis)
    return g[..., 1, 1], g[..., 0, 1]


def _split(g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """|s|^2, t and |r|^2, and where |r|^2 is mostly rounding."""
    ss, sd, dd = g[..., 0, 0], g[..., 0, 1], g[..., 1, 1]
    t = sd * _inverse(ss)
    e2 = (dd - t * sd).clamp_min(0)
    return ss, t, e2, (e2 < CONDITION_FOR_ONE_PASS * dd) & (dd > 0)


def _factor(s2: Tensor, t: Tensor, e2: Tensor, poison: Tensor) -> Factor:
    sigma, left, polar, _ = _solve(s2, t, e2)
    return Factor(sigma + poison[..., None], left, polar + poison[..., None, None])


def solve_two(g: Float64[Tensor, "*batch 2 2"]) -> tuple[Factor, Bool[Tensor, "*batch"]]:
    """Factor from the Gram matrix of two centred rows alone, and whether that is good to 7 digits.

    Parameters
    ----------
    g : Tensor
        ``[..., 2, 2]`` from :func:`mtl_lib.gram.gram`.

    Returns
    -------
    factor : Factor
        Right where `reliable`.
    reliable : Tensor
        ``[...]``; False where rows are nearly proportional and :func:`decompose_two` would look a second time.

    Examples
    --------
    >>> factor, reliable = solve_two(torch.diag(torch.tensor([9.0, 16.0], dtype=torch.float64)))
    >>> factor.sigma.sum().item(), bool(reliable)
    (7.0, True)
    """
    g, poison = without_poison(g)
    s2, t, e2, proportional = _split(g)
    return _factor(s2, t, e2, poison), ~proportional


def decompose_two(rows: Sequence[Float[Tensor, "*batch n"]]) -> Factor:
    """Singular values, left singular vectors and polar mixing of two rows.

    Parameters
    ----------
    rows : sequence of Tensor
        Two tensors ``[..., n]`` of one shape.  The squares of their entries must lie inside float64's range,
        as those of everything that float32 can hold do.

    Returns
    -------
    Factor
        Of the matrix ``[..., 2, n]`` with these rows, in the centred basis.

    Examples
    --------
    >>> decompose_two([torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0])]).sigma.float()
    tensor([2., 0.])
    """
    g, poison = without_poison(gram(rows))
    s2, t, e2, proportional = _split(g)
    if not may_ask(rows[0]) or bool(proportional.any()):
        r2, rs = _residual(rows, t)
        r2, more = without_poison(r2[..., None, None])
        correction = torch.where(proportional, rs.nan_to_num() * _inverse(s2), 0)
        measured = (r2[..., 0, 0] - correction * correction * s2).clamp_min(0)
        e2 = torch.where(proportional, measured, e2)
        t, poison = t + correction, poison + more
        # What is left at this size is rounding of the subtraction, not a direction.
        e2 = torch.where(e2 > (1e-9**2) * t * t * s2, e2, 0)
    return _factor(s2, t, e2, poison)
