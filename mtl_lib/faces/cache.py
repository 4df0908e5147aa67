"""Prepared pictures kept on disk, so that the second start takes a second instead of a minute.

Off unless a folder is given.  The file's name is a hash of everything the result depends on, so a changed
data set or setting never meets a stale cache; a damaged file is made anew.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mtl_lib.atomic import write_bytes
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.reports import SetReport

_MADE_BY = (
    "base.py",
    "cache.py",
    "crops.py",
    "entries.py",
    "expressions.py",
    "keypoints.py",
    "reading.py",
    "reports.py",
)
"""Code that decides what is in a cached file; when it changes, older files are not used."""


def fingerprint(files: Iterable[Path], settings: Mapping[str, object], code: Iterable[Path] = ()) -> str:
    """A hash of the files' names, sizes and times of change, of the settings, and of the code that reads them.

    Parameters
    ----------
    files : iterable of Path
        The data.
    settings : mapping
        What was asked for.
    code : iterable of Path
        Modules that decide what is read, besides those that all sets use.

    Examples
    --------
    >>> fingerprint([], {"size": 96}) == fingerprint([], {"size": 96}) != fingerprint([], {"size": 48})
    True
    """
    record = hashlib.sha256(json.dumps(dict(settings), sort_keys=True, default=str).encode())
    for module in (*(Path(__file__).parent / name for name in _MADE_BY), *code):
        record.update(module.read_bytes())
    for path in sorted(files):
        stat = path.stat() if path.exists() else None
        line = (str(path), stat.st_size, stat.st_mtime_ns) if stat else (str(path), None, None)
        record.update(repr(line).encode())
    return record.hexdigest()[:32]


def through_cache(
    folder: str | os.PathLike | None, key: str, build: Callable[[], tuple[FaceSet, SetReport]]
) -> tuple[FaceSet, SetReport]:
    """The result of ``build``, from ``folder`` if it is there under ``key``, else built and put there.

    Parameters
    ----------
    folder : path-like or None
        None: build, keep nothing.
    key : str
        From :func:`fingerprint`.
    build : callable

    Returns
    -------
    FaceSet, SetReport

    Examples
    --------
    >>> import tempfile, torch
    >>> def build():
    ...     print("built")
    ...     images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    ...     return FaceSet(images, None, (), None, ("a",), "toy"), SetReport("toy", "x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, _ = through_cache(folder, "k", build)
    ...     again, _ = through_cache(folder, "k", build)
    built
    >>> torch.equal(first.images, again.images), again.persons
    (True, ('a',))
    """
    if folder is None:
        return build()
    path = Path(folder) / f"faces-{key}.safetensors"
    if path.is_file():
        try:
            return _load(path)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            pass  # damaged or from another version: built anew below, nothing is lost
    faces, report = build()
    write_bytes(path, _pack(faces, report))
    return faces, report


def _pack(faces: FaceSet, report: SetReport) -> bytes:
    tensors: dict[str, Tensor] = {"images": faces.images} | {f"extra.{k}": v for k, v in faces.extra.items()}
    tensors |= {k: v for k, v in (("labels", faces.labels), ("landmarks", faces.landmarks)) if v is not None}
    about = {
        "classes": faces.classes,
        "persons": faces.persons,
        "name": faces.name,
        "report": report.to_dict(),
    }
    return save({k: v.contiguous() for k, v in tensors.items()}, {"about": json.dumps(about)})


def _load(path: Path) -> tuple[FaceSet, SetReport]:
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    extra = {name[6:]: value for name, value in tensors.items() if name.startswith("extra.")}
    faces = FaceSet(
        tensors["images"],
        tensors.get("labels"),
        tuple(about["classes"]),
        tensors.get("landmarks"),
        tuple(about["persons"]),
        about["name"],
        extra,
    )
    return faces, SetReport.from_dict(about["report"])
