"""The probes' data are split by person and shuffled without a fixed point; the sweep covers every arm once."""

import pytest
import torch

from mtl_lib.errors import ConfigError
from mtl_lib.experiments.face_probe import (
    ARMS,
    FACE_PROBE,
    STRENGTHS,
    ProbeNet,
    linear_inputs,
    linear_probe,
    network_probe,
    parts_of,
    shuffled_landmarks,
)
from mtl_lib.experiments.sweep import sweep
from mtl_lib.ledger import read


@pytest.fixture(scope="module")
def posed():
    return parts_of(0, "posed", 520)


def test_nobody_is_in_two_parts_and_seeds_show_other_people(posed):
    people = [set(part.persons) for part in posed]
    assert sum(map(len, people)) == len(set.union(*people))
    assert not people[0] & set(parts_of(1, "posed", 60)[0].persons)


def test_shuffled_landmarks_are_all_those_of_other_pictures(posed):
    train = posed[0]
    moved = shuffled_landmarks(train, 0)
    assert not (moved == train.landmarks).all((1, 2)).any()
    key = train.landmarks.sum((1, 2))
    assert torch.equal(key.sort().values, moved.sum((1, 2)).sort().values)


def test_landmarks_tell_posed_states_and_permuted_labels_do_not(posed):
    told = linear_probe(posed, "landmarks", 0)["macro_recall"]
    chance = linear_probe(posed, "chance", 0)["macro_recall"]
    assert told > 40 and chance < 20


def test_what_a_probe_is_not_given_it_does_not_see(posed):
    for given, columns in (
        ("pixels", (576, 0)),
        ("landmarks", (0, 136)),
        ("both", (576, 136)),
        ("chance", (0, 136)),
    ):
        assert tuple(x.shape[1] for x in linear_inputs(posed[2], given, 0)) == columns
    images, points = torch.rand(4, 1, 48, 48), torch.rand(4, 136)
    for given, blind in (("pixels", "points"), ("landmarks", "images"), ("chance", "images"), ("both", "")):
        net = ProbeNet(given).eval()
        same_images = torch.equal(net(images, points), net(images.flip(0), points))
        same_points = torch.equal(net(images, points), net(images, points.flip(0)))
        assert (same_images, same_points) == (blind == "images", blind == "points"), given


def test_the_strong_network_sees_pixels_through_33_layers_and_gets_more_faces(tmp_path):
    strong = ProbeNet("pixels", strong=True)
    convolutions = [m for m in strong.pixels.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 33 and convolutions[0].out_channels == 32
    faces = {
        job.config["probe"]: job.config["faces"] for job in FACE_PROBE.jobs("synthetic", "cpu", [0], tmp_path)
    }
    assert faces["resnet"] == 3 * faces["network"] == 3 * faces["linear"]


def test_a_network_learns_posed_states_from_landmarks(posed):
    found = network_probe(posed, "landmarks", 0, passes=25)
    assert found["macro_recall"] > 25 and found["train_macro_recall"] > found["macro_recall"]
    assert found == network_probe(posed, "landmarks", 0, passes=25), "the same seed is the same run"


def test_the_sweep_runs_every_arm_once(tmp_path):
    arms = {f"{kind}-{given}-{strength}" for kind in ARMS for given in ARMS[kind] for strength in STRENGTHS}
    jobs = FACE_PROBE.jobs("synthetic", "smoke", [0], tmp_path)
    assert len(jobs) == len(arms) and {job.method for job in jobs} == arms
    some = ["linear-landmarks-subtle", "network-both-posed", "resnet-pixels-subtle"]
    sweep(FACE_PROBE, "synthetic", "smoke", seeds=[0], methods=some, workspace=tmp_path / "w", folder=tmp_path,
          accelerator="cpu", tell=False)  # fmt: skip
    assert [entry.method for entry in read("face_probe", tmp_path)] == some


def test_an_unknown_input_is_named(posed):
    for probe in (linear_probe, lambda *a: network_probe(*a, passes=1)):
        with pytest.raises(ConfigError, match="'smell'"):
            probe(posed, "smell", 0)
