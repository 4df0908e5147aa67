"""The repository's own rules see what they are there to see."""

import json
import subprocess

import nbformat
import pytest

from tools.check_repo import main, notebook_problems, text_problems


def notebook_file(folder, *cells):
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    path = folder / "chapter.ipynb"
    path.write_text(
        json.dumps({**notebook, "cells": cells}), encoding="utf-8"
    )  # nbformat would mend repeated ids
    return path


def markdown(text: str, cell_id: str = "words"):
    return nbformat.v4.new_markdown_cell(text, id=cell_id)


def test_a_clean_notebook_passes(tmp_path):
    text = "> **Note.** As {cite}`hu2018deep` say, see [here](other.ipynb#there).\n\n```python\nx = {}\n```"
    folded = "<details>\n<summary>Hint</summary>\n\nThink of $x$.\n\n</details>"
    code = nbformat.v4.new_code_cell("x = 1", id="code-1")
    assert notebook_problems(notebook_file(tmp_path, markdown(text), markdown(folded, "hint"), code)) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (":::{note}\nx\n:::", ":::"),
        ("```{figure} x.png\n```", "fenced directive"),
        ("(target)=\n## A", "target"),
        ("see {ref}`target`", "role"),
        ("see [](other.ipynb)", "empty link"),
        ("> [!NOTE]\n> x", "alert"),
        ("<details>\n<summary>Hint</summary>\nText at once.\n</details>", "empty line"),
    ],
)
def test_what_colab_shows_raw_is_found(tmp_path, text, word):
    (found,) = notebook_problems(notebook_file(tmp_path, markdown(text)))
    assert word in found


def test_outputs_and_repeated_or_random_ids_are_found(tmp_path):
    output = nbformat.v4.new_output("stream", text="1\n")
    ran = nbformat.v4.new_code_cell("print(1)", id="code", outputs=[output])
    assert "outputs" in notebook_problems(notebook_file(tmp_path, ran))[0]
    twice = notebook_problems(notebook_file(tmp_path, markdown("a", "same"), markdown("b", "same")))
    assert any("one id" in each and "same" in each for each in twice)
    assert "write a short word" in notebook_problems(notebook_file(tmp_path, markdown("a", "Random_1")))[0]


@pytest.mark.parametrize(
    "line",
    [
        "root = '/" + "home/somebody/faces'",
        "torch." + "load(path)",
        "# TO" + "DO later",
        "import torch" + "vision",
    ],
)
def test_forbidden_lines_are_found_with_their_number(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(f"x = 1\n{line}\n", encoding="utf-8")
    (found,) = text_problems(path)
    assert found.startswith("module.py:2: ")


def test_large_files_are_named_and_the_ledger_may_grow(tmp_path, capsys):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "runs.jsonl").write_text("{}\n" * 700_000, encoding="utf-8")
    assert main(tmp_path) == 0
    (tmp_path / "table.csv").write_text("1\n" * 700_000, encoding="utf-8")
    assert main(tmp_path) == 1 and "table.csv: larger than 1 MB" in capsys.readouterr().out
