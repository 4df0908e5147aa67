"""The paper's tables, as typed off, agree with themselves."""

import csv
from pathlib import Path

import pytest

TABLES = Path(__file__).parents[1] / "data" / "paper"


def rows(name: str) -> list[dict[str, str]]:
    with open(TABLES / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_classes_of_table_2_add_up_to_its_total():
    counts = {row["expression"]: int(row["images"]) for row in rows("table2_expression_distribution.csv")}
    total = counts.pop("Total")
    assert len(counts) == 13
    assert sum(counts.values()) == total


@pytest.mark.parametrize("row", rows("table6_landmark_300w.csv"), ids=lambda row: row["method"])
def test_the_full_set_of_table_6_is_the_mean_over_images_of_its_two_subsets(row):
    common, challenging = float(row["common_subset"]), float(row["challenging_subset"])
    # The paper prints two decimals of each, so the mean is known to about one hundredth.
    assert (554 * common + 135 * challenging) / 689 == pytest.approx(float(row["full_set"]), abs=0.01)


def test_no_row_of_a_table_has_a_cell_too_many_or_too_few():
    for path in sorted(TABLES.glob("*.csv")):
        for row in rows(path.name):
            assert None not in row and None not in row.values(), f"{path.name}: {row}"
