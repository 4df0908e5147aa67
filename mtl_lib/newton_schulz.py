r"""The polar factor by matrix products alone: an iteration that converges, on the matrix itself.

An odd polynomial acts on a matrix through its singular values,

.. math:: p(X) = a X + b X X^\top X + c (X X^\top)^2 X = U\, p(\Sigma)\, V^\top ,

so a chain of polynomials that brings every number in (0, 1] to one brings a matrix to its polar factor, and
what is exactly zero stays zero: the sub-gradient of least length.  The chain has two parts.  Quintic
polynomials first, each the best there is for the interval that the one before it left (Amsel, Persson,
Musco and Gower, *The Polar Express*, 2025, who find them with Remez' algorithm), here each divided by its
maximum so that nothing ever exceeds one; then the classical cubic of Newton and Schulz (Higham, *Functions
of Matrices*, 2008, chapter 8), :math:`1.5\,x - 0.5\,x^3`, which is at most one on all of
:math:`[0, \sqrt3]` and squares the distance to it.

Two things keep it accurate.  Everything is in float64 (float32 on a device that has none): rounding makes a
little of every direction that the matrix lacks, the steps magnify it as they magnify any small singular
value, and in float32 it would be of the size of the answer.  And steps are taken in groups: a few
polynomials of the small Gram matrix :math:`X X^\top` are multiplied into one *mixing* of the rows, which is
then applied to the matrix, from which the next group starts anew.  That costs two passes over the matrix
for a group and loses nothing, because within a group no eigenvalue is magnified to where its rounding shows.
An iteration on one Gram matrix all the way, in float32 above all, loses the small singular values and can
diverge, when an eigenvalue rounds to below zero.

What it attains: spectral norm at most 1 + 1e-6 and duality gap at most 1e-6 (of float32 matrices, after
rounding the result), plus what is *not resolved*: singular values below :attr:`NewtonSchulz.resolves` of the
spectral norm's bound end between 0 and 1 instead of at 1.  The bound is at most the fourth root of the
shorter side too large.  That makes a gap of at most min(m, n)**1.25 times `resolves`, 3e-6 for 512 rows.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.arguments import of_matrices
from mtl_lib.errors import ConfigError
from mtl_lib.scaling import in_double, normalised, working_dtype

QUINTICS = (
    # from         a               b                 c               to           source
    (0.025000000, 4.157118693867, -11.816993391470, 8.659874697602, 0.103743411),  # Polar Express
    (0.103743411, 3.840670117680, -9.449083799129, 6.608413681449, 0.387973177),  # Polar Express
    (0.387973177, 2.881641464197, -4.233752933295, 2.352111469098, 0.891428826),  # Polar Express
    (0.891428826, 1.986077521092, -1.482244199541, 0.496166678449, 0.999763352),  # Polar Express
)
"""Best quintics ``a x + b x^3 + c x^5``: from [from, 1] into [to, 1], with the largest `to` there is.

Their coefficients were computed by Remez' algorithm in 40 digits (a test finds them again) and divided by
the maximum of the polynomial.  The first one is taken as often as it needs to lift small values into its
interval; a lower start than 1/40 lifts no faster, and folds large values down to where they lose digits.
"""

CUBICS = ((1.5, -0.5, 0.0), (1.5, -0.5, 0.0))
"""Newton-Schulz (Schulz 1933; Higham 2008, chapter 8): from 0.999763 to 1 - 8e-8, and from there to 1 - 1e-14."""

MUON = (3.4445, -4.7750, 2.0315)
"""Jordan and others, *Muon* (2024): as steep as can be at zero, and without a fixed point at one."""

GROUP = {torch.float64: 5, torch.float32: 1}
"""Steps to one pass: an eigenvalue's rounding grows by 4.16**2 a step, to 2e-10 in five of them."""


@dataclass(frozen=True)
class NewtonSchulz:
    """Settings of the method ``newton_schulz``.

    Parameters
    ----------
    steps : int
        Polynomials in all, 6 to 24.  Every one more resolves singular values four times smaller, and lifts
        the rounding of float64 four times higher: in directions that the matrix lacks, the polar factor was
        measured to have singular values of up to 4e-7 after 18 steps, 7e-6 after 20, 2e-3 after 24.

    Raises
    ------
    ConfigError
        For a number of steps out of this range.

    Examples
    --------
    >>> print(f"{NewtonSchulz().resolves:.0e}")
    1e-09
    """

    steps: int = 18

    def __post_init__(self):
        least = len(QUINTICS) + len(CUBICS)
        if not isinstance(self.steps, int) or not least <= self.steps <= 24:
            raise ConfigError(f"steps is {self.steps!r}; it may be a whole number from {least} to 24")

    @property
    def resolves(self) -> float:
        """Least singular value, as a share of the bound on the largest, that ends at one."""
        start, *_, end = QUINTICS[0]
        return start * (start / end) ** (self.steps - len(QUINTICS) - len(CUBICS))

    def polynomials(self) -> list[tuple[float, float, float]]:
        """Coefficients a, b, c of every step, in order.

        Examples
        --------
        >>> len(NewtonSchulz(steps=12).polynomials())
        12
        """
        quintics = [row[1:4] for row in QUINTICS]
        lifts = self.steps - len(QUINTICS) - len(CUBICS)
        return [*[quintics[0]] * lifts, *quintics, *CUBICS]


def _mixing(g: Tensor, polynomials: list[tuple[float, float, float]]) -> Tensor:
    """The matrix that does to the rows, whose Gram matrix is given, what these polynomials do one by one."""
    eye = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    mixing = None
    for left, (a, b, c) in enumerate(polynomials, 1 - len(polynomials)):
        step = a * eye + b * g + c * (g @ g)
        mixing = step if mixing is None else step @ mixing
        if left:
            g = step @ g @ step
    return eye if mixing is None else mixing


def iterate(x: Float[Tensor, "*batch k n"], polynomials: list[tuple[float, float, float]]) -> Tensor:
    """Apply polynomials to a wide matrix, in its own precision, after scaling it to a spectral norm of at most one.

    Parameters
    ----------
    x : Tensor
        ``[..., k, n]``, k at most n, with entries of about one.
    polynomials : list of (a, b, c)
        See :meth:`NewtonSchulz.polynomials`.

    Returns
    -------
    Tensor
        ``[..., k, n]``.

    Examples
    --------
    >>> iterate(torch.tensor([[3.0, 4.0]], dtype=torch.float64), [])  # over its spectral norm
    tensor([[0.6000, 0.8000]], dtype=torch.float64)
    """
    g = x @ x.mT
    # Two bounds on the largest eigenvalue; 0 only for the zero matrix, which then stays what it is.
    bound = torch.minimum(g.square().sum((-2, -1)).sqrt(), g.abs().sum(-1).amax(-1))[..., None, None]
    inverse = torch.where(bound > 0, 1 / torch.where(bound > 0, bound, 1), 0)
    x, g = x * inverse.sqrt(), g * inverse
    size = GROUP[x.dtype]
    for start in range(0, len(polynomials), size):
        if start:
            g = x @ x.mT
        x = _mixing(g, polynomials[start : start + size]) @ x
    return x


def _orthogonalised(m: Tensor, polynomials: list[tuple[float, float, float]]) -> tuple[Tensor, Tensor]:
    """<G, m> and G, the result of the polynomials, still in the precision that it was computed in."""
    scaled, scale = normalised(m.to(working_dtype(m)))
    wide = in_double(scaled if m.shape[-2] <= m.shape[-1] else scaled.mT)
    polar = iterate(wide, polynomials)
    value = (polar * wide).sum((-2, -1)) * scale[..., 0, 0]
    polar = polar + 0 * scale
    return value, (polar if m.shape[-2] <= m.shape[-1] else polar.mT)


@of_matrices
def newton_schulz(
    m: Float[Tensor, "*batch m n"], options: NewtonSchulz | None = None
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch m n"]]:
    r"""Trace norm as :math:`\langle G, M \rangle`, and the polar factor G, by a converging iteration.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]`` with at least one entry.
    options : NewtonSchulz, optional
        How many steps.

    Returns
    -------
    value : Tensor
        ``[...]``, float32 or float64: too small by what is not resolved, never too large.
    polar : Tensor
        ``[..., m, n]`` in the type of `m`.  NaN, as is the value, where the matrix is not finite.

    Examples
    --------
    >>> value, polar = newton_schulz(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    >>> value, torch.allclose(polar, torch.diag(torch.tensor([1.0, -1.0])))
    (tensor(7.), True)
    """
    device = m.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False):
        value, polar = _orthogonalised(m, (options or NewtonSchulz()).polynomials())
        return value.to(working_dtype(m)), polar.to(m.dtype)


@of_matrices
def muon_five_steps(m: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch m n"]:
    """What the optimiser Muon makes of a matrix: a counter-example, **not a sub-gradient** of the trace norm.

    Its five quintic steps leave singular values anywhere in about [0.7, 1.2].  That serves a direction of
    descent; a sub-gradient has a spectral norm of at most one and no duality gap.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]`` with at least one entry.

    Returns
    -------
    Tensor
        ``[..., m, n]`` in the type of `m`.

    Examples
    --------
    >>> muon_five_steps(torch.diag(torch.tensor([3.0, 4.0]))).diagonal()  # a polar factor has ones here
    tensor([..., ...])
    """
    device = m.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False):
        tall = m.shape[-2] > m.shape[-1]
        scaled, scale = normalised((m.mT if tall else m).to(working_dtype(m)))  # the products are of its rows
        x = in_double(scaled)
        length = x.square().sum((-2, -1), keepdim=True).sqrt()
        x = x / torch.where(length > 0, length, 1)  # Muon's own bound on the spectral norm
        a, b, c = MUON
        for _ in range(5):
            g = x @ x.mT
            x = a * x + (b * g + c * (g @ g)) @ x
        x = (x + 0 * scale).to(m.dtype)
        return x.mT if tall else x
