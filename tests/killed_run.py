"""A run to be killed, in a process of its own; see test_kill.py."""

from toy_faces import toy_config, toy_sets

from mtl_lib.train import fit

CONFIG = {"steps": 12, "save_every": 1, "validate_every": 3, "pinned": True, "gamma": 0.1, "width": 4}


def train(out, told):
    """The number of every step that is done goes into the pipe ``told``."""
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
