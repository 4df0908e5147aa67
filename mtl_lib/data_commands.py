"""The commands ``mtl data``: fetch, check, prepare, show.

The functions' signatures are the commands' arguments and their docstrings the help; :mod:`mtl_lib.cli` turns
both into a command line.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mtl_lib.errors import ConfigError
from mtl_lib.faces.registry import SETS, open_set, twin_writer

Tier = Literal["synthetic", "open", "paper"]

_NAMES = ", ".join(SETS)
SetName = Annotated[
    str | None,
    tyro.conf.arg(name="set", metavar="NAME", help=f"A single data set: {_NAMES}. Needs DIR."),
]
Folder = Annotated[
    Path | None,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="[DIR]", help="The folder of the set, or the one that holds it."),
]


def data_fetch(
    name: Annotated[Literal["open"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    /,
) -> None:
    """Download the two sets of the open tier, about 600 MB, into a folder.

    facial_expressions (github.com/muxspace, expression labels) and P1_Facial_Keypoints (github.com/udacity, 68 landmarks), each
    at one fixed commit. The size is said before anything is downloaded. After an interruption the same command goes on,
    if the server can. What came is checked: its commit, every file's checksum, the number of rows and pictures.

    The pictures show real people and belong to third parties, whatever the repositories' licences say: use them to
    train and to measure, do not publish them.

    Parameters
    ----------
    name
        The other sets have owners who want to be asked: see the appendix "Getting the data".
    folder
        Where the sets' folders go; then use --tier open --root DIR.
    """
    from mtl_lib.faces.fetch import fetch

    fetch(folder)
    print(f"next: mtl data check --tier open --root {folder}")


def data_check(
    folder: Folder = None,
    /,
    set_name: SetName = None,
    tier: Tier = "synthetic",
    root: Path | None = None,
    expression_set: str = "lsemsw",
    landmark_sets: str = "300w+menpo",
    all_names: Annotated[bool, tyro.conf.arg(name="all")] = False,
) -> int:
    """Look at every file of a data set and say what is there, what is missing, what was left out, and why.

    A single set: mtl data check --set 300w DIR. A tier, which is an expression set and a landmark set:
    mtl data check --tier open --root DIR. Nothing is changed.

    The exit status is 0 if a set is sound and complete, 1 if faces are missing or damaged, 2 if it cannot be read at all.

    Parameters
    ----------
    tier
        Without --set: "synthetic" (rendered, nothing is read), "open" (two public sets of photographs) or "paper" (the
        paper's own sets).
    root
        For --tier open: the folder that holds facial_expressions and P1_Facial_Keypoints. For --tier paper: the folder
        that holds the sets.
    expression_set
        For --tier paper: which one.
    landmark_sets
        For --tier paper: which ones, joined by "+".
    all_names
        Print every name, not the first three for each reason.
    """
    if set_name is None:
        if folder is not None:
            raise ConfigError(f"which data set is in {folder}? Name it with --set; there are {_NAMES}")
        from mtl_lib.faces.tiers import check_tier

        print(check_tier(tier, root, expression_set=expression_set, landmark_sets=landmark_sets))
        return 0
    data = open_set(set_name, _needed(folder, "check", set_name))
    print(repr(data))
    report = data.check(progress=True)
    print(report.text(None if all_names else 3))
    sound = report.sound()
    print(
        "sound: nothing is missing or damaged"
        if sound
        else "NOT sound: see what is missing, left out and noted above"
    )
    return 0 if sound else 1


def data_prepare(
    folder: Annotated[
        Path | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[DIR]", help="The folder of the set; with --twin a new one."),
    ] = None,
    /,
    set_name: SetName = None,
    twin: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    pixels: int | None = None,
    cache: Path | None = None,
    damaged: Literal["refuse", "leave-out"] = "refuse",
    faces: Annotated[str | None, tyro.conf.arg(metavar="NUMBER|full")] = None,
    seed: int = 0,
) -> None:
    """Crop a data set's faces once and keep them, or write rendered faces in a data set's layout.

    mtl data prepare --set 300w DIR cuts the faces of all parts out of their pictures (the face's box, 0.2 of it more on each
    side, square, the border repeated where it reaches beyond the picture) and keeps them in the cache, where training finds
    them. Each part is kept as soon as it is done: after an interruption the same command goes on with the next.

    mtl data prepare --twin 300w DIR writes a rendered twin into a new folder: faces that show nobody, in exactly
    the layout of that set, marked as such. Everything that reads the set reads its twin.

    Parameters
    ----------
    twin
        The data set whose layout the rendered faces get.
    root
        Prepare the two open sets, in this folder, for --tier open.
    pixels
        Side of the crops (default 96); of a twin, side of a face in its picture (default: the set's own).
    cache
        Where the crops are kept; by default MTL_CACHE, or mtl_lib in the user's cache folder.
    damaged
        A damaged file ends the work with its name, or the face is left out and counted.
    faces
        Of a twin: about how many faces, or "full" for the published number; by default a few dozen.
    seed
        Of a twin.
    """
    if (twin is None) == (set_name is None):
        raise ConfigError(
            "say what to prepare: --set NAME DIR, a data set, or --twin NAME DIR, rendered faces like it"
        )
    if twin is not None:
        write = twin_writer(twin)
        target = _needed(folder, "prepare", twin, "--twin")
        options = {} if pixels is None else {"pixels": pixels}
        write(target, size=_size(faces), seed=seed, progress=True, **options)
        print(repr(open_set(twin, target)))
        print(f"next: mtl data check --set {twin} {target}")
        return
    place = cache_folder() if cache is None else cache
    if root is not None:
        from mtl_lib.faces.tiers import load_tier

        for loaded in load_tier("open", root, pixels=pixels or 96, cache=place).values():
            print(loaded)
        print(f"kept in {place}")
        return
    data = open_set(set_name, _needed(folder, "prepare", set_name))
    for part in data.parts():
        loaded, report = data.load(
            part, size=pixels or 96, cache=place, damaged=damaged.replace("-", " "), progress=True
        )
        print(loaded)
        if report.left_out:
            print(report)
    print(f"kept in {place}")


def data_show(
    folder: Folder = None,
    /,
    set_name: SetName = None,
    part: str | None = None,
    tier: Tier = "synthetic",
    root: Path | None = None,
    expression_set: str = "lsemsw",
    landmark_sets: str = "300w+menpo",
    out: Path = Path("faces.png"),
    faces: int = 40,
    pixels: int = 96,
    seed: int = 0,
) -> None:
    """Draw a contact sheet: faces as the networks see them, with landmarks and labels, in one PNG.

    For a single set (--set NAME DIR) or a tier (--tier, --root): of a tier two sheets, the second named after the first
    with -landmarks. A sheet of real faces is for your own eyes.

    Parameters
    ----------
    part
        Of a single set, such as train; by default all of it.
    tier
        Without --set: "synthetic", "open" or "paper".
    root
        The folder that holds the tier's sets.
    expression_set
        For --tier paper: which one.
    landmark_sets
        For --tier paper: which ones, joined by "+".
    out
        The PNG to write.
    faces
        How many; with labels, as many of each class.
    pixels
        Side of the crops.
    seed
        Which faces.
    """
    from mtl_lib.atomic import write_bytes
    from mtl_lib.faces.sheet import contact_sheet, sheet_png

    if set_name is not None:
        data = open_set(set_name, _needed(folder, "show", set_name))
        loaded, report = data.load(
            part, size=pixels, cache=cache_folder(), damaged="leave out", progress=True
        )
        if report.left_out:
            print(report)
        sheets = {out: loaded}
    else:
        if folder is not None:
            raise ConfigError(f"which data set is in {folder}? Name it with --set; there are {_NAMES}")
        from mtl_lib.faces.tiers import load_tier

        count = faces if tier == "synthetic" else None
        sets = load_tier(
            tier,
            root,
            count,
            seed,
            pixels=pixels,
            cache=cache_folder(),
            expression_set=expression_set,
            landmark_sets=landmark_sets,
        )
        second = out.with_name(f"{out.stem}-landmarks{out.suffix}")
        sheets = {out: sets["expression"], second: sets["landmarks"]}
    for path, drawn in sheets.items():
        write_bytes(path, sheet_png(contact_sheet(drawn, faces, seed=seed)))
        print(f"{path}: {min(faces, len(drawn))} of {drawn}")


def cache_folder() -> Path:
    """Where prepared pictures are kept: ``MTL_CACHE``, or ``mtl_lib`` in the user's cache folder.

    Examples
    --------
    >>> cache_folder().is_absolute()
    True
    """
    if os.environ.get("MTL_CACHE"):
        return Path(os.environ["MTL_CACHE"]).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "mtl_lib"


def _needed(folder: Path | None, command: str, name: str, option: str = "--set") -> Path:
    if folder is None:
        raise ConfigError(f"no folder is given; use mtl data {command} {option} {name} DIR")
    return folder


def _size(faces: str | None) -> int | str | None:
    if faces is None or faces == "full":
        return faces
    if not (faces.isascii() and faces.isdigit() and int(faces) > 0):
        raise ConfigError(f"--faces is {faces!r}; it must be a number of faces or full")
    return int(faces)


DATA_COMMANDS = {"fetch": data_fetch, "check": data_check, "prepare": data_prepare, "show": data_show}
