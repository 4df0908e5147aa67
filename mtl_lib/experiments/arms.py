"""The methods that are compared: those of the paper's Table 4, and the controls and rivals that it lacks.

An arm is a handful of settings of :class:`mtl_lib.config.TrainConfig` and the ranges of what is tuned for it.
Every arm is tuned over the learning rate and the landmark weight, and besides over its own strengths; all get the
same number of trials (:mod:`mtl_lib.experiments.search`).  A control that takes one thing away from another arm is
not tuned: it takes that arm's settings, so that nothing else differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtl_lib.errors import ConfigError

TRACE_NORM = (0.003, 0.1)
SUMMED_NORMS = (0.001, 0.03)  # Tucker adds five trace norms, TT four
ALIGNMENT = (0.03, 1.0)


@dataclass(frozen=True)
class Arm:
    """A method.

    Parameters
    ----------
    settings : mapping of str to value
        What makes it this method.
    tuned : mapping of str to (float, float)
        Settings that are tuned for it, and their ranges; drawn evenly in the logarithm.
    stage : int, optional
        Hard sharing: after which of the four stages the trunk forks.
    paper : str, optional
        The row of the paper's Table 4, if it has one.
    answers : str, optional
        For a control or a rival: the question that it answers.
    like : str, optional
        For a control: the arm whose tuned settings it takes over.
    """

    settings: Mapping[str, Any]
    tuned: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    stage: int = 0
    paper: str = ""
    answers: str = ""
    like: str = ""


def _paper_arms() -> dict[str, Arm]:
    arms = {"single": Arm({"sharing": "single", "ada": 0.0}, paper="RN")}
    for stage, layers in enumerate((6, 14, 26, 32), 1):
        # Scale and shift shared, running statistics per task: what the paper's code most likely did, which does
        # not mention batch norm.
        hard = {"sharing": "hard", "batch_norm": "statistics"}
        arms[f"hard{stage}"] = Arm({**hard, "ada": 0.0}, stage=stage, paper=f"RN({layers})")
        arms[f"hard{stage}+ada"] = Arm(hard, {"ada": ALIGNMENT}, stage, paper=f"RN({layers})+ADA")
    arms["cross_stitch"] = Arm(
        {"sharing": "cross_stitch", "ada": 0.0}, {"stitch_rate": (1.0, 100.0)}, paper="CS"
    )
    arms["factorised"] = Arm(
        {"sharing": "factorised", "ada": 0.0},
        {"factor_tolerance": (0.05, 0.5)},
        answers="the factorised networks that the paper argues against",
    )
    for norm in ("laf", "tucker", "tt"):
        gamma = {"gamma": TRACE_NORM if norm == "laf" else SUMMED_NORMS}
        row = {"laf": "LAF", "tucker": "Tucker", "tt": "TT"}[norm]
        soft = {"sharing": "soft", "norm": norm}
        arms[norm] = Arm({**soft, "ada": 0.0}, gamma, paper=f"RN+{row}")
        arms[f"{norm}+ada"] = Arm(soft, {**gamma, "ada": ALIGNMENT}, paper=f"RN+{row}+ADA")
    return arms


def _controls() -> dict[str, Arm]:
    soft, laf = {"sharing": "soft", "ada": 0.0}, {"norm": "laf"}
    pinned = {"pinned": True}
    hard = {"sharing": "hard", "ada": 0.0, "batch_norm": "private"}
    return {
        "norm_only": Arm(
            {**soft, "norm": "norm_only"}, like="laf", answers="is it shrinking, without any coupling?"
        ),
        "laf_prox": Arm(
            {**soft, **laf, "penalty_step": "proximal"}, like="laf", answers="does an exact step help?"
        ),
        "laf_independent": Arm(
            {**soft, **laf, "init": "independent"}, like="laf", answers="does the start decide?"
        ),
        "laf_pinned": Arm(
            {**soft, **laf, **pinned}, {"gamma": (0.03, 0.4)}, answers="and with directions alone, without scale?"
        ),
        "laf+placebo": Arm(
            {"sharing": "soft", **laf, "ada_placebo": True},
            like="laf+ada",
            answers="does an adversary help that learns nothing about the domain?",
        ),
        "single+ada": Arm({"sharing": "single"}, {"ada": ALIGNMENT}, answers="does alignment need sharing?"),
        "laf_shuffled": Arm(
            {**soft, **laf, "shuffle_landmarks": True},
            like="laf",
            answers="what is left when the partner teaches nothing?",
        ),
        "hard2_private": Arm(hard, stage=2, answers="hard sharing with batch norm per task"),
        "hard4_private": Arm(hard, stage=4, answers="the strong rival: all convolutions shared, batch norm per task"),
        "hard4_shuffled": Arm(
            {**hard, "shuffle_landmarks": True},
            stage=4,
            like="hard4_private",
            answers="how much of the rival's gain is regularisation?",
        ),
        "deviation": Arm(
            {**soft, **pinned, "norm": "deviation", "penalty_step": "proximal"},
            {"gamma": (0.1, 3.0)},
            answers="the simplest scale-free, sign-aware penalty, with exact ties",
        ),
    }  # fmt: skip


ARMS: dict[str, Arm] = {**_paper_arms(), **_controls()}
"""All arms by name; ``+ada`` marks adversarial domain alignment."""


def arm_settings(name: str, blocks: Sequence[int]) -> dict[str, Any]:
    """Return the settings of an arm for a ResNet with these blocks per stage.

    Parameters
    ----------
    name : str
        One of :data:`ARMS`.
    blocks : sequence of int
        Residual blocks per stage; the forks of hard sharing lie at the ends of stages, as in the paper.

    Raises
    ------
    ConfigError
        If there is no such arm.

    Examples
    --------
    >>> arm_settings("hard2", (3, 4, 6, 3))["hard_after"], arm_settings("hard2", (1, 1, 1, 1))["hard_after"]
    (14, 4)
    """
    if name not in ARMS:
        raise ConfigError(f"there is no method {name!r}; there are {', '.join(ARMS)}")
    arm = ARMS[name]
    settings = dict(arm.settings)
    if arm.stage:
        settings["hard_after"] = 2 * sum(blocks[: arm.stage])
    return settings
