"""Every notebook: clean, of the book's anatomy, and able to run from its first cell to its last."""

import re
from pathlib import Path

import nbformat
import pytest

from tools.check_repo import notebook_problems
from tools.execute import run_notebook
from tools.stage import notebooks, pages, source_file

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def markdown(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


def code(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_contents_name_every_notebook_and_every_page_has_a_file():
    assert sorted(notebooks(ROOT)) == NOTEBOOKS
    assert all(source_file(ROOT, page).is_file() for page in pages(ROOT))


@each_notebook
def test_it_is_stripped_and_reads_well_on_colab(path):
    assert notebook_problems(path) == []


@each_notebook
def test_it_opens_with_a_title_a_card_and_a_hidden_set_up_cell(path):
    cells = nbformat.read(path, as_version=4).cells
    set_up = next(n for n, cell in enumerate(cells) if cell.cell_type == "code")
    opening = "\n\n".join(cell.source for cell in cells[:set_up])
    assert re.match(r"# \S", opening), "a chapter starts with its title"
    for word in ("You will be able", "need", "min", "CPU", "T4"):
        assert word in opening, f"the card before the first code cell does not say {word!r}"
    assert "google.colab" in cells[set_up].source and "--no-deps" in cells[set_up].source, (
        "Colab keeps its torch"
    )
    hidden = {"remove-cell", "remove-input", "hide-input", "hide-cell"}
    assert hidden & set(cells[set_up].metadata.get("tags", [])), "the set-up cell is hidden in the pages"


@each_notebook
def test_its_exercises_have_stars_minutes_hints_a_check_and_a_folded_solution(path):
    text = "\n\n".join(markdown(path))
    chapter = int(path.stem[:2])
    parts = re.split(rf"^### (?=Exercise {chapter}\.\d+)", text, flags=re.MULTILINE)[1:]
    assert 3 <= len(parts) <= 5
    checks = "\n".join(cell.source for cell in code(path))
    for number, part in enumerate(parts, 1):
        assert re.match(rf"Exercise {chapter}\.{number} · [★☆]{{3}} · \d+ min", part), part.splitlines()[0]
        folds = re.findall(
            r"<details>\s*<summary>(.*?)</summary>\n\n.*?\n\n</details>", part, flags=re.DOTALL
        )
        assert any("int" in fold for fold in folds), f"exercise {number} has no folded hint"
        assert any("olution" in fold for fold in folds), f"exercise {number} has no folded solution"
        assert f"check_{chapter}_{number}(" in checks, f"exercise {number} has no check cell"


@each_notebook
def test_its_links_to_other_chapters_lead_somewhere(path):
    for target in re.findall(r"\]\(([\w./-]+\.(?:ipynb|md))(?:#[^)]*)?\)", "\n".join(markdown(path))):
        assert (path.parent / target).is_file(), f"{path.name} links to {target}"


@each_notebook
def test_it_moves(path):
    assert any("slider(" in cell.source for cell in code(path)), "one figure that the reader can move"


@each_notebook
def test_it_runs_from_the_first_cell_to_the_last(path):
    _, error = run_notebook(path, ROOT, budget="smoke", workers=2)
    assert not error, error
