"""What ``torchrun`` starts in test_processes.py, in every process; and what the test runs by itself to compare."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn
from toy_faces import toy_config, toy_sets

from mtl_lib import tasks, train
from mtl_lib.errors import DivergenceError

SETTINGS = {"steps": 3, "batch_size": 8, "validate_every": 3, "save_every": 1, "ada_ramp": False, "lr": 0.01}
RUNS = {
    # name: (without batch norm?, settings with one process, what several have besides)
    "plain": (True, {"gamma": 0.1, "init": "independent"}, {}),
    "micro": (True, {"gamma": 0.1, "accumulate": 2, "schedule": "step", "warmup": 2}, {}),
    "synced": (False, {"gamma": 0.1, "pinned": True}, {"sync_batch_norm": True}),
    "alternating": (True, {"gamma": 0.1, "ada": 1.0, "ada_form": "alternating"}, {}),
}


def drop_batch_norm(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            drop_batch_norm(child)


class Watched:
    """Runs ``fit``, with batch norm or without, and keeps the run to look into."""

    def __init__(self, without: bool):
        self.without, self.run = without, None

    def fit(self, *arguments, **named):
        made, started = tasks.Networks.__init__, train.Run.__init__

        def make(networks, *rest):
            made(networks, *rest)
            if self.without:
                drop_batch_norm(networks)

        def start(run, *rest):
            self.run = run
            started(run, *rest)

        tasks.Networks.__init__, train.Run.__init__ = make, start
        try:
            return train.fit(*arguments, progress=False, accelerator="cpu", **named)
        finally:
            tasks.Networks.__init__, train.Run.__init__ = made, started


class Crash(Exception):
    pass


def crash(done):
    if done == 2:
        raise Crash


def main(out: Path) -> None:
    told, rank = {}, int(os.environ["RANK"])
    for name, (without, settings, besides) in RUNS.items():
        watched = Watched(without)
        config = toy_config(**SETTINGS, **settings, **besides)
        watched.fit(config, toy_sets(), out=out / (name if rank == 0 else f"{name}-by-rank-{rank}"))
        told[name] = {k: v.double().sum().item() for k, v in watched.run.networks.named_parameters()}
    # Broken off after step 2 and resumed, all in two processes.
    config = toy_config(**SETTINGS, gamma=0.1)
    Watched(False).fit(config, toy_sets(), out=out / "whole")
    try:
        Watched(False).fit(config, toy_sets(), out=out / "broken", on_step=crash)
    except Crash:
        Watched(False).fit(config, toy_sets(), out=out / "broken", resume=True)
    try:  # one process's trouble is everybody's
        watched = Watched(False)

        def spoil(done):
            if rank == 1:
                watched.run.networks.net.heads[0].weight.data.fill_(torch.nan)

        watched.fit(config, toy_sets(), out=out / "spoilt", on_step=spoil)
    except DivergenceError as error:
        told["error"] = str(error)
    (out / f"told-by-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
