"""What every gated data set has in common: finding its folder, checking all of it, loading a part of it.

A set of somebody else's is a subclass of :class:`FaceFolder` that says how its folder looks
(:meth:`FaceFolder._recognise`) and which faces are in it (:meth:`FaceFolder._entries`).  Reading, cropping,
caching, counting and complaining are done here, in one way for all sets.

The account (:mod:`mtl_lib.faces.entries`) always closes: ``report.unaccounted() == 0``, and what is there without being
used is noted.
"""

import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from tqdm import tqdm

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet, joined
from mtl_lib.faces.cache import fingerprint, through_cache
from mtl_lib.faces.crops import cut, to_crop
from mtl_lib.faces.entries import Account, Damaged, Entry
from mtl_lib.faces.marks import MARK, read_mark
from mtl_lib.faces.reports import SetReport, joined_reports

ROLES = ("train", "validation", "test")
"""What a part may be meant for; ``extra["role"]`` is an index into this."""

NOT_USED = "files that belong to no face, not used"


class FaceFolder(ABC):
    """A data set that its owner hands out, as it lies on disk.

    Parameters
    ----------
    root : path-like
        The set's folder, the folder that holds it, or anything between that people are known to have.

    Raises
    ------
    DataError
        If it is not there; the message says what is expected and where it comes from.

    Attributes
    ----------
    folder : Path
        Where the set was found.
    twin : dict or None
        What the mark says if these are rendered faces in the set's layout, see :mod:`mtl_lib.faces.marks`.

    Notes
    -----
    Subclasses set the class variables and define :meth:`_recognise` and :meth:`_entries`.  ``NAME`` is the
    name on the command line, ``TITLE`` the one in texts, ``FOLDERS`` names that its folder is known to have,
    ``LAYOUT`` what should be in it and ``ORIGIN`` where it comes from (both for messages).  ``PARTS`` are the
    parts that are disjoint and make up the set, ``UNIONS`` further names for several of them together,
    ``PUBLISHED`` the number of faces that the owner says each part has.  ``OFFICIAL`` says which of them the owners
    mean for training, validation and test, if all are so meant.  ``CLASSES`` is empty without labels.
    ``CODE`` names further modules of this package that decide what is read: a change there makes prepared
    pictures stale.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    KIND: ClassVar[Literal["expression", "landmarks"]]
    ORIGIN: ClassVar[str]
    LAYOUT: ClassVar[str]
    FOLDERS: ClassVar[tuple[str, ...]] = ()
    PARTS: ClassVar[tuple[str, ...]] = ("all",)
    UNIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    PUBLISHED: ClassVar[Mapping[str, int]] = {}
    OFFICIAL: ClassVar[Mapping[str, str]] = {name: name for name in ROLES}
    CLASSES: ClassVar[tuple[str, ...]] = ()
    CODE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: str | os.PathLike):
        self.folder = self._find(Path(root))
        self.twin = read_mark(self.folder, self.NAME)

    # ---- what a subclass defines

    @classmethod
    @abstractmethod
    def _recognise(cls, folder: Path) -> bool:
        """Whether this folder is the set's own, judged by the names in it; cheap."""

    @classmethod
    def _parts_of_layout(cls, folder: Path) -> dict[str, bool]:
        """The parts without which a folder is not the set's, and whether it has them; for a message only."""
        return {}

    @abstractmethod
    def _entries(self, part: str, account: Account) -> list[Entry]:
        """All faces of one of ``PARTS``, in an order that depends on names only.

        Adds the number of faces that the files promise to ``account.report.rows``; says what files it looked
        at by ``account.use``; takes damaged ones to ``account.damage`` and oddities to
        ``account.report.note``.  Pictures are not opened here.
        """

    def _square(self, entry: Entry, picture: np.ndarray, report: SetReport) -> tuple[float, float, float]:
        """The square of a face ``(left, top, side)``, for sets that look at the picture to find it."""
        return entry.crop(*picture.shape)

    def _settings(self) -> dict[str, object]:
        """Choices made in the constructor that change what is read; part of the cache's key."""
        return {}

    # ---- what every set can do

    def parts(self) -> tuple[str, ...]:
        """The parts that are here, those of ``PARTS`` that a set may lack aside."""
        return self._parts(None)

    def entries(self, part: str | None = None) -> list[Entry]:
        """The faces of a part, their pictures not yet read, in the order in which :meth:`load` gives them.

        Parameters
        ----------
        part : str, optional
            As for :meth:`load`.

        Raises
        ------
        DataError
            If a table or a landmark file is damaged.
        """
        return self._listed(part, "refuse")[0]

    def load(
        self,
        part: str | None = None,
        *,
        size: int = 96,
        cache: str | os.PathLike | None = None,
        damaged: Damaged = "refuse",
        progress: bool = False,
    ) -> tuple[FaceSet, SetReport]:
        """Read a part: gray crops, with all that is known of each face, and an account.

        Parameters
        ----------
        part : str, optional
            One of ``PARTS`` or ``UNIONS``; by default all faces.
        size : int
            Side of the crops in pixels.
        cache : path-like, optional
            Folder for prepared pictures, so that the next call takes a second.
        damaged : {"refuse", "leave out"}
            A damaged file ends in an error that names it; or the face is left out and counted in the report.
        progress : bool
            Whether to show a progress bar on stderr.

        Returns
        -------
        FaceSet, SetReport
            ``extra["crop"]`` is each face's ``(left, top, side)`` in the original picture (see
            :mod:`mtl_lib.faces.crops`), ``extra["part"]`` the index into ``PARTS``, ``extra["role"]`` the index into
            :data:`ROLES` if the owners mean each part for something.

        Raises
        ------
        ConfigError
            If there is no such part.
        DataError
            If a file is damaged, or nothing is left.
        """
        if damaged not in ("refuse", "leave out"):
            raise ConfigError(f"damaged is {damaged!r}; it must be 'refuse' or 'leave out'")
        # Each part has a cache of its own: preparing goes on where it stopped, and unions cost nothing more.
        loaded = [self._load_part(name, size, cache, damaged, progress) for name in self._parts(part)]
        if len(loaded) == 1 and part is not None:
            return loaded[0]
        name = self._title() if part is None else f"{self._title()} {part}"
        faces = joined([faces for faces, _ in loaded], name)
        report = joined_reports([report for _, report in loaded])
        report.describe(faces)
        return faces, report

    def _load_part(
        self, part: str, size: int, cache: str | os.PathLike | None, damaged: Damaged, progress: bool
    ) -> tuple[FaceSet, SetReport]:
        entries, account = self._listed(part, damaged)
        key = ""
        if cache is not None:
            settings = {"set": self.NAME, "part": part, "size": size, "damaged": damaged, **self._settings()}
            key = fingerprint(sorted(account.used), settings, self._code())
        return through_cache(cache, key, lambda: self._build(entries, account, size, part, progress))

    def check(self, *, progress: bool = False) -> SetReport:
        """Look at every file of the set and say what is there, what is missing and what is odd.

        Unlike :meth:`load`, it goes on after a damaged file, so that one run finds everything.

        Parameters
        ----------
        progress : bool
            Whether to show a progress bar on stderr.

        Returns
        -------
        SetReport
            ``print`` it; ``report.complete()`` says whether all published faces are there and sound.
        """
        entries, account = self._listed(None, "leave out")
        report = account.report
        kept: list[Entry] = []
        seen: dict[bytes, list[Entry]] = {}
        for entry in _bar(entries, progress, self.TITLE):
            try:
                picture, code = entry.read()
                crop = self._square(entry, picture, report)
                _cut(picture, crop, 8, entry)
            except DataError as error:
                account.damage("damaged or missing pictures", entry.name, error)
                continue
            kept.append(entry)
            seen.setdefault(code, []).append(entry)
            _note_outside(entry, picture, crop, report)
            self._odd(entry, picture, report)
        parts = {entry.name: part for part in self.PARTS for entry in self._of_part(kept, part)}
        for same in seen.values():
            if len({parts[entry.name] for entry in same}) > 1:
                report.note("pictures that two parts share", " = ".join(entry.name for entry in same))
            elif len(same) > 1:
                report.note("pictures that several faces share", " = ".join(entry.name for entry in same))
        for path in sorted(self.folder.rglob("*")):
            hidden = any(name.startswith(".") for name in path.relative_to(self.folder).parts)
            if not hidden and path.name != MARK and path not in account.used and path.is_file():
                report.note(NOT_USED, path.relative_to(self.folder).as_posix())
        for part in self._parts(None):
            report.counts[part] = (len(self._of_part(kept, part)), self.published.get(part))
        labels = [entry.label for entry in kept if entry.label is not None]
        tally = {name: labels.count(i) for i, name in enumerate(self.CLASSES)}
        report.describe_counts(len(kept), tally, [entry.person for entry in kept])
        return report

    @property
    def published(self) -> Mapping[str, int]:
        """Faces that each part should have: as published, or as the mark of a twin says."""
        return self.PUBLISHED if self.twin is None else self.twin["counts"]

    def __repr__(self) -> str:
        found = self._found()
        parts = []
        for part, count in found.items():
            wanted = self.published.get(part)
            parts.append(f"{part} {count}" + ("" if wanted in (None, count) else f" of {wanted}"))
        what = self.TITLE if self.twin is None else f"rendered twin of {self.TITLE}"
        return f"{what} in {self.folder}: {', '.join(parts)} faces"

    def _found(self) -> dict[str, int]:
        """Faces per part as far as tables and landmark files tell; what cannot be read counts 0."""
        found = {}
        for part in self._parts(None):
            try:
                found[part] = len(self._entries(part, Account(SetReport(self.TITLE, ""), "leave out")))
            except DataError:
                found[part] = 0
        return found

    # ---- how

    def _find(self, root: Path) -> Path:
        if not root.is_dir():
            raise DataError(f"there is no such folder; it should hold {self.TITLE}: {self._expected()}", root)
        if self._recognise(root):
            return root
        inside = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.name)
        known = [name.lower() for name in (self.NAME, *self.FOLDERS)]
        named = [path for path in inside if path.name.lower() in known and self._recognise(path)]
        found = named or [path for path in inside if self._recognise(path)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise DataError(f"several folders here look like {self.TITLE} ({names}); name one of them", root)
        for path in (root, *inside):
            parts = self._parts_of_layout(path)
            if any(parts.values()):
                lacking = " and ".join(name for name, there in parts.items() if not there)
                raise DataError(f"this is {self.TITLE} without {lacking}; {self._expected()}", path)
        raise DataError(f"{self.TITLE} is not here; {self._expected()}", root)

    @classmethod
    def _expected(cls) -> str:
        return (
            f"expected is {cls.LAYOUT}. It comes from {cls.ORIGIN}; see the appendix 'Getting the data', or write "
            f"a rendered twin with `mtl data prepare --twin {cls.NAME} DIR`"
        )

    def _listed(self, part: str | None, damaged: Damaged) -> tuple[list[Entry], Account]:
        account = Account(SetReport(self._title(), str(self.folder)), damaged)
        entries: list[Entry] = []
        for name in self._parts(part):
            where = {"part": self.PARTS.index(name)}
            if set(self.PARTS) <= set(self.OFFICIAL):
                where["role"] = ROLES.index(self.OFFICIAL[name])
            entries += [replace(e, extra={**e.extra, **where}) for e in self._entries(name, account)]
        account.use(*(entry.picture for entry in entries))
        return entries, account

    def _parts(self, part: str | None) -> tuple[str, ...]:
        if part is None or part == "all":
            return self.PARTS
        if part not in (*self.PARTS, *self.UNIONS):
            names = ", ".join((*self.PARTS, *self.UNIONS))
            raise ConfigError(f"{self.TITLE} has no part {part!r}; there are {names}, and all")
        return tuple(self.UNIONS.get(part, (part,)))

    def _of_part(self, entries: Iterable[Entry], part: str) -> list[Entry]:
        return [entry for entry in entries if entry.extra["part"] == self.PARTS.index(part)]

    def _title(self) -> str:
        return self.TITLE if self.twin is None else f"rendered twin of {self.TITLE}"

    def _odd(self, entry: Entry, picture: np.ndarray, report: SetReport) -> None:  # noqa: B027, may stay empty
        """Note what is odd about a sound face beyond what is noted for every set; the same in check and load."""

    def _code(self) -> list[Path]:
        here = Path(__file__).parent
        modules = {cls.__module__ for cls in type(self).__mro__ if cls.__module__.startswith("mtl_lib.")}
        files = [Path(inspect.getfile(sys.modules[name])) for name in sorted(modules)]
        return files + [here / name for name in self.CODE]

    def _build(
        self, entries: list[Entry], account: Account, size: int, part: str, progress: bool
    ) -> tuple[FaceSet, SetReport]:
        report = account.report
        pixels = np.empty((len(entries), 1, size, size), dtype=np.uint8)
        kept: list[Entry] = []
        crops = []
        for entry in _bar(entries, progress, self.TITLE):
            try:
                picture, _ = entry.read()
                crop = self._square(entry, picture, report)
                pixels[len(kept), 0] = _cut(picture, crop, size, entry)
            except DataError as error:
                account.damage("damaged or missing pictures", entry.name, error)
                continue
            kept.append(entry)
            crops.append(crop)
            _note_outside(entry, picture, crop, report)
            self._odd(entry, picture, report)
        if not kept:
            raise DataError(
                f"no face of the part {part!r} is left; `mtl data check --set {self.NAME} DIR` says why",
                self.folder,
            )
        crop = torch.tensor(crops, dtype=torch.float32)
        points = None
        if all(entry.points is not None for entry in kept):
            points = to_crop(torch.stack([entry.points for entry in kept]), crop, size)
        labels = None
        if self.CLASSES:
            labels = torch.tensor([entry.label for entry in kept], dtype=torch.int64)
        extra = {key: torch.tensor([entry.extra[key] for entry in kept]) for key in kept[0].extra}
        faces = FaceSet(
            torch.from_numpy(pixels[: len(kept)]),
            labels,
            self.CLASSES,
            points,
            tuple(entry.person for entry in kept),
            f"{self._title()} {part}",
            {"crop": crop, **extra},
        )
        report.counts[part] = (len(kept), self.published.get(part))
        report.describe(faces)
        return faces, report


def _cut(picture: np.ndarray, crop: tuple[float, float, float], size: int, entry: Entry) -> np.ndarray:
    try:
        return cut(picture, crop, size)
    except DataError as error:
        raise DataError(str(error), entry.table or entry.picture, entry.line) from None


def _note_outside(
    entry: Entry, picture: np.ndarray, crop: tuple[float, float, float], report: SetReport
) -> None:
    if entry.points is None:
        return
    height, width = picture.shape
    if bool((entry.points < -0.5).any()) or bool(
        (entry.points > torch.tensor([width - 0.5, height - 0.5])).any()
    ):
        report.note("with landmarks outside the picture, kept", entry.name)
    inside = to_crop(entry.points[None], torch.tensor([crop]), 1)[0] + 0.5
    if bool((inside < 0).any()) or bool((inside > 1).any()):
        report.note("with landmarks outside the crop, kept", entry.name)


def _bar(entries: list[Entry], progress: bool, title: str) -> Iterable[Entry]:
    return tqdm(entries, desc=title, unit=" faces", mininterval=0.5, disable=not progress)
