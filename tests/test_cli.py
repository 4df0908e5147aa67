"""The command ``mtl``, as its user meets it: results on stdout, one clear message and status 2 for what is wrong."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_lib import cli
from mtl_lib.faces.render import render_faces
from mtl_lib.predict import predict_picture, square
from mtl_lib.train import FitResult

SMOKE = ["--budget", "smoke", "--set", "faces=60"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert cli.main(["train", "--out", str(out), "--steps", "4", *SMOKE]) == 0
    return out


def fails(capsys, *args: str) -> str:
    """The message of a call that must end with status 2."""
    assert cli.main(list(args)) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    announced = ("rendering faces, ", "reading the pictures in ")
    (line,) = [line for line in err.strip().splitlines() if not line.startswith(announced)]
    assert line.startswith("mtl: ")
    return line


def test_a_run_can_be_evaluated_beside_what_guessing_gives(run, capsys):
    assert cli.main(["evaluate", str(run)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "accuracy",
        "always the largest class",
        "macro-recall",
        "NME (pupils)",
        "always the mean shape",
    ):
        assert words in printed


def test_the_settings_given_are_those_of_the_run(run):
    import json

    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["steps"], config["faces"], config["budget"]) == (4, 60, "smoke")


def test_the_gated_tier_says_what_it_needs(tmp_path, capsys):
    for command in (["train", "--out", str(tmp_path / "run")], ["data", "check"]):
        message = fails(capsys, *command, "--tier", "paper")
        assert "needs a folder that holds the data sets" in message and "--root DIR" in message
    assert not (tmp_path / "run").exists()


def test_what_happens_before_the_first_step_is_announced(tmp_path, capsys):
    assert cli.main(["train", "--out", str(tmp_path / "run"), "--steps", "1", *SMOKE]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("rendering faces, 48x48 pixels") and "rendering" not in out


def test_a_run_that_a_signal_stopped_ends_with_its_status(tmp_path, monkeypatch):
    """`mtl train && mtl evaluate` must not measure half a run."""
    about = {"best_step": -1, "validation": {}, "seconds": 1.0, "memory": 1.0, "seconds_per_step": 1.0}
    predicted = {"seconds_per_step": 1.0, "memory": 1.0}
    for finished, number, status in (
        (False, signal.SIGTERM, 143),
        (False, signal.SIGINT, 130),
        (True, None, 0),
    ):
        result = FitResult(tmp_path, 1, finished, predicted=predicted, signal=number, **about)
        monkeypatch.setattr("mtl_lib.train.fit", lambda *a, result=result, **k: result)
        assert cli.main(["train", "--out", str(tmp_path), *SMOKE]) == status


def test_a_finished_run_is_not_overwritten_but_can_be_resumed(run, capsys):
    before = (run / "last.safetensors").read_bytes()
    assert "holds a run already" in fails(capsys, "train", "--out", str(run), "--steps", "4", *SMOKE)
    assert cli.main(["train", "--out", str(run), "--steps", "4", "--resume", *SMOKE]) == 0
    assert (run / "last.safetensors").read_bytes() == before


def test_resuming_with_other_settings_says_which(run, capsys):
    message = fails(capsys, "train", "--out", str(run), "--steps", "4", "--resume", "--gamma", "0.5", *SMOKE)
    assert "gamma: 0.01 -> 0.5" in message


def test_predict_draws_on_the_picture_and_names_expressions(run, tmp_path, capsys):
    image, _ = render_faces(torch.tensor([3]), size=96)
    Image.fromarray(image[0, 0].numpy()).save(tmp_path / "me.png")
    out = tmp_path / "drawn"
    assert cli.main(["predict", str(tmp_path / "me.png"), "--run", str(run), "--out", str(out)]) == 0
    assert "%" in capsys.readouterr().out
    drawn = np.asarray(Image.open(out / "me.png"))
    assert min(drawn.shape[:2]) >= 480
    assert (drawn.max(axis=-1).astype(int) - drawn.min(axis=-1) > 60).any(), "nothing coloured was drawn"


def test_predicted_landmarks_move_with_the_box(run, tmp_path):
    """The face shifted within a larger picture, and its box with it, gives the points shifted."""
    from mtl_lib.evaluate import load_run, predict
    from mtl_lib.faces.crops import cut, to_original

    image, _ = render_faces(torch.tensor([3]), size=96)
    large = np.zeros((150, 200), np.uint8)
    large[30:126, 70:166] = image[0, 0]
    crop = square(large.shape, (70, 30, 166, 126), tmp_path)
    assert crop == (70.0, 30.0, 96.0)
    model = load_run(run)
    size = model.config.pixels
    found = predict(model, torch.from_numpy(cut(large, crop, size).copy())[None, None]).landmarks
    alone = predict(
        model, torch.from_numpy(cut(image[0, 0].numpy(), (0.0, 0.0, 96.0), size).copy())[None, None]
    ).landmarks
    shift = to_original(found, torch.tensor([crop]), size) - to_original(
        alone, torch.tensor([[0.0, 0, 96]]), size
    )
    torch.testing.assert_close(
        shift, torch.tensor([70.0, 30.0]).expand_as(shift), rtol=0, atol=0.3
    )  # Pillow looks a pixel past the box
    Image.fromarray(large).save(tmp_path / "large.png")
    assert (
        predict_picture(model, tmp_path / "large.png", tmp_path / "o", (70, 30, 166, 126)).ranking[0][1] > 0
    )


def test_what_is_wrong_with_a_picture_is_said(run, tmp_path, capsys):
    missing = tmp_path / "nobody.png"
    message = fails(capsys, "predict", str(missing), "--run", str(run))
    assert "nobody.png: there is no such file; check the path" in message
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "text.png: this is not a picture; give" in fails(capsys, "predict", str(text), "--run", str(run))
    broken = tmp_path / "broken.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:40])
    message = fails(capsys, "predict", str(broken), "--run", str(run))
    assert "broken.png" in message and "download" not in message, "it is the user's own picture, not a set's"
    good = tmp_path / "good.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(good)
    message = fails(capsys, "predict", str(good), "--run", str(run), "--box", "0", "0", "65", "64")
    assert "64x64" in message and "good.png" in message
    assert "no such run" in fails(capsys, "predict", str(good), "--run", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("gamma=-1", "gamma"),
        ("colour=blue", "no setting"),
        ("lr", "no setting"),
        ("steps=many", "steps is 'many'"),
        ("pinned=maybe", "pinned is 'maybe'"),
        ("norm=schatten", "laf, tucker, tt"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused(tmp_path, capsys, setting, words):
    message = fails(capsys, "train", "--out", str(tmp_path / "r"), "--budget", "smoke", "--set", setting)
    assert words in message
    assert not (tmp_path / "r").exists()


def test_real_faces_need_a_folder_that_holds_them(tmp_path, capsys):
    assert "--root" in fails(capsys, "data", "check", "--tier", "open")
    assert "facial_expressions" in fails(capsys, "data", "check", "--tier", "open", "--root", str(tmp_path))
    gone = str(tmp_path / "gone")
    assert gone in fails(capsys, "train", "--out", str(tmp_path / "r"), "--tier", "open", "--root", gone)


def test_the_exit_status_reaches_the_shell(tmp_path):
    command = [sys.executable, "-m", "mtl_lib.cli", "evaluate", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("mtl: ") and "Traceback" not in done.stderr
