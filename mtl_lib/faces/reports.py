"""What a loader found, what it left out, and why: nothing is dropped silently."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mtl_lib.faces.base import FaceSet, images_per_person


@dataclass
class SetReport:
    """The account of one data set.

    Parameters
    ----------
    name, folder : str
    rows : int
        Lines in its tables, header lines aside.
    left_out : dict of str to list of str
        Reason to the pictures (or lines) concerned.
    notes : dict of str to list of str
        What is odd but was kept or put right.
    summary : list of str
        Lines about what is in the set: counts, people, sizes.
    kept : int
        Pictures in the set.
    counts : dict of str to (int, int or None)
        For each part, how many faces were found and how many its owner says there are.
    damaged : int
        Faces and files that are damaged or missing, or miss their other half.

    Examples
    --------
    >>> report = SetReport("toy", "/data/toy", rows=3, kept=2, left_out={"named twice": ["a.jpg"]})
    >>> print(report)
    toy (/data/toy)
      3 rows, 2 pictures kept
      left out: 1 named twice (a.jpg)
    """

    name: str
    folder: str
    rows: int = 0
    kept: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    counts: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    damaged: int = 0

    def leave_out(self, reason: str, what: str) -> None:
        """Record a picture or line that is not used.

        Examples
        --------
        >>> report = SetReport("toy", "toy")
        >>> report.leave_out("too small", "a.jpg")
        >>> report.left_out
        {'too small': ['a.jpg']}
        """
        self.left_out.setdefault(reason, []).append(what)

    def note(self, reason: str, what: str) -> None:
        """Record something odd that was put right or kept.

        Examples
        --------
        >>> report = SetReport("toy", "toy")
        >>> report.note("label in capitals", "a.jpg")
        >>> report.notes
        {'label in capitals': ['a.jpg']}
        """
        self.notes.setdefault(reason, []).append(what)

    def describe(self, faces: FaceSet) -> None:
        """Add what the finished set holds.

        Examples
        --------
        >>> import torch
        >>> report = SetReport("toy", "toy")
        >>> report.describe(FaceSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",), "toy"))
        >>> report.kept
        1
        """
        self.describe_counts(len(faces), faces.counts(), faces.persons)

    def describe_counts(self, kept: int, counts: Mapping[str, int], persons: Sequence[str]) -> None:
        """Do what :meth:`describe` does, without pictures.

        Parameters
        ----------
        kept : int
        counts : mapping of str to int
            Pictures per class; empty without labels.
        persons : sequence of str
            Who is shown, one name per picture.

        Examples
        --------
        >>> report = SetReport("toy", "toy")
        >>> report.describe_counts(2, {"calm": 2, "glad": 0}, ["a", "b"])
        >>> report.summary[0]
        'calm 2, glad 0'
        """
        self.kept = kept
        if counts:
            most = max(counts.values())
            self.summary.append(", ".join(f"{name} {count}" for name, count in counts.items()))
            self.summary.append(
                f"always guessing the largest class is right for {100 * most / max(1, kept):.1f} %"
            )
        self.summary.append(images_per_person(persons))

    def unaccounted(self) -> int:
        """Rows that were neither kept nor left out for a reason; 0 unless the reader has a bug.

        Holds for sets in which what is left out are rows and nothing else (every
        :class:`~mtl_lib.faces.dataset.FaceFolder`).

        Examples
        --------
        >>> SetReport("toy", "toy", rows=3, kept=2, left_out={"damaged": ["a.jpg"]}).unaccounted()
        0
        """
        return self.rows - self.kept - sum(len(names) for names in self.left_out.values())

    def complete(self, subset: bool = False) -> bool:
        """Whether every part has as many faces as its owner says.

        Parameters
        ----------
        subset : bool
            Whether the copy is meant to be a part of the set: fewer faces are then no fault, more still are.

        Examples
        --------
        >>> report = SetReport("toy", "toy", counts={"train": (9, 10), "test": (5, None)})
        >>> report.complete(), report.complete(subset=True)
        (False, True)
        """
        return all(
            published in (None, found) or (subset and found < published)
            for found, published in self.counts.values()
        )

    def sound(self, subset: bool = False) -> bool:
        """Whether it is complete (see :meth:`complete`) and nothing in it is damaged.

        Examples
        --------
        >>> SetReport("toy", "toy", damaged=1).sound()
        False
        """
        return self.complete(subset) and not self.damaged

    def to_dict(self) -> dict:
        """For the cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> "SetReport":
        """Undo :meth:`to_dict`, also after JSON has made lists of the pairs in ``counts``.

        Examples
        --------
        >>> SetReport.from_dict({"name": "toy", "folder": "x", "counts": {"train": [9, 10]}}).counts
        {'train': (9, 10)}
        """
        return cls(**{**values, "counts": {part: tuple(pair) for part, pair in values["counts"].items()}})

    def text(self, names: int | None = 3) -> str:
        """The account in words, with at most this many names for each reason; None gives all of them.

        Examples
        --------
        >>> print(SetReport("toy", "toy", counts={"train": (9, 10)}).text())
        toy (toy)
          0 rows, 0 pictures kept
          train: 9 of 10 expected, 1 missing
        """
        lines = [f"{self.name} ({self.folder})", f"  {self.rows} rows, {self.kept} pictures kept"]
        for part, (found, published) in self.counts.items():
            if published is None:
                lines.append(f"  {part}: {found}")
                continue
            gap = published - found
            missing = f", {gap} missing" if gap > 0 else f", {-gap} more than there should be" if gap else ""
            lines.append(f"  {part}: {found} of {published} expected{missing}")
        lines += [f"  {line}" for line in self.summary]
        for title, reasons in (("left out", self.left_out), ("noted", self.notes)):
            for reason, all_names in reasons.items():
                shown = ", ".join(all_names[:names])
                more = ", ..." if names is not None and len(all_names) > names else ""
                lines.append(f"  {title}: {len(all_names)} {reason} ({shown}{more})")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def joined_reports(reports: Sequence[SetReport]) -> SetReport:
    """The account of several parts of a set as one; what it holds is to be described anew.

    Examples
    --------
    >>> parts = [SetReport("toy", "x", rows=2, left_out={"damaged": [name]}) for name in ("a.jpg", "b.jpg")]
    >>> joined_reports(parts).left_out
    {'damaged': ['a.jpg', 'b.jpg']}
    """
    whole = SetReport(reports[0].name, reports[0].folder)
    for report in reports:
        whole.rows += report.rows
        whole.kept += report.kept
        whole.damaged += report.damaged
        whole.counts |= report.counts
        for mine, theirs in ((whole.left_out, report.left_out), (whole.notes, report.notes)):
            for reason, names in theirs.items():
                mine.setdefault(reason, []).extend(names)
    return whole


@dataclass
class TierReport:
    """The account of a tier: its two sets and the people they share.

    Examples
    --------
    >>> print(TierReport("toy", [SetReport("a", "x"), SetReport("b", "y")], 0, (0, 0)))
    Data tier 'toy'
    <BLANKLINE>
    a (x)
      0 rows, 0 pictures kept
    <BLANKLINE>
    b (y)
      0 rows, 0 pictures kept
    <BLANKLINE>
    0 persons are in both sets (0 and 0 of their pictures); a split by person must be made over both jointly
    """

    tier: str
    sets: list[SetReport]
    shared_persons: int | None
    shared_pictures: tuple[int, int]

    def sound(self, subset: bool = False) -> bool:
        """Whether all its sets are; see :meth:`SetReport.sound`.

        Examples
        --------
        >>> TierReport("toy", [SetReport("a", "x"), SetReport("b", "y", damaged=1)], 0, (0, 0)).sound()
        False
        """
        return all(report.sound(subset) for report in self.sets)

    def text(self, names: int | None = 3) -> str:
        """The account in words; ``names`` as for :meth:`SetReport.text`.

        Examples
        --------
        >>> print(TierReport("toy", [SetReport("a", "x")], None, (0, 0)).text())
        Data tier 'toy'
        <BLANKLINE>
        a (x)
          0 rows, 0 pictures kept
        """
        told = [f"Data tier {self.tier!r}", *(report.text(names) for report in self.sets)]
        if self.shared_persons is None:  # sets whose people cannot be compared
            return "\n\n".join(told)
        overlap = (
            f"{self.shared_persons} persons are in both sets ({self.shared_pictures[0]} and "
            f"{self.shared_pictures[1]} of their pictures); a split by person must be made over both jointly"
        )
        return "\n\n".join([*told, overlap])

    def __str__(self) -> str:
        return self.text()


def tier_report(tier: str, first: FaceSet, second: FaceSet, reports: list[SetReport]) -> TierReport:
    """Join the reports of two sets and count the people who are in both.

    Examples
    --------
    >>> import torch
    >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> a = FaceSet(images, None, (), None, ("x", "x"), "a")
    >>> b = FaceSet(images, None, (), None, ("x", "y"), "b")
    >>> tier_report("toy", a, b, []).shared_pictures
    (2, 1)
    """
    both = set(first.persons) & set(second.persons)
    numbers = tuple(sum(person in both for person in faces.persons) for faces in (first, second))
    return TierReport(tier, reports, len(both), numbers)
