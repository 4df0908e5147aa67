"""Faces drawn on the fly are the faces drawn at once, and states occur as often as asked for."""

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError
from mtl_lib.faces.rendered import PAPER_SIZES, paper_sized_faces, rendered_faces
from mtl_lib.faces.scene import states_in_proportion
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.states import STATES, TABLE_2
from mtl_lib.faces.synthetic import synthetic_set


def test_table_2_is_that_of_the_paper():
    path = Path(__file__).parents[1] / "data" / "paper" / "table2_expression_distribution.csv"
    with path.open(newline="", encoding="utf-8") as file:
        printed = {row["expression"]: int(row["images"]) for row in csv.DictReader(file)}
    assert printed.pop("Total") == sum(TABLE_2.values()) == PAPER_SIZES["expression"]
    assert printed == TABLE_2 and tuple(TABLE_2) == STATES


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 300),
    st.lists(st.integers(0, 50), min_size=13, max_size=13).filter(any),
    st.integers(0, 3),
)
def test_states_occur_in_proportion_to_within_one_picture(count, weights, seed):
    states = states_in_proportion(count, seed, dict(zip(STATES, weights, strict=True)))
    counts = torch.bincount(states, minlength=13)
    exact = count * torch.tensor(weights).double() / sum(weights)
    assert int(counts.sum()) == count
    assert ((counts - exact).abs() < 1).all()


def test_the_order_of_states_is_mixed_and_depends_on_the_seed():
    first, again, other = (states_in_proportion(500, seed, TABLE_2) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    here, further_on = (rendered_faces(500, frequencies=TABLE_2, first=first).state for first in (0, 500))
    assert not torch.equal(here, further_on), "the order depends on where in the series the set begins"
    halves = [torch.bincount(half, minlength=13) for half in first.split(250)]
    assert (halves[0] - halves[1]).abs().max() < 25, "states come in blocks"


@pytest.mark.parametrize("weights", [{"Cross": 1}, {"Happy": -1, "Sad": 2}, {"Happy": 0}, {}])
def test_frequencies_of_no_state_or_below_zero_are_refused(weights):
    with pytest.raises(ConfigError, match="state"):
        rendered_faces(10, frequencies=weights)


def test_drawn_on_the_fly_or_at_once_a_face_is_the_same_bit_for_bit():
    given = dict(style="wild", size=32, seed=4, first=11, first_person=3, frequencies=TABLE_2)
    lazy, whole = rendered_faces(90, **given), synthetic_set(90, **given)
    rows = torch.tensor([80, 3, 3, 41])
    images, labels, landmarks = lazy.fetch(rows)
    assert torch.equal(images, whole.images[rows]) and torch.equal(labels, whole.labels[rows])
    assert torch.equal(landmarks, whole.landmarks[rows]) and torch.equal(lazy.landmarks, whole.landmarks)
    assert lazy.persons == whole.persons and lazy.counts() == whole.counts()
    assert all(torch.equal(lazy.extra[key], whole.extra[key]) for key in whole.extra)
    part = lazy.select(torch.arange(90) % 7 == 2)
    assert torch.equal(part.load().images, whole.select(torch.arange(90) % 7 == 2).images)


def test_it_splits_by_person_without_being_drawn():
    faces = rendered_faces(600)
    [parts] = split_by_person([faces], (0.6, 0.2, 0.2))
    people = [{faces.persons[i] for i in part} for part in parts]
    assert sum(map(len, people)) == len(set(faces.persons)) and sum(map(len, parts)) == 600


def test_the_papers_sizes_can_be_described_and_any_of_their_faces_drawn():
    sets = paper_sized_faces(size=24)
    assert {name: len(faces) for name, faces in sets.items()} == {"expression": 175_679, "landmarks": 8_806}
    assert sets["expression"].counts() == TABLE_2
    strengths = sets["expression"].intensity
    assert 0.2 <= strengths.min() < 0.21 and 0.49 < strengths.max() <= 0.5
    assert not set(sets["expression"].person.tolist()) & set(sets["landmarks"].person.tolist())
    assert sets["expression"].fetch(torch.tensor([175_678]))[0].float().std() > 5
    assert sets["landmarks"].labels is None and sets["expression"].landmarks is None


def test_the_cache_is_used_is_the_same_and_mends_itself(tmp_path, monkeypatch):
    import mtl_lib.faces.rendered as module

    monkeypatch.setattr(module, "_SHARD", 8)
    faces = rendered_faces(20, size=24)
    want = faces.load()
    first = faces.cached(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3 and torch.equal(first.images, want.images)

    files[1].write_bytes(files[1].read_bytes()[:100])  # as after a full disk
    drawn = []
    render = module.render
    monkeypatch.setattr(module, "render", lambda scene, size: drawn.append(len(scene)) or render(scene, size))
    again = faces.cached(tmp_path)
    assert drawn == [8], "one damaged part is drawn anew, the others are read"
    assert torch.equal(again.images, want.images) and torch.equal(again.landmarks, want.landmarks)
    assert rendered_faces(20, size=24, seed=1).cached(tmp_path).images.ne(want.images).any()
    assert len(list(tmp_path.iterdir())) == 6, "another seed has files of its own"


def test_bad_numbers_are_refused():
    for settings_, message in (({"per_person": 0}, "at least 1"), ({"intensity": (0.5, 0.2)}, "intensity")):
        with pytest.raises(ConfigError, match=message):
            rendered_faces(3, **settings_)
    with pytest.raises(ConfigError, match="at least 0"):
        rendered_faces(-1)
