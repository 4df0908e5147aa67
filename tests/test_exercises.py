"""The exercises of every chapter: the printed solution passes its check, plausible wrong answers do not.

Solutions are taken from the notebooks, where the reader sees them, so that they cannot drift from the checks.
Wrong answers stand in ``wrong_answers/chNN.py``: ``WRONG = {"check_1_1": [(why it is plausible, answer), ...]}``.
"""

import ast
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).parent
CHAPTERS = sorted(
    path for path in (HERE.parent / "chapters").glob("[0-9][0-9]_*.ipynb")
    if (HERE.parent / f"mtl_lib/exercises/ch{path.name[:2]}.py").is_file()
)  # fmt: skip
SOLUTION = re.compile(r"<details>\s*<summary>[^<]*[Ss]olution[^<]*</summary>(.*?)</details>", re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"\bex\.(check_\d+_\d+)\((\w+)\)")
LEAST_WRONG = 3
# A wrong answer that ends in one of these was not wrong in its mathematics, but badly written by us.
OUR_SLIP = re.compile(r"raised (TypeError|NameError|AttributeError|UnboundLocalError|IndexError)")


def plain(source: str) -> str:
    """A code cell without the lines that only a notebook understands."""
    return re.sub(r"^\s*[%!].*$", "    pass" if "if " in source else "", source, flags=re.MULTILINE)


@cache
def cells(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


def tools_of(path: Path) -> dict:
    """What a solution may use of its chapter: imports, functions, classes and constants, nothing computed."""
    namespace: dict = {"__name__": path.stem}
    for cell in cells(path):
        if cell.cell_type != "code":
            continue
        for node in ast.parse(plain(cell.source)).body:
            wanted = isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
            if isinstance(node, ast.Assign):
                try:
                    ast.literal_eval(node.value)
                    wanted = True
                except ValueError:
                    pass
            if wanted:
                exec(compile(ast.Module([node], []), path.name, "exec"), namespace)
    return namespace


def exercises(path: Path) -> list[tuple[str, str, str, str]]:
    """Of each exercise: name of the check, name of the answer, code of the solution, code cell with the stub."""
    found, waiting = [], None
    for cell in cells(path):
        if cell.cell_type == "code" and (call := CALL.search(cell.source)):
            assert waiting is None, f"{waiting} has no solution before the next exercise"
            waiting = (call[1], call[2], cell.source)
        elif cell.cell_type == "markdown" and (fold := SOLUTION.search(cell.source)):
            blocks = PYTHON.findall(fold[1])
            assert waiting is not None, "a solution stands before its check"
            assert len(blocks) == 1, f"the solution of {waiting[0]} has {len(blocks)} python blocks, not one"
            found.append((waiting[0], waiting[1], blocks[0], waiting[2]))
            waiting = None
    assert waiting is None, f"{waiting} has no solution"
    return found


def checks_of(path: Path):
    return importlib.import_module(f"mtl_lib.exercises.ch{path.name[:2]}")


@cache
def wrong_answers(path: Path) -> dict:
    file = HERE / "wrong_answers" / f"ch{path.name[:2]}.py"
    spec = importlib.util.spec_from_file_location(f"wrong_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG


EXERCISES = [(path, *exercise) for path in CHAPTERS for exercise in exercises(path)]
each_exercise = pytest.mark.parametrize(
    ("path", "check", "name", "solution", "stub"), EXERCISES, ids=[f"{each[1]}" for each in EXERCISES]
)
each_wrong = pytest.mark.parametrize(
    ("path", "check", "why", "answer"),
    [
        pytest.param(path, check, why, answer, id=f"{check}: {why}")
        for path in CHAPTERS
        for check, answers in wrong_answers(path).items()
        for why, answer in answers
    ],
)


def test_every_chapter_with_checks_was_found():
    have = {path.stem[2:] for path in (HERE.parent / "mtl_lib/exercises").glob("ch[0-9][0-9].py")}
    assert have == {path.name[:2] for path in CHAPTERS}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_checks_exercises_and_wrong_answers_belong_together(path):
    in_module = {name for name in vars(checks_of(path)) if name.startswith("check_")}
    in_notebook = [each[0] for each in exercises(path)]
    assert len(in_notebook) == len(set(in_notebook))
    assert in_module == set(in_notebook) == set(wrong_answers(path))
    for check, answers in wrong_answers(path).items():
        assert len(answers) >= LEAST_WRONG, f"{check}: {len(answers)} wrong answers, {LEAST_WRONG} wanted"


@each_exercise
def test_the_printed_solution_passes(path, check, name, solution, stub, capsys):
    namespace = tools_of(path)
    exec(compile(solution, f"solution of {check}", "exec"), namespace)
    assert getattr(checks_of(path), check)(namespace[name]) is True, capsys.readouterr().out
    assert "right" in capsys.readouterr().out


@each_exercise
def test_the_stub_is_told_that_there_is_no_answer_yet(path, check, name, solution, stub, capsys):
    namespace = {**tools_of(path), "ex": checks_of(path)}
    exec(
        compile(plain(stub), f"stub of {check}", "exec"), namespace
    )  # the notebook's own cell, check included
    assert "no answer yet" in capsys.readouterr().out
    assert getattr(checks_of(path), check)(namespace[name]) is False


@each_exercise
def test_an_answer_that_raises_gets_a_verdict_and_no_traceback(path, check, name, solution, stub, capsys):
    def broken(*arguments, **keywords):
        raise ZeroDivisionError("my own slip")

    assert getattr(checks_of(path), check)(broken) is False
    out = capsys.readouterr().out
    assert "not yet" in out
    if "def " in solution:
        assert "my own slip" in out


@each_wrong
def test_a_plausible_wrong_answer_fails(path, check, why, answer, capsys):
    assert getattr(checks_of(path), check)(answer) is False, f"accepted: {why}"
    out = capsys.readouterr().out
    assert "not yet" in out
    assert not OUR_SLIP.search(out), f"the wrong answer itself is badly written: {out}"
