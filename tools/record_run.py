"""Keep the log of a finished run with the book: ``python -m tools.record_run RUN_FOLDER NAME``.

Writes ``data/results/run_NAME.jsonl``: first what was run, on what and when, then the log, its training lines
thinned.  Chapter 8 replays it.
"""

import argparse
import datetime
import json
import platform
from pathlib import Path

from mtl_lib import __version__, atomic
from mtl_lib.config import TrainConfig, differences
from mtl_lib.run_folder import CONFIG, read_log

KEPT = 120
"""Training lines that are kept, evenly spread."""


def processor() -> str:
    """Name of this machine's processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rounded(value):
    """Numbers to five digits, in lists and mappings too."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def record(run: Path, name: str, device: str | None, root: Path) -> Path:
    """Write the record of a finished run below ``root``, and return its path."""
    log = read_log(run)
    if not log or not log[-1].get("finished"):
        raise SystemExit(f"{run}: there is no finished run; `mtl train --out {run} --resume` ends it")
    described = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    config = described["config"]
    preset = TrainConfig.for_budget(config["budget"]).to_dict()
    start = next(line for line in log if line["event"] == "start")
    train = [line for line in log if line["event"] == "train"]
    every = max(1, -(-len(train) // KEPT))
    kept = {id(line) for line in [*train[::every], train[-1]]}
    head = {
        "event": "recorded",
        "name": name,
        "device": device or f"{processor()}, {start['threads']} thread(s)",
        "budget": config["budget"],
        "tier": config["tier"],
        "changed": differences(preset, config),
        "steps": config["steps"],
        "hash": described["hash"],
        "faces": {task: faces["faces"] for task, faces in described["data"].items()},
        "version": __version__,
        "date": datetime.date.today().isoformat(),
    }
    lines = [head, *(line for line in log if line["event"] != "train" or id(line) in kept)]
    path = root / "data" / "results" / f"run_{name}.jsonl"
    return atomic.write_text(path, "".join(json.dumps(rounded(line)) + "\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name", help="letters, digits, _ : data/results/run_NAME.jsonl")
    parser.add_argument("--device", help="what it ran on; by default this machine's processor")
    given = parser.parse_args()
    path = record(given.run, given.name, given.device, Path.cwd())
    print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
