"""LSEMSW, the paper's own set of subtle mental states in films, in a layout of ours.

No public release of it is known and none is described, so this layout is made up here, for whoever holds the
pictures (or has collected others of the kind):

::

    annotations.csv                          picture,label,source_title,person,frame
    train/Thinking/title_person_frame.jpg    also validation/ and test/; one folder for each of the 13 states

``picture`` is the path within the folder, and the table decides; ``source_title`` is the film or series;
``person`` may be empty where nobody knows; ``frame`` is a number within the title.  The pictures are faces,
aligned and cropped already (the paper's are 96x96).  Cf. sections 3 and 4.1, and Table 2 for the states.
"""

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.dataset import FaceFolder
from mtl_lib.faces.entries import Account, Entry
from mtl_lib.faces.reading import read_table
from mtl_lib.faces.reports import SetReport
from mtl_lib.faces.small_files import whole_number
from mtl_lib.faces.states import STATES

COLUMNS = ("picture", "label", "source_title", "person", "frame")
SPLITS = ("given", "random", "title", "person")
FRACTIONS = (0.8, 0.1, 0.1)
"""Training, validation and test; section 4.1."""

DAMAGED = "damaged lines"

Split = Literal["given", "random", "title", "person"]


class Row(NamedTuple):
    """A line of the table.

    Parameters
    ----------
    line : int
    picture : str
    label : int
    title, person : str
        ``person`` is empty where nobody knows.
    frame : int
    """

    line: int
    picture: str
    label: int
    title: str
    person: str
    frame: int


class LSEMSW(FaceFolder):
    """The mental states of LSEMSW.

    Parameters
    ----------
    root : path-like
        The folder that holds ``annotations.csv``, or the one above.
    split : {"given", "random", "title", "person"}
        How faces are dealt to training, validation and test.  ``"given"``: by the folder they are in.
        ``"random"``: 80, 10 and 10 % of the pictures of each state at random, as the paper says.  ``"title"`` and
        ``"person"``: the same shares, but a film (or a person) is in one part only.
    seed : int
        Of the split.

    Raises
    ------
    DataError
        If the set is not there.
    ConfigError
        If there is no such split.

    Notes
    -----
    The paper took every fifth frame of some 200 films.  Neighbouring frames show nearly the same picture, so a
    random split tests on near copies of what was learnt; the other two do not.  A title split may still have a
    person on both sides (an actor in two films), a person split a film.  ``extra["title"]`` is the index into
    :attr:`titles`, ``extra["frame"]`` the frame's number, so that this can be measured: see :meth:`shared`.
    Somebody unknown counts as one and the same unknown person of that title.

    Examples
    --------
    >>> LSEMSW("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mtl_lib.errors.DataError: nowhere: there is no such folder; it should hold LSEMSW: expected is ...
    """

    NAME = "lsemsw"
    TITLE = "LSEMSW"
    KIND = "expression"
    ORIGIN = "the paper's authors; no public release is known, and the layout is our own"
    LAYOUT = f"annotations.csv ({','.join(COLUMNS)}) and train/Thinking/*.jpg (also validation and test)"
    PARTS = ("train", "validation", "test")
    CLASSES = STATES
    PUBLISHED = {"train": 140_543, "validation": 17_568, "test": 17_568}
    CODE = ("small_files.py", "states.py")

    PUBLISHED_CLASSES: ClassVar[dict[str, int]] = dict(
        zip(
            STATES,
            (22378, 11776, 10392, 12190, 9014, 7365, 12314, 13712, 11240, 31645, 10699, 12666, 10288),
            strict=True,
        )
    )
    """The paper's Table 2: 175,679 pictures; ``PUBLISHED`` is 80, 10 and 10 % of them."""

    def __init__(self, root: str | os.PathLike, *, split: Split = "given", seed: int = 0):
        if split not in SPLITS:
            raise ConfigError(f"the split is {split!r}; it must be one of {', '.join(map(repr, SPLITS))}")
        super().__init__(root)
        self.table = self.folder / "annotations.csv"
        self.split, self.seed = split, seed

    @classmethod
    def _recognise(cls, folder: Path) -> bool:
        return (folder / "annotations.csv").is_file() and any((folder / part).is_dir() for part in cls.PARTS)

    @property
    def titles(self) -> tuple[str, ...]:
        """The films and series, sorted.

        Raises
        ------
        DataError
            If the table is damaged.
        """
        return tuple(sorted({row.title for row in self._rows(Account(SetReport("", "")))}))

    @property
    def published(self) -> Mapping[str, int]:
        """Faces that each part should have; only for the given and the random split."""
        expected = super().published
        return expected if self.split in ("given", "random") else {}

    def _settings(self) -> dict[str, object]:
        return {"split": self.split, "seed": self.seed}

    def _found(self) -> dict[str, int]:
        try:
            dealt = Counter(self._dealt(self._rows(Account(SetReport("", ""), "leave out"))))
        except DataError:
            dealt = Counter()
        return {part: dealt[part] for part in self.PARTS}

    def _entries(self, part: str, account: Account) -> list[Entry]:
        account.use(self.table)
        # A damaged line belongs to no part; it is counted with the first.
        quiet = Account(SetReport("", ""), account.damaged)
        rows = self._rows(account if part == self.PARTS[0] else quiet)
        for line in quiet.report.left_out.get(DAMAGED, ()):
            account.report.note("damaged lines, counted with the training part", line)
        titles = {title: i for i, title in enumerate(sorted({row.title for row in rows}))}
        parts = self._dealt(rows)
        entries = [
            Entry(
                name=row.picture,
                picture=self.folder / row.picture,
                person=f"lsemsw-{row.person or 'unknown in ' + row.title}",
                label=row.label,
                table=self.table,
                line=row.line,
                extra={"title": titles[row.title], "frame": row.frame},
            )
            for row, own in zip(rows, parts, strict=True)
            if own == part
        ]
        account.report.rows += len(entries)
        return entries

    # ---- the table

    def _rows(self, account: Account) -> list[Row]:
        rows = read_table(self.table)
        _, header = next(rows, (1, []))
        header = [name.strip() for name in header]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"no column {', '.join(missing)}; the first line should be {','.join(COLUMNS)}", self.table, 1
            )
        places = [header.index(name) for name in COLUMNS]
        found: list[Row] = []
        seen: dict[str, int] = {}
        for line, cells in rows:
            try:
                row = self._row(line, cells, len(header), places)
                if row.picture in seen:
                    raise DataError(
                        f"{row.picture} is listed a second time (first in line {seen[row.picture]}); remove one of "
                        "the lines",
                        self.table,
                        line,
                    )
            except DataError as error:
                account.report.rows += 1
                account.damage(DAMAGED, f"line {line}", error)
                continue
            seen[row.picture] = line
            found.append(row)
        if not found:
            raise DataError("the table lists no picture; copy it again", self.table)
        return found

    def _row(self, line: int, cells: Sequence[str], width: int, places: Sequence[int]) -> Row:
        if len(cells) != width:
            raise DataError(
                f"{len(cells)} fields, {width} expected; mend or remove the line", self.table, line
            )
        picture, label, title, person, frame = (cells[i].strip() for i in places)
        parts = PurePosixPath(picture).parts
        if len(parts) != 3 or parts[0] not in self.PARTS or ".." in parts or "\0" in picture:
            raise DataError(
                f"{picture[:80]!r} is not the path of a picture (train/Happy/name.jpg); mend or remove the line",
                self.table,
                line,
            )
        if label not in STATES:
            raise DataError(
                f"the label {label!r} is unknown; allowed are {', '.join(STATES)}", self.table, line
            )
        if parts[1] != label:
            raise DataError(
                f"the label is {label}, but the picture is in {parts[1]}; mend the line", self.table, line
            )
        if not title:
            raise DataError("no source_title; give the film's name, or any name of its own", self.table, line)
        number = whole_number(frame, 0, 10**12, "frame number", self.table, line)
        return Row(line, picture, STATES.index(label), title, person, number)

    # ---- the split

    def _dealt(self, rows: Sequence[Row]) -> list[str]:
        """The part of each row."""
        if self.split == "given":
            return [row.picture.split("/")[0] for row in rows]
        if self.split == "random":
            return self._at_random(rows)
        groups = tuple(
            row.title if self.split == "title" or not row.person else f"person {row.person}" for row in rows
        )
        labels = np.array([row.label for row in rows])
        if len(set(groups)) < 10:
            raise DataError(
                f"{len(set(groups))} {self.split}s cannot be dealt 80 to 10 to 10; choose another split",
                self.table,
            )
        splitter = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of states with fewer than ten pictures
            tenths = [test for _, test in splitter.split(labels, labels, groups=groups)]
        dealt = ["train"] * len(rows)
        for part, tenth in zip(("validation", "test"), tenths, strict=False):
            for i in tenth:
                dealt[i] = part
        return dealt

    def _at_random(self, rows: Sequence[Row]) -> list[str]:
        count = len(rows)
        order = np.random.default_rng(self.seed).permutation(count)
        order = order[np.argsort([rows[i].label for i in order], kind="stable")]
        # Spread evenly over the pictures sorted by state, so each part has its share of every state.
        dealt = ["train"] * count
        for part, fraction, shift in (("validation", FRACTIONS[1], 0.25), ("test", FRACTIONS[2], 0.75)):
            wanted = round(fraction * count)
            for i in range(wanted):
                dealt[order[int((i + shift) * count / wanted)]] = part
        return dealt

    @staticmethod
    def shared(first: FaceSet, second: FaceSet) -> dict[str, float]:
        """Share of the second set's faces whose title, or person, the first set also has.

        Parameters
        ----------
        first, second : FaceSet
            For example the training and the test part.

        Returns
        -------
        dict
            ``{"title": ..., "person": ...}``, between 0 and 1.
        """
        title = torch.isin(second.extra["title"], first.extra["title"]).float().mean().item()
        people = set(first.persons)
        return {"title": title, "person": sum(p in people for p in second.persons) / max(1, len(second))}
