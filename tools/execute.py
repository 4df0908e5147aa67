"""Run the chapters in parallel and keep their results, each under a key of everything that went into it.

A chapter is run again when its code cells change, or the package, the data, the pinned requirements, the
budget, the Python version or this file. A change in its text alone does not run it again. A chapter that
fails leaves nothing behind, so that it fails again the next time.
"""

import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELL_TIMEOUT = 600  # seconds; the whole book is to take 12 minutes
SHARED_INPUTS = ("mtl_lib", "data", "requirements.txt", "tools/execute.py")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Outcome:
    """What became of one chapter: ``error`` is empty when all is well."""

    name: str
    seconds: float
    reused: bool = False
    error: str = ""


def files_below(path: Path) -> Iterable[Path]:
    """Files of a folder (or the file itself) in a fixed order, without what Python and editors leave there."""
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*") if p.is_file())
    return sorted(p for p in found if not {"__pycache__", ".ipynb_checkpoints", ".DS_Store"} & set(p.parts))


def shared_hash(root: Path, budget: str) -> str:
    """SHA-256 of what every chapter depends on besides its own code."""
    digest = hashlib.sha256(f"{budget} {platform.python_version()}".encode())
    for name in SHARED_INPUTS:
        for file in files_below(root / name):
            digest.update(f"\0{file.relative_to(root).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def chapter_key(notebook, shared: str) -> str:
    """SHA-256 of the code cells (and of their tags, which steer execution), and of the shared inputs."""
    cells = [[cell.source, cell.metadata.get("tags", [])] for cell in code_cells(notebook)]
    return hashlib.sha256((shared + json.dumps(cells)).encode()).hexdigest()


def kernel_environment(root: Path, budget: str, workers: int) -> dict[str, str]:
    """The environment of a kernel: this checkout's package, one budget, and no fight over the cores."""
    env = dict(os.environ)
    env["PYTHONPATH"] = str(root)
    env["MTL_BUDGET"] = budget
    env["MTL_BOOK"] = "1"
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    if budget in ("smoke", "cpu"):
        env["CUDA_VISIBLE_DEVICES"] = ""  # what the reader of a CPU book sees must be a CPU's result
    return env


def complaint(notebook) -> str:
    """Return what in the outputs must not reach a reader: an error, or anything written to stderr."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                return f"cell {cell.get('id', '?')}:\n" + ANSI.sub("", "\n".join(output.traceback))
            if output.output_type == "stream" and output.name == "stderr":
                return (
                    f"cell {cell.get('id', '?')} writes to stderr, which would stand in the book as it is:\n"
                    f"{ANSI.sub('', output.text)[:2000]}\nSilence its cause, or print to stdout."
                )
    return ""


def run_notebook(path: Path, root: Path, budget: str, workers: int = 1):
    """Execute one notebook in its own folder; return it with its outputs and the error text, if any."""
    notebook = nbformat.read(path, as_version=4)
    # The kernel of this very environment, not one of the same name that the user has registered elsewhere.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,  # a pause between two prints must not cut the text in two, with a blank line between
    )
    with tempfile.TemporaryFile("w+") as log:  # what a kernel says outside its cells: news only if it dies
        try:
            client.execute(env=kernel_environment(root, budget, workers), stderr=log)
        except CellExecutionError as error:
            return notebook, complaint(notebook) or str(error)
        except (
            Exception
        ) as error:  # a kernel died, or a cell took too long: its chapter fails, the rest go on
            log.seek(0)
            return notebook, f"{type(error).__name__}: {error}\n{log.read()[-2000:]}"
    return notebook, complaint(notebook)


def _execute_and_store(path: Path, root: Path, store: Path, budget: str, workers: int, key: str) -> Outcome:
    started = time.perf_counter()
    notebook, error = run_notebook(path, root, budget, workers)
    # Rounded here, for this run's table of times and for the stored one alike: a second run must find the same.
    seconds = round(time.perf_counter() - started)
    if not error:
        notebook.metadata["executed"] = {"key": key, "seconds": seconds}
        part = store / f"{path.stem}.part"
        nbformat.write(notebook, part)
        os.replace(part, store / path.name)
    return Outcome(path.stem, seconds, error=error)


def stored_seconds(stored: Path, key: str) -> float | None:
    """Seconds that the stored result took, or None if there is none under this key."""
    try:
        executed = nbformat.read(stored, as_version=4).metadata["executed"]
    except (OSError, KeyError, ValueError, nbformat.reader.NotJSONError):
        return None
    return executed["seconds"] if executed["key"] == key else None


def execute_all(
    root: Path, notebooks: list[Path], store: Path, budget: str = "cpu", workers: int | None = None
) -> list[Outcome]:
    """Bring the results of all notebooks in ``store`` up to date; say how each one fared."""
    store.mkdir(parents=True, exist_ok=True)
    shared = shared_hash(root, budget)
    outcomes, todo = {}, {}
    for path in notebooks:
        key = chapter_key(nbformat.read(path, as_version=4), shared)
        seconds = stored_seconds(store / path.name, key)
        if seconds is None:
            (store / path.name).unlink(missing_ok=True)
            todo[path] = key
        else:
            outcomes[path] = Outcome(path.stem, seconds, reused=True)
            print(f"  {path.stem:<28} unchanged (took {seconds:.0f} s)", flush=True)
    workers = max(1, min(workers or os.cpu_count() or 1, len(todo)))
    # Each notebook runs in a kernel, a process of its own; "spawn" because forking a threaded process can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(_execute_and_store, path, root, store, budget, workers, key): path
            for path, key in reversed(todo.items())  # later chapters train networks: the long ones first
        }
        for future in as_completed(futures):
            path = futures[future]
            try:
                outcome = future.result()
            except Exception as error:  # the worker itself died
                outcome = Outcome(path.stem, 0.0, error=f"{type(error).__name__}: {error}")
            outcomes[path] = outcome
            verdict = "FAILED after" if outcome.error else "executed in"
            print(f"  {outcome.name:<28} {verdict} {outcome.seconds:.0f} s", flush=True)
            if outcome.error:
                print(f"\n{path.name}, {outcome.error}\n", file=sys.stderr, flush=True)
    return [outcomes[path] for path in notebooks]
