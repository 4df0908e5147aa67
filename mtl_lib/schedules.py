"""What the optimiser is told: a learning rate for every step, and which weights may decay."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from mtl_lib.config import TrainConfig

DROPS = (0.5, 0.75)
"""Shares of a run after which the schedule "step" divides the rate by ten."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of step ``step`` (counted from 0).

    ============ ==========================================================================
    schedule     rate
    ============ ==========================================================================
    ``constant`` ``lr``
    ``cosine``   half a cosine from ``lr`` down to 0 over ``steps``
    ``step``     ``lr``, a tenth of it after half of the steps, a hundredth after three quarters
    ============ ==========================================================================

    During the first ``warmup`` steps it is multiplied by a factor that rises in equal steps to 1.

    Parameters
    ----------
    config : TrainConfig
        Its ``lr``, ``schedule``, ``warmup`` and ``steps``.
    step : int
        Steps done before this one.

    Examples
    --------
    >>> config = TrainConfig(lr=0.1, steps=100)
    >>> [round(learning_rate(config, step), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    >>> config = TrainConfig(lr=0.1, steps=100, schedule="step", warmup=4)
    >>> [round(learning_rate(config, step), 4) for step in (0, 3, 49, 50, 75)]
    [0.025, 0.1, 0.1, 0.01, 0.001]
    """
    rate = config.lr * min(1.0, (step + 1) / config.warmup) if config.warmup else config.lr
    if config.schedule == "constant":
        return rate
    if config.schedule == "step":
        return rate * 0.1 ** sum(step >= share * config.steps for share in DROPS)
    return rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def parameter_groups(
    parameters: Iterable[nn.Parameter], spared: Iterable[nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """Split parameters for an optimiser: decay for weights that nothing else acts on, none for all others.

    Stacked weights have to be spared because decay would shrink them as the penalty does, and the two could
    not be told apart; a product's factors and the mixing of cross-stitch units because the comparison with
    them would not be fair.  Biases and batch norm are spared because it is not good for them.

    Parameters
    ----------
    parameters : iterable of Parameter
        All that is trained; those that require no gradient are left out.
    spared : iterable of Parameter
        Weights that must not decay.
    weight_decay : float
        For the first group.

    Returns
    -------
    list of dict
        Two groups, as ``torch.optim.SGD`` takes them.

    Examples
    --------
    >>> layer = nn.Linear(2, 3)
    >>> [len(group["params"]) for group in parameter_groups(layer.parameters(), [], 0.1)]
    [1, 1]
    >>> [len(group["params"]) for group in parameter_groups(layer.parameters(), [layer.weight], 0.1)]
    [0, 2]
    """
    free = {id(parameter) for parameter in spared}
    trained = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in free]
    chosen = {id(p) for p in decayed}
    rest = [p for p in trained if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
