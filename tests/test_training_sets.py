"""A smaller training set is a subset, balanced as asked; shuffled landmarks are all there, none at home."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError
from mtl_lib.tasks import load_sets, split_sets
from mtl_lib.training_sets import prepare_training, shuffled


@pytest.fixture(scope="module")
def sets():
    return load_sets(TrainConfig.for_budget("smoke", faces=200, pixels=32))


def config(**settings) -> TrainConfig:
    return TrainConfig.for_budget("smoke", pixels=32, **settings)


def test_training_is_thinned_and_nothing_else(sets):
    whole, thin = split_sets(config(), sets), split_sets(config(per_class=3, landmark_faces=20), sets)
    for part in ("validation", "test"):
        for name in whole[part]:
            assert torch.equal(whole[part][name].images, thin[part][name].images)
    full = whole["train"]["expression"].counts()
    assert thin["train"]["expression"].counts() == {name: min(3, n) for name, n in full.items()}
    assert len(thin["train"]["landmarks"]) == 20
    there = {image.numpy().tobytes() for image in whole["train"]["expression"].images}
    assert all(image.numpy().tobytes() in there for image in thin["train"]["expression"].images)
    again = split_sets(config(per_class=3, landmark_faces=20), sets)
    other = split_sets(config(per_class=3, landmark_faces=20, split_seed=1), sets)
    images = [parts["train"]["landmarks"].images for parts in (thin, again, other)]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    # A larger set holds what fits in none of its parts: asking for more than there is takes all.
    assert len(split_sets(config(per_class=9999), sets)["train"]["expression"]) == sum(full.values())


def test_one_task_alone_gets_the_faces_it_gets_beside_the_other(sets):
    both = split_sets(config(per_class=3, landmark_faces=20), sets)["train"]
    alone = split_sets(config(per_class=3, landmark_faces=20, tasks=("expression",)), sets)["train"]
    assert torch.equal(both["expression"].images, alone["expression"].images)


def test_shuffled_landmarks_are_the_same_shapes_on_other_faces(sets):
    true = split_sets(config(), sets)
    control = split_sets(config(shuffle_landmarks=True), sets)
    before, after = true["train"]["landmarks"], control["train"]["landmarks"]
    assert torch.equal(before.images, after.images)
    assert not (before.landmarks == after.landmarks).flatten(1).all(dim=1).any()
    order = [values.flatten(1).sum(dim=1).sort().values for values in (before.landmarks, after.landmarks)]
    assert torch.equal(*order)
    assert torch.equal(true["test"]["landmarks"].landmarks, control["test"]["landmarks"].landmarks)
    assert torch.equal(true["train"]["expression"].images, control["train"]["expression"].images)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 50), st.integers(0, 9))
def test_no_row_stays_in_its_place(n, seed):
    rows = torch.arange(n)
    result = shuffled(rows, torch.Generator().manual_seed(seed))
    assert sorted(result.tolist()) == rows.tolist() and not (result == rows).any()


def test_bad_numbers_are_refused(sets):
    for name in ("per_class", "landmark_faces", "faces"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            config(**{name: 0})
    one = {"landmarks": sets["landmarks"].select([0])}
    with pytest.raises(ConfigError, match="cannot be shuffled"):
        prepare_training(one, None, None, True, 0)
