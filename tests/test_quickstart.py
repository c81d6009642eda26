"""The first section of the quickstart, run as it is written."""

import csv
import os
import pathlib
import re
import subprocess
import sys

from PIL import Image

from tests.images import striped_split

PROJECT = pathlib.Path(__file__).parent.parent


def test_your_own_images_in_five_minutes(tmp_path):
    page = (PROJECT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    section = page.split("## Your own images in five minutes\n")[1].split("\n## ")[0]
    commands = "".join(re.findall(r"^```shell\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL))
    split = striped_split(8, 9, seed=1)
    for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        name = split.class_names[label]
        # Two examples and one image to classify of the last four classes.
        kind, number = label >= 4, index % 9
        places = ["DIR", *(["EXAMPLES"] if kind and number < 2 else ["IMAGES"] if kind and number == 2 else [])]
        for place in places:
            path = tmp_path / place / name / f"{index}.jpg" if place != "IMAGES" else tmp_path / place / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (tmp_path / "flags").symlink_to(PROJECT / "flags")
    executable = os.path.dirname(sys.executable)
    environment = {**os.environ, "PYTHONPATH": os.fspath(PROJECT), "PATH": f"{executable}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "8 classes are divided" in done.stdout and "on classes unseen in training" in done.stdout
    assert "fewer than --ways=32: a batch has all of them" in done.stdout
    divided = list(csv.DictReader((tmp_path / "runs" / "mine" / "class_split.csv").read_text().splitlines()))
    assert {row["class"] for row in divided} == set(split.class_names)
    assert [row["split"] for row in divided] == ["train"] * 4 + ["test"] * 4
    predictions = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(predictions) == 4 and {row["class"] for row in predictions} <= set(split.class_names[4:])
