"""The benchmark measures what it says, and what it recorded is whole and within the targets."""

import csv
from pathlib import Path

import measuring
import norm_ways
import pytest
import torch
import trace_norm as bench

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_every_way_computes_the_same(kind):
    """But svd_lowrank beyond its 32 components, of which a small layer has fewer, and randomised methods."""
    found = {}
    for name, way in norm_ways.ways(kind).items():
        layers = [norm_ways.stack_of((6, 4, 3, 3), 2, "random", i) for i in range(2)]
        value = float(way(layers, kind))
        found[name] = torch.tensor([value]), torch.stack([t.grad for tensors in layers for t in tensors])
    for name, (value, gradient) in found.items():
        torch.testing.assert_close(
            value, found["auto"][0], rtol=2e-5, atol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
        torch.testing.assert_close(gradient, found["auto"][1], rtol=0, atol=1e-3)


def test_defects_of_a_wrong_subgradient_are_seen():
    matrix = torch.diag(torch.tensor([3.0, 1.0]))
    assert max(bench.defects(torch.eye(2), matrix, 4.0, 4.0)) == 0
    assert bench.defects(1.5 * torch.eye(2), matrix, 4.0, 4.0) == [0, 0.5, 0.5]
    assert bench.defects(torch.diag(torch.tensor([1.0, 0.0])), matrix, 3.0, 4.0) == [0.25, 0, 0.25]
    assert bench.spectrum(matrix.T).tolist() == [3, 1]


def test_the_layers_are_the_33_of_resnet34():
    shapes = norm_ways.resnet34_shapes()
    assert len(shapes) == 33 and 2 * sum(torch.Size(s).numel() for s in shapes) == 42_191_232


def test_records_of_other_kinds_are_kept(tmp_path):
    path = tmp_path / "results" / "bench.csv"

    def record(rows, where):
        measuring.write_rows(path, bench.COLUMNS, rows, bench.KEY, where, bench.in_order)

    row = {"table": "time", "kind": "tt", "tasks": 2, "method": "auto", "seconds": "1"}
    record([row, {**row, "method": "fast"}], "a machine")
    record([{**row, "kind": "laf"}], "another")
    record([{**row, "seconds": "2"}], "a third")
    rows = list(csv.DictReader(path.open()))
    assert [(r["kind"], r["seconds"], r["machine"]) for r in rows] == [
        ("laf", "1", "another"),
        ("tt", "2", "a third"),
    ]
    assert rows[0]["date"] and rows[0]["torch"] == torch.__version__


def test_the_recorded_rows_are_within_the_targets():
    rows = list(csv.DictReader((ROOT / bench.RESULTS).open(encoding="utf-8")))
    timed = {(r["kind"], r["tasks"]) for r in rows if r["table"] == "time"}
    assert timed >= {(kind, "2") for kind in norm_ways.KINDS} | {("laf", t) for t in ("3", "5", "10")}
    for row in rows:
        if row["table"] == "accuracy" and row["method"] in bench.TARGET_ACCURACY:
            worst = max(float(row[name]) for name in ("value_error", "overshoot", "gap"))
            assert worst <= bench.TARGET_ACCURACY[row["method"]], row
    for (kind, method), target in bench.TARGET_TIME.items():
        (ratio,) = (
            float(r["ratio"])
            for r in rows
            if (r["table"], r["kind"], r["tasks"], r["method"]) == ("time", kind, "2", method)
        )
        # A time is explained where it misses its target, but not beyond all measure: machines differ, code does not.
        assert ratio <= target or (kind in bench.WHY_SLOWER and ratio <= 5 * target), (
            f"{kind}, {method}: {ratio}"
        )
