"""The commands ``mtl data``: fetch, check, prepare, show.

The functions' signatures are the commands' arguments and their docstrings the help; :mod:`mtl_lib.cli` turns
both into a command line.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mtl_lib.atomic import remove_unfinished
from mtl_lib.errors import ConfigError
from mtl_lib.faces.registry import SETS, open_set, twin_writer

if TYPE_CHECKING:
    from mtl_lib.faces.base import FaceSet
    from mtl_lib.faces.reports import SetReport

Tier = Literal["synthetic", "open", "paper"]

OPEN_NAMES = ("facial_expressions", "P1_Facial_Keypoints")
"""The sets of the open tier: :data:`mtl_lib.faces.open_sets.READERS`, which mtl --help must not wait for."""

_NAMES = ", ".join((*SETS, *OPEN_NAMES))
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
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{open}")],
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
    if name in SETS:
        raise ConfigError(
            f'{name} cannot be downloaded: it has owners who want to be asked first. The appendix "Getting the data"'
            " (chapters/appendix/data.md) says whom to ask and what to sign; when you have it, use mtl data check --set"
            f" {name} DIR. To try everything before, use mtl data prepare --twin {name} DIR"
        )
    if name != "open":
        both = ", which brings both open sets" if name in OPEN_NAMES else ""
        raise ConfigError(f"nothing to download is called {name!r}; use mtl data fetch open {folder}{both}")
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
    subset: bool = False,
    all_names: Annotated[bool, tyro.conf.arg(name="all")] = False,
) -> int:
    """Look at every file of a data set and say what is there, what is missing, what was left out, and why.

    A single set: mtl data check --set 300w DIR. A tier, which is an expression set and a landmark set:
    mtl data check --tier open --root DIR. Nothing is changed.

    The exit status is 0 if a set (of a tier, every set) is sound and complete, 1 if faces are missing or damaged or there
    are more than there should be, 2 if it cannot be read at all.

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
    subset
        The copy is a part of the set on purpose: that faces are missing is counted and said, but is no fault. Nobody
        can tell such a copy from one that has lost rows and pictures alike, so it has to be said.
    all_names
        Print every name, not the first three for each reason.
    """
    names = None if all_names else 3
    if set_name is None:
        if folder is not None:
            raise ConfigError(f"which data set is in {folder}? Name it with --set; there are {_NAMES}")
        from mtl_lib.faces.tiers import check_tier

        whole = check_tier(tier, root, expression_set=expression_set, landmark_sets=landmark_sets)
        print(whole.text(names))
        return _verdict(whole.sets, subset)
    place = _needed(folder, "check", set_name)
    if set_name in OPEN_NAMES:
        from mtl_lib.faces.open_sets import check_open

        report = check_open(set_name, place)[1]
    else:
        data = open_set(set_name, place)
        print(repr(data))
        report = data.check(progress=True)
    print(report.text(names))
    return _verdict([report], subset)


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
    the layout of that set, marked as such. Everything that reads the set reads its twin. It is there whole or not at all:
    Ctrl-C and SIGTERM take away what is begun, and what a killed command leaves beside DIR, the next one removes.

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
        Of a twin: about how many faces, or "full" for the published number; by default some dozens to some hundreds.
        It counts the faces that are used: of a sequence in CK+ the last frame, in Oulu-CASIA the last three. Its
        other frames are drawn, too, and CK+ has sequences without a label: its 35 faces are 315 pictures.
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
        for left in remove_unfinished(target):
            print(f"removed {left}, which a run left that was killed while it wrote this twin")
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
    source = _needed(folder, "prepare", set_name)
    settings = {"size": pixels or 96, "cache": place, "damaged": damaged.replace("-", " ")}
    for loaded, report in _parts(set_name, source, settings):
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
    augmented: bool = False,
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
    augmented
        A row for each face: as it is, then mirrored, turned, scaled, shifted, cropped, with noise, and all of it as in
        training, with the landmarks where the augmentation has put them.
    """
    from mtl_lib.atomic import write_bytes
    from mtl_lib.faces.sheet import augmentation_sheet, contact_sheet, sheet_png

    if set_name is not None:
        source = _needed(folder, "show", set_name)
        settings = {"size": pixels, "cache": cache_folder(), "damaged": "leave out"}
        if set_name in OPEN_NAMES:
            from mtl_lib.faces.open_sets import load_open

            if part is not None:
                raise ConfigError(
                    f"{set_name} has no parts that could be shown alone; leave --part {part} away"
                )
            loaded, report = load_open(set_name, source, **settings)
        else:
            loaded, report = open_set(set_name, source).load(part, progress=True, **settings)
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
        draw = augmentation_sheet if augmented else contact_sheet
        write_bytes(path, sheet_png(draw(drawn, faces, seed=seed)))
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
    if option == "--set" and name.partition(":")[0] not in (*SETS, *OPEN_NAMES):
        raise ConfigError(f"there is no data set {name!r}; there are {_NAMES}")
    if folder is None:
        raise ConfigError(f"no folder is given; use mtl data {command} {option} {name} DIR")
    return folder


def _verdict(reports: Sequence["SetReport"], subset: bool) -> int:
    """Say whether sets are sound, and return the exit status."""
    counts = [pair for report in reports for pair in report.counts.values() if pair[1] is not None]
    missing = sum(found < published for found, published in counts)
    if all(report.sound(subset) for report in reports):
        part = f"sound as a part: nothing is damaged; {missing} of {len(counts)} counts are below the published ones"
        print(part if missing else "sound: nothing is missing or damaged")
        return 0
    print("NOT sound: see what is missing, left out and noted above")
    if all(report.sound(subset=True) for report in reports):
        print("Nothing that is here is damaged. If the copy is a part of the set on purpose, say --subset.")
    return 1


def _parts(name: str, folder: Path, settings: dict) -> "Iterator[tuple[FaceSet, SetReport]]":
    """Load a set part by part."""
    if name in OPEN_NAMES:
        from mtl_lib.faces.open_sets import load_open

        yield load_open(name, folder, **settings)
        return
    data = open_set(name, folder)
    for part in data.parts():
        yield data.load(part, progress=True, **settings)


def _size(faces: str | None) -> int | str | None:
    if faces is None or faces == "full":
        return faces
    if not (faces.isascii() and faces.isdigit() and int(faces) > 0):
        raise ConfigError(f"--faces is {faces!r}; it must be a number of faces or full")
    return int(faces)


DATA_COMMANDS = {"fetch": data_fetch, "check": data_check, "prepare": data_prepare, "show": data_show}
