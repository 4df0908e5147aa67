"""Basic emotions as posed patterns, and what the twins of expression sets share."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError
from mtl_lib.faces.basic_emotions import EMOTION_PATTERNS, EMOTIONS, emotion_units, render_emotions
from mtl_lib.faces.registry import SETS, reader, twin_writer
from mtl_lib.faces.scene import sample_scene
from mtl_lib.faces.shape import UNIT_NUMBERS
from mtl_lib.faces.states import PATTERNS, STATES
from mtl_lib.faces.twins.emotions import Shot, draw_shots, shared_out, strengths

EXPRESSION_SETS = [name for name, entry in SETS.items() if entry.kind == "expression"]


def test_the_states_are_what_they_were_before_other_patterns_were_possible():
    assert tuple(PATTERNS) == STATES
    index, state = torch.arange(13), torch.arange(13)
    plain, named = (sample_scene(index, state=state, **more) for more in ({}, {"patterns": PATTERNS}))
    assert torch.equal(plain.points, named.points) and torch.equal(plain.action, named.action)


def test_a_missing_unit_is_a_matter_of_chance_and_can_be_ruled_out():
    index = torch.arange(400)
    surprised = torch.full((400,), STATES.index("Surprised"))

    def jaw(missing):
        scene = sample_scene(index, state=surprised, intensity=1.0, missing=missing)
        return scene.action[:, 0, UNIT_NUMBERS[26]]

    shown = [(jaw(missing) > 0.42).double().mean().item() for missing in (0.0, 1 / 6, 1.0)]
    assert shown[0] > 0.98 and 0.78 < shown[1] < 0.9 and shown[2] < 0.25
    with pytest.raises(ConfigError, match="missing is 2"):
        sample_scene(index, missing=2)


def test_landmarks_tell_posed_emotions_apart():
    # A nearest-mean rule on landmarks with the head's own shape taken out, people kept apart: far above chance.
    count = 30
    labels = torch.arange(len(EMOTIONS)).repeat(count)
    index = torch.arange(len(labels))
    names = [EMOTIONS[i] for i in labels]
    _, shown = render_emotions(names, index=index, size=24, pose=0.0)
    _, rest = render_emotions(names, index=index, size=24, pose=0.0, intensity=0.0)
    move = (shown - rest - (shown - rest).mean(1, keepdim=True)).flatten(1)
    learn = index < len(index) // 2
    means = torch.stack([move[learn & (labels == i)].mean(0) for i in range(len(EMOTIONS))])
    found = torch.cdist(move[~learn], means).argmin(1)
    assert (found == labels[~learn]).float().mean() > 0.8


def test_frames_of_a_sequence_differ_by_the_emotion_alone():
    number = torch.full((3,), 5)
    strength = torch.tensor([0.0, 0.5, 1.0]).double()
    images, points = render_emotions(["surprise"] * 3, index=number, intensity=strength, size=48)
    again, _ = render_emotions(["anger"], index=number[:1], intensity=strength[:1], size=48)
    assert torch.equal(images[:1], again), "a neutral first frame gives the emotion away"
    opening = (points[:, 66, 1] - points[:, 62, 1]) / (points[:, 45, 0] - points[:, 36, 0])
    assert opening[0] < opening[1] < opening[2]


def test_a_wider_frame_shows_a_smaller_face():
    near, far = (render_emotions(["fear"], size=64, framing=framing)[1][0] for framing in (1.0, 2.0))
    size = [(points.amax(0) - points.amin(0)).max().item() for points in (near, far)]
    assert size[0] / size[1] == pytest.approx(2.0, rel=1e-3)


def test_patterns_name_units_that_can_be_drawn():
    assert EMOTIONS[0] == "neutral" and not emotion_units("neutral")
    for emotion in EMOTION_PATTERNS:
        assert all(0 < strength <= 1.6 for strength in emotion_units(emotion).values())
    for call in (lambda: emotion_units("bored"), lambda: render_emotions(["bored"])):
        with pytest.raises(ConfigError, match="no emotion is called 'bored'"):
            call()


def test_shots_do_not_depend_on_the_batch_they_are_drawn_in():
    shots = [Shot(EMOTIONS[i % 8], i, i // 3, 1.0) for i in range(9)]
    whole = list(draw_shots(iter(shots), pixels=24))
    alone = [next(draw_shots([shot], pixels=24)) for shot in shots]
    assert [face.number for face in whole] == list(range(9))
    for a, b in zip(whole, alone, strict=True):
        assert np.array_equal(a.pixels, b.pixels) and torch.equal(a.points, b.points)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=9), st.integers(0, 300), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_labels_are_shared_out_exactly(numbers, count, seed):
    frequencies = {f"c{i}": number for i, number in enumerate(numbers)}
    labels = shared_out(frequencies, count, seed)
    tally = Counter(labels)
    assert len(labels) == count
    if count >= len(numbers):
        assert len(tally) == len(numbers)
        spare = count - len(numbers)
        for name, number in frequencies.items():
            assert abs(tally[name] - 1 - spare * number / sum(numbers)) < 1


def test_an_intensity_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="within 0 .. 1.5"):
        strengths(range(3), (0.5, 2.0), 0)


@pytest.mark.parametrize("name", EXPRESSION_SETS)
def test_every_expression_set_is_listed_with_a_reader_and_a_twin(name, tmp_path):
    made = twin_writer(name)(
        tmp_path / "twin", size=20, seed=2, **({} if name == "fer2013" else {"pixels": 24})
    )
    kind = reader(name)
    faces, report = kind(made).load(size=24)
    assert kind.NAME == name and kind.KIND == "expression" and faces.classes == kind.CLASSES
    assert report.complete() and report.unaccounted() == 0 and len(faces) >= 15
    assert "rendered twin" in faces.name and "rendered twin" in repr(kind(made))
    assert all(person.startswith(f"{name}-") for person in faces.persons)
    again, _ = kind(made).load(size=24, cache=tmp_path / "cache")
    cached, _ = kind(made).load(size=24, cache=tmp_path / "cache")
    assert torch.equal(again.images, faces.images) and torch.equal(cached.images, faces.images)
    assert cached.persons == faces.persons and torch.equal(cached.labels, faces.labels)
    assert {key: value.tolist() for key, value in cached.extra.items()} == {
        key: value.tolist() for key, value in again.extra.items()
    }
