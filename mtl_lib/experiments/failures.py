"""A gallery of mistakes: each made on purpose, beside its healthy twin, with the symptom that gives it away.

``mtl sweep failures`` makes and records all of them, in seconds each, with a curve beside the line of the ledger.  The twin of ``gamma_too_large``, say, is the method
``gamma_too_large.healthy``, which differs from it in the mistake alone.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtl_lib.devices import peak_memory
from mtl_lib.errors import DataError
from mtl_lib.experiments import failure_cases as cases
from mtl_lib.experiments.base import Experiment, Job, Outcome
from mtl_lib.experiments.face_runs import device_name

NAME, HEALTHY = "failures", ".healthy"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A mistake.

    Parameters
    ----------
    run : callable
        ``run(faulty, seed, scale, workspace)`` makes it, or does it right, and returns what was measured at the end and
        on the way.
    made : str
        What is done wrong.
    symptom : str
        What is seen.
    diagnosis : str
        Why it is so, and how one would know.
    rule : str
        The symptom as a rule, in words.
    detect : callable
        The same rule: takes the numbers of a run, returns whether the symptom is there.
    shown : tuple of str
        The numbers that show it.
    """

    run: Callable[[bool, int, str, Path], cases.Measured]
    made: str
    symptom: str
    diagnosis: str
    rule: str
    detect: Callable[[Mapping[str, float]], bool]
    shown: tuple[str, ...]


FAILURES: dict[str, Failure] = {
    "reversed_sign": Failure(
        run=cases.reversed_sign,
        made="the gradient reversal does not reverse: the encoder helps the domain classifier",
        symptom="the domain loss falls nicely, and the features of the two sets lie further apart than without it",
        diagnosis=(
            "a falling loss looks like success, but the encoder is to raise it; compare the distance of the sets' means"
            " with that of the same network without an adversary"
        ),
        rule="the sets' features lie further apart than without an adversary",
        detect=lambda m: m["apart"] > m["apart_without"],
        shown=("apart", "apart_without", "probe", "probe_without"),
    ),
    "task_axis_first": Failure(
        run=cases.task_axis_first,
        made="tasks are stacked along the first axis, and the last one is flattened",
        symptom="the penalty falls, but the tasks stay as different as they were; the kernels' columns grow alike",
        diagnosis=(
            "any axis has a trace norm, and no shape is wrong; look at the singular values over tasks, or give two"
            " equal tasks: the norm must then be that of one task times the square root of 2"
        ),
        rule="the second singular value over tasks, relative to the first, has not halved",
        detect=lambda m: m["tasks_after"] > 0.5 * m["tasks_before"],
        shown=("tasks_before", "tasks_after", "columns_before", "columns_after"),
    ),
    "gamma_too_large": Failure(
        run=cases.gamma_too_large,
        made="the trace norm is a hundred times as strong as it should be",
        symptom="all norms collapse, the loss stays where it began, and the tasks share less than before",
        diagnosis=(
            "under batch norm smaller kernels take larger steps, until noise is all that is left in them; TNDR near 0"
            " together with a cosine near 0 is no sharing"
        ),
        rule="the median layer has TNDR below 0.3 and a cosine below 0.5",
        detect=lambda m: m["tndr"] < 0.3 and m["cosine"] < 0.5,
        shown=("tndr", "cosine", "loss", "nme"),
    ),
    "adversary_too_strong": Failure(
        run=cases.adversary_too_strong,
        made="the reversal has strength 30 from the first step on",
        symptom="landmarks are worse than the mean shape, whatever the domain classifier says",
        diagnosis=(
            "the networks run from the classifier instead of learning; an answer that looks at no picture is the bar"
            " that every error must be held against"
        ),
        rule="the landmark error exceeds that of the mean shape",
        detect=lambda m: m["nme"] > m["mean_shape_nme"],
        shown=("nme", "mean_shape_nme", "adversary", "loss"),
    ),
    "test_for_choice": Failure(
        run=cases.test_for_choice,
        made="of forty classifiers the one that is best on the test faces is reported, with that score",
        symptom="a score well above chance, although there is nothing to learn; on new faces it is gone",
        diagnosis=(
            "the best of many noisy scores is high by choice; count how often the test faces were looked at, and keep"
            " others for the choice"
        ),
        rule="the reported score exceeds that on new faces by 3 points",
        detect=lambda m: m["optimism"] > 3,
        shown=("reported", "fresh", "optimism"),
    ),
    "shrinkage_for_sharing": Failure(
        run=cases.shrinkage_for_sharing,
        made="sharing is read off TNDR, for networks that started from different weights",
        symptom="TNDR below 1 in all layers, as if they shared; the kernels are at right angles",
        diagnosis=(
            "the norm of a stack falls when each task is shrunk by itself; look at the cosine of the tasks' kernels, and"
            " at a control that couples nothing"
        ),
        rule="the median layer has TNDR below 0.95 and a cosine within 0.3 of 0",
        detect=lambda m: m["tndr"] < 0.95 and abs(m["cosine"]) < 0.3,
        shown=("tndr", "cosine"),
    ),
    "rank_one_opposite": Failure(
        run=cases.rank_one_opposite,
        made="norms are pinned, the penalty is strong, and networks start from different weights",
        symptom="layers of rank one, which counts as full sharing, in which one task's kernels are minus the other's",
        diagnosis="singular values do not see signs; the cosine does",
        rule="some layer has a cosine below -0.9",
        detect=lambda m: m["opposite"] >= 1,
        shown=("rank_one", "opposite", "aligned"),
    ),
    "one_loss_weight": Failure(
        run=cases.one_loss_weight,
        made="hard sharing is compared with single tasks at landmark weight 1 for both",
        symptom="hard sharing locates landmarks worse; with another weight it gains far more than that",
        diagnosis=(
            "where a trunk is shared, the weight divides it among the tasks, and one number does not suit all rivals;"
            " tune it for each, or show the whole front"
        ),
        rule="the rival's error falls by more with the weight that validation prefers than the rivals differ",
        detect=lambda m: m["to_gain"] > abs(m["gap"]),
        shown=("gap", "to_gain", "rival_at_1", "rival_at_10"),
    ),
}
"""All mistakes by name."""


def failure_of(method: str) -> tuple[Failure, bool]:
    """Return the mistake that a method of the ledger belongs to, and whether it is made there.

    Raises
    ------
    DataError
        If there is none of that name.

    Examples
    --------
    >>> failure_of("test_for_choice")[1], failure_of("test_for_choice.healthy")[1]
    (True, False)
    """
    name = method.removesuffix(HEALTHY)
    if name not in FAILURES:
        raise DataError(f"there is no failure {method!r}; there are {', '.join(FAILURES)}")
    return FAILURES[name], name == method


def detected(method: str, metrics: Mapping[str, float]) -> bool:
    """Return whether a run shows the symptom of the mistake that it is of, or that it is the healthy twin of.

    Examples
    --------
    >>> detected("test_for_choice", {"optimism": 8.0}), detected("test_for_choice.healthy", {"optimism": 0.1})
    (True, False)
    """
    return failure_of(method)[0].detect(metrics)


def jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List every mistake and its twin, all of a seed before the next."""
    scale = budget if budget in cases.SCALES else "cpu"
    return [
        Job(
            experiment=NAME, method=name + suffix, seed=seed, tier=tier, budget=budget,
            config={"case": name, "faulty": not suffix, "scale": scale},
        )
        for seed in seeds
        for name in FAILURES
        for suffix in ("", HEALTHY)
    ]  # fmt: skip


def run(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Make one mistake, or its twin; ``detected`` is 1 where the symptom was found."""
    failure, faulty = failure_of(job.method)
    found = failure.run(faulty, job.seed, job.config["scale"], workspace)
    metrics = {**found.numbers, "detected": float(failure.detect(found.numbers))}
    cpu = torch.device("cpu")
    return Outcome(
        metrics={name: round(float(value), 4) for name, value in metrics.items()},
        device=device_name(cpu),
        memory=peak_memory(cpu),
        files={"curve": json.dumps(_rounded(found.curve))},
    )


def _rounded(value: Any) -> Any:
    """Four digits after the point are enough for a plot."""
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


FAILURE_EXPERIMENT = Experiment(
    name=NAME,
    title="mistakes made on purpose, each beside its healthy twin",
    seeds={"smoke": (0,), **dict.fromkeys(("cpu", "t4", "full"), (0, 1, 2))},
    jobs=jobs,
    run=run,
    tiers=("synthetic",),
)
