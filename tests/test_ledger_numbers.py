"""A number in the text that differs from the ledger fails, and so does a mark that names nothing."""

from pathlib import Path

import nbformat
import pytest

from mtl_lib.ledger import Entry, record
from tools.ledger_numbers import check, numbers_in, value

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    for method, values in {"single": (50.0, 60.0, 55.0), "laf": (52.0, 61.0, 58.5)}.items():
        for seed, accuracy in enumerate(values):
            record(
                Entry(experiment="demo", method=method, seed=seed, tier="open", budget="cpu", config={},
                      metrics={"accuracy": accuracy}, device="CPU", seconds=1.0, memory=1.0),
                tmp_path / "ledger",
            )  # fmt: skip
    return tmp_path / "ledger"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("demo accuracy method=single", "55.0 ± 5.0"),
        ("demo accuracy method=single show=mean digits=0", "55"),
        ("demo accuracy method=single show=sd", "5.0"),
        ("demo accuracy method=single seed=1 show=mean", "60.0"),
        ("demo accuracy method=laf minus=single", "+2.2 ± 1.3"),
        ("demo accuracy method=laf minus=single show=count", "3 of 3"),
        ("demo accuracy method=single minus=laf show=mean digits=2", "-2.17"),
        ("demo accuracy method=laf tier=open show=n", "3"),
        ("demo accuracy method=laf minus=single show=interval", "-1.0 to +5.3"),
    ],
)
def test_a_query_says_what_the_ledger_holds(folder, query, expected):
    assert value(query, folder) == expected


def test_right_numbers_pass_and_wrong_ones_are_named_and_mended(folder, tmp_path):
    right = "It has 55.0 ± 5.0 %<!-- ledger demo accuracy method=single --> and gains +2.2 <!-- ledger demo accuracy method=laf minus=single show=mean -->."
    found, corrected = numbers_in(right, "here", folder)
    assert len(found) == 2 and all(each.text == each.expected for each in found)
    found, corrected = numbers_in(right.replace("55.0 ± 5.0", "56.0 ± 5.0"), "here", folder)
    assert [(each.text, each.expected) for each in found if each.text != each.expected] == [
        ("56.0 ± 5.0", "55.0 ± 5.0")
    ]
    assert numbers_in(corrected, "here", folder)[1] == corrected and "55.0 ± 5.0 %" in corrected


def test_not_measured_may_stand_until_something_is_recorded(folder):
    mark = "<!-- ledger demo accuracy method=laf minus={} absent=ok -->"
    found, same = numbers_in("not measured" + mark.format("tucker"), "here", folder)
    assert [each.text for each in found] == [each.expected for each in found] == ["not measured"]
    assert same.startswith("not measured<")
    found, corrected = numbers_in("not measured" + mark.format("single"), "here", folder)
    assert found[0].expected.startswith("+2.2 ±") and corrected.startswith("+2.2 ±")
    found, corrected = numbers_in("+1.0 ± 0.1" + mark.format("tucker"), "here", folder)
    assert found[0].text != found[0].expected and corrected.startswith("not measured<")
    of_one_seed = mark.format("single").replace(" absent", " seed=0 absent")
    assert numbers_in("not measured" + of_one_seed, "here", folder)[0][0].expected == "not measured"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("12.3<!-- ledger nowhere accuracy method=single -->", "nothing is recorded"),
        ("12.3<!-- ledger demo recall method=single -->", "no metric 'recall'"),
        ("12.3<!-- ledger demo accuracy tier=open -->", "several runs of one seed"),
        ("12.3<!-- ledger demo accuracy method=laf show=all -->", "show=all"),
        ("many<!-- ledger demo accuracy method=laf -->", "no number stands right before"),
    ],
)
def test_a_mark_that_cannot_be_checked_fails(folder, text, word):
    found, _ = numbers_in(text, "here", folder)
    assert len(found) == 1 and found[0].text != found[0].expected and word in found[0].expected


def test_notebooks_are_checked_and_mended(folder, tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "README.md").write_text("Nothing.\n", encoding="utf-8")
    notebook = nbformat.v4.new_notebook()
    mark = "<!-- ledger demo accuracy method=single show=mean -->"
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"About 54.0 %{mark}.", id="words"))
    nbformat.write(notebook, tmp_path / "chapters/one.ipynb")
    (wrong,) = check(tmp_path, folder=folder)
    assert (wrong.where, wrong.text, wrong.expected) == ("one.ipynb, cell words", "54.0", "55.0")
    check(tmp_path, write=True, folder=folder)
    assert check(tmp_path, folder=folder) == []
    assert nbformat.read(tmp_path / "chapters/one.ipynb", 4).cells[0].source == f"About 55.0 %{mark}."


def test_every_number_of_the_book_is_the_ledgers():
    assert check(ROOT) == []
