"""``mtl sweep all`` in a process of its own, which gets a signal at a given moment; see test_sweep.py.

Arguments: a folder, the moment (``step N`` of training, ``outside`` training, or ``never``), the signal's number.
"""

import os
import signal
import sys
import time
from pathlib import Path

from toy_faces import toy_config, toy_sets

from mtl_lib import cli
from mtl_lib.experiments import face_runs, registry
from mtl_lib.experiments.base import Experiment, Job, Outcome

METHODS = ("first", "trained", "last")


def note(text):
    with (FOLDER / "notes").open("a") as file:
        file.write(f"{text}\n")


def at(moment):
    note(moment)
    if moment == MOMENT:
        os.kill(os.getpid(), NUMBER)
        if moment == "outside":
            time.sleep(60)


def jobs(tier, budget, seeds, ledger, name="toy", methods=METHODS):
    train = toy_config(steps=6, validate_every=2, save_every=1).to_dict()
    about = {"experiment": name, "seed": 0, "tier": tier, "budget": budget}
    return [Job(**about, method=method, config={"train": train, "data": {}}) for method in methods]


def run(job, workspace, root, accelerator):
    if job.method == "trained":
        return face_runs.run_faces(job, workspace, root, "cpu", watch=lambda run: at(f"step {run.step}"))
    if job.method == "last":
        at("outside")
    return Outcome(metrics={"accuracy": 1.0}, device="CPU", memory=1.0)


def experiment(name, methods):
    return Experiment(
        name=name, title="a toy", seeds={"smoke": (0,)}, run=run, tiers=("synthetic",),
        jobs=lambda *arguments: jobs(*arguments, name=name, methods=methods),
    )  # fmt: skip


if __name__ == "__main__":
    FOLDER, MOMENT, NUMBER = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    face_runs.face_sets = lambda job, root=None: toy_sets()
    registry.EXPERIMENTS.clear()
    registry.EXPERIMENTS |= {"toy": experiment("toy", METHODS), "next": experiment("next", ("quick",))}
    arguments = ["sweep", "all", "--budget", "smoke", "--accelerator", "cpu"]
    sys.exit(cli.main([*arguments, "--workspace", f"{FOLDER}/runs", "--ledger", f"{FOLDER}/ledger"]))
