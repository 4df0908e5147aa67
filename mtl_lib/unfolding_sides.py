r"""Which matrices a tensor trace norm sums, and how their small sides are grouped for the fewest passes.

An unfolding splits the axes of a tensor into rows and columns.  Its trace norm, and its polar factor as a
mixing of the rows, follow from the Gram matrix of either side, so the shorter one is taken.  And the Gram
matrix over *several* axes holds those over fewer of them as partial traces: from
:math:`G_{(hw),(h'w')} = \langle W_{hw}, W_{h'w'} \rangle` come

.. math:: G^{H}_{h,h'} = \sum_w G_{(hw),(h'w)}, \qquad G^{W}_{w,w'} = \sum_h G_{(hw),(hw')} .

So axes whose product is small go jointly: one pass for one Gram matrix, one pass for the weighted sum of all
their polar factors, which is a single mixing again.  For the kernels of a convolution, in the paper's order
H, W, C, M, T:

====== ======================== ================================ =============================
kind   jointly                  one by one                       the tasks, as in LAF
====== ======================== ================================ =============================
tucker H, W                     C and M                          T
tt     H and HW                 MT (or HWC where that is less)   T
====== ======================== ================================ =============================

The tasks go by themselves, though they are few: they need the accuracy of :mod:`mtl_lib.task_rows` when they
are nearly equal, their pass costs a third of one with 9 T rows, and 9 T rows cost T squared.
"""

import functools
import math
from typing import NamedTuple

JOINT_ROWS = 64
"""Longest product of axes that go jointly: beyond, the larger Gram matrix costs more than a pass saves."""


class Group(NamedTuple):
    """Unfoldings that one Gram matrix serves.

    Attributes
    ----------
    axes : tuple of int
        The axes of the Gram matrix.
    sides : tuple of tuple of int
        For every unfolding of the group the axes of its shorter side, all among `axes`.
    terms : tuple of int
        Their places in the sum.
    """

    axes: tuple[int, ...]
    sides: tuple[tuple[int, ...], ...]
    terms: tuple[int, ...]


class Plan(NamedTuple):
    """All unfoldings of a kind, by how they are computed.

    Attributes
    ----------
    tasks : tuple of int
        Terms whose shorter side is the task axis alone.
    joint : tuple of Group
        Groups of short sides without the task axis.
    single : tuple of Group
        Groups of one: everything else.
    """

    tasks: tuple[int, ...]
    joint: tuple[Group, ...]
    single: tuple[Group, ...]


def shorter_sides(shape: tuple[int, ...], kind: str) -> list[tuple[int, ...]]:
    """The axes of the shorter side of every unfolding, in the order of the sum.

    Parameters
    ----------
    shape : tuple of int
        Of the whole tensor, at least two axes, the tasks last.
    kind : {"laf", "tucker", "tt"}
        Which sum.

    Returns
    -------
    list of tuple of int

    Examples
    --------
    >>> shorter_sides((3, 3, 64, 128, 2), "tucker")
    [(0,), (1,), (2,), (3,), (4,)]
    >>> shorter_sides((3, 3, 64, 128, 2), "tt")
    [(0,), (0, 1), (3, 4), (4,)]
    """
    n = len(shape)
    rows = {
        "laf": [(n - 1,)],
        "tucker": [(i,) for i in range(n)],
        "tt": [tuple(range(k)) for k in range(1, n)],
    }[kind]
    found = []
    for side in rows:
        other = tuple(axis for axis in range(n) if axis not in side)
        # Between equally long sides the tasks alone are the better known ones, and no tasks the simpler ones.
        cost = {s: (math.prod(shape[a] for a in s), s != (n - 1,), n - 1 in s) for s in (side, other)}
        found.append(min(cost, key=cost.__getitem__))
    return found


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], kind: str, joint_rows: int = JOINT_ROWS) -> Plan:
    """How the unfoldings of a kind are computed together.

    Parameters
    ----------
    shape : tuple of int
        Of the whole tensor, at least two axes, the tasks last.
    kind : {"laf", "tucker", "tt"}
        Which sum.
    joint_rows : int
        Longest product of axes that go jointly; 0 makes every group a group of one.

    Returns
    -------
    Plan

    Examples
    --------
    >>> found = plan((3, 3, 256, 512, 2), "tucker")
    >>> found.tasks, [group.axes for group in found.joint], [group.axes for group in found.single]
    ((4,), [(0, 1)], [(2,), (3,)])
    >>> [group.axes for group in plan((3, 3, 256, 512, 2), "tt").single]  # rows are filters and tasks
    [(3, 4)]
    """
    n = len(shape)
    sides = shorter_sides(shape, kind)

    def size(axes):
        return math.prod(shape[a] for a in axes)

    tasks, joint, single = [], [], []
    for term in sorted(range(len(sides)), key=lambda i: (size(sides[i]), i)):
        side = sides[term]
        if side == (n - 1,):
            tasks.append(term)
        elif n - 1 in side or size(side) > joint_rows:
            _merge(single, side, term, lambda group, axes, side=side: group.axes == side)
        else:
            _merge(joint, side, term, lambda group, axes: size(axes) <= joint_rows)
    return Plan(tuple(tasks), tuple(joint), tuple(single))


def _merge(groups: list[Group], side: tuple[int, ...], term: int, allowed) -> None:
    """Put an unfolding into the first group whose axes may be joined with its own, or into a new one."""
    for place, group in enumerate(groups):
        axes = tuple(sorted({*group.axes, *side}))
        if allowed(group, axes):
            groups[place] = Group(axes, (*group.sides, side), (*group.terms, term))
            return
    groups.append(Group(side, (side,), (term,)))
