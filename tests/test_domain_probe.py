"""The probe finds what Bayes would find, knows nobody twice; size, rank and distance are what was built."""

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import norm

from mtl_lib.domain_probe import balanced_interval, domain_probe
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.feature_measures import energy_distance, feature_shape


def gaussians(sizes, apart, width=5, seed=0):
    """Domain t is a unit Gaussian about t times `apart` on the first axis; everybody has one picture."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n, width)) for n in sizes]
    for t, part in enumerate(parts):
        part[:, 0] += t * apart
    names = np.arange(sum(sizes))
    return parts, np.split(names, np.cumsum(sizes)[:-1])


def families(people, pictures, width, seed=0):
    """Features that say who it is, nearly the same in all pictures of a person, and nothing else."""
    rng = np.random.default_rng(seed)
    parts, names = [], []
    for t in range(2):
        who = np.repeat(np.arange(people), pictures) + t * people
        person = rng.normal(size=(2 * people, width))
        parts.append(person[who] + 0.01 * rng.normal(size=(len(who), width)))
        names.append(who)
    return parts, names


@pytest.mark.parametrize(
    ("kind", "sizes", "apart"),
    [
        ("linear", (700, 700), 1.0),
        ("linear", (900, 450), 2.0),
        ("linear", (500, 500, 500), 2.0),
        ("mlp", (800, 400, 400), 2.0),
    ],
)
def test_the_probe_is_as_good_as_the_best_classifier_of_gaussians(kind, sizes, apart):
    parts, names = gaussians(sizes, apart)
    result = domain_probe(parts, names, kind)
    ends, middle = norm.cdf(apart / 2), 2 * norm.cdf(apart / 2) - 1
    best = (2 * ends + (len(sizes) - 2) * middle) / len(sizes)
    assert result.accuracy == pytest.approx(best, abs=0.035)
    assert result.low < best < result.high and result.found
    assert result.chance == 1 / len(sizes) and len(result.recalls) == len(sizes)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_probe_is_at_chance_on_equal_domains_and_perfect_on_separate_ones(kind):
    parts, names = gaussians((400, 150), 0.0)
    equal = domain_probe(parts, names, kind)
    assert equal.accuracy == pytest.approx(0.5, abs=0.07) and equal.low < 0.5 < equal.high
    parts, names = gaussians((400, 150), 12.0)
    apart = domain_probe(parts, names, kind)
    assert apart.accuracy == 1 and 0.95 < apart.low < 1
    assert "100 %" in str(apart)


def test_only_the_mlp_sees_a_ring_about_a_cloud():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 400)
    ring = 3 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.3 * rng.normal(size=(400, 2))
    parts, names = [0.5 * rng.normal(size=(400, 2)), ring], [range(400), range(400, 800)]
    assert domain_probe(parts, names, "linear").accuracy < 0.65
    assert domain_probe(parts, names, "mlp").accuracy > 0.97


def test_knowing_people_does_not_help():
    """Random codes for people tell the domain of people one has seen, and of nobody else."""
    parts, names = families(people=40, pictures=6, width=64)
    fair = domain_probe(parts, names)
    assert fair.low < 0.5 < fair.high
    # As if every picture were somebody else, so that pictures of one person are on both sides.
    strangers = [np.arange(240), np.arange(240) + 240]
    assert domain_probe(parts, strangers).accuracy > 0.9


def test_somebody_in_two_domains_is_in_one_part_only(monkeypatch):
    """Whoever is in both domains must never be in the fit and in the test: watched at the fit itself."""
    from mtl_lib import domain_probe as module

    parts, names = gaussians((60, 60), 1.0)
    names = [np.arange(60) // 2, np.arange(60) // 2 + 15]  # people 15 to 29 are in both
    for t in range(2):
        parts[t][:, 1] = names[t]  # who it is can be read off the features
    everybody, fitted = set(range(45)), []
    original = module._fitted
    monkeypatch.setattr(
        module,
        "_fitted",
        lambda x, *rest: (fitted.append(set(x[:, 1].astype(int).tolist())), original(x, *rest))[1],
    )
    domain_probe(parts, names)
    assert len(fitted) == 2
    assert fitted[0] | fitted[1] == everybody and not fitted[0] & fitted[1]


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for true, people in (((0.9, 0.7), (40, 60)), ((0.99, 0.99), (30, 30)), ((0.5, 0.4, 0.3), (50, 20, 50))):
        held = 0
        for _ in range(500):
            recalls = [rng.binomial(n, p) / n for n, p in zip(people, true, strict=True)]
            low, high = balanced_interval(recalls, people)
            held += low <= np.mean(true) <= high
        assert 0.93 <= held / 500 <= 1.0
    assert np.ptp(balanced_interval((0.6, 0.6), (20, 20), 0.99)) > np.ptp(
        balanced_interval((0.6, 0.6), (20, 20))
    )


def test_bad_input_to_the_probe_is_named():
    parts, names = gaussians((20, 20), 1.0)
    with pytest.raises(ConfigError, match="linear, mlp"):
        domain_probe(parts, names, "tree")
    with pytest.raises(ConfigError, match="folds"):
        domain_probe(parts, names, folds=1)
    with pytest.raises(DataError, match="two or more"):
        domain_probe(parts[:1], names[:1])
    with pytest.raises(DataError, match="20 features and 19 people"):
        domain_probe(parts, [names[0], names[1][:19]])
    with pytest.raises(DataError, match="not finite"):
        domain_probe([parts[0], parts[1] * np.nan], names)
    with pytest.raises(DataError, match="people"):
        domain_probe(parts, [["one"] * 20, names[1]])


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_shape_of_features_is_what_was_built(rank):
    g = torch.Generator().manual_seed(rank)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.float64))[0][:rank]
    mean = torch.randn(12, generator=g, dtype=torch.float64)
    code = torch.linalg.qr(torch.randn(50, rank + 1, generator=g, dtype=torch.float64))[0]
    code = code - code.mean(0)
    x = 4.0 * code[:, :rank] @ basis + mean
    shape = feature_shape(x)
    assert shape.rank == rank
    assert shape.norm == pytest.approx(float((x**2).sum(1).sqrt().mean()))
    assert shape.spread == pytest.approx(float(x.var(dim=0, correction=0).sum().sqrt()))
    twice = feature_shape(2 * x)
    assert (twice.norm, twice.spread, twice.rank) == pytest.approx((2 * shape.norm, 2 * shape.spread, rank))


def test_collapse_is_at_chance_and_shows_in_the_spread():
    point = torch.ones(40, 6) * torch.arange(6)
    assert domain_probe([point, point], [range(40), range(40, 80)]).accuracy == 0.5
    shape = feature_shape(point)
    assert shape.spread == 0 and shape.rank == 0 and shape.norm > 1
    assert energy_distance([point, point]).distance == 0
    # Almost collapsed is not aligned: standardised, the difference is as plain as before.
    parts, names = gaussians((40, 40), 6.0)
    tiny = [torch.from_numpy(1e-6 * part) for part in parts]
    assert domain_probe(tiny, names).accuracy > 0.95
    assert energy_distance(tiny).distance == pytest.approx(
        energy_distance([torch.from_numpy(p) for p in parts]).distance
    )
    with pytest.raises(DataError, match="no features"):
        feature_shape(torch.zeros(0, 3))


def test_energy_distance_is_scipys_on_a_line_and_the_mean_over_pairs():
    g = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 1, generator=g).double() + shift for n, shift in ((40, 0), (25, 0.7), (30, -1))]
    whole = torch.cat(parts)
    scaled = [((p - whole.mean()) / whole.std(correction=0)).ravel().numpy() for p in parts]
    pairs = [scipy_energy_distance(scaled[i], scaled[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2))]
    assert energy_distance(parts, permutations=1).distance == pytest.approx(np.mean(pairs))


def test_the_permutation_null_exchanges_people():
    rejected = {"people": 0, "pictures": 0}
    for seed in range(20):
        parts, names = families(people=8, pictures=6, width=3, seed=1000 + seed)
        parts = [torch.from_numpy(part) for part in parts]
        rejected["people"] += energy_distance(parts, names, permutations=99, seed=seed).p <= 0.05
        rejected["pictures"] += energy_distance(parts, permutations=99, seed=seed).p <= 0.05
    assert rejected["people"] <= 3  # one in twenty, by chance
    assert rejected["pictures"] >= 15  # which is why the pictures of a person must stay together
    with pytest.raises(DataError, match="two domains"):
        energy_distance(parts, [names[0], names[0]])
    with pytest.raises(DataError, match="one each"):
        energy_distance(parts, [names[0], names[1][:3]])
    with pytest.raises(DataError, match="at least two"):
        energy_distance(parts[:1])
