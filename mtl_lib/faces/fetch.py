"""Downloading the two open sets: how large is said first, a cut connection is resumed, what came is checked.

An archive is made by GitHub for one commit, whose name stands in the archive itself.  Three things are checked:
that this is the commit asked for; that every file has the checksum that the archive gives it; and that tables and
folders hold as many rows and pictures as they did when this book was made.  Where a SHA-256 is on record (in
:data:`OPEN_SETS`, or in ``fetched.json`` from an earlier download into the same folder) the contents must have it.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pooch
import requests
from tqdm import tqdm

from mtl_lib.atomic import new_folder, write_text
from mtl_lib.errors import DataError

RECORD = "fetched.json"
"""What was downloaded, beside the sets' folders."""

_RETRIES = 5
_WAIT = 1.0
"""Seconds before the second attempt, if the first brought nothing; doubled for each further one."""


@dataclass(frozen=True)
class Source:
    """A set that can be downloaded without a form.

    Parameters
    ----------
    folder : str
        What the set's folder is called.
    url : str
        Of the archive, a zip file with one folder at its top.
    commit : str
        The commit whose files they are, or how its name begins.
    megabytes : int
        About how large the download is.
    wanted : tuple of str
        Files and folders to take out of the archive.
    rows : mapping of str to int
        Table to its number of rows, header aside.
    files : mapping of str to int
        Folder to its number of files.
    sha256 : str, optional
        Of the archive.
    content : str, optional
        Of what was taken out, see :func:`content_digest`.
    """

    folder: str
    url: str
    commit: str
    megabytes: int
    wanted: tuple[str, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    content: str | None = None


OPEN_SETS = (
    Source(
        "facial_expressions",
        "https://github.com/muxspace/facial_expressions/archive/5fb9c13.zip",
        "5fb9c13",
        250,
        ("data/legend.csv", "images", "LICENSE", "README.md"),
        rows={"data/legend.csv": 13_690},
        files={"images": 13_718},
    ),
    Source(
        "P1_Facial_Keypoints",
        "https://github.com/udacity/P1_Facial_Keypoints/archive/6e55adc6bd032d9fb1ad41a4c3e68aae847cdf81.zip",
        "6e55adc6bd032d9fb1ad41a4c3e68aae847cdf81",
        350,
        (
            "data/training_frames_keypoints.csv",
            "data/test_frames_keypoints.csv",
            "data/training",
            "data/test",
            "LICENSE",
            "README.md",
        ),
        rows={"data/training_frames_keypoints.csv": 3462, "data/test_frames_keypoints.csv": 770},
    ),
)
"""The open tier.  Nobody has recorded a SHA-256 of the originals yet, so commit and counts vouch for them."""


def fetch(
    folder: str | os.PathLike, sources: tuple[Source, ...] = OPEN_SETS, *, progress: bool = True
) -> list[Path]:
    """Download sets into a folder; those that are there already are left as they are.

    An interrupted download stays in the folder with the ending ``.part`` and is continued by the next call,
    if the server can (GitHub makes archives as they are asked for and may have to begin again).

    Parameters
    ----------
    folder : path-like
        Made if there is none.
    sources : tuple of Source
    progress : bool
        Whether to print what is going on, with a progress bar on stderr.

    Returns
    -------
    list of Path
        The sets' folders.

    Raises
    ------
    DataError
        If there is no connection, no room, or what came is not what was expected.
    """
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"this folder cannot be made ({error.strerror}); name another one", folder) from None
    say = print if progress else (lambda *_: None)
    missing = [source for source in sources if not (folder / source.folder).is_dir()]
    for source in sources:
        if source not in missing:
            say(f"{folder / source.folder} is there already; remove it to download it again")
    total = sum(source.megabytes for source in missing)
    if missing:
        sizes = ", ".join(f"{source.folder} about {source.megabytes} MB" for source in missing)
        say(f"to download: {sizes}; {2 * total} MB of disk while it is unpacked")
        free = shutil.disk_usage(folder).free // 1_000_000
        if free < 2 * total:
            raise DataError(
                f"{free} MB are free here, {2 * total} MB are needed; name another folder", folder
            )
    for source in missing:
        _fetch_one(folder, source, say, progress)
    return [folder / source.folder for source in sources]


def counted(folder: str | os.PathLike, source: Source) -> dict[str, tuple[int | None, int]]:
    """Count the rows of a set's tables and the files in its folders.

    Parameters
    ----------
    folder : path-like
        The set's.
    source : Source

    Returns
    -------
    dict of str to (int or None, int)
        Found and published numbers, by what was counted; None for a table that is not there.  Hidden files do not
        count.

    Examples
    --------
    >>> source = Source("toy", "", "", 1, (), rows={"t.csv": 3}, files={"images": 2})
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_text(f"{folder}/t.csv", "name\\na.jpg\\n")
    ...     counted(folder, source)
    {'rows of t.csv': (1, 3), 'files in images': (0, 2)}
    """
    folder = Path(folder)
    found: dict[str, tuple[int | None, int]] = {}
    for name, published in source.rows.items():
        path, rows = folder / name, None
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            rows = sum(any(cell.strip() for cell in row) for row in csv.reader(io.StringIO(text))) - 1
        found[f"rows of {name}"] = rows, published
    for name, published in source.files.items():
        files = sum(f.is_file() and not f.name.startswith(".") for f in (folder / name).glob("*"))
        found[f"files in {name}"] = files, published
    return found


def content_digest(folder: str | os.PathLike) -> str:
    """SHA-256 over names and contents of all files in a folder; the same however they were packed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content_digest(folder)[:8]
    'e3b0c442'
    """
    whole = hashlib.sha256()
    folder = Path(folder)
    for path in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = path.relative_to(folder).as_posix()
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


class Resuming:
    """A downloader for pooch that goes on where a connection was cut.

    Parameters
    ----------
    part : Path
        Where the download grows; kept if it fails.
    progress : bool
        Whether to show a progress bar on stderr.
    """

    def __init__(self, part: Path, progress: bool = False):
        self.part, self.progress = part, progress

    def __call__(
        self, url: str, output_file: str | os.PathLike, pooch: object, check_only: bool = False
    ) -> None:
        """Download ``url`` to ``output_file``, trying again after a cut connection."""
        for attempt in range(_RETRIES):
            before = self._size()
            try:
                self._download(url)
                break
            except requests.RequestException as error:
                refused = getattr(error, "response", None) is not None
                if refused or attempt == _RETRIES - 1:
                    raise
                if self._size() <= before:  # nothing came: do not hurry
                    time.sleep(_WAIT * 2**attempt)
        shutil.move(self.part, output_file)
        self._tag().unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _tag(self) -> Path:
        return self.part.with_name(self.part.name + ".etag")

    def _download(self, url: str) -> None:
        have = self._size()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            # Go on only with the same file: another one would be glued to the first one's beginning.
            if self._tag().exists():
                headers["If-Range"] = self._tag().read_text(encoding="ascii")
        with requests.get(url, headers=headers, stream=True, timeout=30) as response:
            if response.status_code == 416:  # nothing is left to send, or the part is longer than the file
                self.part.unlink()
                raise requests.ConnectionError("the server has no such range")
            response.raise_for_status()
            resumed = response.status_code == 206
            if not resumed:
                have = 0
                self._tag().unlink(missing_ok=True)
                if response.headers.get("ETag", "").startswith('"'):  # a strong one
                    self._tag().write_text(response.headers["ETag"], encoding="ascii")
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            bar = tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=self.part.stem,
                disable=not self.progress,
            )
            with bar, self.part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_content(1 << 13):
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is not None and self._size() < total:
                raise requests.ConnectionError(f"{self._size()} of {total} bytes came")


def _fetch_one(folder: Path, source: Source, say, progress: bool) -> None:
    name = f"{source.folder}.zip"
    given = (
        folder / name
    ).exists()  # downloaded by other means: used, checked like any other, and left there
    part = folder / f"{name}.part"
    if part.exists():
        say(f"going on with {part.name}: {part.stat().st_size / 1e6:.1f} MB are here")
    pooch.get_logger().setLevel("WARNING")
    known = None if source.sha256 is None else f"sha256:{source.sha256}"
    try:
        archive = Path(
            pooch.retrieve(source.url, known, fname=name, path=folder, downloader=Resuming(part, progress))
        )
    except ValueError:
        raise DataError(
            f"the download from {source.url} has another SHA-256 than {source.sha256}; it was deleted. Try again; "
            "if it happens again, the archive was changed and is not to be trusted",
            folder / name,
        ) from None
    except (requests.RequestException, OSError) as error:
        raise DataError(
            f"{source.url} could not be downloaded ({type(error).__name__}: {error}); the same command goes on from "
            "what is here",
            part,
        ) from None
    try:
        digest = _unpack(folder, source, archive)
    finally:
        if not given:
            archive.unlink(missing_ok=True)
    _record(folder, source, digest)
    vouched = (
        "SHA-256 as on record"
        if source.content
        else "no SHA-256 is on record: commit and counts are as expected"
    )
    say(f"{folder / source.folder}: {vouched}; its own is {digest}")


def _unpack(folder: Path, source: Source, archive: Path) -> str:
    """Take the wanted files out of an archive, check them, and only then give the folder its name."""
    with new_folder(folder / source.folder) as scratch:
        try:
            with zipfile.ZipFile(archive) as packed:
                commit = packed.comment.decode("ascii", "replace").strip()
                if not commit.startswith(source.commit):
                    raise DataError(
                        f"the archive from {source.url} is of commit {commit or 'unknown'!r}, not {source.commit}",
                        archive,
                    )
                for info in packed.infolist():
                    inside = PurePosixPath(*PurePosixPath(info.filename).parts[1:])
                    if info.is_dir() or not _is_wanted(inside, source.wanted):
                        continue
                    target = scratch / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(packed.read(info))  # compares the checksum
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, ValueError) as error:
            raise DataError(
                f"what came from {source.url} is no sound zip file ({error}); try again", archive
            ) from None
        _count(scratch, source, folder / source.folder)
        digest = content_digest(scratch)
        recorded = _read_record(folder).get(source.folder, {})
        for wanted, where in (
            (source.content, "on record"),
            (recorded.get("content"), f"in {folder / RECORD}"),
        ):
            if wanted is not None and digest != wanted:
                raise DataError(
                    f"the files from {source.url} have the SHA-256 {digest}; {where} is {wanted}. They were deleted",
                    folder / source.folder,
                )
    return digest


def _is_wanted(inside: PurePosixPath, wanted: tuple[str, ...]) -> bool:
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        return False
    return any(inside == PurePosixPath(name) or PurePosixPath(name) in inside.parents for name in wanted)


def _count(scratch: Path, source: Source, place: Path) -> None:
    for what, (found, published) in counted(scratch, source).items():
        noun, _, name = what.split(" ", 2)
        if found is None:
            raise DataError(f"the archive from {source.url} lacks {name}", place)
        if found != published:
            raise DataError(f"{name} from {source.url} holds {found} {noun}, {published} expected", place)


def _read_record(folder: Path) -> dict:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"the record of earlier downloads is damaged ({error}); remove it", folder / RECORD
        ) from None
    if not (isinstance(record, dict) and all(isinstance(entry, dict) for entry in record.values())):
        raise DataError("the record of earlier downloads is damaged; remove it", folder / RECORD)
    return record


def _record(folder: Path, source: Source, digest: str) -> None:
    record = _read_record(folder)
    record[source.folder] = {"url": source.url, "commit": source.commit, "content": digest}
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
