"""Faces of Table 7: what a network is fine-tuned to, in folds by person, and what it was trained on before.

On rendered faces the targets are twins of CK+ and Oulu-CASIA with all their sequences, written in those sets'
layouts and read by their readers; nobody in them is in the source.  On the tier "paper" they are the real sets, and
the source is rendered as well, because no release of LSEMSW is known.  On the open faces there is one target: the
photographs of everybody who is seen angry, sad or surprised at least once.  The source there are all other people,
of whom only calm and happy faces exist, so that three of the five classes are new.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.face_runs import face_sets
from mtl_lib.faces import folds as _folds
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.ckplus import CKPlus
from mtl_lib.faces.folds import Fold
from mtl_lib.faces.oulu import OuluCASIA
from mtl_lib.faces.twins import ckplus as ckplus_twin
from mtl_lib.faces.twins import oulu as oulu_twin
from mtl_lib.training_sets import shuffled

TARGETS: dict[str, tuple[str, ...]] = {
    "synthetic": ("ckplus", "oulu"), "open": ("photographs",), "paper": ("ckplus", "oulu"),
}  # fmt: skip
"""What is fine-tuned to, by tier."""

FOLDS = {"ckplus": 5, "oulu": 10, "photographs": 5}
"""As in the paper; the photographs have CK+'s number."""

TWIN_SEED = 20_007
"""No seed of a source: other people, other pictures."""

RARE = ("anger", "sadness", "surprise")
"""Whoever is seen so belongs to the target of the tier "open"."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A set to fine-tune to.

    Parameters
    ----------
    faces : FaceSet
        All faces that are trained on or tested.
    weak : FaceSet or None
        The same sequences at weak lighting, for a test only.
    """

    faces: FaceSet
    weak: FaceSet | None = None


def load_target(
    name: str, tier: str, pixels: int, workspace: Path, root: Path | None, size: int | str | None
) -> Target:
    """Return a target's faces.

    Parameters
    ----------
    name : str
        One of :data:`TARGETS`.
    tier : str
    pixels : int
        Side of the pictures.
    workspace : Path
        Where a twin is kept once it is written.
    root : Path, optional
        Where the data are; the tier "synthetic" needs none.
    size : int, "full" or None
        Size of a twin.

    Raises
    ------
    ConfigError
        If the tier has no such target, or needs a folder and has none.
    """
    if name not in TARGETS.get(tier, ()):
        raise ConfigError(
            f"the tier {tier!r} has no target {name!r}; it has {', '.join(TARGETS.get(tier, ()))}"
        )
    if tier != "synthetic" and root is None:
        raise ConfigError(f"the tier {tier!r} needs a folder with the data; give it with --root")
    where = workspace if root is None else root
    return _load(name, tier, pixels, str(where), size)


@functools.lru_cache(maxsize=2)
def _load(name: str, tier: str, pixels: int, where: str, size: int | str | None) -> Target:
    if name == "photographs":
        return Target(_rare(_open_expressions(where, pixels), True))
    folder = _twin(name, Path(where), pixels, size) if tier == "synthetic" else Path(where)
    if name == "ckplus":
        return Target(CKPlus(folder).load(size=pixels)[0])
    strong = OuluCASIA(folder).load(size=pixels)[0]
    has_weak = ("cropped", "VL", "Weak") in OuluCASIA._trees(OuluCASIA(folder).folder)
    weak = OuluCASIA(folder, pictures="cropped", lighting="Weak").load(size=pixels)[0] if has_weak else None
    return Target(strong, weak)


def _twin(name: str, workspace: Path, pixels: int, size: int | str | None) -> Path:
    """The folder of a twin, written if it is not there; frames are twice as high as the crop to be taken."""
    folder = workspace / f"{name}-{size}-{pixels}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace / f".{name}.lock"):
        if not folder.exists():
            if name == "ckplus":
                ckplus_twin.write(folder, size=size, seed=TWIN_SEED, pixels=2 * pixels, frames=2)
            else:
                # Six frames from neutral to the peak: the last three show 0.6, 0.8 and all of it.  The crops have
                # 0.4 of the frames' height.
                oulu_twin.write(
                    folder, size=size, seed=TWIN_SEED, pixels=round(2.5 * pixels), frames=6,
                    lightings=("Strong", "Weak"), original=None,
                )  # fmt: skip
    return folder


def target_folds(name: str, faces: FaceSet, seed: int) -> list[Fold]:
    """Return the folds of a target, by person; those of Oulu-CASIA are the usual ones whatever the seed."""
    if name == "oulu":
        return OuluCASIA.folds(faces, min(FOLDS[name], len(set(faces.persons))))
    return _folds.folds(faces, FOLDS[name], "stratified", seed)


def with_roles(faces: FaceSet, test: Tensor) -> FaceSet:
    """Return faces that say who is tested on, as :func:`mtl_lib.faces.splits.split_faces` reads it.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b", "c"), "toy")
    >>> with_roles(faces, torch.tensor([2])).extra["role"].tolist()
    [0, 0, 2]
    """
    role = torch.zeros(len(faces), dtype=torch.int64)
    role[test] = 2
    return dataclasses.replace(faces, extra={**faces.extra, "role": role})


def faces_of(job: Job, root: Path | None) -> dict[str, FaceSet]:
    """Return the expression and the landmark set that a job's configuration describes.

    With the paper's targets, too, the source is rendered: no release of LSEMSW is known.
    """
    return face_sets(dataclasses.replace(job, tier="synthetic") if job.tier == "paper" else job, root)


def source_sets(job: Job, root: Path | None, tasks: Sequence[str], shuffle: bool) -> dict[str, FaceSet]:
    """Return what the source is trained on.

    Parameters
    ----------
    job : Job
        Its configuration holds the source's ``train`` and ``data``, as :func:`run_config` makes them.
    root : Path, optional
    tasks : sequence of str
        Which tasks are trained; the others' sets are left out.
    shuffle : bool
        Control: every face of the expression set has another's label.
    """
    sets = {name: faces for name, faces in faces_of(job, root).items() if name in tasks}
    if job.tier == "open" and "expression" in sets:
        target = set(_rare(sets["expression"], True).persons)
        sets = {
            name: faces.select([i for i, who in enumerate(faces.persons) if who not in target])
            for name, faces in sets.items()
        }
        sets["expression"] = _kept_classes(sets["expression"])
    if shuffle:
        faces = sets["expression"]
        labels = shuffled(faces.labels, torch.Generator().manual_seed(job.seed))
        sets["expression"] = dataclasses.replace(faces, labels=labels)
    return sets


def _open_expressions(root: str, pixels: int) -> FaceSet:
    from mtl_lib.faces.expressions import load_expressions

    return load_expressions(root, size=pixels)[0]


def _rare(faces: FaceSet, inside: bool) -> FaceSet:
    """The faces of everybody who is seen with one of the rare expressions; or of all others."""
    rare = {faces.classes.index(name) for name in RARE}
    people = {who for who, label in zip(faces.persons, faces.labels.tolist(), strict=True) if label in rare}
    return faces.select([i for i, who in enumerate(faces.persons) if (who in people) == inside])


def _kept_classes(faces: FaceSet) -> FaceSet:
    """The same faces with the classes that occur."""
    there = faces.labels.unique().tolist()
    new = torch.full((len(faces.classes),), -1)
    new[there] = torch.arange(len(there))
    return dataclasses.replace(
        faces, labels=new[faces.labels], classes=tuple(faces.classes[i] for i in there)
    )
