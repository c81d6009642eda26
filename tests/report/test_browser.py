"""The page in a real browser, at the widths of a desk and of a phone."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.page import page
from dsl_tf.report.runs import find_runs
from tests.report.made_runs import accuracy, epoch_record, make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Shows the report in frames of both widths and lists what reaches beyond. A wide table has a box that scrolls.
_MEASURE = """<!DOCTYPE html><pre></pre><script>
const measured = {};
for (const width of [1400, 400]) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 1000; frame.style.border = 0; frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const wide = [...page.body.querySelectorAll("*")].filter(element =>
      element.getBoundingClientRect().right > width + 1 && !element.parentElement.closest(".box"));
    const cut = [...page.body.querySelectorAll("*:not(.box)")].filter(element =>
      element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible");
    measured[width] = {
      page: page.documentElement.scrollWidth,
      wide: wide.map(element => element.outerHTML.slice(0, 80)),
      cut: cut.map(element => element.outerHTML.slice(0, 80)),
      boxes: [...page.querySelectorAll(".box")].filter(box => box.scrollWidth > box.clientWidth + 1).length,
    };
    document.querySelector("pre").textContent = JSON.stringify(measured);
  };
  document.documentElement.append(frame);
}
</script>"""


def measured_in_browser(folder: pathlib.Path) -> dict[str, dict]:
    (folder / "measure.html").write_text(_MEASURE, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += ["--allow-file-access-from-files", "--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}"]
    command += ["--dump-dom", (folder / "measure.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1].replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_nothing_is_wider_than_the_page_and_no_column_is_cut_at_a_desk(tmp_path):
    runs = tmp_path / "runs"
    entries = [
        accuracy(60 + shots, shots=shots, feature_transform=kind) for shots in (1, 5) for kind in ("none", "l2", "cl2")
    ]
    log = [epoch_record(epoch, val_accuracy_1_shot=0.5) for epoch in (1, 2, 3)]
    for power in (0.1, 0.5):
        flags = {"dataset": "meta_inat", "integration": "spectral_sum", "power": power, "ways": 128, "shots": 4}
        make_run(runs / f"p{power}", entries, 0.5, log, **flags)
    for name, flags in (("a" * 60, {"epochs": 10, "filters": (32, 64, 128, 256)}), ("b", {}), ("c", {"momentum": 0.8})):
        make_run(runs / name, entries, 0.5, log, dataset="folder", data_dir="/data/" + "bird" * 20, **flags)
    make_run(runs / "going_on", finished=False, metric_loss="none")
    (tmp_path / "report.html").write_text(page(compare(find_runs([str(runs)]))), encoding="utf-8")
    found = measured_in_browser(tmp_path)
    for width in ("1400", "400"):
        assert found[width]["page"] <= int(width), found
        assert found[width]["wide"] == found[width]["cut"] == [], found
    assert found["1400"]["boxes"] == 0, found
