"""Chapter 15 is made from the ledger alone: another ledger, and what its cells show is another verdict."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest

from mtl_lib import plots
from mtl_lib.ledger import change, default_folder, read
from tools.execute import run_notebook

ROOT = Path(__file__).parents[1]
CHAPTER = ROOT / "chapters/15_scorecard.ipynb"
CELLS = {
    cell.id: cell.source for cell in nbformat.read(CHAPTER, as_version=4).cells if cell.cell_type == "code"
}
SHOWN = ("setup", "by-hand", "scorecard", "standing", "survive", "test")


@pytest.fixture
def copy(tmp_path) -> Path:
    """The book's ledger, to be changed."""
    folder = tmp_path / "ledger"
    shutil.copytree(default_folder(), folder)
    return folder


def shift(folder: Path, method: str, points: float, tier: str = "open", metric: str = "accuracy") -> int:
    """Give a method's runs of Table 4, those on new seeds included, some points more; return how many lines have changed."""
    changed = 0

    def moved(entries):
        nonlocal changed
        for entry in entries:
            if (entry.method, entry.tier) == (method, tier):
                changed += 1
                entry = replace(entry, metrics={**entry.metrics, metric: entry.metrics[metric] + points})
            yield entry

    for experiment in ("table4", "central"):
        change(experiment, lambda entries: list(moved(entries)), folder)
    return changed


def shown(folder: Path, monkeypatch, capsys, cells=SHOWN) -> tuple[str, str]:
    """What the chapter's cells display as HTML, and what they print, with this ledger."""
    html: list[str] = []
    monkeypatch.setenv("MTL_RESULTS", str(folder))
    monkeypatch.setenv("MTL_BUDGET", "smoke")
    monkeypatch.setattr(plots, "display_html", lambda page, plain: html.append(page))
    namespace: dict = {"__name__": "chapter"}
    for name in cells:
        source = re.sub(r"^\s*[%!].*$", "    pass", CELLS[name], flags=re.MULTILINE)
        exec(compile(source, f"cell {name}", "exec"), namespace)
    return "\n".join(html), capsys.readouterr().out


def verdict_of(html: str, claim: str) -> str:
    """The verdict on photographs that a reader of the page sees at a claim."""
    entry = re.search(rf'<details [^>]*id="claim-{claim}".*?</details>', html, re.DOTALL)[0]
    return re.search(r"photographs \S+ ([a-z ]+)</span>", entry)[1]


def test_another_line_in_the_ledger_is_another_verdict_on_the_page(copy, monkeypatch, capsys):
    before, told = shown(copy, monkeypatch, capsys)
    others = [
        each
        for each in re.findall(r'id="claim-([\w-]+)"', before)
        if each not in ("laf-over-single", "side-task")
    ]
    assert len(others) > 40
    assert shift(copy, "laf", 30.0) >= 3 + 16
    after, printed = shown(copy, monkeypatch, capsys)
    assert verdict_of(before, "laf-over-single") != "reproduced"
    assert verdict_of(after, "laf-over-single") == "reproduced"
    assert "laf-over-single (Section 4.2, Table 4), photographs" not in told.partition("EXPLAINED")[0]
    assert "laf-over-single (Section 4.2, Table 4), photographs" in printed.partition("EXPLAINED")[0]
    assert "verdict: reproduced" in printed and "verdict: reproduced" not in told
    # What does not speak of this arm stays as it was.
    unchanged = [
        name
        for name in others
        if "photographs" in before.partition(f'id="claim-{name}"')[2].partition("</details>")[0]
    ]
    for name in unchanged:
        if "laf" not in re.search(rf'id="claim-{name}".*?</details>', before, re.DOTALL)[0]:
            assert verdict_of(before, name) == verdict_of(after, name), name


def test_a_loss_turns_it_into_the_opposite(copy, monkeypatch, capsys):
    shift(copy, "laf", -30.0)
    html, _ = shown(copy, monkeypatch, capsys, ("setup", "by-hand", "scorecard"))
    assert verdict_of(html, "laf-over-single") == "opposite"


def test_the_proposals_conclusion_follows_the_ledger(copy, monkeypatch, capsys):
    _, told = shown(copy, monkeypatch, capsys)
    assert "is better than hard4_private in" not in told, "then the text must be read again"
    for metric, points in (("macro_recall", 200.0), ("nme", -200.0)):
        shift(copy, "deviation", points, metric=metric)
    _, printed = shown(copy, monkeypatch, capsys)
    assert "deviation is better than hard4_private in" in printed


@pytest.mark.parametrize(
    ("gain", "seeds", "said"),
    [
        (3.0, 12, "deviation is better"),
        (-3.0, 12, "hard4_private is better"),
        (0.0, 12, "not told apart"),
        (9.0, 11, "not recorded yet"),
    ],
)
def test_the_contrast_that_was_named_is_decided_by_all_its_seeds(
    copy, monkeypatch, capsys, gain, seeds, said
):
    draws = np.random.default_rng(0).normal(size=(2, 12))
    draws -= draws.mean(1, keepdims=True)
    base = next(run for run in read("table4", copy) if run.method == "deviation")
    runs = [
        replace(base, experiment="confirmation", method=arm, seed=10 + k,
                metrics={"macro_recall": 50.0 + gain * (arm == "deviation") + draws[j, k], "nme": 12.0 + draws[j, k]})
        for j, arm in enumerate(("deviation", "hard4_private"))
        for k in range(seeds)
    ]  # fmt: skip
    change("confirmation", lambda _: runs, copy)
    html, told = shown(copy, monkeypatch, capsys, ("setup", "confirmed"))
    assert said in told.partition("rendered faces")[0]
    assert ("<svg" in html) == (seeds == 12)


def test_without_any_runs_every_tested_claim_waits_and_no_cell_fails(tmp_path, monkeypatch, capsys):
    html, told = shown(tmp_path / "empty", monkeypatch, capsys)
    assert verdict_of(html, "laf-over-single") == "not recorded yet"
    assert "table4 --tier open --budget cpu makes it" in told


@pytest.mark.slow
def test_the_whole_chapter_runs_with_another_ledger(copy, monkeypatch):
    shift(copy, "laf", 30.0)
    monkeypatch.setenv("MTL_RESULTS", str(copy))
    notebook, error = run_notebook(CHAPTER, ROOT, budget="smoke", workers=2)
    assert not error, error
    page = next(cell for cell in notebook.cells if cell.id == "scorecard").outputs[0]["data"]["text/html"]
    assert verdict_of(page, "laf-over-single") == "reproduced"
