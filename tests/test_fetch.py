"""Downloads, from a server on this machine that cuts connections, changes files and lies."""

import hashlib
import io
import json
import re
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mtl_lib.errors import DataError
from mtl_lib.faces import fetch as module
from mtl_lib.faces.fetch import OPEN_SETS, RECORD, Source, content_digest, fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def archive(files=None, commit=COMMIT, top="toy-0123/") -> bytes:
    files = files or {
        "data/legend.csv": b"user.id,image,emotion\n1,a.jpg,anger\n1,b.jpg,fear\n",
        "images/a.jpg": bytes(range(256)) * 400,
        "images/b.jpg": b"b" * 1000,
        "test/not_wanted.jpg": b"c",
        "README.md": b"toy",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(top + name, (2020, 1, 1, 0, 0, 0)), content)
        packed.comment = commit.encode()
    return buffer.getvalue()


class Server:
    """Serves ``data``; ``cut`` ends each of the first answers after so many bytes."""

    def __init__(self):
        self.data, self.cut, self.ranges, self.etag, self.asked = archive(), [], True, '"one"', []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                outer.asked.append(wanted)
                start = 0
                same = self.headers.get("If-Range") in (None, outer.etag)
                if wanted and outer.ranges and same:
                    start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                    if start >= len(outer.data):
                        self.send_error(416)
                        return
                body = outer.data[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", outer.etag)
                self.end_headers()
                self.wfile.write(body[: outer.cut.pop(0)] if outer.cut else body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/toy.zip"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.0)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def source(server, **changes) -> Source:
    toy = Source(
        "toy", server.url, COMMIT[:7], 1, ("data/legend.csv", "images", "README.md"),
        rows={"data/legend.csv": 2}, files={"images": 2},
    )  # fmt: skip
    return replace(toy, **changes)


def files_in(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_what_is_wanted_arrives_and_nothing_else(server, tmp_path, capsys):
    [folder] = fetch(tmp_path / "faces", (source(server),))
    assert files_in(folder) == ["README.md", "data/legend.csv", "images/a.jpg", "images/b.jpg"]
    assert (folder / "images/a.jpg").read_bytes() == bytes(range(256)) * 400
    assert files_in(tmp_path / "faces") == sorted([RECORD, *(f"toy/{name}" for name in files_in(folder))])
    said = capsys.readouterr().out
    assert said.startswith("to download: toy about 1 MB; 2 MB of disk while it is unpacked")
    assert "no SHA-256 is on record" in said and content_digest(folder) in said


def test_the_size_is_said_before_anything_is_asked_for(server, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("builtins.print", lambda *words, **_: said.append((words[0], len(server.asked))))
    fetch(tmp_path, (source(server),))
    [asked] = [asked for words, asked in said if words.startswith("to download")]
    assert asked == 0


def test_a_cut_connection_is_resumed_within_one_call(server, tmp_path):
    server.cut = [30_000, 30_000]
    fetch(tmp_path, (source(server),), progress=False)
    first, *later = server.asked
    starts = [int(wanted[6:-1]) for wanted in later]
    # All but the last few kilobytes of what came were kept, each time.
    assert (
        first is None
        and 20_000 < starts[0] <= 30_000
        and starts[0] + 20_000 < starts[1] <= starts[0] + 30_000
    )


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path, capsys):
    server.cut = [20_000, 0, 0, 0, 0]
    with pytest.raises(
        DataError, match="could not be downloaded .*the same command goes on from what is here"
    ):
        fetch(tmp_path, (source(server),), progress=False)
    have = (tmp_path / "toy.zip.part").stat().st_size
    assert 10_000 < have <= 20_000 and not (tmp_path / "toy").exists()
    server.asked.clear()
    fetch(tmp_path, (source(server),))
    assert server.asked == [f"bytes={have}-"]
    assert "going on with toy.zip.part: 0.0 MB are here" in capsys.readouterr().out
    assert files_in(tmp_path)[0] == RECORD and len(files_in(tmp_path)) == 5


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.cut, server.ranges = [20_000], False
    fetch(tmp_path, (source(server),), progress=False)
    assert len(server.asked) == 2 and (tmp_path / "toy").is_dir()


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_one(server, tmp_path):
    server.cut = [20_000, 0, 0, 0, 0]
    with pytest.raises(DataError):
        fetch(tmp_path, (source(server),), progress=False)
    # As long as before, so that only its tag tells that it is another one.
    changed = {"data/legend.csv": b"a\n1\n2\n", "images/1": b"new" * 40_000, "images/2": b""}
    server.data, server.etag = archive(changed), '"two"'
    server.asked.clear()
    fetch(tmp_path, (source(server),), progress=False)
    assert (tmp_path / "toy/images/1").read_bytes() == b"new" * 40_000
    assert len(server.asked) == 1, "the parts did not fit, and it was downloaded again only for that"


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "toy.zip.part").write_bytes(b"x" * 500_000)
    fetch(tmp_path, (source(server),), progress=False)
    assert (tmp_path / "toy").is_dir()


def test_a_known_sha256_is_demanded(server, tmp_path):
    good = hashlib.sha256(server.data).hexdigest()
    fetch(tmp_path / "a", (source(server, sha256=good),), progress=False)
    with pytest.raises(DataError, match="another SHA-256 than " + "0" * 64):
        fetch(tmp_path / "b", (source(server, sha256="0" * 64),), progress=False)
    assert not files_in(tmp_path / "b")


def test_the_contents_must_have_the_sha256_on_record(server, tmp_path, capsys):
    [folder] = fetch(tmp_path / "a", (source(server),), progress=False)
    digest = content_digest(folder)
    fetch(tmp_path / "b", (source(server, content=digest),))
    assert "SHA-256 as on record" in capsys.readouterr().out
    with pytest.raises(DataError, match=f"have the SHA-256 {digest}; on record is 12. They were deleted"):
        fetch(tmp_path / "c", (source(server, content="12"),), progress=False)
    assert not files_in(tmp_path / "c")


def test_a_second_download_must_bring_what_the_first_brought(server, tmp_path):
    import shutil

    [folder] = fetch(tmp_path, (source(server),), progress=False)
    assert json.loads((tmp_path / RECORD).read_text())["toy"]["content"] == content_digest(folder)
    shutil.rmtree(folder)
    server.data = server.data.replace(b"b" * 1000, b"d" * 1000)  # checksums no longer fit
    with pytest.raises(DataError, match="no sound zip file"):
        fetch(tmp_path, (source(server),), progress=False)
    server.data = archive({"data/legend.csv": b"a\n1\n2\n", "images/1": b"", "images/2": b""})
    with pytest.raises(DataError, match="fetched.json is .* They were deleted"):
        fetch(tmp_path, (source(server),), progress=False)
    server.data = archive()
    fetch(tmp_path, (source(server),), progress=False)
    (tmp_path / RECORD).write_text("[1]")
    with pytest.raises(DataError, match="the record of earlier downloads is damaged"):
        fetch(tmp_path, (replace(source(server), folder="other"),), progress=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(commit="f" * 40), f"is of commit '{'f' * 40}', not {COMMIT[:7]}"),
        (archive(commit=""), "is of commit 'unknown', not"),
        (b"<html>rate limit</html>", "no sound zip file"),
        (archive()[:-300], "no sound zip file"),
        (
            archive({"data/legend.csv": b"a\n1\n", "images/1": b"", "images/2": b""}),
            "legend.csv .* 1 rows, 2 expected",
        ),
        (archive({"data/legend.csv": b"a\n1\n2\n", "images/1": b""}), "images .* holds 1 files, 2 expected"),
        (archive({"images/1": b""}), "lacks data/legend.csv"),
    ],
)
def test_something_else_than_expected_is_refused_and_leaves_nothing(server, tmp_path, data, message):
    server.data = data
    with pytest.raises(DataError, match=message):
        fetch(tmp_path, (source(server),), progress=False)
    assert not files_in(tmp_path)


def test_names_that_climb_out_of_the_folder_are_not_written(server, tmp_path):
    files = {"data/legend.csv": b"a\n1\n2\n", "images/1": b"", "images/2": b"", "images/../../../evil": b"x"}
    server.data = archive(files)
    fetch(tmp_path / "in", (source(server),), progress=False)
    assert not list(tmp_path.rglob("evil*"))


def test_what_is_there_is_left_alone(server, tmp_path, capsys):
    (tmp_path / "toy").mkdir()
    fetch(tmp_path, (source(server),))
    assert not server.asked and "is there already" in capsys.readouterr().out


def test_an_archive_that_was_got_by_other_means_is_used(server, tmp_path):
    (tmp_path / "toy.zip").write_bytes(server.data)
    fetch(tmp_path, (source(server),), progress=False)
    assert not server.asked and (tmp_path / "toy.zip").exists() and (tmp_path / "toy").is_dir()


def test_no_server_and_no_room(server, tmp_path, monkeypatch):
    server.data = b""
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch(tmp_path, (source(server, url="http://127.0.0.1:9/x.zip"),), progress=False)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("D", (), {"free": 10})())
    with pytest.raises(DataError, match="0 MB are free here, 2 MB are needed"):
        fetch(tmp_path, (source(server),), progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        fetch(tmp_path / "file" / "x", (source(server),), progress=False)


def test_the_open_sets_are_pinned_to_commits():
    for entry in OPEN_SETS:
        assert entry.commit in entry.url and re.fullmatch("[0-9a-f]{7,40}", entry.commit)
        assert entry.rows and entry.megabytes > 100
