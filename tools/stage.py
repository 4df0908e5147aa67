"""Lay out the source that Sphinx reads: the repository's pages, with the executed outputs filled in."""

import shutil
from collections import defaultdict
from pathlib import Path

import nbformat
import yaml

from mtl_lib.ledger import read
from tools.drawn_face import FIGURE, PAGE, drawn_face
from tools.execute import Outcome, code_cells

COPIED = ("_config.yml", "_toc.yml", "references.bib", "_static", "_ext")
RUN_TIMES = Path("chapters/appendix/run_times.md")
RECORDED_RUNS = Path("chapters/appendix/recorded_runs.md")
LEDGER = Path("data/results/ledger")


def pages(root: Path) -> list[str]:
    """Names of all pages of the table of contents, in order, without their endings."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))

    def walk(node):
        if isinstance(node, dict):
            for key in ("root", "file"):
                if key in node:
                    yield node[key]
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(toc))


def source_file(root: Path, page: str) -> Path:
    """The file behind a page; it is an error of the table of contents if there is none."""
    for ending in (".ipynb", ".md"):
        if (root / f"{page}{ending}").is_file():
            return root / f"{page}{ending}"
    raise FileNotFoundError(f"_toc.yml names {page!r}, but there is neither {page}.ipynb nor {page}.md")


def notebooks(root: Path) -> list[Path]:
    """The notebooks of the table of contents."""
    files = (source_file(root, page) for page in pages(root))
    return [file for file in files if file.suffix == ".ipynb"]


def with_outputs(source: Path, executed: Path):
    """The notebook as it is in the repository now, text included, with the outputs of its last execution."""
    notebook = nbformat.read(source, as_version=4)
    ran_notebook = nbformat.read(executed, as_version=4)
    done, cells = code_cells(ran_notebook), code_cells(notebook)
    if [cell.source for cell in cells] != [cell.source for cell in done]:
        raise ValueError(f"{executed} holds the outputs of another state of {source}")
    for cell, ran in zip(cells, done, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    # The kernel's own word on its language: it selects the colours of the code.
    notebook.metadata["language_info"] = ran_notebook.metadata["language_info"]
    return notebook


def run_times(outcomes: list[Outcome], budget: str) -> str:
    """A table of how long each chapter took, for the appendix to include."""
    rows = "".join(f"| `{outcome.name}` | {outcome.seconds:.0f} |\n" for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes)
    return f"| chapter | seconds at budget `{budget}` |\n|---|---:|\n{rows}| all, one after the other | {total:.0f} |\n"


def recorded_runs(folder: Path) -> str:
    """A table of what the ledger holds, and what it took, for the appendix to include."""
    groups = defaultdict(list)
    for file in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        for entry in read(file.stem, folder):
            groups[entry.experiment, entry.tier, entry.budget, entry.device].append(entry)
    if not groups:
        return "Nothing is recorded.\n"
    rows = ""
    for (experiment, tier, budget, device), runs in groups.items():
        minutes = sum(run.seconds for run in runs) / 60
        methods, seeds = len({run.method for run in runs}), len({run.seed for run in runs})
        rows += (
            f"| `{experiment}` | {tier} | `{budget}` | {len(runs)} | {methods} | {seeds} | {device} | {minutes:.0f} "
            f"| {max(run.memory for run in runs):.0f} |\n"
        )
    return (
        "| experiment | faces | budget | runs | methods | seeds | device | minutes in all | most memory, MiB |\n"
        f"|---|---|---|---:|---:|---:|---|---:|---:|\n{rows}"
    )


def stage(root: Path, target: Path, store: Path, outcomes: list[Outcome], budget: str) -> None:
    """Write the book's source folder afresh."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target / name)
    # Markdown pages and pictures; a notebook comes only with its outputs.
    shutil.copytree(
        root / "chapters", target / "chapters", ignore=shutil.ignore_patterns("*.ipynb", ".ipynb_*")
    )
    for source in notebooks(root):
        nbformat.write(with_outputs(source, store / source.name), target / source.relative_to(root))
    (target / RUN_TIMES).parent.mkdir(exist_ok=True)
    (target / RUN_TIMES).write_text(run_times(outcomes, budget), encoding="utf-8")
    (target / RECORDED_RUNS).write_text(recorded_runs(root / LEDGER), encoding="utf-8")
    if PAGE in pages(root):
        (target / FIGURE).write_bytes(drawn_face(root, store))
