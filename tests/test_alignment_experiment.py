"""Maps and measures of how far two sets of features differ say nothing where they do not, and are what they say."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mtl_lib import tasks
from mtl_lib.config import TrainConfig
from mtl_lib.domain_maps import SCALE, DomainMap, between_share, domain_map, mixing, standardised, tsne
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.evaluate import evaluate
from mtl_lib.experiments import alignment, alignment_measures
from mtl_lib.experiments.alignment import ARMS, MAPPED, SEEDS, alignment_jobs, run_alignment
from mtl_lib.experiments.alignment_measures import (
    adversary_measures,
    features_of,
    halves,
    in_one_set,
    looked_at,
    null_measures,
    set_measures,
)
from mtl_lib.experiments.base import Job
from mtl_lib.experiments.face_runs import face_sets
from mtl_lib.experiments.untrained_features import REFERENCES, best_cut, recut, reference_features
from mtl_lib.loaders import prepare_images


def normal(n, d, seed, shift=0.0) -> torch.Tensor:
    return shift + torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def own_people(*counts):
    return [[f"{t}-{i}" for i in range(n)] for t, n in enumerate(counts)]


# The two numbers that need no map


def test_the_share_between_domains_is_one_minus_what_is_left_when_each_is_centred():
    a, b = normal(50, 4, 1), normal(50, 4, 2, shift=0.7)
    total = float(np.var(np.concatenate([a, b]), axis=0).sum())
    left = float((np.var(a.numpy(), axis=0) + np.var(b.numpy(), axis=0)).sum() / 2)
    assert between_share([a, b]) == pytest.approx(1 - left / total)  # equal sizes: the analysis of variance
    turn = torch.linalg.qr(normal(4, 4, 3)).Q
    assert between_share([30 * a @ turn + 5, 30 * b @ turn + 5]) == pytest.approx(between_share([a, b]))
    assert between_share([a, torch.cat([b, b, b])]) == pytest.approx(
        between_share([a, b])
    )  # size does not count


def test_the_share_between_domains_has_the_ends_it_promises():
    one, other = torch.ones(6, 3), torch.ones(9, 3) * 2
    assert between_share([one, other]) == 1.0
    assert between_share([one, one]) == 0.0  # a collapse, not an alignment
    same = [between_share([normal(200, 3, s), normal(200, 3, s + 50)]) for s in range(20)]
    assert 0.5 / 400 < np.mean(same) < 2 / 400
    with pytest.raises(DataError, match="finite"):
        between_share([one, one * float("nan")])
    with pytest.raises(DataError, match="two domains"):
        between_share([one])


def by_hand(points, domain, k):
    """Other domains' share of the k nearest, pair by pair."""
    other = 0
    for i in range(len(points)):
        near = sorted(
            (j for j in range(len(points)) if j != i), key=lambda j: ((points[i] - points[j]) ** 2).sum()
        )
        other += sum(domain[j] != domain[i] for j in near[:k])
    return other / (k * len(points))


def test_mixing_counts_neighbours_and_is_one_for_one_distribution():
    points, domain = normal(60, 3, 4).numpy(), np.arange(60) % 2
    points = points + 0.8 * domain[:, None]
    assert mixing(points, domain, 7) == pytest.approx(by_hand(points, domain, 7) * 59 / 30)
    same = [mixing(normal(200, 3, s).numpy(), np.arange(200) % 2) for s in range(10)]
    assert abs(np.mean(same) - 1) < 0.03
    assert mixing(points + 50 * domain[:, None], domain) == 0.0
    collapsed = mixing(np.zeros((200, 4)), np.arange(200) // 100)
    assert abs(collapsed - 1) < 0.15  # features that are all one point are mixed, and that is no news
    with pytest.raises(DataError, match="equal size"):
        mixing(points, np.arange(60) // 40)
    with pytest.raises(DataError, match="neighbours"):
        mixing(points, domain, 60)


def test_columns_that_do_not_vary_stay_zero():
    x, _ = standardised([np.full((7, 2), 0.1), np.full((8, 2), 0.1)])
    assert (x == 0).all()


# Maps


@pytest.fixture(scope="module")
def blobs():
    features = [normal(30, 5, 5), normal(30, 5, 6, shift=12.0)]
    return features, domain_map(features, [[k % 3 for k in range(30)], None], (4, 10), (0, 1))


def test_a_stored_map_has_the_points_that_it_says(blobs):
    _, found = blobs
    assert found.places.shape == (2, 2, 60, 2) and Counter(found.domain) == {0: 30, 1: 30}
    assert found.label == (*(k % 3 for k in range(30)), *[-1] * 30)
    for perplexity in found.perplexities:
        for seed in found.seeds:
            place = found.of(perplexity, seed)
            assert abs(place).max() == SCALE and (place.max(0) + place.min(0) == 0).any()
            assert mixing(place, np.array(found.domain)) == 0.0  # what is far apart stays apart
    again = DomainMap.from_dict(json.loads(found.to_json()))
    assert (again.places == found.places).all()
    for name in ("domain", "label", "perplexities", "seeds"):
        assert getattr(again, name) == getattr(found, name)
    assert len(found.to_json()) < 60 * 4 * 14 + 400


def test_seeds_and_perplexities_change_a_map_and_nothing_else_does(blobs):
    features, found = blobs
    x, _ = standardised(features)
    assert np.allclose(tsne(x, 10, 1), tsne(x, 10, 1))
    assert (found.of(10, 0) != found.of(10, 1)).any() and (found.of(4, 0) != found.of(10, 0)).any()
    scaled = domain_map([7 * f + 1 for f in features], [None, None], (10,), (1,))
    assert abs(scaled.of(10, 1) - found.of(10, 1)).max() < 0.1 * SCALE


def test_a_map_that_is_not_whole_is_refused(blobs):
    values = json.loads(blobs[1].to_json())
    with pytest.raises(DataError, match="'places'"):
        DomainMap.from_dict({k: v for k, v in values.items() if k != "places"})
    with pytest.raises(DataError, match="shape"):
        DomainMap.from_dict({**values, "domain": values["domain"][1:]})
    with pytest.raises(ConfigError, match="no map of perplexity 5"):
        blobs[1].of(5, 0)
    with pytest.raises(ConfigError, match="between 0 and 20"):
        tsne(np.zeros((20, 2)), 20, 0)
    with pytest.raises(DataError, match="20 features and 3 labels"):
        domain_map([np.zeros((20, 2))] * 2, [[1, 2, 3], None])


# Measures of two sets


def test_sets_that_do_not_differ_are_at_chance_and_shifted_ones_are_not():
    people = own_people(160, 160)
    # A single draw may lie several points from chance: its two folds see the same accident.
    same = [set_measures([normal(160, 4, s), normal(160, 4, s + 50)], people, 0) for s in (7, 8, 9)]
    apart = set_measures([normal(160, 4, 7), normal(160, 4, 57) + 0.9], people, 0)
    for kind in ("linear", "mlp"):
        assert 43 < np.mean([found[kind] for found in same]) < 57
        assert apart[f"{kind}_low"] > 70
        assert all(found[f"{kind}_low"] <= found[kind] <= found[f"{kind}_high"] for found in (*same, apart))
    for found in same:
        assert (
            found["energy"] < 2 * found["energy_null"] and found["between"] < 2 and 85 < found["mixing"] < 115
        )
    assert apart["energy"] > 5 * apart["energy_null"] and apart["between"] > 10 and apart["mixing"] < 80


def test_a_difference_without_a_shift_of_the_mean_is_for_the_network_and_the_distance():
    a, b = normal(300, 3, 9), 3.0 * normal(300, 3, 10)
    found = set_measures([a, b], own_people(300, 300), 0)
    assert found["between"] < 2 and found["linear"] < 65
    assert found["mlp_low"] > 75 and found["energy"] > 2 * found["energy_null"]


def test_halves_of_a_set_are_at_chance_although_features_know_their_person(monkeypatch):
    monkeypatch.setattr(alignment_measures, "KINDS", ("linear",))
    # Ten pictures of each person in a tight knot: whoever splits pictures, not people, finds "domains".
    knots = normal(40, 8, 11).repeat_interleave(10, 0) * 4 + 0.1 * normal(400, 8, 12)
    people = [f"p{i // 10}" for i in range(400)]
    null = [null_measures([knots, knots], [people, people], s)["null_linear"] for s in range(2)]
    assert 30 < np.mean(null) < 70
    first, second = halves(people, 0)
    assert not {people[i] for i in first} & {people[i] for i in second}
    assert sorted([*first, *second]) == list(range(400)) and abs(len(first) - len(second)) <= 10
    assert sorted(halves(people, 1)[0]) != sorted(first)


def test_nobody_is_in_two_sets_after_the_lots_and_nobody_is_lost():
    people = [["a", "b", "b", "c", "d"], ["b", "e", "d", "d", "f"]]
    for seed in range(5):
        keep = in_one_set(people, seed)
        left = [
            {who for who, k in zip(own, kept, strict=True) if k}
            for own, kept in zip(people, keep, strict=True)
        ]
        assert not left[0] & left[1] and left[0] | left[1] == set("abcdef")
        assert {"a", "c"} <= left[0] and {"e", "f"} <= left[1]


def test_the_adversary_is_judged_by_the_true_sets_with_each_counting_the_same(tmp_path):
    lines = [{"event": "train", "step": s, "domain_accuracy": s / 100} for s in range(10, 101, 10)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    layer = torch.nn.Linear(1, 2)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[-1.0], [1.0]])
        layer.bias.zero_()
    model = SimpleNamespace(
        networks=SimpleNamespace(alignment=SimpleNamespace(classifier=layer)),
        config=SimpleNamespace(steps=100),
    )
    features = [torch.tensor([[-1.0], [-2.0], [3.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])]
    found = adversary_measures(tmp_path, model, features)
    assert found["adversary_test"] == pytest.approx(100 * (0.75 + 0.5) / 2)
    assert found["adversary"] == pytest.approx(100.0)  # only the line of step 100 is of the last tenth
    model.networks.alignment = None
    assert adversary_measures(tmp_path, model, features) == {}


# The experiment


def test_arms_are_valid_distinct_and_controls_differ_in_one_thing():
    def train(name, seed=0):
        jobs = {job.method: job for job in alignment_jobs("open", "cpu", [seed], Path())}
        assert list(jobs) == [*REFERENCES, *ARMS]
        return jobs[name].config["train"]

    def changed(a, b):
        one, other = train(a), train(b)
        return {key for key in one if one[key] != other[key]}

    assert changed("laf", "laf+ada1") == {"ada"}
    assert changed("laf+ada1", "laf+placebo1") == {"ada_placebo"}
    assert changed("laf+ada1", "laf+turns1") == {"ada_form", "ada_inner_steps", "ada_lr"}
    assert changed("one+ada1", "one+placebo1") == {"ada_placebo"}
    assert "sharing" in changed("laf+ada1", "single+ada1")
    assert all(TrainConfig.from_dict(train(name)).pixels == 48 for name in ARMS)
    assert len({json.dumps(train(name), sort_keys=True) for name in ARMS}) == len(ARMS)
    assert train("laf", 3)["split_seed"] == 3
    for budget, seeds in SEEDS.items():
        mapped = {
            (j.method, j.seed)
            for j in alignment_jobs("open", budget, seeds, Path())
            if j.config["alignment"]["map"]
        }
        assert mapped == (set() if budget == "smoke" else {(name, seeds[0]) for name in MAPPED})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of one trunk with an adversary, with a map; the smallest there is."""
    [job] = [j for j in alignment_jobs("synthetic", "smoke", [0], Path()) if j.method == "one+ada1"]
    config = json.loads(json.dumps(job.config))
    config["alignment"]["map"] = {"points": 20, "perplexities": [4], "seeds": [0, 1]}
    job = Job(
        experiment="alignment", method="one+ada1", seed=0, tier="synthetic", budget="smoke", config=config
    )
    folder = tmp_path_factory.mktemp("alignment") / "run"
    return job, folder, run_alignment(job, folder, None, "cpu")


def test_a_run_measures_its_last_checkpoint_and_keeps_its_map(run):
    job, folder, outcome = run
    found = outcome.metrics
    last = evaluate(folder, face_sets(job), which="last")
    assert found["accuracy"] == pytest.approx(last.accuracy, abs=1e-3) and found["nme"] == pytest.approx(
        last.nme, abs=1e-3
    )
    assert {
        "linear",
        "mlp",
        "energy",
        "between",
        "mixing",
        "rank",
        "spread",
        "adversary",
        "null_linear",
    } <= set(found)
    # One trunk with one batch norm: the same picture has the same feature whichever task asks.
    assert found["networks_linear"] == 50.0 and found["pictures_linear"] == found["linear"]
    stored = DomainMap.from_dict(json.loads(outcome.files["map"]))
    assert stored.places.shape == (1, 2, 40, 2) and Counter(stored.domain) == {0: 20, 1: 20}
    assert min(stored.label[:20]) >= 0 and set(stored.label[20:]) == {-1}


def test_features_are_what_the_heads_see(run):
    job, folder, _ = run
    from mtl_lib.evaluate import load_run

    model = load_run(folder, "last")
    config = TrainConfig.from_dict(job.config["train"])
    faces = looked_at(tasks.split_sets(config, face_sets(job))["test"], 30, 0)
    assert [len(part) for part in faces] == [30, 30]
    model.networks.train()
    for t, part in enumerate(faces):
        heads = model.networks.net.heads[t](features_of(model.networks, t, part.images, batch=7))
        assert torch.allclose(heads, tasks.outputs_of(model.networks, t, part.images), atol=1e-5)
    assert model.networks.training


def test_references_are_the_standardised_pictures_and_the_first_weights(run):
    job, _, _ = run
    config = TrainConfig.from_dict(job.config["train"])
    parts = tasks.split_sets(config, face_sets(job))
    faces, train = looked_at(parts["test"], 25, 0), list(parts["train"].values())
    found = {kind: reference_features(kind, config, faces, train) for kind in REFERENCES}
    picture = prepare_images(faces[0].images)[3, 0]
    assert found["pixels"][0].shape == (25, 256)
    assert found["pixels"][0][3, 17] == pytest.approx(picture[2:4, 2:4].mean().item(), abs=1e-5)
    assert found["pixels6"][1].shape == (25, 36) and found["bands6"][0].shape == (25, 6)
    assert found["bands6"][0][3, 0] == pytest.approx(
        picture[:6].mean().item(), abs=1e-5
    )  # 32 rows in 6 bands
    assert found["columns6"][0][3, 0] == pytest.approx(picture[:, :6].mean().item(), abs=1e-5)
    cut = best_cut(*(own.images for own in train))
    square = recut(faces[0].images, *cut)[3, 0]
    assert found["reframed"][0][3, 17] == pytest.approx(square[2:4, 2:4].mean().item(), abs=1e-5)
    assert found["reframed6"][0][3, 5] == pytest.approx(square[-6:].mean().item(), abs=1e-5)
    assert torch.equal(found["reframed"][1], found["pixels"][1])  # set 2 stays as it is
    again = reference_features("untrained", config, faces, train)
    assert torch.equal(again[0], found["untrained"][0]) and again[0].shape[1] == 8 * config.width
    with pytest.raises(ConfigError, match="'colour'"):
        reference_features("colour", config, faces, train)


def test_the_best_cut_finds_the_square_that_the_other_set_was_cut_from():
    rows = torch.linspace(0, 3.1, 48)
    waves = 90 * torch.sin(torch.randn(40, 1, 1, 1) * 0.1 + rows[:, None] ** 2 + 0.4 * rows[None, :] ** 3)
    wide = (waves + 120).round().to(torch.uint8)
    narrow = (40 * recut(wide, 38, 8) + 120).clamp(0, 255).round().to(torch.uint8)
    assert best_cut(wide, narrow) == (38, 8)
    assert best_cut(wide, wide) == (48, 0)


def test_the_experiment_is_listed_and_runs_its_references_without_training(tmp_path, monkeypatch):
    from mtl_lib.experiments.registry import experiment
    from mtl_lib.experiments.sweep import sweep
    from mtl_lib.ledger import read

    monkeypatch.setattr(alignment, "run_faces", None)  # whoever trains fails
    done = sweep(
        experiment("alignment"), "synthetic", "smoke", methods=["pixels6"], workspace=tmp_path / "ws",
        folder=tmp_path / "ledger", accelerator="cpu", tell=False,
    )  # fmt: skip
    [entry] = read("alignment", tmp_path / "ledger")
    assert len(done.done) == 1 and entry.method == "pixels6" and "accuracy" not in entry.metrics
