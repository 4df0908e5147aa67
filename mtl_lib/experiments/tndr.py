r"""Fig. 3a and 3b of the paper: the trace norm decrease rate (TNDR) of every layer, and whether it measures sharing.

The paper reads a small TNDR as much sharing.  Every arm here has the full 33 layers and differs from ``laf``, the
paper's method, in one thing: no penalty, a penalty that couples nothing, another step, another start, another
initialisation, pinned norms, another norm; or, the ``null`` arms, no data.  Settings are the same for all and not
tuned: the question is what a measure measures, not which arm is best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from mtl_lib.config import TrainConfig
from mtl_lib.devices import peak_memory
from mtl_lib.experiments.base import Experiment, Job, Outcome, jobs_of_arms
from mtl_lib.experiments.face_runs import DEFAULTS, SCALES, device_name, run_config, run_faces
from mtl_lib.experiments.recorded import file_of
from mtl_lib.ledger import Entry
from mtl_lib.regularisers import make_regulariser
from mtl_lib.run import Run
from mtl_lib.run_folder import read_log
from mtl_lib.schedules import learning_rate
from mtl_lib.sharing_curves import SharingCurve, Snapshot, null_tndr, snapshot, taken
from mtl_lib.trunks import make_trunk

NAME = "tndr"

SHARES = (0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.28, 0.36, 0.45, 0.55, 0.65, 0.75, 0.87, 1)
"""When the layers are looked at: shares of the run, more of them at its start."""

SHOWN = (1, 10, 20, 30)
"""The layers of the paper's Fig. 3a."""

FLAT = 5e-3
"""A profile that varies by less over depth is flat: its ranks would be those of rounding errors."""

LR, MOMENTUM, PULL = 0.05, 0.9, 1.5
"""Learning rate and momentum of all arms; the penalty alone would take 1.5 times the stem's norm from every layer."""


@dataclass(frozen=True)
class TndrArm:
    """An arm of the experiment.

    Parameters
    ----------
    settings : mapping of str to value
        In what it differs from ``laf``.
    strength : float
        Its gamma, in units of the common one.
    asks : str
        The question that it answers.
    data : bool, optional
        Whether there are any.
    """

    settings: Mapping[str, Any]
    strength: float | int
    asks: str
    data: bool = True


_FAN_OUT, _EQUAL, _OTHER = {"kernel_init": "fan_out"}, {"kernel_init": "equal"}, {"init": "independent"}
_NORM_ONLY, _PINNED = {"norm": "norm_only"}, {"pinned": True}

ARMS: dict[str, TndrArm] = {
    "laf": TndrArm({}, 1, "the paper's method"),
    "norm_only": TndrArm(_NORM_ONLY, 1, "each task's norm alone: what looks like sharing?"),
    "none": TndrArm({}, 0, "no penalty: what do the tasks do to the norms?"),
    "laf_pinned": TndrArm(_PINNED, 5 / 3, "norms fixed: which directions are shared?"),
    "pinned": TndrArm(_PINNED, 0, "norms fixed, no penalty: how far do the tasks part?"),
    "laf_independent": TndrArm(_OTHER, 1, "and if the tasks start from different weights?"),
    "laf_equal": TndrArm(_EQUAL, 1, "and if all layers start with one norm?"),
    "norm_only_equal": TndrArm({**_NORM_ONLY, **_EQUAL}, 1, "its control"),
    "laf_pinned_independent": TndrArm(
        {**_OTHER, **_PINNED}, 20 / 3, "different weights, norms fixed: which sign?"
    ),
    "laf_weak": TndrArm({}, 1 / 3, "does a weaker penalty change the profile?"),
    "laf_pinned_equal": TndrArm({**_PINNED, **_EQUAL}, 5 / 3, "one norm for all layers, held fixed"),
    "laf_pinned_equal_weak": TndrArm({**_PINNED, **_EQUAL}, 1 / 3, "the same, too weak to fold every layer"),
    "pinned_equal": TndrArm({**_PINNED, **_EQUAL}, 0, "its control"),
    "laf_fan_out": TndrArm(_FAN_OUT, 1, "and with the other initialisation of that family?"),
    "norm_only_fan_out": TndrArm({**_NORM_ONLY, **_FAN_OUT}, 1, "its control"),
    "laf_prox": TndrArm({"penalty_step": "proximal"}, 1, "does an exact step change the profile?"),
    "tucker": TndrArm({"norm": "tucker"}, 1 / 5, "five trace norms, each a fifth as strong"),
    "tt": TndrArm({"norm": "tt"}, 1 / 4, "four trace norms, each a quarter as strong"),
    "null": TndrArm(_OTHER, 1, "what does the penalty do without data?", data=False),
    "null_fan_out": TndrArm({**_OTHER, **_FAN_OUT}, 1, "and with the other initialisation?", data=False),
    "null_equal": TndrArm({**_OTHER, **_EQUAL}, 1, "and if all layers start with one norm?", data=False),
    "null_same": TndrArm({}, 1, "and if the tasks start alike?", data=False),
}
"""All arms by name, the most important ones first."""


def scale(budget: str) -> dict[str, Any]:
    """Return the settings that all arms have in common at a budget: all 33 layers, everywhere.

    On a CPU small batches, and without the memory layout that does not pay for eight filters.

    Examples
    --------
    >>> scale("cpu")["blocks"], scale("cpu")["gamma"], scale("t4")["width"]
    ((3, 4, 6, 3), 0.06, 32)
    """
    own = {"smoke": {}, "cpu": {"width": 8, "batch_size": 16, "channels_last": False}}.get(budget, {})
    settings = {**SCALES[budget], **own, "blocks": (3, 4, 6, 3)}
    # The cosine schedule halves the summed rate, momentum multiplies it; the stem's norm is sqrt(2 width).
    travelled = LR / 2 * settings["steps"] / (1 - MOMENTUM)
    gamma = PULL * (2 * settings["width"]) ** 0.5 / travelled
    common = {
        "sharing": "soft",
        "norm": "laf",
        "ada": 0.0,
        "lr": LR,
        "momentum": MOMENTUM,
        "landmark_weight": 10.0,
    }
    return {**settings, **common, "gamma": float(f"{gamma:.3g}")}


def arm_config(arm: str, tier: str, budget: str, seed: int) -> dict[str, Any]:
    """Return the configuration of an arm's run as the ledger has it.

    Examples
    --------
    >>> config = arm_config("null", "synthetic", "smoke", 0)
    >>> config["data"], arm_config("laf_pinned", "open", "cpu", 0)["train"]["gamma"]
    ({'faces': 'none'}, 0.1)
    """
    common = scale(budget)
    gamma = float(f"{common['gamma'] * ARMS[arm].strength:.3g}")
    config = run_config(tier, budget, seed, {**common, **ARMS[arm].settings, "gamma": gamma})
    return config if ARMS[arm].data else {**config, "data": {"faces": "none"}}


def jobs(tier: str, budget: str, seeds: Sequence[int], folder: Path) -> list[Job]:
    """List the runs of all arms, all of a seed before the next."""
    return jobs_of_arms(
        NAME,
        lambda seed: {arm: arm_config(arm, tier, budget, seed) for arm in ARMS},
        tier,
        budget,
        seeds,
    )


def looks(steps: int) -> list[int]:
    """Return the steps at which the layers are looked at.

    Examples
    --------
    >>> looks(400)[:6], looks(400)[-1], looks(4)
    ([0, 4, 8, 16, 28, 40], 400, [0, 1, 2, 3, 4])
    """
    return sorted({round(share * steps) for share in SHARES})


def watch(run: Run) -> None:
    """Write the layers' state into the log of a run, at the steps of :func:`looks`."""
    if run.step in looks(run.config.steps):
        found = snapshot(run.kernels())
        parts = {name: getattr(found, name).tolist() for name in ("sigma", "norms", "cosine")}
        run.log("sharing", {"names": list(found.layers), **parts})


def curve_of(log: Sequence[Mapping[str, Any]]) -> SharingCurve:
    """Return the curve that :func:`watch` has left in a run's log."""
    snapshots = [
        (
            line["step"],
            Snapshot(tuple(line["names"]), *(np.array(line[name]) for name in ("sigma", "norms", "cosine"))),
        )
        for line in log
        if line["event"] == "sharing"
    ]
    return SharingCurve.of(snapshots)


def recorded_curve(entry: Entry, folder: Path | None = None) -> SharingCurve:
    """Return the curve that lies beside a recorded run.

    Parameters
    ----------
    entry : Entry
        From :func:`mtl_lib.ledger.read`.
    folder : Path, optional
        The ledger's folder; see :func:`mtl_lib.experiments.recorded.file_of`.

    Raises
    ------
    DataError
        If the run has no curve, or its file is missing or damaged.
    """
    return SharingCurve.from_json(file_of(entry, "curve", folder))


def null_run(config: TrainConfig) -> tuple[SharingCurve, np.ndarray]:
    """Let the penalty act on freshly drawn networks, without data: same steps, rates and momentum as in training.

    Parameters
    ----------
    config : TrainConfig
        As of a run with data.

    Returns
    -------
    SharingCurve
        The layers at the steps of :func:`looks`.
    ndarray, [L, T]
        The initial singular values, for :func:`mtl_lib.sharing_curves.null_tndr`.

    Examples
    --------
    >>> from mtl_lib.sharing_curves import null_tndr, taken
    >>> config = TrainConfig.for_budget("smoke", gamma=0.5, init="independent")
    >>> curve, start = null_run(config)
    >>> bool(np.abs(curve.tndr[-1] - null_tndr(start, taken(config))).max() < 1e-5)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # the same kernels as the trained networks of this seed
        trunk, _ = make_trunk(config, len(config.tasks))
    stacks = trunk.stacks()
    regulariser = make_regulariser(config, stacks)
    weights = [weight for row in stacks.values() for weight in row]
    optimiser = torch.optim.SGD(weights, lr=config.lr, momentum=config.momentum)
    start = snapshot(stacks)
    found = [(0, start)]
    for step in range(config.steps):
        rate = learning_rate(config, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        regulariser.add_gradient_(stacks)
        optimiser.step()
        regulariser.after_step_(stacks, rate)
        if step + 1 in looks(config.steps):
            found.append((step + 1, snapshot(stacks)))
    return SharingCurve.of(found), start.sigma


def stages(layers: Sequence[str]) -> np.ndarray:
    """Return the stage of every layer: 0 for the stem, then 1 to 4.

    Examples
    --------
    >>> stages(["conv1.weight", "layer1.0.conv1.weight", "layer4.2.conv2.weight"])
    array([0, 1, 4])
    """
    return np.array([int(name[5]) if name.startswith("layer") else 0 for name in layers])


def _rank(x: np.ndarray) -> float:
    """Spearman correlation with depth; 0 where all are equal, but for rounding."""
    return 0.0 if np.ptp(x) < FLAT else float(stats.spearmanr(np.arange(len(x)), x)[0])


def profile(values: np.ndarray, layers: Sequence[str], name: str) -> dict[str, float]:
    """Return what the paper's observations (i) and (ii) say of a profile over depth, as numbers.

    Parameters
    ----------
    values : ndarray, [L]
        One number per layer.
    layers : sequence of str
        Their names.
    name : str
        Of the quantity.

    Returns
    -------
    dict of str to float
        ``NAME_depth``: Spearman correlation with the layer's number over all layers, (i).  ``NAME_in_stage``: the
        mean of the same within each of the four stages, and ``NAME_in_block``: the mean of second minus first
        convolution over the residual blocks, two readings of (ii).  ``NAME_stage0`` (the stem) to
        ``NAME_stage4``: means.

    Examples
    --------
    >>> names = ["conv1.weight"] + [f"layer{s}.0.conv{c}.weight" for s in (1, 2, 3, 4) for c in (1, 2)]
    >>> found = profile(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]), names, "tndr")
    >>> found["tndr_depth"], round(found["tndr_in_block"], 6), round(found["tndr_stage4"], 6)
    (1.0, 0.1, 0.85)
    """
    stage = stages(layers)
    first = np.array([i for i, layer in enumerate(layers) if ".conv1." in layer])
    found = {
        f"{name}_depth": _rank(values),
        f"{name}_in_stage": float(np.mean([_rank(values[stage == s]) for s in (1, 2, 3, 4)])),
        f"{name}_in_block": float(np.mean(values[first + 1] - values[first])),
    }
    return {**found, **{f"{name}_stage{s}": float(values[stage == s].mean()) for s in range(5)}}


def summary(curve: SharingCurve) -> dict[str, float]:
    """Return the numbers of a run's end that go into the ledger: profiles of TNDR, cosine and norms.

    Besides those of :func:`profile`: ``tndr_layer1``, ... of the layers in Fig. 3a; ``norms_explain``, the
    correlation over layers of TNDR with the kernels' mean norm, both relative to their start; and how many layers
    are ``aligned`` (cosine above 0.9), ``opposite`` (below -0.9) and of rank one (``rank_one``, ratio below 0.05).
    """
    tndr, cosine, norms = curve.tndr[-1], curve.cosine[-1], curve.norms[-1].mean(-1)
    found = {**profile(tndr, curve.layers, "tndr"), **profile(cosine, curve.layers, "cosine")}
    found |= {f"norm_stage{s}": float(norms[stages(curve.layers) == s].mean()) for s in range(5)}
    found |= {f"tndr_layer{n}": float(tndr[n - 1]) for n in SHOWN if n <= len(tndr)}
    found |= {f"cosine_layer{n}": float(cosine[n - 1]) for n in SHOWN if n <= len(tndr)}
    varied = min(np.ptp(tndr), np.ptp(norms)) > FLAT  # pinned norms do not vary
    found["norms_explain"] = float(np.corrcoef(tndr, norms)[0, 1]) if varied else 0.0
    found["aligned"] = float((cosine > 0.9).sum())
    found["opposite"] = float((cosine < -0.9).sum())
    found["rank_one"] = float((curve.ratio[-1] < 0.05).sum())
    return found


def run(job: Job, workspace: Path, root: Path | None, accelerator: str) -> Outcome:
    """Make one run, with data or without, and keep the curve of its layers."""
    if ARMS[job.method].data:
        found = run_faces(job, workspace, root, accelerator, watch=watch)
        curve, metrics, device, memory = (
            curve_of(read_log(workspace)),
            found.metrics,
            found.device,
            found.memory,
        )
    else:
        config = TrainConfig.from_dict(job.config["train"])
        curve, start = null_run(config)
        off = np.abs(curve.tndr[-1] - null_tndr(start, taken(config))).max()
        metrics, device = {"prediction_error": float(off)}, device_name(torch.device("cpu"))
        memory = peak_memory(torch.device("cpu"))
    rounded = {name: round(value, 4) for name, value in summary(curve).items()}
    return Outcome(
        metrics={**rounded, **{name: round(value, 6) for name, value in metrics.items()}},
        device=device, memory=memory, files={"curve": curve.to_json()},
    )  # fmt: skip


TNDR = Experiment(
    name=NAME,
    title="Fig. 3a and 3b: TNDR of every layer over training, with its null curve and controls",
    seeds={"smoke": (0,), "cpu": (0, 1, 2), "t4": (0, 1, 2), "full": (0, 1, 2)},
    jobs=jobs,
    run=run,
    defaults={**DEFAULTS, "data": {}},
)
