"""The picture of the page "Your own pictures": its own commands, run while the book is built.

Training takes half a minute, so that the picture is kept until the commands or anything that they depend on change.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mtl_lib import atomic
from tools.execute import kernel_environment, shared_hash

PAGE = "chapters/appendix/predict"
FIGURE = Path("chapters/appendix/drawn_face.png")
DRAWING = Path("predictions/test_0001_aligned.png")
"""Where the page's commands leave it."""


def commands(page: str) -> list[str]:
    """Return the shell commands of a page, in their order.

    Examples
    --------
    >>> commands("See:\\n```bash\\nmtl train --out run  # a minute\\n```\\n")
    ['mtl train --out run']
    """
    blocks = re.findall(r"^```bash\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    lines = (shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def needed(page: str) -> list[str]:
    """Return the commands up to the one that draws the picture, without those that only print.

    Raises
    ------
    ValueError
        If no command of the page draws it.
    """
    kept = []
    for command in commands(page):
        if not command.startswith("mtl evaluate"):
            kept.append(command)
        if command.startswith("mtl predict") and f"/{DRAWING.stem}." in command:
            return kept
    raise ValueError(f"no command of {PAGE}.md draws {DRAWING.name}")


def drawn_face(root: Path, kept: Path) -> bytes:
    """Return the picture as PNG, from ``kept`` if it is still the one that the commands would draw.

    Parameters
    ----------
    root : Path
        The repository.
    kept : Path
        Folder for the picture between two builds.

    Raises
    ------
    RuntimeError
        If a command fails, with what it said.
    """
    lines = needed((root / f"{PAGE}.md").read_text(encoding="utf-8"))
    key = "\n".join([*lines, shared_hash(root, "cpu")])
    stamp, picture = kept / "drawn_face.key", kept / "drawn_face.png"
    if picture.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return picture.read_bytes()
    print("Drawing the face of the page on own pictures", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        env = {**kernel_environment(root, "cpu", 1), "MTL_CACHE": str(Path(folder) / "cache")}
        for line in lines:
            command = [sys.executable, "-m", "mtl_lib.cli", *shlex.split(line)[1:]]
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{line}\nends with status {done.returncode}\n{done.stderr[-2000:]}")
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / DRAWING, f"{picture}.part")
    os.replace(f"{picture}.part", picture)
    atomic.write_text(stamp, key)
    return picture.read_bytes()
