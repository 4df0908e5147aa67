"""A sweep repeats nothing, loses nothing, and shares its work with others; the check finds what is odd."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.experiments.base import Experiment, Job, Outcome, same_settings
from mtl_lib.experiments.checks import not_recorded, problems
from mtl_lib.experiments.forecast import expected_seconds
from mtl_lib.experiments.sweep import parse_shard, part_of, sweep
from mtl_lib.ledger import change, read


def toy(run=None, methods=("single", "laf"), lr=0.1) -> Experiment:
    def jobs(tier, budget, seeds, folder):
        return [
            Job(experiment="toy", method=m, seed=s, tier=tier, budget=budget, config={"lr": lr, "seed": s})
            for s in seeds
            for m in methods
        ]

    def work(job, workspace, root, accelerator):
        return Outcome(metrics={"accuracy": 50.0 + job.seed}, device="CPU", memory=1.0)

    return Experiment(
        name="toy",
        title="a toy",
        seeds={"smoke": (0, 1), "cpu": (0, 1, 2)},
        jobs=jobs,
        run=run or work,
        tiers=("synthetic", "open"),
    )


def run(experiment, tmp_path, tier="synthetic", budget="smoke", **options):
    options = {"tell": False, **options}
    return sweep(experiment, tier, budget, workspace=tmp_path / "runs", folder=tmp_path / "ledger", **options)


def test_what_is_recorded_is_not_run_again_unless_asked_for(tmp_path):
    calls = []

    def work(job, *rest):
        calls.append(job.slug)
        return Outcome(
            metrics={"calls": float(len(calls))}, device="CPU", memory=1.0, files={"curve": "[1, 2]"}
        )

    experiment = toy(work)
    first = run(experiment, tmp_path)
    assert len(first.done) == len(set(calls)) == 4 and first.before == 0
    again = run(experiment, tmp_path)
    assert (len(again.done), again.before, len(calls)) == (0, 4, 4)
    run(experiment, tmp_path, budget="cpu", methods=["laf"], seeds=[7])
    assert len(calls) == 5
    run(experiment, tmp_path, seeds=[0], methods=["laf"], again=True)
    (line,) = read("toy", tmp_path / "ledger", budget="smoke", method="laf", seed=0)
    assert line.metrics == {"calls": 6}
    assert (tmp_path / "ledger" / line.files["curve"]).read_text() == "[1, 2]"
    # Of the seed that only one method was run for, the other's run is missing.
    assert problems({"toy": experiment}, tmp_path / "ledger") == [
        "toy.jsonl, synthetic, cpu: single lacks the seeds 7"
    ]


def test_shards_are_disjoint_and_complete(tmp_path):
    jobs = toy().jobs("open", "cpu", range(5), Path())
    for n in (1, 3, 4, 20):
        parts = [part_of(jobs, (i, n)) for i in range(1, n + 1)]
        assert sorted(j.key for part in parts for j in part) == sorted(j.key for j in jobs)
    run(toy(), tmp_path, shard=(1, 2))
    assert len(read("toy", tmp_path / "ledger")) == 2
    run(toy(), tmp_path, shard=(2, 2))
    assert len(read("toy", tmp_path / "ledger")) == 4
    for bad in ("0/2", "3/2", "1", "a/b", "-1/2"):
        with pytest.raises(ConfigError, match="i/n"):
            parse_shard(bad)


def test_a_failed_job_is_told_and_not_recorded_and_tried_again(tmp_path):
    broken = [True]

    def work(job, *rest):
        if job.method == "laf" and broken[0]:
            raise DataError("no such folder")
        return Outcome(metrics={"accuracy": 1.0}, device="CPU", memory=1.0)

    result = run(toy(work), tmp_path)
    assert [job.method for job, _ in result.failed] == ["laf", "laf"] and len(result.done) == 2
    assert "no such folder" in str(result)
    assert [
        line for line in problems({"toy": toy()}, tmp_path / "ledger") if "laf lacks the seeds 0, 1" in line
    ]
    broken[0] = False
    assert len(run(toy(work), tmp_path).done) == 2
    with pytest.raises(ZeroDivisionError):  # a bug is a bug
        run(toy(lambda *job: 1 / 0), tmp_path, seeds=[9])


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from mtl_lib.experiments.base import Outcome
from mtl_lib.experiments.sweep import sweep
from test_sweep import toy
def work(job, workspace, root, accelerator):
    with open(sys.argv[2] + "/calls", "a") as file:
        file.write(job.slug + "\\n")
    workspace.mkdir(parents=True, exist_ok=True)
    if float(sys.argv[1]) > 1 and not (workspace / "second").exists():
        (workspace / "second").touch()
        time.sleep(float(sys.argv[1]))
    time.sleep(0.05)
    return Outcome(metrics={"accuracy": 1.0}, device="CPU", memory=1.0)
print(sweep(toy(work), "open", "cpu", workspace=sys.argv[2] + "/runs", folder=sys.argv[2] + "/ledger", tell=False))
"""


def worker(tmp_path, seconds: float) -> subprocess.Popen:
    arguments = [str(seconds), str(tmp_path), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), *arguments], stdout=subprocess.PIPE, text=True
    )


def test_processes_share_the_jobs_and_run_none_twice(tmp_path):
    workers = [worker(tmp_path, 0.1) for _ in range(3)]
    assert all(w.wait() == 0 for w in workers), [w.communicate() for w in workers]
    calls = (tmp_path / "calls").read_text().split()
    assert len(calls) == len(set(calls)) == len(read("toy", tmp_path / "ledger")) == 6


def test_a_killed_sweep_gives_its_claim_back_and_goes_on_in_the_jobs_folder(tmp_path):
    first = worker(tmp_path, 60)
    while not list((tmp_path / "runs/toy").glob("*/second")):
        time.sleep(0.05)
        assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    left = list((tmp_path / "runs/toy").glob("*/second"))
    assert len(left) == 1 and read("toy", tmp_path / "ledger") == []
    # The next sweep finds the job's folder as the killed one left it: there it does not sleep again.
    started = time.monotonic()
    run_again = toy()
    result = run(replace(run_again, run=_goes_on), tmp_path, tier="open", budget="cpu")
    assert len(result.done) == 6 and time.monotonic() - started < 30
    assert [e.metrics["resumed"] for e in read("toy", tmp_path / "ledger")].count(1.0) == 1
    assert not list((tmp_path / "runs/toy").glob("*/second"))


def _goes_on(job, workspace, root, accelerator):
    return Outcome(metrics={"resumed": float((workspace / "second").exists())}, device="CPU", memory=1.0)


def stopped_sweep(tmp_path, moment: str, number: int = 0) -> tuple[int, str, list[str]]:
    """Exit status and words of a sweep that gets a signal, and the methods that are recorded."""
    script = Path(__file__).parent / "stopped_sweep.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, moment, str(number)], capture_output=True, text=True, timeout=500
    )
    recorded = [entry.method for name in ("toy", "next") for entry in read(name, tmp_path / "ledger")]
    return done.returncode, done.stderr, sorted(recorded)


@pytest.mark.parametrize(
    ("moment", "number", "kept"),
    [
        ("step 3", signal.SIGTERM, ["first"]),
        ("step 3", signal.SIGINT, ["first"]),
        ("step 6", signal.SIGTERM, ["first"]),  # all steps are done, and yet the user wants to stop
        ("outside", signal.SIGTERM, ["first", "trained"]),
    ],
)
def test_a_signal_ends_the_whole_sweep_and_half_a_run_is_not_recorded(tmp_path, moment, number, kept):
    status, said, recorded = stopped_sweep(tmp_path, moment, number)
    assert status == 128 + number and "Traceback" not in said, said
    assert recorded == kept
    assert f"{number.name}, {3 - len(kept)} runs are left; the same command goes on" in said
    assert "failed" not in said
    status, said, recorded = stopped_sweep(tmp_path, "never")
    assert (status, recorded) == (0, ["first", "last", "quick", "trained"]), said
    steps = [line for line in (tmp_path / "notes").read_text().splitlines() if line.startswith("step ")]
    assert steps == [f"step {k}" for k in range(7)], "no step was done twice"


def test_the_time_to_go_comes_from_recorded_runs():
    jobs = toy().jobs("open", "cpu", [0, 1], Path())
    assert expected_seconds(jobs, []) is None
    from test_ledger import entry

    laf = [
        entry(method="laf", tier="open", budget="cpu", seconds=s, seed=i)
        for i, s in enumerate((1.0, 2.0, 9.0))
    ]
    assert expected_seconds(jobs, laf) == 4 * 2.0
    single = [entry(method="single", tier="open", budget="cpu", seconds=10.0)]
    assert expected_seconds(jobs, laf + single) == 2 * 2.0 + 2 * 10.0
    assert expected_seconds(jobs, [entry(tier="synthetic", budget="cpu")]) is None


def test_the_check_finds_every_oddity(tmp_path):
    run(toy(), tmp_path)
    folder = tmp_path / "ledger"
    assert problems({"toy": toy()}, folder) == []
    assert all("no longer exists" in line for line in problems({"toy": toy(lr=0.2)}, folder))
    assert any("no method 'laf'" in line for line in problems({"toy": toy(methods=("single",))}, folder))
    assert any(
        "hard lacks the seeds 0, 1" in line
        for line in problems({"toy": toy(methods=("single", "laf", "hard"))}, folder)
    )
    assert any("no experiment 'toy'" in line for line in problems({}, folder))

    change("toy", lambda es: [*es, replace(es[0], config={**es[0].config, "lr": 0.3})], folder)
    assert any("2 lines" in line for line in problems({"toy": toy()}, folder))
    change(
        "toy",
        lambda es: [replace(e, files={"curve": "toy/gone.json"}) for e in es if e.config["lr"] == 0.1],
        folder,
    )
    assert sum("is missing" in line for line in problems({"toy": toy()}, folder)) == 4
    path = folder / "toy.jsonl"
    path.write_text(path.read_text()[:-30])
    assert any(f"{path.name}:4: no JSON" in line for line in problems({"toy": toy()}, folder))


def test_what_is_declared_and_not_recorded_is_noted_and_no_fault(tmp_path, capsys, monkeypatch):
    from mtl_lib import cli
    from mtl_lib.experiments import registry

    folder, other = tmp_path / "ledger", replace(toy(), name="other", tiers=("open",))
    known = {"toy": toy(), "other": other}
    both = [
        "toy: nothing is recorded on the tiers synthetic, open",
        "other: nothing is recorded on the tier open",
    ]
    assert not_recorded(known, folder) == both
    run(toy(), tmp_path, tier="open", budget="cpu", seeds=(0, 2))
    # Every method has the same two seeds: no method lacks what another has, and still one is missing.
    notes = [
        "toy: nothing is recorded on the tier synthetic",
        "toy, open, cpu: no method has the declared seeds 1",
    ]
    assert problems(known, folder) == [] and not_recorded(known, folder) == [*notes, both[1]]
    monkeypatch.setattr(registry, "EXPERIMENTS", known)
    assert cli.main(["results", "check", "--ledger", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{folder}: nothing odd", *(f"note: {line}" for line in [*notes, both[1]])]
    # A seed that some methods have and others lack stays a fault.
    change("toy", lambda es: [e for e in es if (e.method, e.seed) != ("laf", 2)], folder)
    assert cli.main(["results", "check", "--ledger", str(folder)]) == 1
    assert "laf lacks the seeds 2" in capsys.readouterr().out


def test_a_table_without_runs_names_those_that_there_are(tmp_path, capsys):
    from test_ledger import entry

    from mtl_lib import cli

    command = ["table", "4", "--tier", "synthetic", "--budget", "cpu", "--ledger", str(tmp_path)]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "nothing is recorded for table4, tier synthetic, budget cpu" in said and "recorded is" not in said
    runs = [entry(experiment="table4", tier=tier, budget=b) for tier, b in (("open", "cpu"), ("open", "t4"))]
    change("table4", lambda es: runs, tmp_path)
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "mtl table 4 --tier open --budget cpu or mtl table 4 --tier open --budget t4 prints" in said
    assert "run mtl sweep table4 --tier synthetic --budget cpu" in said


def test_a_run_is_not_lost_because_a_setting_was_added_since(tmp_path):
    run(toy(), tmp_path)

    def with_new(value):
        old = toy()

        def jobs(*arguments):
            return [replace(job, config={**job.config, "new": value}) for job in old.jobs(*arguments)]

        return replace(old, jobs=jobs, defaults={"new": 0})

    assert run(with_new(0), tmp_path).before == 4
    assert problems({"toy": with_new(0)}, tmp_path / "ledger") == []
    assert len(problems({"toy": with_new(1)}, tmp_path / "ledger")) == 4
    assert len(run(with_new(1), tmp_path).done) == 4


settings_ = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), max_size=4)


@settings(max_examples=80, deadline=None)
@given(settings_, settings_, settings_)
def test_same_settings_are_those_that_fill_up_to_the_same(recorded, wanted, defaults):
    filled = {**{k: defaults[k] for k in wanted if k in defaults}, **recorded}
    assert same_settings({"x": recorded}, {"x": wanted}, {"x": defaults}) == (filled == wanted)


def test_unknown_tiers_and_methods_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="synthetic, open, not"):
        run(toy(), tmp_path, tier="paper")
    with pytest.raises(ConfigError, match="no method 'lafs'; it has single, laf"):
        run(toy(), tmp_path, methods=["lafs"])
