"""Every pass is a permutation, batches depend on (seed, task, step) alone, and targets move with pixels."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.loaders import TaskBatches, generator, prepare_images
from mtl_lib.transforms import augment


def faces(n, size=8, landmarks=False, name="toy"):
    chance = torch.Generator().manual_seed(n)
    return FaceSet(
        torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=chance),
        torch.arange(n) % 3,
        ("a", "b", "c"),
        torch.rand(n, 68, 2, generator=chance) * size if landmarks else None,
        tuple(map(str, range(n))),
        name,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 3), st.integers(1, 4))
def test_every_pass_sees_every_picture_once(count, size, seed, passes):
    batches = TaskBatches([faces(count)], size, seed)
    steps = -(-passes * count // size)
    stream = torch.cat([batches.index(0, step) for step in range(steps)])
    assert all(len(batches.index(0, step)) == size for step in range(steps))
    for turn in range(passes):
        part = stream[turn * count : (turn + 1) * count]
        assert part.sort().values.tolist() == list(range(count))


def test_passes_tasks_and_seeds_are_shuffled_differently():
    def order(seed, task, turn):
        return TaskBatches([faces(50), faces(50)], 50, seed).index(task, turn).tolist()

    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len({tuple(order(*key)) for key in keys}) == 4


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)))
def test_batches_do_not_depend_on_the_order_of_calls(steps):
    make = functools.partial(
        TaskBatches, [faces(5, landmarks=True), faces(40)], (4, 16), seed=3, augment=augment
    )
    in_order = make()
    expected = [in_order.batch(step) for step in range(8)]
    shuffled = make()
    for step in steps:
        for got, want in zip(shuffled.batch(step), expected[step], strict=True):
            assert torch.equal(got.images, want.images) and torch.equal(got.index, want.index)
            assert (got.landmarks is None) == (want.landmarks is None)
            assert got.landmarks is None or torch.equal(got.landmarks, want.landmarks)


def test_labels_landmarks_and_pictures_belong_together():
    data = faces(10, landmarks=True)
    (batch,) = TaskBatches([data], 4, seed=1).batch(5)
    assert torch.equal(batch.labels, data.labels[batch.index])
    assert torch.equal(batch.landmarks, data.landmarks[batch.index])
    assert torch.equal(batch.images, prepare_images(data.images[batch.index]))


def test_pictures_are_standardised_one_by_one():
    dark = faces(4).images // 3 + 20
    seen = prepare_images(dark)
    torch.testing.assert_close(seen.mean((1, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((1, 2, 3), correction=0), torch.ones(4))
    # Contrast and brightness drop out, so that exposure does not betray the data set.
    torch.testing.assert_close(prepare_images(dark * 2), seen, atol=1e-5, rtol=1e-5)


def test_augmentation_differs_by_step_and_task_and_is_switched_off_by_none():
    data = faces(6)
    both = TaskBatches([data, data, data], 6, augment=[augment, augment, None])
    first, second, plain = both.batch(0)
    later = both.batch(1)[0]
    inverse = {
        name: b.images[b.index.argsort()]
        for name, b in {"first": first, "second": second, "later": later, "plain": plain}.items()
    }
    assert not torch.equal(inverse["first"], inverse["second"])
    assert not torch.equal(inverse["first"], inverse["later"])
    assert torch.equal(inverse["plain"], prepare_images(data.images))


def test_sets_of_unequal_size_come_round_at_their_own_pace():
    batches = TaskBatches({"big": faces(100), "small": faces(10)}, 20)
    assert batches.passes(10) == [2.0, 20.0]
    assert [len(b.index) for b in batches.batch(0)] == [20, 20]


def test_generators_of_neighbouring_keys_are_unrelated():
    draws = torch.stack([torch.randn(2000, generator=generator("cpu", 0, i)) for i in range(6)])
    off_diagonal = torch.corrcoef(draws)[~torch.eye(6, dtype=torch.bool)]
    assert off_diagonal.abs().max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([faces(3)], [1, 2]), ConfigError, "1 sets, 2 batch sizes"),
        (([faces(3)], 0), ConfigError, "at least 1 picture"),
        (([faces(3).select([])], 2), DataError, "'toy' has no pictures"),
    ],
)
def test_bad_requests_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        TaskBatches(*arguments)
