"""The folder of a run: settings, last and best checkpoint, and a log of JSON lines.

========================= ==========================================================================
``config.json``           settings and their hash, class names, which faces (counts and digests)
``last.safetensors``      the state after the latest checkpoint: what resuming starts from
``best.safetensors``      the state that was best on the validation people
``log.jsonl``             one line per event; losses every few steps, measures at every validation
``tensorboard/``          the same numbers for TensorBoard, if it was asked for
========================= ==========================================================================
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_lib import atomic, checkpoint
from mtl_lib.config import TrainConfig
from mtl_lib.errors import CheckpointError, ConfigError

LAST, BEST, CONFIG, LOG = "last.safetensors", "best.safetensors", "config.json", "log.jsonl"
BOARD = "tensorboard"


def read_log(out: str | os.PathLike) -> list[dict[str, Any]]:
    """Return the lines of a run's log, oldest first; a line that a kill cut short is left out.

    Parameters
    ----------
    out : path-like
        The run's folder.

    Returns
    -------
    list of dict
        Each has ``event`` ("start", "predicted", "forecast", "train", "validation" or "end") and ``step``.
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
    processes : int, optional
        How many processes train the run.
    writes : bool, optional
        Whether this process writes; of several only the first does.
    """

    def __init__(
        self,
        out: str | os.PathLike,
        config: TrainConfig,
        classes: list[str],
        data: Mapping[str, Any],
        processes: int = 1,
        writes: bool = True,
    ):
        self.path, self.config, self.writes = Path(out), config, writes
        self.description = {
            "config": config.to_dict(),
            "hash": config.digest(),
            "classes": classes,
            "data": dict(data),
            "processes": processes,
        }
        self._board: Any = None

    def find(self, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the checkpoint to start from, or None for a new run.  Nothing is written.

        Raises
        ------
        ConfigError
            If the folder holds a run and ``resume`` is not set.
        CheckpointError
            If the run in it has other settings, other data or another number of processes, or its checkpoint
            is damaged.
        """
        last = self.path / LAST
        if not resume and ((self.path / CONFIG).exists() or last.exists()):
            raise ConfigError(f"{self.path} holds a run already; resume it, or choose another folder")
        if not last.exists():
            return None
        tensors, meta = checkpoint.load_checkpoint(last)
        checkpoint.check_config(last, meta, self.config)
        for name in sorted({*meta["data"], *self.description["data"]}):
            stored, described = meta["data"].get(name), self.description["data"].get(name)
            if stored != described:
                raise CheckpointError(
                    f"{last}: made with other faces for {name!r} ({stored}; now {described}); give the same"
                    " data, or start a new run in another folder"
                )
        if meta["processes"] != self.description["processes"]:
            raise CheckpointError(
                f"{last}: made by {meta['processes']} process(es), now there are"
                f" {self.description['processes']}; each normalises its own part of a batch, so the run would"
                f" not be the same: use {meta['processes']}, or start a new run in another folder"
            )
        return tensors, meta

    def open(self, step: int, tensorboard: bool = False) -> None:
        """Make the folder ready for a run that stands at ``step``; 0 begins anew.

        Parameters
        ----------
        step : int
            Steps done.  Lines of the log beyond it are about steps that will be done again, and go.
        tensorboard : bool, optional
            Also write for TensorBoard.

        Raises
        ------
        ConfigError
            If TensorBoard is asked for and not installed.
        """
        if not self.writes:
            return
        for left in self.path.glob(".*.tmp") if self.path.is_dir() else ():
            left.unlink(missing_ok=True)  # what a kill interrupted before it had its name
        kept = [line for line in read_log(self.path) if step and line["step"] <= step]
        atomic.write_text(self.path / LOG, "".join(json.dumps(line) + "\n" for line in kept))
        atomic.write_text(self.path / CONFIG, json.dumps(self.description, indent=2) + "\n")
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ConfigError(
                    "tensorboard is not installed; `pip install mtl-lib[tensorboard]`, or go without"
                ) from None
            # Everything from the next step on that an earlier process wrote is declared void.
            self._board = SummaryWriter(str(self.path / BOARD), purge_step=step + 1, flush_secs=10)

    def close(self) -> None:
        """Write out what TensorBoard has not been told yet."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def save(self, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a checkpoint with the run's description in it."""
        if self.writes:
            checkpoint.save_checkpoint(self.path / name, tensors, {**meta, **self.description})

    def log(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line to the log, and its numbers to TensorBoard's file."""
        if not self.writes:
            return
        with open(self.path / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        if self._board is not None and event in ("train", "validation"):
            for name, value in scalars(values):
                self._board.add_scalar(f"{event}/{name}", value, step)


def scalars(values: Mapping[str, Any], names: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Name every number in nested mappings and lists; positions in lists count from 1, as layers do.

    Examples
    --------
    >>> list(scalars({"loss": 2.0, "layers": {"cosine": [0.9, 0.8]}, "note": "no number"}))
    [('loss', 2.0), ('layers/cosine/01', 0.9), ('layers/cosine/02', 0.8)]
    """
    for key, value in values.items():
        path = (*names, str(key))
        if isinstance(value, Mapping):
            yield from scalars(value, path)
        elif isinstance(value, list):
            yield from scalars({f"{i:02}": each for i, each in enumerate(value, 1)}, path)
        elif isinstance(value, int | float):
            yield "/".join(path), float(value)
