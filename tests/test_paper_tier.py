"""The paper's tier: sets named by the reader, read and split as their owners say, on rendered twins."""

import json
from pathlib import Path

import pytest
import torch
from toy_expressions import message, run

from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet, joined
from mtl_lib.faces.dataset import ROLES
from mtl_lib.faces.registry import SETS, open_set, reader
from mtl_lib.faces.splits import split_by_person, split_faces
from mtl_lib.faces.tiers import check_tier, load_tier
from mtl_lib.tasks import load_sets, split_sets


def test_the_tier_reads_the_named_sets(root, toyset, tmp_path):
    sets = load_tier("paper", root, pixels=24, cache=tmp_path, expression_set="toyset")
    assert len(sets["expression"]) == 40 and sets["expression"].classes == ("calm", "glad")
    # 300-W gives all its faces, Menpo those to train on.
    landmarks = sets["landmarks"]
    assert len(landmarks) == 31 + 12 and landmarks.landmarks.shape == (43, 68, 2)
    roles = [ROLES[i] for i in landmarks.extra["role"].tolist()]
    assert roles == ["train"] * 18 + ["test"] * 13 + ["train"] * 12
    only = load_tier("paper", root, pixels=24, expression_set="toyset", landmark_sets="menpo")
    assert len(only["landmarks"]) == 18
    assert len(load_tier("paper", root, 5, pixels=24, expression_set="toyset")["landmarks"]) == 5
    text = str(check_tier("paper", root, expression_set="toyset"))
    assert (
        "Toy expressions" in text
        and "rendered twin of Menpo 2D" in text
        and "train: 18 of 18 expected" in text
    )


def test_the_owners_test_faces_are_the_test_faces(root, toyset):
    config = TrainConfig.for_budget("smoke", tier="paper", expression_set="toyset", pixels=32)
    parts = split_sets(config, load_sets(config, root))
    assert len(parts["test"]["landmarks"]) == 13
    assert all(who.startswith(("300w-ibug", "300w-helen/testset", "300w-lfpw/testset"))
               for who in parts["test"]["landmarks"].persons)  # fmt: skip
    assert len(parts["train"]["landmarks"]) + len(parts["validation"]["landmarks"]) == 30
    assert not set(parts["train"]["landmarks"].persons) & set(parts["validation"]["landmarks"].persons)
    assert sum(len(parts[part]["expression"]) for part in parts) == 40
    people = [set(parts[part]["expression"].persons) for part in parts]
    assert not people[0] & people[1] and not people[1] & people[2] and not people[0] & people[2]


def with_roles(roles, name="toy") -> FaceSet:
    images = torch.zeros(len(roles), 1, 2, 2, dtype=torch.uint8)
    persons = tuple(f"{name}{i // 2}" for i in range(len(roles)))
    return FaceSet(images, None, (), None, persons, name, {"role": torch.tensor(roles)})


def test_splits_as_the_owners_say():
    given = with_roles([0, 0, 1, 1, 2, 2])
    [parts] = split_faces([given])
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    kept_back = with_roles([0] * 40 + [1] * 4)
    assert split_faces([kept_back])[0][2].tolist() == [40, 41, 42, 43]
    partly = with_roles([0] * 40 + [2] * 10)
    free = with_roles([0] * 40, "free")
    free = FaceSet(free.images, None, (), None, free.persons, "free")
    first, second = split_faces([partly, free], (0.6, 0.2, 0.2), 3)
    assert first[2].tolist() == list(range(40, 50))
    assert sorted([*first[0].tolist(), *first[1].tolist()]) == list(range(40)) and len(first[1]) == 10
    # The other sets are split as they would be without it.
    assert all(
        torch.equal(a, b) for a, b in zip(second, split_by_person([free], (0.6, 0.2, 0.2), 3)[0], strict=True)
    )
    with pytest.raises(DataError, match="6 faces to train on and 0 to test on"):
        split_faces([with_roles([0] * 6)])


def test_training_on_the_tier_from_the_command_line(root, toyset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    status, told, _ = run(
        capsys, "train", "--out", out, "--tier", "paper", "--root", root, "--budget", "smoke", "--steps", 2,
        "--set", "expression_set=toyset", "pixels=32", "width=2", "batch_size=4",
    )  # fmt: skip
    assert status == 0 and "mtl evaluate" in told
    assert json.loads((out / "config.json").read_text())["config"]["landmark_sets"] == "300w+menpo"
    status, told, _ = run(capsys, "evaluate", out, "--root", root)
    assert status == 0 and "NME (pupils)" in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"expression_set": "300w"}, "there is no expression set '300w'"),
        ({"landmark_sets": "300w+300w"}, "each set can be named once"),
        ({"landmark_sets": ""}, "there is no landmark set ''"),
        ({"landmark_sets": "300w,menpo"}, "there is no landmark set '300w,menpo'; there are 300w, menpo"),
        ({"intensity": (0.1, 0.2)}, "only the faces of the tier 'synthetic'"),
    ],
)
def test_tiers_that_cannot_be(root, toyset, settings, words):
    with pytest.raises(ConfigError, match=words):
        load_tier("paper", root, **{"expression_set": "toyset", **settings})


def test_options_of_a_set_stand_behind_its_name(root, toyset):
    assert open_set("300w:boxes=truth", root).boxes == "truth"
    sets = load_tier(
        "paper", root, pixels=24, expression_set="toyset", landmark_sets="300w:boxes=truth+menpo"
    )
    plain = load_tier("paper", root, pixels=24, expression_set="toyset")
    assert not torch.equal(sets["landmarks"].images[:31], plain["landmarks"].images[:31])
    assert torch.equal(sets["landmarks"].images[31:], plain["landmarks"].images[31:])
    for name, words in (
        ("300w:boxes", "the option 'boxes'; options are written key=value, with the keys boxes"),
        ("300w:box=truth", "the option 'box=truth'"),
        ("toyset:boxes=truth", "but this set has none"),
        ("menpo:boxes=truth", "boxes is 'truth'; it must be one of landmarks, mtcnn"),
        ("300w:boxes=mine", "boxes is 'mine'"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_set(name, root)


def test_a_set_that_is_not_there_is_named(tmp_path, root, toyset, capsys):
    assert "needs a folder that holds the data sets" in message(capsys, "data", "check", "--tier", "paper")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Toy expressions is not here; expected is toy/calm"):
        load_tier("paper", tmp_path / "empty", expression_set="toyset")
    with pytest.raises(DataError, match="300-W is not here"):
        load_tier("paper", root / "toy", expression_set="toyset")


def test_sets_that_differ_are_not_joined():
    first = with_roles([0, 1])
    labelled = FaceSet(first.images, torch.tensor([0, 0]), ("a",), None, first.persons, "labelled")
    with pytest.raises(DataError, match="'toy' and 'labelled' differ in what they hold"):
        joined([first, labelled], "both")


def test_the_appendix_tells_of_every_set():
    text = (Path(__file__).parent.parent / "chapters/appendix/data.md").read_text(encoding="utf-8")
    for name in SETS:
        assert (
            f"(`{name}`)" in text and f"mtl data check --set {name} DIR" in text and f"| `{name}` |" in text
        )
        for part, count in reader(name).PUBLISHED.items():
            assert f"{count:,}" in text or str(count) in text or part in ("train", "validation", "test")
