"""Face sets, splits by person, crops, addressed random numbers, the synthetic tier."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet, images_per_person
from mtl_lib.faces.crops import cut, landmark_box, to_crop, to_original, whole_picture
from mtl_lib.faces.numbers import grain, normal, uniform
from mtl_lib.faces.shape import MEAN_SHAPE
from mtl_lib.faces.splits import split_by_person
from mtl_lib.faces.synthetic import synthetic_set
from mtl_lib.faces.tiers import check_tier, load_tier
from mtl_lib.landmarks import nme


def toy(persons, labels=None, classes=3, name="toy") -> FaceSet:
    count = len(persons)
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 2, 2)
    known = None if labels is None else torch.as_tensor(labels, dtype=torch.int64)
    names = () if labels is None else tuple("abcdefgh"[:classes])
    return FaceSet(images, known, names, None, tuple(persons), name, {"row": torch.arange(count)})


# ---- FaceSet


def test_selecting_keeps_every_part_in_step():
    faces = toy("abcd", [0, 1, 2, 0])
    for chosen in (faces.select([3, 1]), faces.select(torch.tensor([3, 1]))):
        assert chosen.persons == ("d", "b")
        assert chosen.labels.tolist() == [0, 1]
        assert chosen.images[:, 0, 0, 0].tolist() == chosen.extra["row"].tolist() == [3, 1]
    mask = faces.select(torch.tensor([True, False, False, True]))
    assert mask.persons == ("a", "d") and len(mask) == 2


def test_counts_name_every_class_also_the_empty_ones():
    assert toy("abc", [0, 2, 2], classes=4).counts() == {"a": 1, "b": 0, "c": 2, "d": 0}
    assert toy("abc").counts() == {}


def test_parts_that_do_not_fit_are_refused():
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match="3 pictures but 2 persons"):
        FaceSet(images, None, (), None, ("a", "b"), "odd")
    with pytest.raises(DataError, match=r"labels 0\.\.2 for 2 classes"):
        FaceSet(images, torch.tensor([0, 1, 2]), ("x", "y"), None, ("a", "b", "c"), "odd")


def test_pictures_per_person():
    line = images_per_person(["a"] * 4 + ["b"] * 2 + ["c"])
    assert (
        "3 persons" in line and "median 2" in line and "largest 4 (a)" in line and "1 with a single" in line
    )


# ---- splits

crowd = st.lists(st.integers(0, 25), min_size=1, max_size=120)


@given(crowd, crowd, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_nobody_is_in_two_parts_and_no_picture_is_lost(first, second, seed):
    sets = [toy([f"p{i}" for i in first], [i % 3 for i in first]), toy([f"p{i}" for i in second])]
    people = {person for faces in sets for person in faces.persons}
    if len(people) < 3:
        with pytest.raises(DataError, match="cannot be split"):
            split_by_person(sets, (0.6, 0.2, 0.2), seed)
        return
    parts = split_by_person(sets, (0.6, 0.2, 0.2), seed)
    who = [set(), set(), set()]
    for faces, positions in zip(sets, parts, strict=True):
        assert sorted(torch.cat(positions).tolist()) == list(range(len(faces)))
        for part, index in enumerate(positions):
            who[part] |= {faces.persons[i] for i in index}
    assert not (who[0] & who[1] or who[0] & who[2] or who[1] & who[2])
    assert all(who), "a part without anybody"


def lopsided(seed=0) -> list[FaceSet]:
    """People like the open sets': many with one picture, a few with many; one class in twenty."""
    rng = np.random.default_rng(seed)
    sizes = [1] * 300 + [3] * 100 + [10] * 20 + [60]
    persons = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    labels = rng.choice(3, p=[0.55, 0.40, 0.05], size=len(persons))
    second = [f"p{i}" for i in rng.integers(200, 500, 600)]
    return [toy(persons, labels), toy(second)]


@pytest.mark.parametrize("seed", range(4))
def test_parts_have_about_the_sizes_asked_for_in_every_class(seed):
    fractions = (0.6, 0.2, 0.2)
    sets = lopsided()
    for faces, parts in zip(sets, split_by_person(sets, fractions, seed), strict=True):
        for part, fraction in zip(parts, fractions, strict=True):
            assert len(part) / len(faces) == pytest.approx(fraction, abs=0.05)
            for name, count in faces.select(part).counts().items():
                assert count / faces.counts()[name] == pytest.approx(fraction, abs=0.08)


def test_a_seed_is_a_split():
    sets = lopsided()
    first, again, other = (split_by_person(sets, seed=seed) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (1.2, -0.2), (), (0.5, 0.5, 0.0)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(ConfigError, match="sum to 1"):
        split_by_person([toy("abcdef")], fractions)


# ---- crops


def face_points(seed=0, scale=40.0, place=(100.0, 80.0)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = MEAN_SHAPE[:, :2].float() * scale + torch.tensor(place)
    return points[None] + torch.randn(1, 68, 2, generator=generator)


@given(st.integers(0, 100), st.floats(3, 200), st.sampled_from([48, 96]))
@settings(max_examples=30, deadline=None)
def test_the_box_holds_all_points_with_the_margin_on_the_longer_side(seed, scale, size):
    points = face_points(seed, scale)
    inside = to_crop(points, landmark_box(points), size)[0]
    low, high = inside.amin(0) + 0.5, inside.amax(0) + 0.5
    extent = high - low
    assert extent.max() * 1.4 == pytest.approx(size, rel=1e-3)
    assert torch.allclose(low + high, torch.full((2,), float(size)), atol=1e-2 * size)  # centred


def test_nme_is_the_same_in_the_crop_and_in_the_original():
    true, predicted = face_points(0), face_points(9)
    box = landmark_box(true)
    in_crop = nme(to_crop(predicted, box, 96), to_crop(true, box, 96))
    assert torch.allclose(in_crop, nme(predicted, true), rtol=1e-4)
    assert torch.allclose(to_original(to_crop(true, box, 96), box, 96), true, atol=1e-3)


@pytest.mark.parametrize("place", [(100.0, 80.0), (20.0, 15.0), (190.0, 150.0)])
def test_pixels_and_landmarks_are_cropped_alike(place):
    # A soft dot at a point of the original is found at that point's place in the crop, padding or not.
    points = face_points(0, 40.0, place)
    box = landmark_box(points)
    visible = [i for i in (8, 30, 33, 37, 51) if 3 < points[0, i, 0] < 196 and 3 < points[0, i, 1] < 156]
    assert visible
    for i in visible:
        x, y = points[0, i].tolist()
        ys, xs = np.mgrid[:160, :200]
        picture = (250 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 2.0**2))).astype(np.uint8)
        small = cut(picture, tuple(box[0].tolist()), 96).astype(float)
        yy, xx = np.mgrid[:96, :96]
        small[small < 10] = 0
        found = np.array([(small * xx).sum(), (small * yy).sum()]) / small.sum()
        assert np.abs(found - to_crop(points, box, 96)[0, i].numpy()).max() < 0.15


def test_padding_repeats_the_border():
    picture = np.full((10, 20), 90, np.uint8)
    assert (cut(picture, whole_picture(10, 20), 40) == 90).all()


def test_a_square_beside_the_picture_is_refused():
    with pytest.raises(DataError, match="lies outside the picture"):
        cut(np.zeros((10, 10), np.uint8), (20.0, 0.0, 5.0), 8)


# ---- numbers


def test_numbers_depend_on_their_address_only():
    index = torch.tensor([5, 1, 10**12, 7])
    table = uniform(3, index, 20)
    for row, i in enumerate(index.tolist()):
        assert torch.equal(uniform(3, torch.tensor([i]), 20)[0], table[row])
    assert torch.equal(uniform(3, index, 5), table[:, :5])
    for other in (uniform(4, index, 20), uniform(3, index + 1, 20), uniform(3, index, 20, stream=1)):
        assert (other == table).float().mean() < 0.01


def test_numbers_are_uniform_and_uncorrelated():
    table = uniform(0, torch.arange(4000), 8)
    counts = torch.histc(table.float(), 20, 0, 1)
    expected = table.numel() / 20
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi-square, 19 degrees of freedom, p < .001
    correlation = torch.corrcoef(torch.cat((table, table.roll(1, 0)), 1).T) - torch.eye(16)
    assert correlation.abs().max() < 0.08
    assert table.min() > 0 and table.max() < 1


def test_normal_numbers_and_grain_have_unit_variance():
    for sample in (normal(0, torch.arange(5000), 4), grain(0, torch.arange(4), 5000)):
        assert sample.mean().abs() < 0.03 and abs(sample.std() - 1) < 0.02


def test_many_faces_have_no_twins():
    table = uniform(0, torch.arange(200_000), 1)
    assert len(table.unique()) > 200_000 - 20  # 32 bits of each number: a handful may agree by chance
    pairs = uniform(0, torch.arange(200_000), 2)
    assert len((pairs[:, 0] + 1000 * pairs[:, 1]).unique()) == 200_000


# ---- tiers


def test_the_synthetic_sets_have_what_training_needs():
    sets = load_tier("synthetic", size=52, pixels=32, seed=4)
    expression, landmarks = sets["expression"], sets["landmarks"]
    assert set(expression.counts().values()) == {4} and expression.landmarks is None
    assert landmarks.labels is None and landmarks.landmarks.shape == (52, 68, 2)
    shared = set(expression.persons) & set(landmarks.persons)
    assert 0 < len(shared) < len(set(expression.persons))
    again = load_tier("synthetic", size=52, pixels=32, seed=4)
    assert torch.equal(again["expression"].images, expression.images)
    other = load_tier("synthetic", size=52, pixels=32, seed=5)
    assert not torch.equal(other["expression"].images, expression.images)


def test_what_is_shown_is_independent_of_who_shows_it():
    faces = synthetic_set(13 * 18, size=24, intensity=(0.0, 0.1))
    states_of = {}
    for person, state in zip(faces.persons, faces.labels.tolist(), strict=True):
        states_of.setdefault(person, set()).add(state)
    assert np.mean([len(states) for states in states_of.values()]) > 3


def test_the_intensity_of_a_tier_is_that_of_its_expression_set_alone():
    subtle, plain = (
        load_tier("synthetic", size=26, pixels=32, intensity=each) for each in (None, (0.8, 1.2))
    )
    assert 0.2 <= subtle["expression"].extra["intensity"].min() < 0.8
    assert plain["expression"].extra["intensity"].min() >= 0.8
    assert plain["expression"].persons == subtle["expression"].persons
    assert torch.equal(plain["landmarks"].images, subtle["landmarks"].images)


def test_unknown_tiers_and_missing_folders_say_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="no data tier 'papers'; the tiers are synthetic, open, paper"):
        load_tier("papers", tmp_path)
    for tier in (load_tier, check_tier):
        with pytest.raises(ConfigError, match="'paper' needs a folder that holds the data sets.*--root DIR"):
            tier("paper")
    with pytest.raises(ConfigError, match="only the faces of the tier 'synthetic'"):
        load_tier("open", tmp_path, intensity=(0.5, 1.0))
    with pytest.raises(ConfigError, match="needs a folder.*--root DIR"):
        load_tier("open")
    with pytest.raises(DataError, match="no such folder"):
        check_tier("open", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least 1"):
        load_tier("synthetic", size=0)


def test_the_synthetic_report_counts():
    text = str(check_tier("synthetic"))
    assert "130 pictures kept" in text and "Happy 10" in text and "persons are in both sets" in text
