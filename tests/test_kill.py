"""Killed with signal 9 at random moments, a run goes on as if nothing had been; no file is ever half-written."""

import multiprocessing
import random
import shutil
import time

import pytest
import torch
from killed_run import CONFIG, train
from toy_faces import toy_config, toy_sets

from mtl_lib.checkpoint import load_checkpoint
from mtl_lib.run_folder import read_log
from mtl_lib.train import fit

FILES = ("last.safetensors", "best.safetensors")


def start(server, out):
    """Start the run; returns the process, and the pipe from which its steps come."""
    ours, theirs = server.Pipe(duplex=False)
    process = server.Process(target=train, args=(out, theirs))
    process.start()
    theirs.close()
    return process, ours


def kill_one(server, out, step, delay):
    """Start the run and kill it ``delay`` seconds after step ``step``, or after its birth if that is 0."""
    process, told = start(server, out)
    while step and told.recv() < step:
        pass
    time.sleep(delay)
    process.kill()
    process.join(60)
    return process.exitcode


def kill_and_resume(folder, times, seed):
    """Train once whole; then kill a run of the same settings `times` times. Returns what the kills met with."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["killed_run"])  # PyTorch is imported once, not for every kill
    process, told = start(server, folder / "whole")
    moments = [(told.recv(), time.monotonic())[1] for _ in range(CONFIG["steps"])]
    process.join(240)
    assert process.exitcode == 0
    a_step = (moments[-1] - moments[0]) / (CONFIG["steps"] - 1)
    whole = {name: load_checkpoint(folder / "whole" / name) for name in FILES}

    chance, met = random.Random(seed), []
    while len(met) < times:
        out = folder / f"killed-{len(met)}"
        step = chance.randrange(CONFIG["steps"] - 1)
        if kill_one(server, out, step, chance.uniform(0, 1.5) * a_step) == 0:
            shutil.rmtree(out)  # the machine was slow and the run was not: it had ended
            continue
        steps = []
        for name in FILES:
            if (out / name).exists():
                tensors, meta = load_checkpoint(out / name)  # checks the digest over everything in it
                steps.append(meta["step"])
                assert tensors.keys() == whole[name][0].keys()
        if out.is_dir():
            with open(out / "log.jsonl", "a") as file:
                file.write('{"event": "train", "st')  # a line that a kill cut short
        in_writing = bool(list(out.glob(".*.tmp")))
        met.append((max(steps, default=0), in_writing))
        result = fit(
            toy_config(**CONFIG), toy_sets(), out=out, resume=True, progress=False, accelerator="cpu"
        )
        assert result.finished and not list(out.glob(".*.tmp"))
        for name in FILES:
            tensors, meta = load_checkpoint(out / name)
            assert meta["step"] == whole[name][1]["step"] and meta["best"] == whole[name][1]["best"]
            for key, value in whole[name][0].items():
                assert torch.equal(tensors[key], value), (out, name, key)
        trained = [line["step"] for line in read_log(out) if line["event"] == "train"]
        assert trained == list(range(1, CONFIG["steps"] + 1))
    return met


def test_a_run_that_is_killed_resumes_to_the_same_bits(tmp_path):
    met = kill_and_resume(tmp_path, times=2, seed=1)
    assert all(0 <= step < CONFIG["steps"] for step, _ in met)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    met = kill_and_resume(tmp_path, times=20, seed=2)
    print("\nlast whole checkpoint, and whether a file was being written:", met)
    assert len({step for step, _ in met}) >= 5  # they did come at different moments
