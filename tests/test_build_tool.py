"""A broken book is never reported as a good one, and what changed, and only that, is executed again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mtl_lib.ledger import Entry, record
from tools.build_book import build_book
from tools.check_pages import problems
from tools.execute import execute_all, run_notebook, shared_hash
from tools.stage import recorded_runs, run_times, with_outputs

TOOLS = Path(__file__).parents[1]


def write_notebook(path: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"# Chapter {path.stem}\n\nSome words.", id="title"))
    notebook.cells += [nbformat.v4.new_code_cell(code, id=f"cell-{n}") for n, code in enumerate(cells)]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def book(tmp_path) -> Path:
    """A book of two chapters, with a package and data that they depend on."""
    root = tmp_path / "book"
    for folder in ("chapters", "mtl_lib", "data"):
        (root / folder).mkdir(parents=True)
    (root / "mtl_lib/__init__.py").write_text("ANSWER = 41\n", encoding="utf-8")
    (root / "data/table.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (root / "requirements.txt").write_text("torch\n", encoding="utf-8")
    (root / "_config.yml").write_text(
        "title: Tiny\ncopyright: '2026'\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
    )
    (root / "_toc.yml").write_text("format: jb-book\nroot: chapters/intro\nchapters:\n- file: chapters/one\n")
    (root / "chapters/intro.md").write_text("# Tiny\n\nSee [one](one.ipynb).\n", encoding="utf-8")
    write_notebook(root / "chapters/one.ipynb", "from mtl_lib import ANSWER", "print(ANSWER)")
    write_notebook(root / "chapters/two.ipynb", "print('two')")
    return root


def execute(root: Path):
    chapters = [root / "chapters/one.ipynb", root / "chapters/two.ipynb"]
    return execute_all(root, chapters, root / "_build/executed", workers=2)


def printed(root: Path, name: str) -> str:
    notebook = nbformat.read(root / f"_build/executed/{name}.ipynb", as_version=4)
    return "".join(output.text for output in notebook.cells[-1].outputs)


def test_only_what_changed_is_executed_again_and_words_follow_at_once(book):
    first = execute(book)
    assert [each.reused for each in first] == [False, False]
    assert printed(book, "one") == "41\n"
    # The table of run times is a page: where a second run rounded otherwise, it would build all pages again.
    assert run_times(execute(book), "cpu") == run_times(first, "cpu")
    assert [each.seconds for each in execute(book)] == [each.seconds for each in first]

    source = write_notebook(book / "chapters/two.ipynb", "print('two again')")
    assert [each.reused for each in execute(book)] == [True, False]
    assert printed(book, "two") == "two again\n"

    notebook = nbformat.read(source, as_version=4)
    notebook.cells[0].source = "# Chapter two\n\nOther words."
    nbformat.write(notebook, source)
    assert all(each.reused for each in execute(book))
    merged = with_outputs(source, book / "_build/executed/two.ipynb")
    assert "Other words" in merged.cells[0].source
    assert merged.cells[1].outputs[0].text == "two again\n"

    (book / "mtl_lib/__init__.py").write_text("ANSWER = 42\n", encoding="utf-8")
    assert [each.reused for each in execute(book)] == [False, False]
    assert printed(book, "one") == "42\n"


def test_recorded_runs_are_counted_by_device_from_the_ledger_alone(tmp_path):
    assert recorded_runs(tmp_path / "nowhere") == "Nothing is recorded.\n"

    def run(method, seed, device, seconds):
        record(
            Entry(
                experiment="demo", method=method, seed=seed, tier="open", budget="cpu", metrics={"x": 1.0}, config={"on": device},
                device=device, seconds=seconds, memory=100.0 * (seed + 1), code="0",
            ),
            tmp_path,
        )  # fmt: skip

    run("a", 0, "CPU", 30.0), run("a", 1, "CPU", 60.0), run("b", 1, "CPU", 90.0), run("a", 0, "GPU", 600.0)
    lines = recorded_runs(tmp_path).splitlines()
    assert "| `demo` | open | `cpu` | 3 | 2 | 2 | CPU | 3 | 200 |" in lines
    assert "| `demo` | open | `cpu` | 1 | 1 | 1 | GPU | 10 | 100 |" in lines
    assert len(lines) == 4


@pytest.mark.parametrize("changed", ["mtl_lib/__init__.py", "data/table.csv", "requirements.txt"])
def test_everything_a_chapter_depends_on_counts(book, changed):
    before = shared_hash(book, "cpu")
    assert before == shared_hash(book, "cpu") != shared_hash(book, "smoke")
    (book / "mtl_lib/__pycache__").mkdir()
    (book / "mtl_lib/__pycache__/left.pyc").write_text("by Python")
    assert before == shared_hash(book, "cpu")
    (book / changed).write_text("other\n", encoding="utf-8")
    assert before != shared_hash(book, "cpu")


def test_a_broken_chapter_fails_twice_in_a_row_and_leaves_no_pages(book, capfd):
    (book / "_build/html").mkdir(parents=True)
    write_notebook(book / "chapters/one.ipynb", "raise ValueError('broken on purpose')")
    for _ in range(2):
        assert build_book(book, workers=1) != 0
        assert not (book / "_build/html").exists()
        complaint = capfd.readouterr().err
        assert "one failed" in complaint and "broken on purpose" in complaint


@pytest.mark.parametrize(
    ("code", "word"),
    [("import warnings; warnings.warn('look here')", "look here"), ("import os; os._exit(1)", "DeadKernel")],
)
def test_warnings_and_dead_kernels_are_failures(book, code, word):
    _, error = run_notebook(write_notebook(book / "chapters/one.ipynb", code), book, "cpu")
    assert word in error


def test_pages_are_built_when_they_changed_or_are_missing_and_only_then(book, monkeypatch):
    built = []

    def fake_sphinx(root: Path, source: Path, build: Path) -> int:
        built.append((source / "chapters/intro.md").read_text(encoding="utf-8"))
        for page in ("index", "chapters/intro", "chapters/one"):
            (build / f"html/{page}.html").parent.mkdir(parents=True, exist_ok=True)
            (build / f"html/{page}.html").write_text("<p>words</p>" * 300)
        return 0

    monkeypatch.setattr("tools.build_book.sphinx", fake_sphinx)
    assert build_book(book) == build_book(book) == 0 and len(built) == 1
    (book / "_build/html/chapters/one.html").unlink()
    assert build_book(book) == 0 and len(built) == 2
    (book / "chapters/intro.md").write_text("# Other\n", encoding="utf-8")
    assert build_book(book) == 0 and built[2] == "# Other\n"


def test_the_command_builds_and_then_fails_on_a_dead_link_twice(book):
    """The trap: an incremental build forgets a page's warnings, and the second run of a broken book succeeds."""

    def run() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "tools.build_book", "--root", str(book)]
        return subprocess.run(command, cwd=TOOLS, env=os.environ.copy(), capture_output=True, text=True)

    good = run()
    assert good.returncode == 0, good.stdout + good.stderr
    assert re.search(r">41\s*<", (book / "_build/html/chapters/one.html").read_text(encoding="utf-8"))
    (book / "chapters/intro.md").write_text("# Tiny\n\nSee [nowhere](nowhere.ipynb).\n", encoding="utf-8")
    assert run().returncode != 0
    assert run().returncode != 0


def test_a_missing_page_a_traceback_and_an_outside_script_are_found(book):
    html = book / "_build/html"
    (html / "chapters").mkdir(parents=True)
    filler = "<p>words</p>" * 300
    (html / "index.html").write_text(filler)
    (html / "chapters/intro.html").write_text(filler)
    assert problems(book, html) == ["chapters/one: the page was not built"]
    page = html / "chapters/one.html"
    page.write_text(filler + '<a href="https://example.org">a link is fine</a>')
    assert problems(book, html) == []
    for bad, word in {
        "Traceback (most recent call last)": "error output",
        '<div class="output stderr highlight">': "error output",
        '<script defer src="https://cdn.example.org/x.js">': "fetches https://cdn",
        '<link rel="stylesheet" href="//cdn.example.org/x.css">': "fetches //cdn",
        str(book): "holds the path",
    }.items():
        page.write_text(filler + bad)
        (found,) = problems(book, html)
        assert word in found


def test_a_page_of_the_contents_without_a_file_fails(book, capfd):
    (book / "chapters/one.ipynb").unlink()
    assert build_book(book) != 0
    assert "chapters/one" in capfd.readouterr().err
