"""Small copies of the layouts of the two open sets, made of rendered faces, quirks included."""

import csv
import io

import torch
from PIL import Image

from mtl_lib.faces.render import render_faces

FACES, POINTS = render_faces(torch.arange(24), size=64, style="wild", occlusion=0.0)
HEADER = ["", *map(str, range(136))]

EXPRESSION_ROWS = [
    ("302", "Ann_Lee_0001.jpg", "happiness"),
    ("302", "Ann_Lee_0002.jpg", "neutral"),
    ("302", "Bo_Chu_0001.jpg", "anger"),
    ("dw", "Bo_Chu_0002.jpg", "sadness"),
    ("dw", "Cy-3b.jpg", "surprise"),
    ("dw", "Dee_Fox_0001.jpg", "neutral"),
    ("dw", "Dee_Fox_0001.jpg", "neutral"),  # a repeated row
    ("dw", "Eve_0001.jpg", "neutral"),
    ("dw", "Eve_0001.jpg", "sadness"),  # one picture, two labels
    ("dw", "Flo_0001.jpg", "fear"),
    ("dw", "Gus_0001.jpg", "contempt"),
    ("dw", "Hal_0001.jpg", "happiness"),  # the same bytes as Ann_Lee_0001
    ("film", "Ida_01.jpg", "DISGUST"),
    ("film", "Ida_02.jpg", "SADNESS"),
    ("film", "Ida_03.jpg", "HAPPINESS"),  # gray, but from the colour source
    ("dw", "Jo_0001.jpg", "Neutral"),
]


def gray(number: int) -> Image.Image:
    return Image.fromarray(FACES[number, 0].numpy())


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_expressions(root):
    folder = root / "facial_expressions"
    (folder / "data").mkdir(parents=True)
    (folder / "images").mkdir()
    write_rows(folder / "data/legend.csv", [("user.id", "image", "emotion"), *EXPRESSION_ROWS])
    for number, name in enumerate(dict.fromkeys(row[1] for row in EXPRESSION_ROWS)):
        (folder / "images" / name).write_bytes(encoded(gray(number), "JPEG"))
    images = folder / "images"
    (images / "Hal_0001.jpg").write_bytes((images / "Ann_Lee_0001.jpg").read_bytes())
    (images / "Bo_Chu_0001.jpg").write_bytes(encoded(gray(2).convert("RGB"), "WEBP"))
    (images / "Cy-3b.jpg").write_bytes(encoded(gray(4).crop((0, 4, 64, 54)), "PNG"))
    for number, name in ((20, "Ida_01.jpg"), (21, "Ida_02.jpg")):
        tinted = Image.merge("RGB", (gray(number), gray(number).point(lambda v: v // 2), gray(number)))
        (images / name).write_bytes(encoded(tinted, "JPEG"))
    (images / "nobody_labelled_me.jpg").write_bytes(encoded(gray(22), "JPEG"))
    (images / ".DS_Store").write_bytes(b"not a picture")
    return folder


KEYPOINT_NAMES = {
    "training": ["Ann_Lee_00.jpg", "Ann_Lee_01.jpg", "Ann_Lee_10.jpg", "Kim_Po_00.jpg", "Kim_Po_01.jpg"],
    "test": ["Ann_Lee_00.jpg", "Kim_Po_01.jpg", "Lou_Ra_22.jpg"],
}


def make_keypoints(root):
    folder = root / "P1_Facial_Keypoints" / "data"
    number = 0
    for part, names in KEYPOINT_NAMES.items():
        (folder / part).mkdir(parents=True)
        rows = [HEADER]
        for name in names:
            picture, points = gray(number), POINTS[number].clone()
            kind = picture.convert("RGBA") if number % 2 == 0 else picture
            (folder / part / name).write_bytes(encoded(kind, "PNG" if number % 2 == 0 else "JPEG"))
            if (part, name) == ("training", "Kim_Po_00.jpg"):
                points -= torch.tensor([14.0, 0.0])  # some of its points leave the picture
            rows.append([name, *(f"{v:.2f}" for v in points.flatten().tolist())])
            number += 1
        write_rows(folder / f"{part}_frames_keypoints.csv", rows)
    # One picture twice, in both parts, as in the real set.
    (folder / "test/Kim_Po_01.jpg").write_bytes((folder / "training/Kim_Po_01.jpg").read_bytes())
    return folder
