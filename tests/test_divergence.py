"""A run that diverges is a result: recorded once, in no mean, and told wherever means are printed."""

import dataclasses

import pytest
from test_sweep import run, toy

from mtl_lib import cli
from mtl_lib.errors import DataError, DivergenceError, MtlError
from mtl_lib.experiments.base import Outcome
from mtl_lib.experiments.checks import not_recorded, problems
from mtl_lib.experiments.claims import Contrast
from mtl_lib.experiments.divergence import diverged_note, diverged_runs
from mtl_lib.experiments.forecast import expected_seconds
from mtl_lib.experiments.recorded import values_of
from mtl_lib.experiments.search import SEARCH_SEEDS, TRIALS, choose, trials
from mtl_lib.experiments.table7 import RATES, SEARCHED_STARTS, chosen_rates
from mtl_lib.experiments.tables import contrast, table4
from mtl_lib.experiments.verdicts import MISSING, judge
from mtl_lib.ledger import Entry, read, record
from tools.ledger_numbers import value


def explodes(job, workspace, root, accelerator):
    """Single networks train; soft sharing diverges for seed 1, after it has left something in its folder."""
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "last.safetensors").touch()
    if job.method == "laf" and job.seed == 1:
        raise DivergenceError("the loss is not finite")
    return Outcome(metrics={"accuracy": 50.0 + job.seed}, device="CPU", memory=1.0)


def test_a_run_that_diverges_is_recorded_told_and_not_tried_again(tmp_path, capsys):
    result = run(toy(explodes), tmp_path, tell=True)
    assert [(job.method, job.seed) for job in result.diverged] == [("laf", 1)]
    assert len(result.done) == 4 and not result.failed
    assert "diverged, and recorded so: laf-synthetic-smoke-s1" in str(result)
    assert "the loss is not finite" in capsys.readouterr().err
    (line,) = read("toy", tmp_path / "ledger", method="laf", seed=1)
    assert line.metrics == {"diverged": 1.0} and line.diverged
    assert not read("toy", tmp_path / "ledger", method="laf", seed=0)[0].diverged
    assert run(toy(explodes), tmp_path).before == 4
    assert not (tmp_path / "runs/toy" / result.diverged[0].slug).exists()
    assert not problems({"toy": toy()}, tmp_path / "ledger")
    assert "toy, synthetic, smoke: diverged, and in no mean: laf (seed 1)" in not_recorded(
        {"toy": toy()}, tmp_path / "ledger"
    )
    # Another code may not diverge: asked for, it is run again, and the line is replaced.
    run(toy(), tmp_path, methods=["laf"], again=True)
    assert not any(entry.diverged for entry in read("toy", tmp_path / "ledger"))


def line(method, seed, **metrics) -> Entry:
    return Entry(
        experiment="table4", method=method, seed=seed, tier="open", budget="cpu", metrics=metrics,
        config={}, device="CPU", seconds=1.0 if metrics.get("diverged") else 10.0, memory=1.0,
    )  # fmt: skip


@pytest.fixture
def runs() -> list[Entry]:
    found = [line("single", seed, accuracy=50.0 + seed) for seed in range(4)]
    found += [line("laf", seed, accuracy=51.0 + 1.1 * seed) for seed in (0, 2, 3)]
    return [*found, line("laf", 1, diverged=1.0), line("tt", 0, diverged=1.0), line("tt", 1, diverged=1.0)]


def test_it_is_in_no_mean_and_is_told_below_the_table(runs):
    assert diverged_runs(runs) == {"laf": [1], "tt": [0, 1]}
    assert not diverged_note([line("alexnet.2", 100, diverged=1.0, validation_nme=100.0)])  # the worst score
    assert diverged_note(runs) == "diverged, and in no mean: laf (seed 1), tt (seeds 0, 1)"
    assert list(values_of(runs, "accuracy")["laf"]) == [0, 2, 3] and "tt" not in values_of(runs, "accuracy")
    rows = {row.method: row for row in table4(runs)}
    assert rows["laf"].spreads["accuracy"].n == 3 and "tt" not in rows
    assert contrast(runs, "accuracy", "laf", "single").n == 3
    # It ended early: how long others take is told by those that went on.
    job = toy(methods=("tt",)).jobs("open", "cpu", (9,), None)[0]
    assert expected_seconds([job], runs) == 10.0


def test_the_printed_table_names_it(runs, tmp_path, capsys):
    for entry in runs:
        record(entry, tmp_path)
    assert cli.main(["table", "4", "--tier", "open", "--budget", "cpu", "--ledger", str(tmp_path)]) == 0
    assert "diverged, and in no mean: laf (seed 1), tt (seeds 0, 1)\n" in capsys.readouterr().out


def test_a_verdict_says_how_many_runs_it_lacks(runs):
    wanted = Contrast.parse("table4 accuracy: laf > single")
    found = judge(wanted, runs)
    assert found.diverged == 1 and str(found).endswith("; 1 run diverged") and found.difference.n == 3
    fewer = [entry for entry in runs if (entry.method, entry.seed) != ("laf", 3)]
    assert judge(wanted, fewer).kind == MISSING and "1 run diverged" in str(judge(wanted, fewer))
    assert judge(Contrast.parse("table4 accuracy: single > laf"), runs).diverged == 1
    assert not judge(wanted, [entry for entry in runs if not entry.diverged]).lost


def test_a_number_in_the_text_must_own_up_to_it(runs, tmp_path):
    for entry in runs:
        record(entry, tmp_path)
    assert value("table4 accuracy method=single show=n", tmp_path) == "4"
    for query in ("table4 accuracy method=laf show=n", "table4 accuracy method=single minus=laf show=n"):
        with pytest.raises(MtlError, match=r"table4/laf, seed 1, diverged: say so.*diverged=ok"):
            value(query, tmp_path)
        assert value(query + " diverged=ok", tmp_path) == "3"


def test_a_trial_that_diverged_loses_and_if_all_did_nothing_is_chosen():
    settings = trials("laf", TRIALS["cpu"])

    def searched(scores):
        return [
            dataclasses.replace(
                line(f"laf.{t}", seed, **({"diverged": 1.0} if score is None else {"validation_score": score})),
                experiment="table4_search", config={"train": settings[t]},
            )
            for t, score in enumerate(scores)
            for seed in SEARCH_SEEDS["cpu"]
        ]  # fmt: skip

    scores = [-20.0 - t for t in range(len(settings))]
    assert choose("laf", "cpu", searched([None, *scores[1:]])) == settings[1]
    with pytest.raises(DataError, match="every trial of 'laf' at budget cpu diverged"):
        choose("laf", "cpu", searched([None] * len(settings)))


def test_a_rate_of_fine_tuning_that_diverged_loses_too():
    def searched(lost):
        return [
            line(f"{start}.{rate:g}", 100, **(
                {"diverged": 1.0} if (start, rate) in lost else {"validation_macro_recall": 10.0 - i}
            ))
            for start in SEARCHED_STARTS
            for i, rate in enumerate(RATES)
        ]  # fmt: skip

    first = SEARCHED_STARTS[0]
    assert chosen_rates(searched({}))[first] == RATES[0]
    assert chosen_rates(searched({(first, RATES[0])}))[first] == RATES[1]
    with pytest.raises(DataError, match=f"every rate of {first} diverged"):
        chosen_rates(searched({(first, rate) for rate in RATES}))
