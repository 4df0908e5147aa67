"""A folder of pictures: none is lost for another's sake, boxes mean what they say, and the table holds what was drawn."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mtl_lib import cli
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.evaluate import load_run
from mtl_lib.faces.crops import box_square
from mtl_lib.faces.render import render_faces
from mtl_lib.own_pictures import find_pictures, predict_pictures, read_boxes
from mtl_lib.predict import read_upright
from mtl_lib.train import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    fit(
        TrainConfig.for_budget("smoke", steps=1, faces=60, ada=0.0),
        out=out,
        accelerator="cpu",
        progress=False,
    )
    return out


@pytest.fixture(scope="module")
def model(run):
    return load_run(run)


@pytest.fixture
def folder(tmp_path):
    images, _ = render_faces(torch.tensor([3, 4]), size=96)
    own = tmp_path / "own"
    own.mkdir()
    Image.fromarray(images[0, 0].numpy()).save(own / "a.png")
    wide = np.zeros((120, 240), np.uint8)
    wide[10:106, 8:104], wide[12:108, 130:226] = images[0, 0], images[1, 0]
    Image.fromarray(wide).save(own / "two.JPG", quality=95)
    (own / "notes.txt").write_text("not a picture by its name")
    (own / ".hidden.png").write_text("")
    return own


def rows(out) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_its_pictures_by_name_and_an_empty_one_an_error(folder, tmp_path):
    assert [path.name for path in find_pictures([folder, folder / "a.png"])] == ["a.png", "two.JPG"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no picture in this folder"):
        find_pictures([tmp_path / "none"])


def test_a_broken_picture_is_named_and_the_others_are_done(folder, run, tmp_path, capsys):
    whole = (folder / "a.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    out = tmp_path / "out"
    assert cli.main(["predict", str(folder), "--run", str(run), "--out", str(out)]) == 1
    told, complaints = capsys.readouterr()
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "predictions.csv", "two.png"]
    assert (
        "broken.png: the picture is damaged" in complaints and "text.png: this is not a picture" in complaints
    )
    assert "2 of 4 pictures" in told and "the middle of the picture was taken for the face" in told
    for path in folder.glob("*.png"):
        path.unlink()
    (folder / "two.JPG").write_text("")
    assert cli.main(["predict", str(folder), "--run", str(run), "--out", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "nothing").exists()


def test_the_table_holds_probabilities_and_landmarks_of_every_face(folder, model, tmp_path):
    boxes = {"two.JPG": [(8, 10, 104, 106), (130, 12, 226, 108)]}
    found = predict_pictures(model, find_pictures([folder]), tmp_path, boxes=boxes, tell=lambda text: None)
    table = rows(tmp_path)
    assert [(row["face"], row["box"]) for row in table] == [
        ("1", "whole picture"),
        ("1", "given"),
        ("2", "given"),
    ]
    faces = [face for one in found.done for face in one.faces]
    for row, face in zip(table, faces, strict=True):
        shares = {
            name.removeprefix("p_"): float(value) for name, value in row.items() if name.startswith("p_")
        }
        assert len(shares) == 13 and sum(shares.values()) == pytest.approx(1, abs=0.002)
        assert row["expression"] == max(face.ranking, key=lambda pair: pair[1])[0]
        assert float(row["probability"]) == pytest.approx(max(shares.values()), abs=1e-4)
        points = np.array([[float(row[f"x{k}"]), float(row[f"y{k}"])] for k in range(68)])
        np.testing.assert_allclose(points, face.landmarks, atol=0.006)
    # The same face by itself and as the first of two, moved by (8, 10); JPEG and borders change it a little.
    first, moved = faces[0].landmarks, faces[1].landmarks
    np.testing.assert_allclose(moved - first, np.broadcast_to([8.0, 10.0], (68, 2)), atol=1.0)
    drawn = np.asarray(Image.open(tmp_path / "two.png")).astype(int)
    assert ((drawn[..., 0] > 180) & (drawn[..., 2] < 60)).any(), "boxes are drawn where there are several"


def test_a_detector_is_asked_for_every_picture_and_its_silence_is_said(folder, model, tmp_path):
    asked = []

    def find(picture):
        asked.append(picture.shape)
        return [(20.0, 20.0, 80.0, 90.0)] if picture.shape == (96, 96) else []

    found = predict_pictures(model, find_pictures([folder]), tmp_path, detector=find, tell=lambda text: None)
    assert asked == [(96, 96), (120, 240)]
    (one,), (other,) = (each.faces for each in found.done)
    assert (one.source, other.source) == ("detected", "whole picture")
    assert one.crop == box_square((20.0, 20.0, 80.0, 90.0)), "extended as in training"
    assert other.crop == (60.0, 0.0, 120.0)


def test_boxes_are_read_with_their_lines(tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("picture,left,top,right,bottom\na.png,1,2,3,4\na.png, 5,6,7,8\n\nb.png,0,0,9,9\n")
    assert read_boxes(table) == {"a.png": [(1, 2, 3, 4), (5, 6, 7, 8)], "b.png": [(0, 0, 9, 9)]}
    table.write_text("picture,left,top,right,bottom\na.png,1,2,3,4\na.png,1,2,three,4\n")
    with pytest.raises(
        DataError, match=r"boxes.csv:3: 'a.png,1,2,three,4' is no picture and four whole numbers"
    ):
        read_boxes(table)
    table.write_text("file,left,top,right,bottom\n")
    with pytest.raises(DataError, match="the first line must be"):
        read_boxes(table)


def test_a_box_for_nobody_and_two_kinds_of_boxes_are_refused(folder, run, model, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"'c\.png', which is not among"):
        predict_pictures(model, find_pictures([folder]), tmp_path, boxes={"c.png": [(0, 0, 9, 9)]})
    command = ["predict", str(folder), "--run", str(run), "--box", "0", "0", "9", "9", "--detect"]
    assert cli.main(command) == 2 and "give one of" in capsys.readouterr().err
    missing = predict_pictures(
        model,
        [folder / "a.png"],
        tmp_path,
        boxes={"a.png": [(0, 0, 97, 9)]},
        tell=print,
        complain=lambda t: None,
    )
    assert missing.table is None and "does not lie on the picture of 96x96" in missing.failed[0]


def test_no_drawing_lands_on_a_picture_or_on_another_drawing(folder, model, tmp_path):
    before = (folder / "a.png").read_bytes()
    found = predict_pictures(
        model, find_pictures([folder]), folder, tell=lambda text: None, complain=lambda text: None
    )
    assert "written over the picture" in found.failed[0] and (folder / "a.png").read_bytes() == before
    Image.open(folder / "a.png").save(folder / "a.bmp")
    found = predict_pictures(
        model, find_pictures([folder / "a.png", folder / "a.bmp"]), tmp_path / "o", tell=lambda text: None
    )
    assert [one.drawing.name for one in found.done] == ["a_png.png", "a_bmp.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_as_pillow_turns_them(tmp_path, orientation):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "phone.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "phone.png")))
    np.testing.assert_array_equal(read_upright(tmp_path / "phone.png"), expected)
