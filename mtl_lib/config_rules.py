"""Which settings of a training run go together, and between which limits each one lies."""

from typing import Any

from mtl_lib.errors import ConfigError

TASKS = ("expression", "landmarks")
"""The tasks that can be trained, together or alone."""


def check_settings(config: Any) -> None:
    """Refuse settings that cannot be, alone or together.

    Parameters
    ----------
    config : mtl_lib.config.TrainConfig
        Its choices among words are checked already.

    Raises
    ------
    ConfigError
        With the setting's name, its value and what is allowed.

    Examples
    --------
    >>> from mtl_lib.config import TrainConfig
    >>> check_settings(TrainConfig(gamma=0.3))
    """
    if not config.tasks or len(set(config.tasks)) < len(config.tasks) or set(config.tasks) - set(TASKS):
        raise ConfigError(f"tasks is {config.tasks}; name one or more of {', '.join(TASKS)}, each once")
    if len(config.fractions) != 3 or min(config.fractions) <= 0 or abs(sum(config.fractions) - 1) > 1e-6:
        raise ConfigError(f"fractions is {config.fractions}; three positive shares that sum to 1 are needed")
    lowest = {
        **dict.fromkeys(("pixels", "width", "steps", "batch_size", "ada_inner_steps"), 1),
        **dict.fromkeys(("log_every", "validate_every", "save_every"), 1),
        **dict.fromkeys(("gamma", "ada", "expression_weight", "landmark_weight", "weight_decay"), 0),
        **dict.fromkeys(("lr", "ada_lr", "momentum", "seed", "split_seed", "data_seed"), 0),
        "accumulate": 1,
        **dict.fromkeys(("warmup", "patience"), 0),
        **dict.fromkeys(("gamma_end", "hard_after", "stitch_start", "stitch_rate", "factor_tolerance"), 0),
    }
    for name, low in lowest.items():
        if not low <= getattr(config, name) < float("inf"):
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be finite and at least {low}")
    for name in ("faces", "per_class", "landmark_faces"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least 1, or left out")
    if config.batch_size % config.accumulate:
        raise ConfigError(
            f"batch_size is {config.batch_size}, which does not fall into {config.accumulate} equal micro-batches"
        )
    if config.gamma_schedule == "exponential" and not min(config.gamma, config.gamma_end) > 0:
        raise ConfigError(
            f"gamma goes from {config.gamma} to {config.gamma_end}; an exponential schedule needs both above 0"
        )
    if config.penalty_step == "proximal" and config.sharing == "soft" and config.norm in ("tucker", "tt"):
        raise ConfigError(
            f"penalty_step is 'proximal' and norm is {config.norm!r}: a sum of several trace norms has no"
            " proximal step; use 'subgradient', or the norm 'laf'"
        )
    if config.penalty_null == "full" and config.sharing == "soft":
        if config.penalty_step == "proximal":
            raise ConfigError(
                "penalty_null is 'full' and penalty_step is 'proximal': a proximal step takes no sub-gradient; use"
                " 'subgradient', or 'minimum'"
            )
        if config.norm in ("norm_only", "deviation"):
            raise ConfigError(
                f"penalty_null is 'full' and norm is {config.norm!r}, which is no trace norm; use 'minimum'"
            )
    if config.pinned and config.sharing == "factorised":
        raise ConfigError("pinned is set, but factorised weights are products and have no norm to pin")
    if not config.clip > 0:
        raise ConfigError(f"clip is {config.clip}; it must be above 0 (inf: no clipping)")
    if config.pixels < 32:
        raise ConfigError(
            f"pixels is {config.pixels}; ResNet halves the picture five times: at least 32 pixels"
        )
