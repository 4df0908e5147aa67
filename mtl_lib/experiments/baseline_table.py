"""Table 5 as text: our descriptors, networks and constant answers beside the paper's."""

from collections.abc import Sequence

from mtl_lib.experiments.recorded import cell, difference_cell, seeds_line, values_of
from mtl_lib.faces.states import TABLE_2
from mtl_lib.ledger import Entry

ROWS = ("majority", "chance", "lbp", "lpq", "eoh", "alexnet", "vgg16_bn", "resnet", "resnet+laf+ada")
"""In the order in which they are printed."""

PAPER = {
    "lpq": 10.86, "lbp": 10.53, "eoh": 13.47, "alexnet": 26.77, "vgg16_bn": 28.07, "resnet": 28.39,
    "resnet+laf+ada": 36.72,
}  # fmt: skip
"""Accuracies of the paper's Table 5, in percent."""

COUNTED = {
    "majority": 100 * max(TABLE_2.values()) / sum(TABLE_2.values()),
    "chance": 100 / len(TABLE_2),
}
"""What its Table 2 says about answers that look at nothing; the paper does not print them."""


def table5_text(entries: Sequence[Entry]) -> str:
    """Return the table for a terminal, at most 88 characters wide.

    Parameters
    ----------
    entries : sequence of Entry
        Recorded runs of one tier and budget.

    Raises
    ------
    DataError
        If they are of several tiers or budgets, or a method has two runs of a seed.
    """
    accuracy, recall = values_of(entries, "accuracy"), values_of(entries, "macro_recall")
    lines = [
        f"{'':16}{'accuracy':>13}{'macro-recall':>15}{'macro-recall vs resnet':>25}{'paper':>10}",
        f"{'':16}{'%':>13}{'%':>15}{'points, interval':>25}{'acc. %':>10}",
    ]
    for method in [*ROWS, *(name for name in accuracy if name not in ROWS)]:
        if method not in accuracy:
            continue
        base = recall.get("resnet") if method != "resnet" else None
        paper = f"{PAPER[method]:.2f} " if method in PAPER else ""
        if method in COUNTED:
            paper = f"{COUNTED[method]:.2f}'"
        lines.append(
            f"{method:16}{cell(accuracy[method], 13)}{cell(recall[method], 15)}"
            f"{difference_cell(recall[method], base, 25)}{paper:>10}".rstrip()
        )
    lines += [
        seeds_line(accuracy),
        "' counted from the paper's Table 2; the paper does not print these rows",
    ]
    return "\n".join(lines)
