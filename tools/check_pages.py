"""Look at the built pages without a browser: all there, nothing broken in them, nothing fetched from outside."""

import re
import sys
import tempfile
from html import unescape
from pathlib import Path

from tools.stage import pages

TRACEBACK = re.compile(r'class="[^"]*(?:output traceback|output stderr)|Traceback \(most recent call last\)')
# What a browser fetches by itself; ordinary links to other sites are fine.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*?\ssrc=["']((?:https?:)?//[^"']+)"""
    r"""|<link\b(?![^>]*rel=["']canonical)[^>]*?\shref=["']((?:https?:)?//[^"']+)""",
    re.IGNORECASE,
)
TEXT = {".html", ".js", ".css", ".json", ".ipynb", ".md", ".txt", ".inv", ".svg"}


def machine_paths(root: Path) -> list[str]:
    """Folders whose names would tell a reader about the machine that built the book."""
    found = {
        str(root.resolve()),
        str(Path.home()),
        sys.prefix,
        str(Path(tempfile.gettempdir()) / "ipykernel"),
    }
    return sorted(path for path in found if len(path) > 4)


def problems(root: Path, html: Path) -> list[str]:
    """Everything that is wrong with the built site, one line each; an empty list if nothing is."""
    found = []
    for page in pages(root):
        file = html / f"{page}.html"
        if not file.is_file():
            found.append(f"{page}: the page was not built")
        elif file.stat().st_size < 2000:
            found.append(f"{page}: the page is nearly empty")
    if not (html / "index.html").is_file():
        found.append("index.html: the front door is missing")
    paths = machine_paths(root)
    for file in sorted(p for p in html.rglob("*") if p.suffix in TEXT):
        name, text = file.relative_to(html), file.read_text(encoding="utf-8", errors="replace")
        found += [f"{name}: holds the path {path}" for path in paths if path in text]
        if file.suffix == ".html":
            if match := TRACEBACK.search(text):
                found.append(f"{name}: holds an error output ({unescape(match.group())[:60]})")
            found += [f"{name}: fetches {match[1] or match[2]}" for match in FETCHED.finditer(text)]
    return found
