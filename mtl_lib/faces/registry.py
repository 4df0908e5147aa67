"""The data sets that can be read from a folder, by the names that they have on the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_lib.errors import ConfigError

if TYPE_CHECKING:
    from mtl_lib.faces.dataset import FaceFolder


@dataclass(frozen=True)
class Listed:
    """A data set in the list.

    Parameters
    ----------
    kind : {"expression", "landmarks"}
        What it has labels for.
    about : str
        One line.
    reader, twin : str
        ``"module:name"`` within :mod:`mtl_lib.faces`: the subclass of
        :class:`~mtl_lib.faces.dataset.FaceFolder`, and the function that writes a rendered twin,
        ``write(folder, *, size=None, seed=0, pixels=..., progress=False) -> Path``, where ``size`` is the number of
        faces in all, None for a small set, ``"full"`` for the published numbers.
    """

    kind: str
    about: str
    reader: str
    twin: str


SETS: dict[str, Listed] = {
    # landmark sets
    "300w": Listed(
        "landmarks",
        "300-W: 68 landmarks in photographs; 3148 faces to train on, 554 common, 135 challenging",
        "three_hundred_w:ThreeHundredW",
        "twins.three_hundred_w:write",
    ),
    "menpo": Listed(
        "landmarks",
        "Menpo 2D: 68 landmarks, 5658 semi-frontal faces to train on; 39-point profiles kept apart",
        "menpo:Menpo",
        "twins.menpo:write",
    ),
    # expression sets
    "ckplus": Listed(
        "expression",
        "CK+: 327 posed sequences of 118 people, 7 expressions, the last frame of each",
        "ckplus:CKPlus",
        "twins.ckplus:write",
    ),
    "oulu": Listed(
        "expression",
        "Oulu-CASIA NIR&VIS: 480 posed sequences of 80 people, 6 expressions, the last three frames of each",
        "oulu:OuluCASIA",
        "twins.oulu:write",
    ),
    "lsemsw": Listed(
        "expression",
        "LSEMSW: 175,679 film frames with 13 subtle mental states, in a layout of our own",
        "lsemsw:LSEMSW",
        "twins.lsemsw:write",
    ),
    "fer2013": Listed(
        "expression",
        "FER2013: 35,887 small gray photographs in one table, 7 expressions",
        "fer2013:FER2013",
        "twins.fer2013:write",
    ),
    "rafdb": Listed(
        "expression",
        "RAF-DB: 15,339 photographs with basic emotions, 7 expressions",
        "rafdb:RAFDB",
        "twins.rafdb:write",
    ),
    "affectnet": Listed(
        "expression",
        "AffectNet: 291,651 photographs, 8 expressions, both releases",
        "affectnet:AffectNet",
        "twins.affectnet:write",
    ),
}
"""Name on the command line to where it is; a set's module is imported only when it is asked for."""


def listed(name: str, kind: str | None = None) -> Listed:
    """Where a set is, by name.

    Parameters
    ----------
    name : str
    kind : {"expression", "landmarks"}, optional
        Refuse a set of the other kind.

    Raises
    ------
    ConfigError
        If no set has this name, or it is of the other kind.

    Examples
    --------
    >>> listed("300w").kind
    'landmarks'
    """
    name = name.partition(":")[0]
    names = [other for other, entry in SETS.items() if kind in (None, entry.kind)]
    if name not in names:
        what = "data set" if kind is None else f"{kind.removesuffix('s')} set"
        raise ConfigError(f"there is no {what} {name!r}; there are {', '.join(names) or 'none yet'}")
    return SETS[name]


def reader(name: str, kind: str | None = None) -> "type[FaceFolder]":
    """The class that reads a set.

    Examples
    --------
    >>> reader("300w").TITLE
    '300-W'
    """
    return _imported(listed(name, kind).reader)


def open_set(name: str, root: str | Path, kind: str | None = None) -> "FaceFolder":
    """Find a set in a folder: ``reader(name)(root)``.

    Parameters
    ----------
    name : str
        With options of the reader after a colon, separated by commas, if other than the usual ones are wanted:
        ``"300w:boxes=truth"``.
    root : path-like
        The set's folder, or the one that holds it.
    kind : {"expression", "landmarks"}, optional
        Refuse a set of the other kind.

    Raises
    ------
    ConfigError
        If no set has this name, or its reader no such option.
    DataError
        If it is not there.

    Examples
    --------
    >>> from mtl_lib.errors import DataError
    >>> try:
    ...     open_set("300w", "nowhere")
    ... except DataError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    nowhere: there is no such folder; it should hold 300-W: expected is ...
    """
    plain, _, text = name.partition(":")
    cls = reader(plain, kind)
    return cls(root, **_options(cls, name, text))


def _options(cls: type, name: str, text: str) -> dict[str, object]:
    known = {key: p.default for key, p in signature(cls).parameters.items() if p.default is not p.empty}
    options: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in known:
            raise ConfigError(
                f"{name!r} has the option {part!r}; options are written key=value, "
                + (f"with the keys {', '.join(known)}" if known else "but this set has none")
            )
        default = known[key]
        if isinstance(default, bool) and value.lower() in ("true", "false"):
            options[key] = value.lower() == "true"
        elif (
            isinstance(default, int) and not isinstance(default, bool) and value.removeprefix("-").isdecimal()
        ):
            options[key] = int(value)
        elif isinstance(default, bool | int):
            raise ConfigError(f"in {name!r}, {key} is {value!r}; it must be like {default}")
        else:
            options[key] = value
    return options


def twin_writer(name: str) -> Callable[..., Path]:
    """The function that writes rendered faces in a set's layout.

    Examples
    --------
    >>> twin_writer("300w").__name__
    'write'
    """
    return _imported(listed(name).twin)


def _imported(place: str):
    module, name = place.split(":")
    return getattr(import_module(f"mtl_lib.faces.{module}"), name)
