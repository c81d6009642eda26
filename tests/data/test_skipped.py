import csv
import os

from dsl_tf.data.skipped import Skipped, examples, unexpected, write_skipped


def test_three_are_shown_and_all_are_counted():
    skipped = [Skipped(f"{number}.png", "torn") for number in range(1239)]
    assert examples(skipped[:1]) == "'0.png' (torn)"
    assert examples(skipped) == "'0.png' (torn), '1.png' (torn), '2.png' (torn) and 1,236 more"
    assert unexpected([*skipped[:2], Skipped(".DS_Store", "a hidden file", expected=True)]) == skipped[:2]


def test_the_file_lists_every_one_whatever_its_name(tmp_path, monkeypatch):
    names = [
        "plain.png",
        "=1+1.png",
        'with "quotes", commas',
        "two\nlines\r.png",
        os.fsdecode(b"caf\xe9.png"),
        "日本.png",
    ]
    skipped = {"train": [Skipped(f"/data/{name}", "torn") for name in names], "val": [], "test": [Skipped("a", "b")]}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").touch()
    skipped["test"].append(Skipped("=images.npz, image 3", "c"))
    write_skipped(skipped, tmp_path / "skipped.csv")
    with open(tmp_path / "skipped.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["split", "path", "reason"]
    readable = [name.replace("\udce9", "\\udce9") for name in names]
    assert rows[1:-2] == [["train", f"/data/{name}", "torn"] for name in readable]
    # A relative path is made absolute; what has a name inside an archive alone keeps it, guarded against formulas.
    assert rows[-2:] == [["test", os.path.abspath("a"), "b"], ["test", "'=images.npz, image 3", "c"]]
