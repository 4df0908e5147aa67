"""Which faces are hard to find landmarks on: 300-W's own subsets, and for other sets a rule about turned heads.

300-W tests on a *common* part (554 faces of HELEN and LFPW) and a *challenging* one (135 of iBUG), chosen by its
makers.  A set without such a choice gets a rule that anyone can repeat: of all its faces, by their true landmarks,
those with the head turned furthest to a side are *hard*, as large a share as is challenging in 300-W.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mtl_lib.errors import DataError
from mtl_lib.faces.base import FaceSet

HARD_SHARE = 135 / 689
"""Share of the challenging faces in 300-W's test set."""


def head_turn(points: Float[Tensor, "N 68 2"]) -> Float[Tensor, " N"]:
    r"""How far a head is turned to a side, from its landmarks: 0 from the front, about 1 where the nose hides a cheek.

    The tip of the nose (point 30) stands out from the plane of the jaw's ends (0 and 16), so that it moves sideways
    between them as the head turns.  With *x* measured along the line through both eyes' centres, so that a head
    laid on its shoulder counts as upright,

    .. math:: t = \frac{\lvert x_{30} - \tfrac12 (x_0 + x_{16}) \rvert}{\tfrac12 \lvert x_{16} - x_0 \rvert}.

    It does not notice nodding.

    Parameters
    ----------
    points : Tensor, [N, 68, 2]
        True landmarks, in any unit.

    Returns
    -------
    Tensor, [N]

    Raises
    ------
    DataError
        If both eyes of a face are in one place.

    Examples
    --------
    >>> from mtl_lib.faces.camera import View
    >>> from mtl_lib.faces.scene import sample_scene
    >>> scene = sample_scene(torch.arange(200), style="wild")
    >>> turn = head_turn(View(scene, 96).landmarks)
    >>> far = scene.pose[:, 0].abs().argsort(descending=True)[:40]  # the fifth that is turned furthest
    >>> len(set(far.tolist()) & set(turn.argsort(descending=True)[:40].tolist())) >= 38
    True
    """
    axis = points[:, 42:48].mean(1) - points[:, 36:42].mean(1)
    length = axis.norm(dim=-1, keepdim=True)
    if not bool((length > 0).all()):
        raise DataError("both eyes of a face are in one place, so its pose cannot be told; leave it out")
    x = torch.einsum("nkd,nd->nk", points, axis / length)
    half = (x[:, 16] - x[:, 0]).abs() / 2
    return (x[:, 30] - (x[:, 0] + x[:, 16]) / 2).abs() / half.clamp_min(1e-12)


def hard_poses(points: Float[Tensor, "N 68 2"], share: float = HARD_SHARE) -> Bool[Tensor, " N"]:
    """Return which faces are hard: those of :func:`head_turn` above the quantile ``1 - share`` of the set.

    Parameters
    ----------
    points : Tensor, [N, 68, 2]
        True landmarks of the whole set, all parts of a split: the limit must not move with the split.
    share : float, optional
        How many are to be hard, between 0 and 1.

    Raises
    ------
    DataError
        If there are no faces, or the share is not between 0 and 1.

    Examples
    --------
    >>> hard_poses(torch.rand(1000, 68, 2) * 90).sum()
    tensor(196)
    """
    if not 0 < share < 1 or not len(points):
        raise DataError(f"{len(points)} faces, a share of {share}; give faces, and a share between 0 and 1")
    turn = head_turn(points)
    return turn > torch.quantile(turn, 1 - share)


def pose_subsets(faces: FaceSet, share: float = HARD_SHARE) -> dict[str, Bool[Tensor, " N"]]:
    """Return the two subsets of a set with landmarks, as masks over all its faces.

    Parameters
    ----------
    faces : FaceSet
        The whole set.  If faces of 300-W are in it, its own subsets are taken: they are known by the person's name,
        which begins with the folder.
    share : float, optional
        For sets without subsets of their own; see :func:`hard_poses`.

    Returns
    -------
    dict of str to Tensor
        ``"common"`` and ``"challenging"`` for 300-W, else ``"easy"`` and ``"hard"``.

    Raises
    ------
    DataError
        If the set has no landmarks.

    Examples
    --------
    >>> from mtl_lib.faces.synthetic import synthetic_set
    >>> found = pose_subsets(synthetic_set(100, style="wild", size=32))
    >>> {name: int(mask.sum()) for name, mask in found.items()}
    {'easy': 80, 'hard': 20}
    """
    if faces.landmarks is None:
        raise DataError(f"the set {faces.name!r} has no landmarks, so its poses are unknown")
    challenging = torch.tensor([person.startswith("300w-ibug/") for person in faces.persons])
    if bool(challenging.any()):
        return {"common": ~challenging, "challenging": challenging}
    hard = hard_poses(faces.landmarks.cpu(), share)
    return {"easy": ~hard, "hard": hard}
