"""The paper's tables, as typed off, agree with themselves."""

import csv
from pathlib import Path

import pytest

from mtl_lib.errors import DataError
from mtl_lib.experiments import claims, recorded, table7, tables

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


@pytest.mark.parametrize("read", [tables.paper_accuracies, table7.paper_accuracies, claims.read_claims])
def test_where_only_the_package_is_installed_the_papers_numbers_are_fetched(read, monkeypatch, tmp_path):
    here, alone = read(), tmp_path / "data" / "paper"
    monkeypatch.setattr(recorded, "PAPER", alone)
    monkeypatch.setattr(claims, "CLAIMS", alone / "claims.toml")
    with pytest.raises(DataError, match="missing; get the book's data again"):
        read()  # a checkout without the file is damaged
    monkeypatch.setattr(recorded, "default_folder", lambda: None)
    monkeypatch.setattr(recorded, "HOME", TABLES.parent.as_uri() + "/results/ledger/")
    assert read() == here
    monkeypatch.setattr(recorded, "HOME", tmp_path.as_uri() + "/results/ledger/")
    with pytest.raises(DataError, match="cannot be fetched"):
        read()
