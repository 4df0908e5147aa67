"""The repository's own rules, which no other tool checks: ``python -m tools.check_repo``.

Notebooks: no outputs, short lasting cell ids, Markdown that Colab shows as well as the book does.
All text files: no paths of a machine, no pickles, no loose ends.
"""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat

# What Colab and JupyterLab show raw, or not at all (the built pages would be fine).
NOT_ON_COLAB = {
    re.compile(r"^\s*:::", re.MULTILINE): "a ::: directive; use > **Note.** or <details>",
    re.compile(r"^\s*```\{", re.MULTILINE): "a fenced directive; its options would be shown as code",
    re.compile(r"^\([\w-]+\)=\s*$", re.MULTILINE): "a (target)= line; link to the heading instead",
    re.compile(r"\{(?:ref|numref|doc|term|glue:\w+)\}`"): "a role; write [text](file.ipynb#heading)",
    re.compile(r"\[\]\(|\[\]\(#"): "an empty link text, which vanishes",
    re.compile(r"^>\s*\[!", re.MULTILINE): "an alert in GitHub's style; use > **Note.**",
    re.compile(r"<summary>[^\n]*</summary>\n(?!\s*\n)"): "a <details> without an empty line below <summary>",
}
FORBIDDEN = {
    re.compile(r"/(?:home|Users)/\w+/|/tmp/\w"): "a path of one machine",
    re.compile(r"\btorch\.load\(|\bimport pickle\b|allow_pickle\s*=\s*True"): "unpickling",
    re.compile(r"\b(?:TODO|FIXME|XXX)\b|raise NotImplementedError"): "a loose end",
    re.compile(r"^(?:import|from) torchvision\b", re.MULTILINE): "torchvision",
}
LARGEST = {".jsonl": 4_000_000}
"""In bytes; a megabyte for all other files. The ledger is text that grows by a line a run, which git keeps as the line."""

READ = {".py", ".md", ".ipynb", ".toml", ".yml", ".txt", ".bib", ".css", ".cff", ".csv", ""}


def notebook_problems(path: Path) -> list[str]:
    """Return what is wrong with one notebook, one line each."""
    # The ids as they are in the file: nbformat renames a repeated one while it reads.
    ids = [cell.get("id", "") for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it would warn about is reported below
        notebook = nbformat.read(path, as_version=4)
    found = []
    if notebook.nbformat_minor < 5 or not all(ids):
        found.append("cells without ids (nbformat 4.5 has them)")
    if len(set(ids)) < len(ids):
        found.append(
            "two cells with one id: " + ", ".join(sorted({each for each in ids if ids.count(each) > 1}))
        )
    found += [
        f"cell id {each!r}: write a short word" for each in ids if not re.fullmatch(r"[a-z0-9-]{1,32}", each)
    ]
    for cell in notebook.cells:
        where = f"cell {cell.get('id')}"
        if cell.cell_type == "code":
            if cell.outputs or cell.execution_count:
                found.append(f"{where}: holds outputs; run `make format`")
        elif cell.cell_type == "markdown":
            prose = re.sub(r"^```python\n.*?^```$", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            found += [f"{where}: {why}" for pattern, why in NOT_ON_COLAB.items() if pattern.search(prose)]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    return [f"{path.name}: {each}" for each in found]


def tracked_files(root: Path) -> list[Path]:
    """Files that git knows or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    return [root / name for name in listing if (root / name).is_file()]


def text_problems(path: Path) -> list[str]:
    """Return the forbidden things in one text file, one line each."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{path.name}:{number}: {why}"
        for number, line in enumerate(lines, 1)
        for pattern, why in FORBIDDEN.items()
        if pattern.search(line)
    ]


def main(root: Path) -> int:
    found = []
    for path in tracked_files(root):
        if path.suffix in READ and path.name != Path(__file__).name:
            found += text_problems(path)
        if path.suffix == ".ipynb":
            found += notebook_problems(path)
        limit = LARGEST.get(path.suffix, 1_000_000)
        if path.stat().st_size > limit:
            found.append(f"{path.name}: larger than {limit // 1_000_000} MB")
    print("\n".join(found) or "check_repo: nothing to complain about")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
