"""The pages about the package leave out no module, and name nothing that is not there."""

import importlib
import pkgutil
import re
from pathlib import Path

import mtl_lib

PAGES = [
    Path(__file__).parents[1] / "chapters/appendix" / name
    for name in ("api.md", "api_data.md", "api_experiments.md")
]
LEFT_OUT = ("mtl_lib.exercises", "mtl_lib.faces.twins")
"""The rule of the last page: answers to exercises, and writers of rendered twins."""


def modules() -> list[str]:
    """All modules that the pages must know; packages are named by their modules."""
    found = pkgutil.walk_packages(mtl_lib.__path__, "mtl_lib.")
    return sorted(each.name for each in found if not each.ispkg and not each.name.startswith(LEFT_OUT))


def listed() -> list[str]:
    """The modules that a page documents in full, or has a line about."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return sorted(re.findall(r"^(?:\.\. automodule:: |- `)(mtl_lib\.[\w.]+)", text, flags=re.MULTILINE))


def test_every_module_is_listed_once():
    assert (new := sorted(set(modules()) - set(listed()))) == [], (
        f"{new[0]} is on none of the pages: document what is meant to be imported with an automodule in api.md (or, if it is"
        " about recorded runs, in api_experiments.md); for the rest add a line under 'Everything else' there"
    )
    assert (gone := sorted(set(listed()) - set(modules()))) == [], (
        f"{gone} is listed, but there is no such module"
    )
    assert len(set(listed())) == len(listed()), "a module stands twice"
    last = PAGES[-1].read_text(encoding="utf-8")
    assert all(f"`{rule}`" in last for rule in LEFT_OUT), "the page states the rule"


def test_the_table_of_what_to_import_is_right():
    rows = re.findall(
        r"^\| [^|]+ \| (`[^|]+) \| `(mtl_lib[\w.]+)` \|$", PAGES[0].read_text(), flags=re.MULTILINE
    )
    assert len(rows) >= 8
    for names, module in rows:
        found = importlib.import_module(module)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(found, name), f"{module} has no {name}"


def test_a_line_about_a_module_is_its_docstrings_first():
    """So that a module whose purpose changes is not described by what it was."""
    for name, line in re.findall(r"^- `(mtl_lib\.[\w.]+)`: (.+)$", PAGES[-1].read_text(), flags=re.MULTILINE):
        first = importlib.import_module(name).__doc__.strip().split("\n")[0]
        assert re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first) == line, f"{name}: copy the line again"
