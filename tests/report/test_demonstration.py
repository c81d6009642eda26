"""The page on which to try a model: what it computes, and the page itself in a browser where Gradio is installed."""

import html
import re
import signal
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from dsl_tf.errors import UserError
from dsl_tf.report.demonstration import classify_files, demonstration
from dsl_tf.runs.configuration import DemonstrationConfiguration
from dsl_tf.runs.export import export_saved_model
from tests import programs
from tests.images import tiny_backbone
from tests.report.test_browser import CHROMIUM, dom_of
from tests.workers import free_ports

COLOURS = {"red": (230, 30, 20), "blue": (20, 40, 220)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "saved_model"
    export_saved_model(tiny_backbone(), folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three files of each colour; those of different colours have the same names."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir()
        for number in range(3):
            noise = np.random.default_rng((seed, number)).normal(0, 15, (24, 24, 3))
            pixels = np.clip(noise + colour, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return {name: [str(folder / name / f"{number}.png") for number in range(3)] for name in COLOURS}


def examples(pictures):
    return [("red", pictures["red"][:2]), ("", []), ("blue/ä", pictures["blue"][:2])]


def test_files_are_classified_by_those_of_each_class(model, pictures):
    images = [pictures["blue"][2], pictures["red"][2]]
    found, page = classify_files(model, examples(pictures), images)
    names = {prediction.file: prediction.class_name for prediction in found.predictions()}
    assert names == {"001 2.png": "blue_ä", "002 2.png": "red"}
    assert page.count("<figcaption>") == 2 and "nearest labelled image, of blue_ä" in page
    _, rejecting = classify_files(model, examples(pictures), images, reject_below=1.0)
    assert rejecting.count("rejected (nearest: ") == 2


@pytest.mark.parametrize("name", ["", " ", "..", "/", "\0"])
def test_a_name_that_no_folder_can_have_becomes_a_number_or_a_line(model, pictures, name):
    found, _ = classify_files(model, [(name, pictures["red"]), ("b", pictures["blue"])], pictures["red"][:1])
    assert found.class_names in (("b", "class 1"), ("_", "b"))


@pytest.mark.parametrize(
    ("changed", "images", "words"),
    [
        ([("red", 0), ("blue", 2)], 1, "at least two classes.*Received: 1 classes with images, 1 images"),
        ([("red", 1), ("blue", 1)], 0, "at least one image to classify"),
        ([("Red", 1), ("red", 1)], 1, "a name of its own. Received: Red, red"),
    ],
)
def test_what_is_missing_is_told_in_one_line(model, pictures, changed, images, words):
    given = [(name, pictures[name.lower()][:count]) for name, count in changed]
    with pytest.raises(UserError, match=words) as error:
        classify_files(model, given, pictures["blue"][:images])
    assert "\n" not in str(error.value)


def test_a_page_needs_a_model():
    with pytest.raises(UserError, match="--model must be given"):
        DemonstrationConfiguration()


@pytest.fixture(scope="module")
def served(model):
    """The address of the page, served by the command itself."""
    pytest.importorskip("gradio", reason='pip install -e ".[demo]"')
    (port,) = free_ports(1)
    process = programs.start(["-m", "dsl_tf", "demo", f"--model={model}", f"--port={port}"])
    address = f"http://127.0.0.1:{port}"
    while True:
        assert process.poll() is None, process.communicate()
        try:
            urllib.request.urlopen(address).close()
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    yield address
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0


def test_the_page_answers_with_classes_and_neighbours(served, pictures):
    from gradio_client import Client, handle_file

    client = Client(served, verbose=False)
    classes = [(name, [handle_file(path) for path in files]) for name, files in examples(pictures)]
    inputs = [value for row in classes + [("", None)] * 17 for value in row]
    images = [handle_file(pictures["red"][2])]
    answer = client.predict(0.0, images, *inputs, api_name="/classify")
    assert re.findall(r"<figcaption><strong>(\w+), ", html.unescape(answer)) == ["red"]
    with pytest.raises(Exception, match="at least one image to classify"):
        client.predict(0.0, None, *inputs, api_name="/classify")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_is_shown_in_a_browser_and_loads_nothing_from_elsewhere(served, tmp_path):
    dom = dom_of(served, tmp_path / "profile", "--virtual-time-budget=20000")
    # Drawn by its script; the page's own text has these words in JSON.
    shown = re.findall(r">\s*(Add a class|Classify|Drop File Here)\b", dom)
    # The first one is in the heading.
    assert shown == ["Classify", *["Drop File Here"] * 3, "Add a class", "Drop File Here", "Classify"], shown
    loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*\b(?:src|href)=[\"']?https?://([^/:\"'>]+)", dom)
    assert set(loaded) <= {"127.0.0.1"} and "fonts.googleapis" not in dom, loaded


def test_a_port_that_is_taken_is_told_in_one_line(served, model):
    port = served.rsplit(":", 1)[1]
    process = programs.run(["-m", "dsl_tf", "demo", f"--model={model}", f"--port={port}"])
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert process.returncode == 2 and "must be a free address" in line and "Traceback" not in process.stderr


def test_without_gradio_a_line_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r'pip install "dsl_tf\[demo\]"'):
        demonstration(DemonstrationConfiguration(model=str(model)))
