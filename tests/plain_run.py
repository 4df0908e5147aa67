"""A run without the checks of type hints that the tests switch on, in a process of its own."""

from toy_faces import toy_config, toy_sets

from mtl_lib.train import fit


def train(out, settings):
    fit(toy_config(**settings), toy_sets(), out=out, progress=False, accelerator="cpu")
