"""All experiments by name."""

from mtl_lib.errors import ConfigError
from mtl_lib.experiments.alignment import ALIGNMENT
from mtl_lib.experiments.base import Experiment
from mtl_lib.experiments.central import CENTRAL
from mtl_lib.experiments.confirmation import CONFIRMATION
from mtl_lib.experiments.face_probe import FACE_PROBE
from mtl_lib.experiments.failures import FAILURE_EXPERIMENT
from mtl_lib.experiments.null_space import NULL_SPACE
from mtl_lib.experiments.table4 import SEARCH_EXPERIMENT, TABLE_EXPERIMENT
from mtl_lib.experiments.table5 import SEARCH_EXPERIMENT as TABLE5_SEARCH
from mtl_lib.experiments.table5 import TABLE_EXPERIMENT as TABLE5
from mtl_lib.experiments.table6 import SEARCH_EXPERIMENT as TABLE6_SEARCH
from mtl_lib.experiments.table6 import TABLE_EXPERIMENT as TABLE6
from mtl_lib.experiments.table7 import TABLE7, TRANSFER_CURVE, TRANSFER_SEARCH
from mtl_lib.experiments.tndr import TNDR
from mtl_lib.experiments.variations import CURVE_EXPERIMENT, FRONT_EXPERIMENT

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        FACE_PROBE,
        SEARCH_EXPERIMENT,
        TABLE_EXPERIMENT,
        CURVE_EXPERIMENT,
        FRONT_EXPERIMENT,
        CENTRAL,
        CONFIRMATION,
        TNDR,
        NULL_SPACE,
        ALIGNMENT,
        TABLE5_SEARCH,
        TABLE5,
        TABLE6_SEARCH,
        TABLE6,
        TRANSFER_SEARCH,
        TABLE7,
        TRANSFER_CURVE,
        FAILURE_EXPERIMENT,
    )
}
"""What ``mtl sweep`` can run."""


def experiment(name: str) -> Experiment:
    """Return an experiment.

    Raises
    ------
    ConfigError
        If there is none of that name.

    Examples
    --------
    >>> experiment("table4").title.split(":")[0]
    'Table 4'
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
