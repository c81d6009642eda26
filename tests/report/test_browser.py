"""Pages in a real browser, at the widths of a desk and of a phone."""

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from dsl_tf.report.comparison import compare
from dsl_tf.report.contact_sheet import write_contact_sheet
from dsl_tf.report.page import page
from dsl_tf.report.runs import find_runs
from dsl_tf.runs.classification import Classification
from dsl_tf.runs.final_test import confused_examples, neighbour_examples, write_test_examples
from tests.images import striped_split
from tests.report.made_runs import accuracy, epoch_record, make_run, run_with_episodes
from tests.report.test_known_classes import measured

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Shows pages in frames of both widths and lists what reaches beyond. A wide table has a box that scrolls.
_MEASURE = """<!DOCTYPE html><pre></pre><script>
const measured = {};
for (const name of PAGES) for (const width of [1400, 400]) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 1000; frame.style.border = 0; frame.src = name;
  frame.onload = () => {
    const page = frame.contentDocument;
    const wide = [...page.body.querySelectorAll("*")].filter(element =>
      element.getBoundingClientRect().right > width + 1 && !element.parentElement.closest(".box"));
    const cut = [...page.body.querySelectorAll("*:not(.box)")].filter(element =>
      element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible");
    measured[name + " " + width] = {
      page: page.documentElement.scrollWidth,
      wide: wide.map(element => element.outerHTML.slice(0, 80)),
      cut: cut.map(element => element.outerHTML.slice(0, 80)),
      broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length,
      boxes: [...page.querySelectorAll(".box")].filter(box => box.scrollWidth > box.clientWidth + 1).length,
    };
    document.querySelector("pre").textContent = JSON.stringify(measured);
  };
  document.documentElement.append(frame);
}
</script>"""


def dom_of(address: str, profile: pathlib.Path, *flags: str) -> str:
    """Returns a page as Chromium has it once its scripts have run."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [*flags, f"--user-data-dir={profile}", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def measured_in_browser(folder: pathlib.Path, pages: list[str]) -> dict[str, dict]:
    (folder / "measure.html").write_text(_MEASURE.replace("PAGES", json.dumps(pages)), encoding="utf-8")
    flags = ["--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=5000"]
    dom = dom_of((folder / "measure.html").as_uri(), folder / "profile", *flags)
    return json.loads(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1].replace("&lt;", "<").replace("&gt;", ">"))


def write_report_page(folder):
    """A report with long names, three losses, a log, and images of a test."""
    runs = folder / "runs"
    entries = [
        accuracy(60 + shots, shots=shots, feature_transform=kind) for shots in (1, 5) for kind in ("none", "l2", "cl2")
    ]
    log = [epoch_record(epoch, val_accuracy_1_shot=0.5) for epoch in (1, 2, 3)]
    for power in (0.1, 0.5):
        flags = {"dataset": "meta_inat", "integration": "spectral_sum", "power": power, "ways": 128, "shots": 4}
        make_run(runs / f"p{power}", entries, 0.5, log, **flags)
    for name, flags in (("a" * 60, {"epochs": 10, "filters": (32, 64, 128, 256)}), ("b", {}), ("c", {"momentum": 0.8})):
        make_run(runs / name, entries, 0.5, log, dataset="folder", data_dir="/data/" + "bird" * 20, **flags)
    for name, flags in (("d", {}), ("e", {"metric_loss": "none"}), ("f", {"integration": "sum"})):
        run_with_episodes(runs / name, **flags)
    make_run(runs / "known", results=measured(70), dataset="folder", data_dir="/data/pets", held_out="images")
    split = striped_split(9, 4, seed=1)
    split = dataclasses.replace(split, class_names=("LONG_NAME_" * 5, *split.class_names[1:]))
    features = split.images.reshape(len(split.labels), -1)[:, ::40].astype(np.float32)
    confused = confused_examples(split, [(0, 1, 0.2), (1, 2, 0.1)], [(np.arange(4), np.arange(4, 8))] * 2)
    examples = {"feature_transform": "cl2", "measure": {}, "neighbours": neighbour_examples(split, features)}
    write_test_examples(runs / "d", {**examples, "confused": confused})
    make_run(runs / "going_on", finished=False, metric_loss="none")
    (folder / "report.html").write_text(page(compare(find_runs([str(runs)]))), encoding="utf-8")


def write_predictions_page(folder):
    """Predictions of images with long names and classes."""
    names = [f"{'photographs/of/' * 3}{'IMG_2026' * number}.jpg" for number in range(1, 8)]
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), (200, 30, 30)).save(path)
    probabilities = np.stack([np.linspace(0.5, 1, 7), np.linspace(0.5, 0, 7)], axis=1)
    nearest = (str(folder / "images" / names[0]),) * 7
    held_out = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0])
    found = Classification(tuple(names), (), ("a" * 70, "dog"), probabilities, nearest, 2.0, held_out)
    write_contact_sheet(found, folder / "predictions.html", folder / "images", reject_below=0.7)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_nothing_is_wider_than_the_page_and_no_column_is_cut_at_a_desk(tmp_path):
    write_report_page(tmp_path)
    write_predictions_page(tmp_path)
    found = measured_in_browser(tmp_path, ["report.html", "predictions.html"])
    assert len(found) == 4
    for name, measures in found.items():
        assert measures["page"] <= int(name.split()[1]), (name, measures)
        assert measures["wide"] == measures["cut"] == [] and measures["broken"] == 0, (name, measures)
    assert found["report.html 1400"]["boxes"] == 0, found
