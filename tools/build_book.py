"""Execute every chapter, build the pages and check them: ``python -m tools.build_book``.

Sphinx runs from a clean state whenever anything changed, and not at all when nothing did: with
``-W --keep-going``, an incremental build forgets the warnings of pages that it does not read again, and the
second run of a broken book would succeed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.check_pages import problems
from tools.execute import execute_all, files_below
from tools.stage import notebooks, stage


def tree_hash(folders: list[Path]) -> str:
    """SHA-256 over names and contents."""
    digest = hashlib.sha256(sys.version.encode())
    for folder in folders:
        for file in files_below(folder):
            digest.update(f"\0{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def sphinx(root: Path, source: Path, build: Path) -> int:
    """Run Jupyter Book; warnings are errors, missing references included."""
    jupyter_book = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["--path-output", str(build.parent), "--all", "-W", "-n", "--keep-going", "-q"]
    env = {**os.environ, "PYTHONPATH": str(root), "MTL_BOOK": "1"}
    return subprocess.run(
        [sys.executable, "-c", jupyter_book, "build", str(source), *options], env=env
    ).returncode


def build_book(root: Path, budget: str = "cpu", workers: int | None = None) -> int:
    """Return 0 if, and only if, every chapter ran and every page is there and in order."""
    started = time.perf_counter()
    build = root / "_build"
    source, html, stamp = build / "book", build / "html", build / "site.sha256"
    try:
        chapters = notebooks(root)
    except FileNotFoundError as error:
        print(f"Not built: {error}", file=sys.stderr)
        return fail(html, stamp)
    print(f"Executing {len(chapters)} chapters at budget {budget}", flush=True)
    outcomes = execute_all(root, chapters, build / "executed", budget, workers)
    if failed := [outcome.name for outcome in outcomes if outcome.error]:
        print(f"Not built: {', '.join(failed)} failed, see above.", file=sys.stderr)
        return fail(html, stamp)

    stage(root, source, build / "executed", outcomes, budget)
    key = tree_hash([source, root / "mtl_lib", root / "tools"])
    current = stamp.is_file() and stamp.read_text(encoding="utf-8") == key
    if not current or problems(root, html):
        fail(html, stamp)
        print("Building the pages", flush=True)
        if sphinx(root, source, build) != 0:
            print("Not built: Sphinx found errors or warnings, see above.", file=sys.stderr)
            return fail(html, stamp)
    if wrong := problems(root, html):
        print("Not good enough:\n  " + "\n  ".join(wrong), file=sys.stderr)
        return fail(html, stamp)
    stamp.write_text(key, encoding="utf-8")
    print(f"Done in {time.perf_counter() - started:.0f} s. Open {(html / 'index.html').as_uri()}")
    return 0


def fail(html: Path, stamp: Path) -> int:
    """Take away the pages of an earlier run, so that nobody takes them for this one's."""
    stamp.unlink(missing_ok=True)
    shutil.rmtree(html, ignore_errors=True)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--budget", default=os.environ.get("MTL_BUDGET") or "cpu")
    parser.add_argument("--workers", type=int, help="chapters at a time (default: number of cores)")
    arguments = parser.parse_args()
    return build_book(arguments.root.resolve(), arguments.budget, arguments.workers)


if __name__ == "__main__":
    sys.exit(main())
