"""Every setting of a training run in one frozen record, with presets per budget.

A run is a function of its configuration and its data.  The record goes into the run's folder and into every
checkpoint, and a hash of it names the run; resuming under another configuration is refused.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from mtl_lib.budget import BUDGETS
from mtl_lib.config_rules import TASKS, check_settings
from mtl_lib.errors import CheckpointError, ConfigError

WITHOUT_EFFECT = ("log_every", "save_every")
"""Settings that do not change a run's result; they may differ when it is resumed."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and how.  ``docs`` of each field say what the paper states about it.

    Parameters
    ----------
    budget : {"smoke", "cpu", "t4", "full"}
        Which preset this started from; see :meth:`for_budget`.
    tier : str
        Data: "synthetic", "open" or "paper".
    tasks : tuple of str
        "expression", "landmarks" or both, each with a network of its own.  One name: a single-task network.
    pixels : int
        Side of the pictures (paper: 96).
    faces : int, optional
        Faces per set; by default all of a tier that is read, and as many rendered ones as the budget says.
    expression_set, landmark_sets : str
        For the tier "paper": which of :data:`mtl_lib.faces.registry.SETS`; several landmark sets are joined by
        "+", the first of them is tested on (paper: LSEMSW; 300-W and Menpo).
    data_seed : int
        Seed of the rendered faces, or of the choice of ``faces``.
    fractions : (float, float, float)
        Shares of the people in training, validation and test, where a set's owner does not say which is which.
    split_seed : int
        Another seed is another split.
    per_class, landmark_faces : int, optional
        Of the training people, at most so many faces of every expression, and so many with landmarks; None takes
        all.  See :mod:`mtl_lib.training_sets`.
    shuffle_landmarks : bool
        Control: in training, every face has another face's landmarks.
    backbone : {"resnet34", "alexnet", "vgg16", "vgg16_bn"}
        The architecture of a task's network (paper: ResNet-34, the others for comparison); "vgg16_bn" is VGG-16 with
        batch norm.
    width, blocks, shortcut, kernel_init
        Arguments of :func:`mtl_lib.backbones.resnet34` (paper: 64, (3, 4, 6, 3); not stated; not stated).  AlexNet
        and VGG take width and initialisation.
    init : {"same", "independent"}
        Whether the tasks' networks start from the same weights (not stated in the paper).  Independent
        networks followed by batch norm are shrunk by the penalty and hardly ever aligned by it.  Factorised
        sharing always starts from independent ones: equal networks would make every rank 1.
    sharing : {"soft", "single", "hard", "cross_stitch", "factorised"}
        How the tasks' networks hang together.  "soft": T networks and a penalty on their stacked weights, the
        paper's; "single": the same T networks without any penalty; "hard": one trunk that forks
        (:mod:`mtl_lib.hard_sharing`); "cross_stitch": T networks that mix their maps
        (:mod:`mtl_lib.cross_stitch`); "factorised": stacked weights that are products of learnt factors
        (:mod:`mtl_lib.factorised`).
    hard_after, hard_count
        Hard sharing: where the trunk forks (paper: 6, 14, 26 or 32), and whether the stem is counted
        ("literal") or comes on top ("blocks"); see :func:`mtl_lib.hard_sharing.shared_layers`.
    batch_norm : {"private", "statistics", "shared"}
        Batch norm of the shared layers under hard sharing (not stated): everything per task; scale and shift
        shared, running statistics per task; one for all.
    stitch_start, stitch_rate : float
        Cross-stitch units: weight of a task's own map at the start, and how many times the learning rate
        they take.
    factorisation : {"laf", "tucker", "tt"}
        Factorised sharing: the product that a stack is.
    factor_tolerance : float
        Factorised sharing: the ranks are the least that keep the relative error of the initial stacks within.
    norm : {"laf", "tucker", "tt", "norm_only", "deviation"}
        Soft sharing: what is penalised.  Tensor trace norms, Eqs. (1) to (3); or, beyond the paper, every
        task's norm by itself, or the tasks' deviation from their mean (:mod:`mtl_lib.task_penalties`).
    gamma : float
        Its strength (not stated); 0 trains the tasks side by side, sharing nothing.
    gamma_schedule, gamma_end
        Whether the strength stays, or goes to ``gamma_end`` at the last step, linearly or exponentially.
    penalty_step : {"subgradient", "proximal"}
        How the penalty is followed (paper: sub-gradient); Tucker and TT have no proximal step.
    penalty_null : {"minimum", "full"}
        The sub-gradient of a trace norm where an unfolding lacks rank, as all do when tasks start from the same
        weights: the shortest one, or the paper's :math:`U V^\\top`, which adds a unit push along arbitrary directions
        (:func:`mtl_lib.polar.value_and_polar`) and takes an SVD in float64 of every unfolding.
    pinned : bool
        After each step, scale every kernel of the networks back to its initial Frobenius norm.  Under batch
        norm this changes no output, and leaves the penalty only directions to act on.
    ada : float
        Largest coefficient of the gradient reversal, Eq. (4) (not stated); 0 switches the adversary off.
    ada_ramp : bool
        Let the coefficient rise by Ganin's schedule instead of being constant.
    ada_form : {"reversal", "alternating"}
        Whether one backward pass serves domain classifier and networks, or the classifier first takes steps
        of its own on the features as they are: the min and max of Eq. (4), one after the other.
    ada_inner_steps : int
        Steps of the classifier for each step of the networks; in the alternating form only.
    ada_lr : float
        Learning rate of the classifier's own optimiser (Adam); in the alternating form only.
    ada_placebo : bool
        Train the adversary on random domain labels: the control that a gain by alignment must beat.
    expression_weight, landmark_weight : float
        Weights of the tasks' losses (not stated).
    landmark_loss : {"l1", "l2"}
        On the targets (paper: l1).
    landmark_targets : {"coordinate", "shape"}
        What the network is to put out (paper: "whitened").  Every coordinate with mean 0 and spread 1; or
        the principal coordinates of the training shapes, uncorrelated as well (:mod:`mtl_lib.landmark_whitening`).
    class_weights : {"none", "sqrt", "balanced"}
        Weight of each class in the cross-entropy: 1, or one over the (square root of the) class's share.
    expression_augment, landmark_augment : {"none", "flip", "crop", "full"}
        The paper flips expression images only, and for the posed sets it fine-tunes to it flips, crops and rotates
        them ("crop": a window of 0.9 of the side, up to 15 degrees; its amounts are not stated).  "full" adds rotation, scale, shift and noise, which in short
        runs on the open faces slowed the learning of expressions.
    steps, batch_size : int
        Optimiser steps, and pictures per task in each (paper: not stated, 256), of all processes together.
    accumulate : int
        Into how many micro-batches each process cuts its part of a batch, for want of memory.  Their gradients
        are averaged before the one step, to which the penalty is added once.
    lr, momentum, schedule, warmup
        SGD (paper: 0.01, not stated, not stated); "cosine" decays to 0 over ``steps``, "step" divides by ten
        after half and after three quarters of them.  During the first ``warmup`` steps the rate rises.
    weight_decay : float
        On heads and domain classifier only.  The stacked weights have none, because it would shrink them as
        the penalty does and the two could not be told apart; biases and batch norm have none either.
    clip : float
        Largest norm of the task gradients; the penalty is added after clipping.  "inf" never clips.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Arithmetic of the forward and backward pass.  Weights, penalty and optimiser are float32 always.
    tf32 : bool
        Whether a GPU may round float32 factors to 10 bits in convolutions and products.  Never in the
        penalty.
    channels_last : bool
        Memory layout of pictures and kernels; faster on CPU and on GPUs with tensor cores.
    compile : bool
        Let PyTorch compile the networks.  It takes a minute or more before the first step, and on a CPU no step was
        faster for it (``benchmarks/training_step.py --compile``).
    sync_batch_norm : bool
        With several processes: normalise by the statistics of all their pictures, not of each process's own.
    patience : int
        Stop when the score on the validation people has not risen in so many validations; 0 never does.
    log_every, validate_every, save_every : int
        Steps between log lines, validations and checkpoints.
    seed : int
        Seed of initial weights, order of pictures and augmentation.

    Raises
    ------
    ConfigError
        If a value is not allowed.

    Examples
    --------
    >>> config = TrainConfig.for_budget("smoke", gamma=0.03)
    >>> config.gamma, config == TrainConfig.from_dict(config.to_dict())
    (0.03, True)
    """

    budget: Literal["smoke", "cpu", "t4", "full"] = "cpu"
    tier: str = "synthetic"
    tasks: tuple[str, ...] = TASKS
    pixels: int = 96
    faces: int | None = None
    expression_set: str = "lsemsw"
    landmark_sets: str = "300w+menpo"
    data_seed: int = 0
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    per_class: int | None = None
    landmark_faces: int | None = None
    shuffle_landmarks: bool = False
    backbone: Literal["resnet34", "alexnet", "vgg16", "vgg16_bn"] = "resnet34"
    width: int = 16
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    shortcut: Literal["A", "B"] = "A"
    kernel_init: Literal["fan_in", "fan_out", "equal"] = "fan_in"
    init: Literal["same", "independent"] = "same"
    sharing: Literal["soft", "single", "hard", "cross_stitch", "factorised"] = "soft"
    hard_after: int = 14
    hard_count: Literal["blocks", "literal"] = "blocks"
    batch_norm: Literal["private", "statistics", "shared"] = "private"
    stitch_start: float = 0.9
    stitch_rate: float = 1.0
    factorisation: Literal["laf", "tucker", "tt"] = "laf"
    factor_tolerance: float = 0.1
    norm: Literal["laf", "tucker", "tt", "norm_only", "deviation"] = "laf"
    gamma: float = 0.01
    gamma_schedule: Literal["constant", "linear", "exponential"] = "constant"
    gamma_end: float = 0.0
    penalty_step: Literal["subgradient", "proximal"] = "subgradient"
    penalty_null: Literal["minimum", "full"] = "minimum"
    pinned: bool = False
    ada: float = 0.1
    ada_ramp: bool = True
    ada_form: Literal["reversal", "alternating"] = "reversal"
    ada_inner_steps: int = 1
    ada_lr: float = 1e-3
    ada_placebo: bool = False
    expression_weight: float = 1.0
    landmark_weight: float = 10.0
    landmark_loss: Literal["l1", "l2"] = "l1"
    landmark_targets: Literal["coordinate", "shape"] = "coordinate"
    class_weights: Literal["none", "sqrt", "balanced"] = "balanced"
    expression_augment: Literal["none", "flip", "crop", "full"] = "flip"
    landmark_augment: Literal["none", "flip", "crop", "full"] = "full"
    steps: int = 2500
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 0.02
    momentum: float = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = float("inf")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    tf32: bool = True
    channels_last: bool = True
    compile: bool = False
    sync_batch_norm: bool = False
    patience: int = 0
    log_every: int = 10
    validate_every: int = 100
    save_every: int = 100
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # 0 and 0.0, a list and a tuple, are the same setting and must give the same hash.
            if field.type is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, field.name, float(value))
            elif isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            options = getattr(field.type, "__args__", ()) if "Literal" in str(field.type) else ()
            if options and value not in options:
                raise ConfigError(f"{field.name} is {value!r}; it must be one of {', '.join(options)}")
        check_settings(self)

    @classmethod
    def for_budget(cls, budget: str, **overrides: Any) -> "TrainConfig":
        """Return the preset of a budget, with single settings replaced.

        ========= ============================================ =========================================
        budget    what                                         cost
        ========= ============================================ =========================================
        ``smoke`` a toy network, 12 steps                      seconds
        ``cpu``   width 16, 2500 steps of 32 + 32 pictures     a quarter of an hour on one thread
        ``t4``    width 64, 6000 steps of 128 + 128, fp16      not measured
        ``full``  width 64, 20000 steps of 256 + 256, lr 0.01  not measured; the paper's batch and rate
        ========= ============================================ =========================================

        Parameters
        ----------
        budget : str
            One of :data:`mtl_lib.budget.BUDGETS`.
        **overrides
            Fields of :class:`TrainConfig`.

        Raises
        ------
        ConfigError
            If the budget or a field does not exist, or a value is not allowed.

        Examples
        --------
        >>> TrainConfig.for_budget("full").batch_size, TrainConfig.for_budget("cpu", width=8).width
        (256, 8)
        """
        if budget not in BUDGETS:
            raise ConfigError(f"the budget is {budget!r}; it must be one of {', '.join(BUDGETS)}")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise ConfigError(f"there is no setting {', '.join(unknown)}; there are {', '.join(known)}")
        return cls(**{"budget": budget, **PRESETS[budget], **overrides})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values that JSON can hold."""
        values = dataclasses.asdict(self)
        values["clip"] = str(self.clip)  # JSON has no infinity
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Return the configuration that :meth:`to_dict` described.

        A setting that has been added since takes its default, which leaves everything as it was before.

        Raises
        ------
        CheckpointError
            If a setting is unknown: a later version of the package wrote it.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(f"the stored configuration has unknown settings: {', '.join(unknown)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**{**values, "clip": float(values.get("clip", "inf"))})

    def digest(self) -> str:
        """Return 12 hexadecimal digits that change with every setting that can change the result.

        Examples
        --------
        >>> base = TrainConfig()
        >>> base.digest() == TrainConfig(log_every=7).digest(), base.digest() == TrainConfig(lr=0.1).digest()
        (True, False)
        """
        values = {key: value for key, value in self.to_dict().items() if key not in WITHOUT_EFFECT}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "pixels": 48,
        "width": 4,
        "blocks": (1, 1, 1, 1),
        "steps": 12,
        "batch_size": 8,
        "log_every": 2,
        "validate_every": 6,
        "save_every": 3,
    },
    "cpu": {},
    "t4": {
        "width": 64,
        "steps": 6000,
        "batch_size": 128,
        "lr": 0.05,
        "precision": "16-mixed",
        "validate_every": 500,
        "save_every": 500,
    },
    "full": {
        "width": 64,
        "steps": 20000,
        "batch_size": 256,
        "lr": 0.01,
        "precision": "bf16-mixed",
        "validate_every": 1000,
        "save_every": 1000,
    },
}


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List the settings that differ and matter, as ``name: stored -> wanted``; one that is not stored has its default.

    Examples
    --------
    >>> differences(TrainConfig().to_dict(), TrainConfig(lr=0.1, log_every=3).to_dict())
    ['lr: 0.02 -> 0.1']
    """
    stored = {**TrainConfig().to_dict(), **stored}
    names = [
        name for name in [*stored, *(n for n in wanted if n not in stored)] if name not in WITHOUT_EFFECT
    ]
    return [
        f"{name}: {stored.get(name)} -> {wanted.get(name)}"
        for name in names
        if stored.get(name) != wanted.get(name)
    ]
