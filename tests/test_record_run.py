"""A finished run's log is kept with the book: what was run first, then the log, thinned."""

import json
from pathlib import Path

import pytest
from toy_faces import toy_config, toy_sets

from mtl_lib.run_folder import read_log
from mtl_lib.train import fit
from tools import record_run

RECORD = Path(__file__).parents[1] / "data" / "results" / "run_open_faces.jsonl"


def test_the_record_says_what_was_run_and_keeps_the_log_thinned(tmp_path, monkeypatch):
    fit(toy_config(lr=0.01), toy_sets(), out=tmp_path / "run", progress=False, accelerator="cpu")
    monkeypatch.setattr(record_run, "KEPT", 4)
    path = record_run.record(tmp_path / "run", "toy", "an abacus", tmp_path)
    head, *lines = map(json.loads, path.read_text().splitlines())
    assert path == tmp_path / "data/results/run_toy.jsonl"
    assert head["device"] == "an abacus" and head["budget"] == "smoke" and head["steps"] == 8
    assert "lr: 0.02 -> 0.01" in head["changed"] and head["faces"] == {"expression": 48, "landmarks": 48}
    log = read_log(tmp_path / "run")
    assert [line["step"] for line in lines if line["event"] == "train"] == [1, 3, 5, 7, 8]
    assert [line for line in lines if line["event"] != "train"] == [
        record_run.rounded(line) for line in log if line["event"] != "train"
    ]
    last = [line for line in log if line["event"] == "train"][-1]
    assert lines[-3]["loss"] == pytest.approx(last["loss"], rel=1e-4)


def test_a_run_that_is_not_finished_is_no_record(tmp_path):
    with pytest.raises(SystemExit, match="no finished run"):
        record_run.record(tmp_path, "toy", None, tmp_path)


def test_the_book_s_record_has_what_chapter_8_reads():
    head, *lines = map(json.loads, RECORD.read_text(encoding="utf-8").splitlines())
    assert {"device", "budget", "tier", "date", "hash", "changed", "faces", "steps"} <= set(head)
    assert lines[-1]["event"] == "end" and lines[-1]["finished"]
    assert all("cosine" in line["layers"] for line in lines if line["event"] == "validation")
