"""Tests of lists of images."""

import json
import os
import re

import pytest

from dsl_tf.data.image_lists import find_lists, read_list
from dsl_tf.errors import UserError

FILES = ("a.png", "sub/b b.png", "sub/c,1.png", "é.png")


@pytest.fixture
def folder(tmp_path):
    """Files that a list may name; their content does not matter to it."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def listed(folder, content, name="list.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(content.encode(encoding))
    found = read_list(path)
    plain = {
        split: {label: [os.path.relpath(file, folder) for file in files] for label, files in images.files.items()}
        for split, images in found.items()
    }
    skipped = [
        (os.path.relpath(path, folder), reason) for images in found.values() for path, reason, _ in images.skipped
    ]
    return plain, skipped


EXPECTED = {None: {"cat": ["a.png", "sub/c,1.png"], "dög": ["sub/b b.png"]}}
ROWS = {"a.png": "cat", "sub/b b.png": "dög", "sub/c,1.png": "cat"}


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("l.csv", 'file,label\na.png,cat\nsub/b b.png,dög\n"sub/c,1.png",cat\n', "utf-8"),
        ("l.csv", 'file,label\r\na.png,cat\r\n\r\nsub/b b.png,dög\r\n"sub/c,1.png",cat\r\n', "utf-8-sig"),
        ("L.CSV", 'id,Label , FileName\n1,cat,a.png\n2,"dög",sub/b b.png\n3,cat,"sub/c,1.png"', "utf-8"),
        ("l.csv", "Path;Class\na.png;cat\nsub\\b b.png;dög\n./sub/../sub/c,1.png;cat\n", "utf-8"),
        ("l.tsv", "file_name\tcategory\na.png\tcat\nsub/b b.png\tdög\nsub/c,1.png\tcat\n", "utf-16"),
        ("l.json", json.dumps([{"label": label, "file": file} for file, label in ROWS.items()]), "utf-8-sig"),
        ("l.json", json.dumps(ROWS), "utf-8"),
        (
            "l.jsonl",
            "\n".join(json.dumps({"file_name": file, "label": label}) for file, label in ROWS.items()),
            "utf-8",
        ),
    ],
)
def test_lists_of_many_kinds_say_the_same(folder, name, content, encoding):
    assert listed(folder, content, name, encoding) == (EXPECTED, [])
    assert find_lists(folder) == [folder / name]


def test_splits_as_people_name_them(folder):
    content = "split,file,label\nTraining,a.png,0\nvalid,sub/b b.png,1\nTEST,é.png,2\n"
    assert listed(folder, content)[0] == {
        "train": {"0": ["a.png"]},
        "val": {"1": ["sub/b b.png"]},
        "test": {"2": ["é.png"]},
    }
    numbers = [{"file": file, "label": label} for label, file in enumerate(("a.png", "é.png"))]
    assert listed(folder, json.dumps(numbers), "l.json")[0] == {None: {"0": ["a.png"], "1": ["é.png"]}}
    # A column that says nothing.
    assert list(listed(folder, "file,label,split\na.png,cat,\n")[0]) == [None]


def test_what_is_not_there_or_has_no_label_is_skipped(folder):
    content = "file,label\na.png,cat\na.png,cat\nmissing.png,cat\né.png,\n,cat\n"
    found, skipped = listed(folder, content)
    assert found == {None: {"cat": ["a.png"]}}
    assert sorted(skipped) == [("list.csv", "no file"), ("missing.png", "no such file"), ("é.png", "no label")]


def test_absolute_paths(folder):
    assert listed(folder, f"file,label\n{folder / 'a.png'},cat\n")[0] == {None: {"cat": ["a.png"]}}


@pytest.mark.parametrize(
    ("name", "content", "received"),
    [
        ("l.csv", b"", "no header"),
        ("l.csv", b"name,kind\na.png,cat\n", "'name', 'kind'"),
        ("l.csv", b"file,label\na.png,cat,x\n", "3 values in line 2"),
        ("l.csv", b'file,label\n"a.png,cat\n', "unexpected end of data in line 2"),
        ("l.csv", b"file,label\na.png,caf\xe9\n", "other bytes in line 2"),
        ("l.csv", b"file,label\na.png,cat\n./a.png,dog\n", "'cat' in line 2 and 'dog' in line 3"),
        ("l.csv", b"file,label,split\na.png,cat,train\na.png,cat,test\n", "'cat' of 'train' in line 2"),
        ("l.csv", b"file,label,split\na.png,cat,fold3\n", "'fold3' in line 2"),
        ("l.csv", b"file,label,split\na.png,cat,train\n\xc3\xa9.png,cat,\n", "'' in line 3"),
        ("l.csv", b"file,label\nx.png,cat\ny.png,cat\n", "2 names, such as 'x.png', and none is there. Write paths"),
        ("l.csv", b"file,label\nb b.png,cat\n", "1 names, such as 'b b.png', and none is there. They are in 'sub'"),
        ("l.csv", b"file,label\na.png,\n", "no name with a label"),
        ("l.json", b"[]", "a list"),
        ("l.json", b"3", "a int"),
        ("l.json", b'[{"file": "a.png"}]', "'file' in entry 1"),
        ("l.json", b'[{"file": "a.png", "label": ["a", "b"]}]', "another value in entry 1"),
        ("l.json", b"[", "line 1"),
        ("l.jsonl", b"{}\n[", "Expecting value"),
    ],
)
def test_a_wrong_list_is_one_line(folder, name, content, received):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(received)) as caught:
        read_list(folder / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_other_files_are_no_lists(folder):
    (folder / "results.csv").write_text("epoch,loss\n1,2\n")
    (folder / "config.json").write_text('{"a": [1]}')
    (folder / "broken.json").write_text("[")
    (folder / ".hidden.csv").write_text("file,label\na.png,cat\n")
    (folder / "notes.txt").write_text("file,label\na.png,cat\n")
    os.mkfifo(folder / "pipe.csv")
    assert find_lists(folder) == [] and find_lists(folder / "nowhere") == []
