import re

import numpy as np
from PIL import Image

from dsl_tf.report import contact_sheet
from dsl_tf.report.contact_sheet import write_contact_sheet
from dsl_tf.runs.classification import Classification


def classification(folder, count=3):
    """Images whose confidence falls with their number, and one labelled image."""
    names = [f"<b>{number}</b>.png" for number in range(count)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (200, 30, 30)).save(folder / name)
    (folder / "cat").mkdir()
    Image.new("RGB", (8, 8), (30, 200, 30)).save(folder / "cat" / "0.png")
    confidence = np.linspace(0.9, 0.6, count)
    held_out = np.array([[0.95, 0.05], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]]), np.array([0, 0, 1, 0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    nearest = (str(folder / "cat" / "0.png"),) * count
    return Classification(tuple(names), ("torn.png",), ("cat", "dog & cow"), probabilities, nearest, 2.0, held_out)


def test_the_least_confident_come_first_with_the_nearest_labelled_image(tmp_path):
    found = classification(tmp_path / "images")
    write_contact_sheet(found, tmp_path / "sheet.html", tmp_path / "images", reject_below=0.7)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption><strong>(.*?)</strong><br>(.*?)</figcaption>", page)
    assert captions == [
        ("rejected (nearest: cat, 60.0%)", "&lt;b&gt;2&lt;/b&gt;.png"),
        ("cat, 75.0%", "&lt;b&gt;1&lt;/b&gt;.png"),
        ("cat, 90.0%", "&lt;b&gt;0&lt;/b&gt;.png"),
    ]
    assert page.count("<img") == 6 and page.count('alt="nearest labelled image, of cat"') == 3
    assert "<b>" not in page and "script" not in page and "http" not in page.replace("http-equiv", "")


def test_the_table_weighs_answers_against_errors(tmp_path):
    write_contact_sheet(classification(tmp_path / "images"), tmp_path / "sheet.html", tmp_path / "images")
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", (tmp_path / "sheet.html").read_text())
    assert rows[0] == ("0%", "100.0%", "75.0%")
    assert ("80%", "50.0%", "100.0%") in rows and rows[-1] == ("99%", "0.0%", "none")


def test_a_long_list_is_cut_and_a_lost_image_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "_MOST_IMAGES", 2)
    found = classification(tmp_path / "images")
    (tmp_path / "images" / found.files[2]).unlink()
    write_contact_sheet(found, tmp_path / "sheet.html", tmp_path / "images")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == 2 and "(gone)" in page and "The 2 least confident are shown." in page
