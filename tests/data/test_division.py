"""Tests of the division of classes, and of the file that records it."""

import hashlib
import re

import pytest

from dsl_tf.data.class_division import read_division, write_division
from dsl_tf.data.division import divide_classes
from dsl_tf.errors import UserError


def names(count):
    return [f"class {number}" for number in range(count)]


def sizes(count, *options, **named):
    divided, why = divide_classes(names(count), *options, **named)
    found = [name for of_split in divided.values() for name in of_split]
    assert sorted(found) == sorted(names(count)) and len(set(found)) == count
    assert all(of_split == sorted(of_split) for of_split in divided.values())
    return tuple(len(divided.get(split, ())) for split in ("train", "val", "test")), bool(why)


@pytest.mark.parametrize(
    ("count", "expected", "explained"),
    [
        (100, (60, 20, 20), False),
        (20, (10, 5, 5), False),
        # Too few for 5 to validate on and 5 to test on, as half of them are for training.
        (19, (14, 0, 5), True),
        (10, (5, 0, 5), True),
        (9, (5, 0, 4), True),
        (4, (2, 0, 2), True),
        (3, (3, 0, 0), True),
        (1, (1, 0, 0), True),
    ],
)
def test_few_classes_get_sensible_numbers(count, expected, explained):
    assert sizes(count) == (expected, explained)


def test_more_ways_need_more_classes():
    assert sizes(100, ways=24)[0] == (52, 24, 24)


@pytest.mark.parametrize(
    ("val", "test", "expected"),
    [
        (0.1, 0.3, (5, 2, 3)),
        (0.0, 0.5, (5, 0, 5)),
        (0.0, 0.0, (10, 0, 0)),
        (0.3, None, (5, 3, 2)),
        (0.1, 0.8, (2, 0, 8)),
    ],
)
def test_fractions_are_kept(val, test, expected):
    assert sizes(10, val, test)[0] == expected


def test_the_division_depends_on_seed_and_names_only():
    first, _ = divide_classes(names(50), seed=0)
    assert divide_classes(names(50)[::-1], seed=0)[0] == first
    assert divide_classes(names(50), seed=1)[0] != first
    by_hash = sorted(names(50), key=lambda name: hashlib.blake2b(b"0\0" + name.encode()).hexdigest())
    assert first["test"] == sorted(by_hash[:10]) and first["val"] == sorted(by_hash[10:20])


def test_a_name_in_other_code_points_is_divided_alike():
    composed = [*names(40), "\u00e9"]
    decomposed = [*names(40), "e\u0301"]
    of = [
        next(s for s, found in divide_classes(group)[0].items() if group[-1] in found)
        for group in (composed, decomposed)
    ]
    assert of[0] == of[1]


def test_a_division_is_read_as_it_was_written(tmp_path):
    divided = {"train": ("a,b", "=1+1", 'quo"ted', "two\nlines"), "val": ("-x",), "test": ("é", "'=1")}
    write_division(divided, tmp_path / "classes.csv")
    everything = [name for of_split in divided.values() for name in of_split]
    found, others = read_division(tmp_path / "classes.csv", [*everything, "new"])
    assert found == {split: sorted(of_split) for split, of_split in divided.items()}
    assert others == ["new"]


def test_lists_of_other_programs_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfSplit,Class\r\ntrain,cat\r\nTest,dog\r\n")
    assert read_division(tmp_path / "a.csv", ["dog", "cat"])[0] == {"train": ["cat"], "test": ["dog"]}
    (tmp_path / "a.json").write_text('{"train": ["cat"], "test": ["dog"]}')
    assert read_division(tmp_path / "a.json", ["dog", "cat"])[0] == {"train": ["cat"], "test": ["dog"]}


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"class,split\ncat,dev\n", "'dev' for 'cat'"),
        (b"class,split\ncat,train\ncat,test\n", "two splits for 'cat'"),
        (b"name,kind\ncat,train\n", "'' for None"),
        (b"class,split\ncow,train\n", "none of the 1, such as 'cat'"),
        (b"class,split\n\xff,train\n", "utf-8"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, received):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(received)) as caught:
        read_division(tmp_path / "a.csv", ["cat"])
    assert "\n" not in str(caught.value)
