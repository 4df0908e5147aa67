"""Every pass is a permutation, batches depend on (seed, task, step) alone, and targets move with pixels."""

import dataclasses
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib import loaders
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.rendered import rendered_faces
from mtl_lib.loaders import TaskBatches, generator, prepare_images, size_in_bytes
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


def same(first, second):
    """Whether two lists of batches are equal bit for bit."""
    return all(
        (a is None) == (b is None) and (a is None or torch.equal(a, b))
        for one, two in zip(first, second, strict=True)
        for a, b in (
            (getattr(one, part), getattr(two, part)) for part in ("images", "labels", "landmarks", "index")
        )
    )


def mixed_sets():
    return [faces(7, landmarks=True), rendered_faces(30, size=24)]


def test_workers_change_nothing():
    batches = TaskBatches(mixed_sets(), (3, 5), seed=2, augment=[augment, None])
    want = [batches.batch(step) for step in range(4, 10)]
    for workers in (0, 1, 2):
        got = list(batches.stream(4, 10, workers=workers))
        assert len(got) == 6 and all(map(same, got, want)), workers


def test_faces_drawn_on_the_fly_make_the_batches_of_faces_drawn_at_once():
    lazy = rendered_faces(30, size=24)
    made, drawn = (TaskBatches([data], 8, seed=1, augment=augment) for data in (lazy.load(), lazy))
    assert all(same(made.batch(step), drawn.batch(step)) for step in (0, 3, 4))


def test_sets_that_do_not_fit_stay_on_the_host_and_make_the_same_batches(monkeypatch):
    gpu = torch.device("meta")  # stands for a device that is not the host
    bare = dataclasses.replace(faces(10), labels=None, classes=())
    whole = size_in_bytes(bare)
    for free, kept in ((2 * whole, "meta"), (2 * whole - 1, "cpu")):
        monkeypatch.setattr(loaders, "free_memory", lambda device, free=free: free)
        assert TaskBatches([bare], 2, device=gpu).kept_on.type == kept
    assert TaskBatches([bare], 2, device=gpu, keep="host").sets[0].images.device.type == "cpu"
    with pytest.raises(ConfigError, match="workers need keep='host'"):
        next(TaskBatches([bare], 2, device=gpu, keep="device").stream(0, 1, workers=1))
    assert same(
        TaskBatches([faces(10)], 4, keep="host").batch(3), TaskBatches([faces(10)], 4, keep="device").batch(3)
    )


def test_the_size_of_a_set_is_that_of_all_its_tensors():
    assert size_in_bytes(faces(10, size=8, landmarks=True)) == 10 * (64 + 8 + 68 * 2 * 4)
    assert size_in_bytes(rendered_faces(1000)) < 1000 * 40


def test_the_description_names_sets_and_passes():
    text = repr(TaskBatches([faces(100, name="big"), faces(10, name="small")], 20))
    assert "'big' 100 faces, 20 a step, a pass takes 5 steps" in text
    assert "'small' 10 faces, 20 a step, a pass takes 0.5 steps" in text


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
        (([faces(3)], 2, 0, "cpu", None, "gpu"), ConfigError, "keep is 'gpu'"),
    ],
)
def test_bad_requests_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        TaskBatches(*arguments)
