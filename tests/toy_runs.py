"""Runs of a tiny network on toy pictures, and what two runs must have in common to be the same."""

from pathlib import Path

import torch
from toy_faces import toy_config, toy_sets

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.train import fit, read_log

SETS = toy_sets()


def run(out, config=None, sets=SETS, **arguments):
    return fit(config or toy_config(), sets, out=out, progress=False, accelerator="cpu", **arguments)


def weights(out, name="last", start=""):
    tensors, _ = load_checkpoint(Path(out) / f"{name}.safetensors")
    return {key: value for key, value in tensors.items() if key.startswith(start)}


def assert_same_run(a, b):
    for name in ("last", "best"):
        one, two = weights(a, name), weights(b, name)
        assert one.keys() == two.keys()
        for key in one:
            assert torch.equal(one[key], two[key]), (name, key)

    def told(out):
        timing = ("steps_per_second", "seconds_left", "memory")
        lines = [line for line in read_log(out) if line["event"] in ("train", "validation")]
        return [{k: v for k, v in line.items() if k not in timing} for line in lines]

    assert told(a) == told(b)


class Crash(Exception):
    pass


def stacked(out):
    """Layer -> [T, n] in float64."""
    found = weights(out, start="model/net.trunk.nets.")
    layers = {key.split(".", 4)[4] for key in found if found[key].ndim == 4}
    nets = {key.split(".")[3] for key in found}
    return {
        layer: torch.stack(
            [found[f"model/net.trunk.nets.{t}.{layer}"].flatten().double() for t in sorted(nets)]
        )
        for layer in layers
    }
