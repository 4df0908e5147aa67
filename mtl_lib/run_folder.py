"""The folder of a run: settings, last and best checkpoint, and a log of JSON lines.

========================= ==========================================================================
``config.json``           settings and their hash, class names, which faces (counts and digests)
``last.safetensors``      the state after the latest checkpoint: what resuming starts from
``best.safetensors``      the state that was best on the validation people
``log.jsonl``             one line per event; losses every few steps
========================= ==========================================================================
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_lib import atomic, checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.errors import CheckpointError, ConfigError

LAST, BEST, CONFIG, LOG = "last.safetensors", "best.safetensors", "config.json", "log.jsonl"


def read_log(out: str | os.PathLike) -> list[dict[str, Any]]:
    """Return the lines of a run's log, oldest first; a line that a kill cut short is left out.

    Parameters
    ----------
    out : path-like
        The run's folder.

    Returns
    -------
    list of dict
        Each has ``event`` ("start", "forecast", "train", "validation" or "end") and ``step``.
    """
    path, lines = Path(out) / LOG, []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


class RunFolder:
    """Where a run is kept.

    Parameters
    ----------
    out : path-like
        The folder; made when something is first written.
    config : TrainConfig
        The run's settings.
    classes : list of str
        Names of the expression's classes.
    data : mapping
        Which faces; see :func:`mtl_lib.tasks.fingerprint`.
    """

    def __init__(
        self, out: str | os.PathLike, config: TrainConfig, classes: list[str], data: Mapping[str, Any]
    ):
        self.path, self.config = Path(out), config
        self.description = {
            "config": config.to_dict(),
            "hash": config.digest(),
            "classes": classes,
            "data": dict(data),
        }

    def begin(self, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Make the folder ready and return the checkpoint to start from, or None for a new run.

        Raises
        ------
        ConfigError
            If the folder holds a run and ``resume`` is not set.
        CheckpointError
            If the run in it has other settings or other data, or its checkpoint is damaged.
        """
        last, found = self.path / LAST, None
        if not resume and ((self.path / CONFIG).exists() or last.exists()):
            raise ConfigError(f"{self.path} holds a run already; resume it, or choose another folder")
        if last.exists():
            found = tensors, meta = checkpoint.load_checkpoint(last)
            checkpoint.check_config(last, meta, self.config)
            for name in sorted({*meta["data"], *self.description["data"]}):
                stored, described = meta["data"].get(name), self.description["data"].get(name)
                if stored != described:
                    raise CheckpointError(
                        f"{last}: made with other faces for {name!r} ({stored}; now {described}); give the same"
                        " data, or start a new run in another folder"
                    )
            # Lines beyond the checkpoint are about steps that will be done again.
            kept = [line for line in read_log(self.path) if line["step"] <= meta["step"]]
            atomic.write_text(self.path / LOG, "".join(json.dumps(line) + "\n" for line in kept))
        else:
            atomic.write_text(self.path / LOG, "")
        atomic.write_text(self.path / CONFIG, json.dumps(self.description, indent=2) + "\n")
        return found

    def save(self, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a checkpoint with the run's description in it."""
        checkpoint.save_checkpoint(self.path / name, tensors, {**meta, **self.description})

    def log(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line to the log."""
        with open(self.path / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
