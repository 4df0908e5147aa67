"""Sphinx extension: pages that need no network.

MathJax is copied from the wheel ``sphinx-mathjax-offline``. Enabling that wheel as an extension would copy
24 MB of variants; the pages need the one component below, its fonts, and the TeX extensions it may load.
The Thebe extension, which Jupyter Book always loads, is silenced: this book does not use it, and its
scripts name a CDN and complain in the console. One role in bibliographies is mended for screen readers, and tables,
which scroll where they are wider than the page, can be reached from the keyboard.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(app: Sphinx) -> None:
    """Copy into the output, not into a static folder: Jupyter Book loads every script of those on every page."""
    if app.builder.format != "html":
        return
    carrier = find_spec("sphinx-mathjax-offline")
    if carrier is None or carrier.origin is None:
        raise ExtensionError(
            "MathJax comes from the package sphinx-mathjax-offline: pip install -r requirements.txt"
        )
    source = Path(carrier.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for name in MATHJAX:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, target / name)


def silence_thebe(app: Sphinx, config) -> None:
    for name, listeners in app.events.listeners.items():
        kept = [each for each in listeners if not each.handler.__module__.startswith("sphinx_thebe")]
        app.events.listeners[name] = kept
    app.registry.css_files = [each for each in app.registry.css_files if "thebe" not in str(each[0])]


def mend_citation_roles(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Make a bibliography a list of list items: docutils' role for them is deprecated, and no list may hold it."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def focus_tables(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Let the keyboard reach every table of a text: what scrolls must be focusable."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<table class="table">', '<table class="table" tabindex="0">'
        )


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", silence_thebe)
    app.connect("builder-inited", copy_mathjax)
    app.connect("html-page-context", mend_citation_roles)
    app.connect("html-page-context", focus_tables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
