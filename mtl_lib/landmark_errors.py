r"""What is reported about a landmark detector: NME by subset, the error curve, its area, the failure rate.

All errors are normalised mean errors in percent (:func:`mtl_lib.landmarks.nme`).  A number without its
normaliser means nothing: the paper's Table 6 divides by the distance between the pupils, while the customary
limit of 8 % of the curve and of failures belongs to the distance between the outer eye corners, which is about 1.4
times as long.  So :func:`landmark_report` gives both kinds of NME, takes area and failures from the second, and
says so.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.crops import to_original
from mtl_lib.landmarks import nme

LIMIT = 8.0
"""Percent of the distance between the outer eye corners: where the error curve ends and failure begins."""


def _checked(errors: Tensor, limit: float | int = 1) -> Tensor:
    if errors.numel() == 0:
        raise DataError("there are no errors to describe: the set has no pictures")
    if not bool(errors.isfinite().all()) or bool((errors < 0).any()):
        raise DataError("an error is negative or not a finite number; a prediction must have gone wrong")
    if not limit > 0:
        raise ConfigError(f"the limit is {limit}; it must be above 0 (percent)")
    return errors.double()


def cumulative_errors(
    errors: Float[Tensor, " N"], limits: Float[Tensor, " L"] | Sequence[float | int]
) -> Float[Tensor, " L"]:
    r"""The cumulative error distribution: the share of pictures with an error of at most each limit.

    .. math:: \mathrm{CED}(e) = \tfrac{1}{N} \, \lvert \{ k : e_k \le e \} \rvert

    Parameters
    ----------
    errors : Tensor, [N]
        NME of each picture, in percent.
    limits : Tensor or sequence, [L]
        Where to read the curve, in percent.

    Returns
    -------
    Tensor, float64, [L]
        Between 0 and 1.

    Raises
    ------
    DataError
        If there are no errors, or one is negative or not finite.

    Examples
    --------
    >>> cumulative_errors(torch.tensor([2.0, 4.0, 4.0, 9.0]), [1, 4, 8]).tolist()
    [0.0, 0.75, 0.75]
    """
    ordered = _checked(errors).sort().values
    wanted = torch.as_tensor(limits, dtype=torch.float64, device=errors.device)
    return torch.searchsorted(ordered, wanted, right=True) / len(ordered)


def area_under_curve(errors: Float[Tensor, " N"], limit: float | int = LIMIT) -> float:
    r"""The area under the cumulative error distribution up to ``limit``, divided by ``limit``.

    The curve is a staircase, so no grid and no trapezoids are needed: each picture adds a rectangle that
    begins at its error,

    .. math:: \frac{1}{L} \int_0^L \mathrm{CED}(e) \, de = \frac{1}{N} \sum_k \max\Bigl(0,\, 1 - \frac{e_k}{L}\Bigr).

    Parameters
    ----------
    errors : Tensor, [N]
        In percent, with the normaliser that ``limit`` belongs to (8 % is customary between outer eye corners).
    limit : float
        In percent.

    Returns
    -------
    float
        Between 0 (every error at the limit or beyond) and 1 (no error at all).

    Raises
    ------
    ConfigError
        If the limit is not above 0.
    DataError
        As for :func:`cumulative_errors`.

    Examples
    --------
    >>> area_under_curve(torch.tensor([2.0, 4.0, 9.0]), limit=8)  # (6/8 + 4/8 + 0) / 3
    0.4166666666666667
    """
    return float((1 - _checked(errors, limit) / limit).clamp_min(0).mean())


def failure_rate(errors: Float[Tensor, " N"], limit: float | int = LIMIT) -> float:
    """The percentage of pictures whose error is above ``limit``.

    Parameters
    ----------
    errors : Tensor, [N]
        In percent, with the normaliser that ``limit`` belongs to.
    limit : float
        In percent.

    Raises
    ------
    ConfigError, DataError
        As for :func:`area_under_curve`.

    Examples
    --------
    >>> failure_rate(torch.tensor([2.0, 8.0, 9.0, 30.0]))
    50.0
    """
    return 100 * float((_checked(errors, limit) > limit).double().mean())


def nme_in_original(
    predicted: Float[Tensor, "N 68 2"],
    true: Float[Tensor, "N 68 2"],
    crop: Float[Tensor, "N 3"],
    size: int,
    normaliser: str = "pupil",
) -> Float[Tensor, " N"]:
    """NME in pixels of the original pictures, from predictions in pixels of the crops.

    The crop is inverted for the prediction; the truth is what was annotated, untouched by any resizing.

    Parameters
    ----------
    predicted : Tensor, [N, 68, 2]
        In pixels of crops of ``size`` x ``size``.
    true : Tensor, [N, 68, 2]
        In pixels of the originals.
    crop : Tensor, [N, 3]
        ``(left, top, side)`` of each crop in its original; see :mod:`mtl_lib.faces.crops`.
    size : int
        Side of the crops in pixels.
    normaliser : {"pupil", "ocular"}

    Returns
    -------
    Tensor, [N]
        Percent.

    Raises
    ------
    DataError, ConfigError
        As for :func:`mtl_lib.landmarks.nme`.

    Examples
    --------
    >>> true = torch.rand(1, 68, 2) * 100
    >>> crop = torch.tensor([[-10.0, 5.0, 120.0]])
    >>> from mtl_lib.faces.crops import to_crop
    >>> nme_in_original(to_crop(true, crop, 96), true, crop, 96).item() < 1e-3
    True
    """
    return nme(to_original(predicted, crop.to(predicted), size), true, normaliser)


class LandmarkRow(NamedTuple):
    """One line of a landmark table.

    Parameters
    ----------
    count : int
        Pictures.
    nme_pupil : float
        Mean NME in percent of the distance between the pupils (the paper's measure).
    nme_ocular : float
        Mean NME in percent of the distance between the outer eye corners.
    auc : float
        Area under the curve of the second, up to :data:`LIMIT`, between 0 and 1.
    failures : float
        Percentage of pictures for which the second is above :data:`LIMIT`.
    """

    count: int
    nme_pupil: float
    nme_ocular: float
    auc: float
    failures: float


def landmark_report(
    predicted: Float[Tensor, "N 68 2"],
    true: Float[Tensor, "N 68 2"],
    subsets: Mapping[str, Tensor] | None = None,
) -> dict[str, LandmarkRow]:
    """One row per subset and one for all pictures, which is called ``"full"``.

    The full row is the mean over *pictures*: with 554 common and 135 challenging faces it is
    (554 common + 135 challenging) / 689, as in the paper's Table 6, and not the mean of two means.

    Parameters
    ----------
    predicted, true : Tensor, [N, 68, 2]
        In one and the same frame, best that of the original pictures.
    subsets : mapping of str to Tensor, optional
        Positions (int64) or a mask (bool, [N]) of each subset.

    Returns
    -------
    dict of str to LandmarkRow

    Raises
    ------
    DataError
        If there are no pictures, a subset is empty, or an NME is undefined.

    Examples
    --------
    >>> true = torch.zeros(4, 68, 2)
    >>> true[:, 42:48, 0] = 50.0
    >>> off = torch.tensor([1.0, 1.0, 1.0, 9.0])[:, None, None] * torch.tensor([1.0, 0.0])
    >>> for name, row in landmark_report(true + off, true, {"common": torch.arange(3)}).items():
    ...     print(f"{name}: {row.count} faces, NME {row.nme_pupil:.1f}, failures {row.failures:.0f} %")
    common: 3 faces, NME 2.0, failures 0 %
    full: 4 faces, NME 6.0, failures 25 %
    """
    pupil, ocular = nme(predicted, true, "pupil"), nme(predicted, true, "ocular")
    rows = {}
    for name, where in {**(subsets or {}), "full": torch.arange(len(true), device=true.device)}.items():
        p, o = pupil[where], ocular[where]
        if len(p) == 0:
            raise DataError(f"the subset {name!r} has no pictures")
        rows[name] = LandmarkRow(
            len(p), p.double().mean().item(), o.double().mean().item(), area_under_curve(o), failure_rate(o)
        )
    return rows
