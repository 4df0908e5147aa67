"""Table 4's arms are what they are called, are tuned alike, and become a table beside the paper's."""

import json
import math
from dataclasses import replace

import pytest

from mtl_lib import cli
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.experiments.arms import ARMS, arm_settings
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.face_runs import SCALES, face_sets, run_config
from mtl_lib.experiments.search import SEARCH_SEEDS, TRIALS, choose, trials, tuned_arms
from mtl_lib.experiments.table4 import TABLE_EXPERIMENT, search_jobs
from mtl_lib.experiments.tables import contrast, paper_accuracies, table4, table4_html, table4_text
from mtl_lib.ledger import Entry, change, read

BUDGETS = ("smoke", "cpu", "t4", "full")


def entry(method, seed, config=None, **metrics) -> Entry:
    return Entry(
        experiment="demo", method=method, seed=seed, tier="open", budget="cpu", metrics=metrics, config=config or {},
        device="CPU", seconds=1.0, memory=1.0, code="0",
    )  # fmt: skip


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_arm_is_a_valid_configuration_and_no_two_are_the_same(budget, tmp_path):
    blocks = SCALES[budget]["blocks"]
    configs = [run_config("open", budget, 0, arm_settings(arm, blocks)) for arm in ARMS]
    assert len({json.dumps(config, sort_keys=True) for config in configs}) == len(ARMS)
    jobs = search_jobs("open", budget, SEARCH_SEEDS[budget], tmp_path)
    wanted = len(tuned_arms()) * TRIALS[budget] * len(SEARCH_SEEDS[budget])
    assert len({job.key for job in jobs}) == len(jobs) == wanted


def test_the_paper_has_a_row_for_every_arm_that_says_so_and_none_is_forgotten():
    # Its two dashes have no number: single-task and cross-stitch networks with alignment.
    assert set(paper_accuracies()) == {name for name, arm in ARMS.items() if arm.paper}
    assert all(bool(arm.paper) != bool(arm.answers) for arm in ARMS.values())


def test_forks_lie_at_the_ends_of_stages():
    assert [arm_settings(f"hard{s}", (3, 4, 6, 3))["hard_after"] for s in (1, 2, 3, 4)] == [6, 14, 26, 32]
    with pytest.raises(ConfigError, match="no method 'hard5'"):
        arm_settings("hard5", (1, 1, 1, 1))


def test_all_arms_try_the_same_rates_and_weights_and_cover_their_own_ranges():
    common = [[(t["lr"], t["landmark_weight"]) for t in trials(arm, 6)] for arm in tuned_arms()]
    assert all(each == common[0] for each in common)
    assert {weight for _, weight in common[0]} == {3.0, 10.0, 30.0}
    for name, arm in ARMS.items():
        for setting, (low, high) in arm.tuned.items():
            tried = sorted(t[setting] for t in trials(name, 6))
            assert low * 0.99 <= tried[0] and tried[-1] <= high * 1.01
            # No third of the range (in the logarithm) is left out.
            thirds = {
                int(2.999 * (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)))
                for value in tried
            }
            assert thirds == {0, 1, 2}, (name, setting, tried)


def searched(arm: str, scores: list[float], **changes) -> list[Entry]:
    tried = trials(arm, TRIALS["cpu"])
    return [
        entry(f"{arm}.{t}", seed, {"train": {**tried[t], **changes}}, validation_score=score + seed - 100)
        for t, score in enumerate(scores)
        for seed in SEARCH_SEEDS["cpu"]
    ]


def test_the_best_mean_on_validation_is_chosen_and_only_from_a_whole_search():
    scores = [30.0, 31.0, 29.0, 36.0, 35.0, 20.0]
    assert choose("laf", "cpu", searched("laf", scores)) == trials("laf", 6)[3]
    one_lucky_seed = searched("laf", scores)
    one_lucky_seed[0] = entry("laf.0", 100, one_lucky_seed[0].config, validation_score=40.0)
    assert choose("laf", "cpu", one_lucky_seed) == trials("laf", 6)[3]
    with pytest.raises(DataError, match="'laf'.*lacks the trials 5"):
        choose("laf", "cpu", searched("laf", scores[:-1]))
    with pytest.raises(DataError, match="lacks"):  # of another arm, or with other settings than today's
        choose("laf", "cpu", searched("tt", scores))
    with pytest.raises(DataError, match="lacks"):
        choose("laf", "cpu", searched("laf", scores, lr=0.5))


def test_a_control_takes_over_what_its_arm_chose_and_differs_in_nothing_else():
    scores = [30.0, 31.0, 29.0, 36.0, 35.0, 20.0]
    assert choose("norm_only", "cpu", searched("laf", scores)) == trials("laf", 6)[3]
    changed = {
        "norm_only": {"norm"},
        "laf_prox": {"penalty_step"},
        "laf_independent": {"init"},
        "laf_shuffled": {"shuffle_landmarks"},
        "laf+placebo": {"ada_placebo"},
        "hard4_shuffled": {"shuffle_landmarks"},
    }
    assert set(changed) == {name for name, arm in ARMS.items() if arm.like}
    for name, settings in changed.items():
        own, other = (
            run_config("open", "cpu", 0, arm_settings(each, (1, 1, 1, 1)))["train"]
            for each in (name, ARMS[name].like)
        )
        assert {key for key in own if own[key] != other[key]} == settings
        assert not ARMS[name].tuned


def test_the_table_pairs_by_seed_and_stands_beside_the_paper():
    runs = [entry("single", s, accuracy=50.0 + 5 * s, macro_recall=40.0 + 5 * s, nme=10.0) for s in range(3)]
    runs += [
        entry("laf", s, accuracy=52.0 + 5 * s, macro_recall=41.0 + 5 * s + 0.1 * s, nme=9.5) for s in range(3)
    ]
    single, laf = table4(runs)
    assert (single.method, single.paper, single.differences) == ("single", 28.39, {})
    assert laf.paper == 33.43
    assert (
        laf.differences["macro_recall"].mean == pytest.approx(1.1) and laf.differences["macro_recall"].clear
    )
    text = table4_text([single, laf])
    (line,) = [each for each in text.splitlines() if each.startswith("laf")]
    assert "57.0 ± 5.0" in line and "+1.1*   +0.9 to +1.3" in line and line.endswith("33.43")
    assert max(map(len, text.splitlines())) <= 88
    html = table4_html([single, laf])
    assert "<strong>+1.1 (+0.9 to +1.3)</strong>" in html and "<td>28.39</td>" in html
    assert "-0.50 (-0.50 to -0.50)" in html  # of NME two digits: its differences are small
    # It scrolls on a telephone, says so, and must do so without a mouse too; the stylesheet keeps the first column.
    assert '<table class="mtl-results mtl-scrolls" tabindex="0">' in html
    assert html.count('<th scope="row">') == 2
    found = contrast(runs, "macro_recall", "laf", "single")
    assert found == laf.differences["macro_recall"] and contrast(runs, "nme", "laf", "tt") is None
    assert contrast(runs, "nme", "single", "laf").mean == pytest.approx(0.5)
    with pytest.raises(DataError, match="two runs of one seed"):
        contrast([*runs, entry("laf", 0, {"other": 1}, nme=1.0)], "nme", "laf", "single")
    with pytest.raises(DataError, match="two runs of seed 0"):
        table4([*runs, entry("laf", 0, {"other": 1}, accuracy=1.0)])
    with pytest.raises(DataError, match="several tiers"):
        table4([*runs, replace(runs[0], tier="synthetic")])


def test_the_commands_sweep_print_and_check_and_repeat_nothing(tmp_path, monkeypatch, capsys):
    """Two arms at the smallest scale, from nothing to a printed table."""
    kept = {name: ARMS[name] for name in ("single", "laf+ada")}
    for name in list(ARMS):
        if name not in kept:
            monkeypatch.delitem(ARMS, name)
    options = ["--tier", "synthetic", "--budget", "smoke"]
    where = ["--workspace", str(tmp_path / "runs"), "--accelerator", "cpu"]
    ledger = tmp_path / "runs" / "ledger"
    assert cli.main(["sweep", "table4", *options, *where]) == 0
    assert "2 runs recorded, 0 were there before" in capsys.readouterr().out
    search, table = read("table4_search", ledger), read("table4", ledger)
    assert [entry.method for entry in search] == ["laf+ada.0", "single.0"]
    assert not any("accuracy" in entry.metrics for entry in search)  # the test people are not looked at
    assert all({"accuracy", "macro_recall", "nme"} <= set(entry.metrics) for entry in table)
    tuned = {entry.method: entry.config["train"]["lr"] for entry in table}
    assert tuned["single"] == trials("single", 1)[0]["lr"]

    assert cli.main(["sweep", "table4", *options, *where]) == 0
    assert "0 runs recorded, 2 were there before" in capsys.readouterr().out
    assert [e.key for e in read("table4", ledger)] == [e.key for e in table]

    assert cli.main(["table", "4", *options, "--ledger", str(ledger)]) == 0
    printed = capsys.readouterr().out
    assert "laf+ada" in printed and "36.72" in printed and "CPU" in printed
    assert cli.main(["results", "check", "--ledger", str(ledger)]) == 0
    change("table4", lambda entries: entries[:1], ledger)
    assert cli.main(["results", "check", "--ledger", str(ledger)]) == 1
    assert "lacks the seeds 0" in capsys.readouterr().out
    assert cli.main(["sweep", "table9", *options, *where]) == 2
    assert "no experiment 'table9'" in capsys.readouterr().err
    assert cli.main(["table", "4", "--tier", "open", "--ledger", str(ledger)]) == 2
    assert "mtl sweep table4 --tier open" in capsys.readouterr().err


def test_all_experiments_of_a_tier_are_one_command_and_one_failure_does_not_stop_the_next(
    tmp_path, monkeypatch, capsys
):
    from mtl_lib.errors import DataError
    from mtl_lib.experiments.base import Experiment, Job, Outcome
    from mtl_lib.experiments.registry import EXPERIMENTS

    def made(name, tiers, fails=False):
        def run(job, workspace, root, accelerator):
            if fails:
                raise DataError("the light went out", workspace)
            return Outcome(metrics={"x": 1.0}, device="CPU", memory=1.0)

        def jobs(tier, budget, seeds, folder):
            if name == "nothing":
                raise DataError("a search is lacking", folder)
            return [
                Job(experiment=name, method="m", seed=s, tier=tier, budget=budget, config={}) for s in seeds
            ]

        return Experiment(name=name, title=name, seeds={"smoke": (0,)}, jobs=jobs, run=run, tiers=tiers)

    for name in list(EXPERIMENTS):
        monkeypatch.delitem(EXPERIMENTS, name)
    opened = ("open", "paper")
    for each in (
        made("one", opened, True),
        made("nothing", opened),
        made("two", ("synthetic",)),
        made("three", opened),
    ):
        monkeypatch.setitem(EXPERIMENTS, each.name, each)
    command = ["sweep", "all", "--tier", "open", "--budget", "smoke", "--workspace", str(tmp_path)]
    assert cli.main(command) == 2
    printed = capsys.readouterr().out
    assert "the light went out" in printed and "a search is lacking" in printed
    assert "three: 1 runs recorded" in printed and "two" not in printed
    assert [len(read(name, tmp_path / "ledger")) for name in ("one", "two", "three")] == [0, 0, 1]
    assert cli.main([*command, "--seeds", "1"]) == 2


def test_a_table_without_its_search_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="run the sweep of the search first"):
        TABLE_EXPERIMENT.jobs("synthetic", "smoke", [0], tmp_path)


def test_every_seed_renders_other_people_but_the_same_number_of_each_state():
    first, second = (
        face_sets(Job(experiment="table4", method="laf", seed=seed, tier="synthetic", budget="smoke",
                      config=run_config("synthetic", "smoke", seed, {})))
        for seed in (0, 1)
    )  # fmt: skip
    for name in ("expression", "landmarks"):
        assert len(first[name]) == len(second[name]) and first[name].classes == second[name].classes
        assert not any((a == b).all() for a, b in zip(first[name].images, second[name].images, strict=True))
