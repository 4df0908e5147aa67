"""A recorded run comes back as it was; nothing is lost when several record at once, or when one is killed."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib import atomic, ledger
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.ledger import Entry, change, config_hash, parse_line, read, record


def entry(**changes) -> Entry:
    values = dict(
        experiment="demo", method="laf", seed=0, tier="synthetic", budget="smoke",
        metrics={"accuracy": 50.0}, config={"lr": 0.1, "blocks": [1, 2]}, device="a CPU", seconds=1.5, memory=10.0,
    )  # fmt: skip
    return Entry(**{**values, **changes})


words = st.text("abcXYZ019_-+.", min_size=1, max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e6, 1e6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(words, words, st.integers(0, 99), st.dictionaries(words, st.floats(-1e9, 1e9), max_size=4),
       st.dictionaries(st.text(max_size=6), plain, max_size=4))  # fmt: skip
def test_a_line_comes_back_as_the_same_entry(experiment, method, seed, metrics, config):
    first = entry(experiment=experiment, method=method, seed=seed, metrics=metrics, config=config)
    assert parse_line(first.line()) == first
    assert first.line().count("\n") == 1


def test_the_hash_depends_on_every_setting_and_not_on_their_order():
    base = {"lr": 0.1, "steps": 5, "tasks": ["a", "b"]}
    assert config_hash(base) == config_hash(dict(reversed(base.items())))
    others = [{**base, "lr": 0.2}, {**base, "more": None}, {**base, "tasks": ["b", "a"]}, {"lr": 0.1}]
    assert len({config_hash(each) for each in [base, *others]}) == 5


def test_runs_are_sorted_selected_and_kept_apart(tmp_path):
    made = [
        entry(method=m, seed=s, tier=t)
        for m in ("laf", "single")
        for s in (2, 0)
        for t in ("open", "synthetic")
    ]
    for each in made:
        record(each, tmp_path)
    found = read("demo", tmp_path)
    assert found == sorted(made, key=lambda e: e.key)
    assert [e.seed for e in read("demo", tmp_path, method="laf", tier="open")] == [0, 2]
    assert len(read("demo", tmp_path, method=["laf", "single"], seed=0)) == 4
    assert read("other", tmp_path) == []
    with pytest.raises(ConfigError, match="no field 'methods'"):
        read("demo", tmp_path, methods="laf")


def test_a_second_run_of_the_same_key_must_be_asked_for(tmp_path):
    record(entry(), tmp_path)
    again = entry(metrics={"accuracy": 60.0}, device="a GPU")
    with pytest.raises(ConfigError, match="demo/laf, seed 0.*recorded already"):
        record(again, tmp_path)
    assert read("demo", tmp_path) == [entry()]
    record(again, tmp_path, replace=True)
    record(entry(config={"lr": 0.2}), tmp_path)  # another configuration is another run
    assert [e.device for e in read("demo", tmp_path) if e.config["lr"] == 0.1] == ["a GPU"]
    assert len(read("demo", tmp_path)) == 2


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda line: line[:-20], "no JSON line"),
        (lambda line: line.replace('"seed": 0, ', ""), "fields missing or unknown: seed"),
        (lambda line: line.replace('"lr": 0.1', '"lr": 0.2'), "changed by hand"),
        (lambda line: line.replace("50.0", '"many"'), "finite numbers only"),
        (lambda line: "[1, 2]", "fields missing"),
    ],
)
def test_a_damaged_line_is_named_and_stops_whoever_would_write_over_it(tmp_path, damage, word):
    path = record(entry(), tmp_path)
    record(entry(seed=1), tmp_path)
    lines = path.read_text().splitlines()
    lines[1] = damage(lines[1].replace('"seed": 1', '"seed": 0'))
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"demo\.jsonl:2: .*{word}"):
        read("demo", tmp_path)
    with pytest.raises(DataError):
        record(entry(seed=2), tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "50", None, True])
def test_only_finite_numbers_are_recorded(bad):
    with pytest.raises(ConfigError, match="finite"):
        entry(metrics={"accuracy": bad})


def test_names_that_would_not_be_one_word_are_refused():
    for bad in ("two words", "", "a/b", "x=y"):
        with pytest.raises(ConfigError, match="takes a word"):
            entry(method=bad)


WRITER = """
import sys
from mtl_lib.ledger import Entry, record
for seed in range(12):
    record(Entry(experiment="demo", method=sys.argv[2], seed=seed, tier="open", budget="cpu", metrics={"a": 1.0},
                 config={}, device="CPU", seconds=1.0, memory=1.0, code="0"), sys.argv[1])
"""


def test_processes_that_record_at_once_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), name])
        for name in ("one", "two", "three")
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = read("demo", tmp_path)
    assert {(e.method, e.seed) for e in found} == {(m, s) for m in ("one", "two", "three") for s in range(12)}


def test_an_interrupted_change_leaves_the_old_lines(tmp_path, monkeypatch):
    path = record(entry(), tmp_path)
    before = path.read_bytes()

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record(entry(seed=1), tmp_path)
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError):
        change("demo", lambda entries: 1 / 0, tmp_path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["demo.jsonl"]


def test_without_a_checkout_the_lines_are_fetched_or_the_reader_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "default_folder", lambda: None)
    monkeypatch.setattr(ledger, "HOME", tmp_path.as_uri() + "/")
    (tmp_path / "demo.jsonl").write_text(entry().line())
    assert read("demo") == [entry()]
    with pytest.raises(DataError, match="other.jsonl: .*MTL_RESULTS"):
        read("other")
    with pytest.raises(ConfigError, match="MTL_RESULTS"):
        record(entry())


def test_every_line_of_the_book_can_be_read():
    folder = ledger.default_folder()
    for path in sorted(folder.glob("*.jsonl")):
        entries = read(path.stem, folder)
        assert entries and len({e.key for e in entries}) == len(entries)
        for each in entries:
            assert each.experiment == path.stem
            for name in each.files.values():
                assert (folder / name).is_file(), f"{path.name} names {name}, which is not there"
        assert path.read_text() == "".join(
            json.dumps({**dataclasses.asdict(e), "hash": e.hash}) + "\n" for e in entries
        )
