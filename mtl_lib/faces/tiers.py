"""The tiers of data under one call: an expression set and a landmark set, whatever they are made from."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from mtl_lib.budget import current_budget
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet, joined
from mtl_lib.faces.expressions import load_expressions
from mtl_lib.faces.keypoints import load_keypoints
from mtl_lib.faces.open_sets import READERS, check_open
from mtl_lib.faces.registry import listed, open_set
from mtl_lib.faces.reports import SetReport, TierReport, tier_report
from mtl_lib.faces.synthetic import PICTURES_PER_PERSON, synthetic_set

TIERS = ("synthetic", "open", "paper")
"""Rendered; two public downloads; sets that their owners hand out under agreements, as far as the reader has them."""

EXPRESSION_SET, LANDMARK_SETS = "lsemsw", "300w+menpo"
"""The paper's own, by default."""

SYNTHETIC_SIZES = {"smoke": 130, "cpu": 2600, "t4": 13_000, "full": 52_000}
"""Faces per set when no size is given, by budget."""


def load_tier(
    tier: str,
    root: str | os.PathLike | None = None,
    size: int | None = None,
    seed: int = 0,
    *,
    pixels: int = 96,
    cache: str | os.PathLike | None = None,
    intensity: tuple[float | int, float | int] | None = None,
    expression_set: str = EXPRESSION_SET,
    landmark_sets: str = LANDMARK_SETS,
) -> dict[str, FaceSet]:
    """The expression set and the landmark set of a tier.

    Parameters
    ----------
    tier : {"synthetic", "open", "paper"}
    root : path-like, optional
        For ``"open"``: the folder that holds ``facial_expressions`` and ``P1_Facial_Keypoints``.  For
        ``"paper"``: the folder that holds the sets named below.
    size : int, optional
        Number of faces in each set.  Default: for ``"synthetic"`` as :data:`SYNTHETIC_SIZES` says for the
        current budget, else all there are; a smaller number takes that many at random.
    seed : int
        Of the renderer, or of that choice.
    pixels : int
        Side of the pictures.
    cache : path-like, optional
        Folder for prepared pictures, so that the next call takes a second.
    intensity : (float, float), optional
        Only for ``"synthetic"``: how strong the states of the expression set are, as in
        :func:`mtl_lib.faces.synthetic.synthetic_set`; by default subtle to plain, 0.2 to 0.8.
    expression_set : str
        Only for ``"paper"``: a name from :data:`mtl_lib.faces.registry.SETS`.
    landmark_sets : str
        Only for ``"paper"``: names joined by ``+``.  The first gives its training and its test faces, the others
        their training faces: the paper trains on 300-W and Menpo and tests on 300-W.

    Returns
    -------
    dict
        ``{"expression": FaceSet, "landmarks": FaceSet}``; the first has labels, the second landmarks.

    Raises
    ------
    ConfigError
        If there is no such tier or set, it needs a folder and none is given, or its faces have no intensity
        to choose.
    DataError
        If a file is missing or damaged.

    Examples
    --------
    >>> sets = load_tier("synthetic", size=13, pixels=32)
    >>> len(sets["expression"].classes), sets["landmarks"].landmarks.shape
    (13, torch.Size([13, 68, 2]))
    """
    if size is not None and size < 1:
        raise ConfigError(f"a set of {size} faces is empty; give at least 1")
    if tier == "synthetic":
        return _synthetic(size or SYNTHETIC_SIZES[current_budget()], seed, pixels, intensity or (0.2, 0.8))
    folder = _root(tier, root)
    if intensity is not None:
        raise ConfigError(
            f"intensity is {intensity}, but only the faces of the tier 'synthetic' have one to choose"
        )
    if tier == "open":
        sets = {
            "expression": load_expressions(folder, size=pixels, cache=cache)[0],
            "landmarks": load_keypoints(folder, size=pixels, cache=cache)[0],
        }
    else:
        sets = _paper(folder, pixels, cache, expression_set, landmark_sets)
    if size is not None:
        generator = torch.Generator().manual_seed(seed)
        for key, faces in sets.items():
            chosen = torch.randperm(len(faces), generator=generator)[:size].sort().values
            sets[key] = faces.select(chosen)
    return sets


def check_tier(
    tier: str,
    root: str | os.PathLike | None = None,
    *,
    seed: int = 0,
    cache: str | os.PathLike | None = None,
    expression_set: str = EXPRESSION_SET,
    landmark_sets: str = LANDMARK_SETS,
) -> TierReport:
    """Read all of a tier and say what was found, what was left out, and why.

    Parameters
    ----------
    tier, root, cache, expression_set, landmark_sets
        As for :func:`load_tier`.
    seed : int
        Of the renderer.

    Returns
    -------
    TierReport
        ``print`` it.

    Raises
    ------
    ConfigError, DataError
        As for :func:`load_tier`; the message names the file and line at fault.  A damaged or missing picture is no
        error here: it is counted in the report.

    Examples
    --------
    >>> check_tier("synthetic").shared_persons
    7
    """
    if tier == "synthetic":
        sets = _synthetic(SYNTHETIC_SIZES["smoke"], seed, 48, (0.2, 0.8))
        reports = []
        for faces in sets.values():
            report = SetReport(faces.name, "rendered, nothing is read")
            report.describe(faces)
            report.rows = report.kept
            reports.append(report)
        return tier_report(tier, *sets.values(), reports)
    folder = _root(tier, root)
    if tier == "paper":
        names = _names(landmark_sets)
        found = [open_set(expression_set, folder, "expression"), *(open_set(name, folder) for name in names)]
        return TierReport(tier, [data.check() for data in found], None, (0, 0))
    (expression, first), (landmarks, second) = (check_open(name, folder, cache=cache) for name in READERS)
    return tier_report(tier, expression, landmarks, [first, second])


def _synthetic(size: int, seed: int, pixels: int, intensity: tuple) -> dict[str, FaceSet]:
    # A third of the people occur in both sets, as most do in the open pair: only a joint split by person
    # keeps them apart.
    people = -(-size // PICTURES_PER_PERSON)
    return {
        "expression": synthetic_set(
            size, style="film", landmarks=False, intensity=intensity, size=pixels, seed=seed
        ),
        "landmarks": synthetic_set(
            size, style="wild", labelled=False, intensity=(0.0, 1.0), size=pixels, seed=seed,
            first=1_000_000, first_person=people - people // 3,
        ),
    }  # fmt: skip


def _names(landmark_sets: str) -> list[str]:
    names = landmark_sets.split("+")
    for name in names:
        listed(name, "landmarks")
    if len(set(names)) < len(names):
        raise ConfigError(f"landmark_sets is {landmark_sets!r}; each set can be named once")
    return names


def _paper(
    folder: Path, pixels: int, cache: str | os.PathLike | None, expression_set: str, landmark_sets: str
) -> dict[str, FaceSet]:
    names = _names(landmark_sets)
    # Both are found before either is read, which may take minutes.
    expressions = open_set(expression_set, folder, "expression")
    sources = [open_set(name, folder, "landmarks") for name in names]
    landmarks = [
        source.load("train" if i else None, size=pixels, cache=cache)[0] for i, source in enumerate(sources)
    ]
    # Of several sets only what means the same in all may be joined.
    landmarks = [replace(f, extra={key: f.extra[key] for key in ("crop", "role")}) for f in landmarks]
    return {
        "expression": expressions.load(size=pixels, cache=cache)[0],
        "landmarks": joined(landmarks, " and ".join(faces.name for faces in landmarks)),
    }


def _root(tier: str, root: str | os.PathLike | None) -> Path:
    if tier not in TIERS:
        raise ConfigError(f"there is no data tier {tier!r}; the tiers are {', '.join(TIERS)}")
    holds = "facial_expressions and P1_Facial_Keypoints" if tier == "open" else "the data sets"
    if root is None:
        raise ConfigError(
            f"the data tier {tier!r} needs a folder that holds {holds}; give it as root (on the command line: --root DIR)"
        )
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"there is no such folder; it should hold {holds}", folder)
    return folder
