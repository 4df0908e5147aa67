"""What a loader found, what it left out, and why: nothing is dropped silently."""

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
        self.kept = len(faces)
        counts = faces.counts()
        if counts:
            most = max(counts.values())
            self.summary.append(", ".join(f"{name} {count}" for name, count in counts.items()))
            self.summary.append(
                f"always guessing the largest class is right for {100 * most / max(1, len(faces)):.1f} %"
            )
        self.summary.append(images_per_person(faces.persons))

    def to_dict(self) -> dict:
        """For the cache."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.name} ({self.folder})", f"  {self.rows} rows, {self.kept} pictures kept"]
        lines += [f"  {line}" for line in self.summary]
        for title, reasons in (("left out", self.left_out), ("noted", self.notes)):
            for reason, names in reasons.items():
                shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                lines.append(f"  {title}: {len(names)} {reason} ({shown})")
        return "\n".join(lines)


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
    shared_persons: int
    shared_pictures: tuple[int, int]

    def __str__(self) -> str:
        overlap = (
            f"{self.shared_persons} persons are in both sets ({self.shared_pictures[0]} and "
            f"{self.shared_pictures[1]} of their pictures); a split by person must be made over both jointly"
        )
        return "\n\n".join([f"Data tier {self.tier!r}", *map(str, self.sets), overlap])


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
