"""How many threads of a CPU a run takes.

The layers of networks as narrow as those of the budgets ``smoke`` and ``cpu`` are too small to be divided: more threads cost
CPU seconds, and where several runs go on side by side each then waits for the others.  One thread also gives the same
numbers however many cores there are.  The ledger says with the device how many threads there were.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mtl_lib.experiments.base import Job

NARROW = 16
"""Networks of at most this width train on one thread."""


@contextmanager
def few_threads(job: Job, accelerator: str) -> Iterator[None]:
    """Compute with one thread while a job with narrow networks runs on a CPU.

    Parameters
    ----------
    job : Job
        A job whose configuration says no width is left as it is.
    accelerator : str
        As for :func:`mtl_lib.train.fit`; a run on a GPU is left as it is, and so is one under an ``OMP_NUM_THREADS`` that
        the user has set.

    Examples
    --------
    >>> job = Job(experiment="demo", method="laf", seed=0, tier="open", budget="cpu", config={"train": {"width": 4}})
    >>> with few_threads(job, "cpu"):
    ...     print("OMP_NUM_THREADS" in os.environ or torch.get_num_threads() == 1)
    True
    """
    before = torch.get_num_threads()
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    narrow = job.config.get("train", {}).get("width", NARROW + 1) <= NARROW
    if narrow and not on_gpu and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
