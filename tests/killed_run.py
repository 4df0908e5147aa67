"""A run to be killed, in a process of its own; see test_kill.py."""

import os
import threading
import time

from toy_faces import toy_config, toy_sets
from tqdm import tqdm

from mtl_lib.train import fit

CONFIG = {"steps": 12, "save_every": 1, "validate_every": 3, "pinned": True, "gamma": 0.1, "width": 4}


def train(out, told):
    """The number of every step that is done goes into the pipe ``told``."""
    tqdm.set_lock(threading.RLock())  # its own, shared between processes, would outlive a killed one
    flush = os.fsync
    os.fsync = lambda file: (flush(file), time.sleep(0.02))  # a slow disk: more kills come while it writes
    config = toy_config(**CONFIG)
    fit(
        config,
        toy_sets(),
        out=out,
        progress=False,
        accelerator="cpu",
        tensorboard=True,
        on_step=told.send,
    )
