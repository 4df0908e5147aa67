"""The paper's tables that ``mtl table`` prints from the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtl_lib.experiments.baseline_table import table5_text
from mtl_lib.experiments.landmark_table import table6_text
from mtl_lib.experiments.table7 import table7_text
from mtl_lib.experiments.tables import table4, table4_text
from mtl_lib.ledger import Entry


@dataclass(frozen=True)
class Printed:
    """A table and where its runs are.

    Parameters
    ----------
    experiment : str
        The experiment that is recorded for it.
    text : callable
        ``text(entries)`` returns the table, from the runs of one tier and budget, at most 88 characters wide.
    """

    experiment: str
    text: Callable[[Sequence[Entry]], str]


TABLES: dict[str, Printed] = {
    "4": Printed("table4", lambda entries: table4_text(table4(entries))),
    "5": Printed("table5", table5_text),
    "6": Printed("table6", table6_text),
    "7": Printed("table7", table7_text),
}
"""By number in the paper."""
