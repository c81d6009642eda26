"""Tests of what a run keeps of its test."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from dsl_tf.runs.final_test import (
    TEST_EPISODES,
    TEST_EXAMPLES,
    confused_examples,
    neighbour_examples,
    read_test_episodes,
    read_test_examples,
    write_test_episodes,
    write_test_examples,
)
from tests.images import SIZE, striped_split


@pytest.fixture(scope="module")
def split():
    return striped_split(12, 3, seed=1)


def examples_of(split):
    features = split.images.reshape(len(split.labels), -1).astype(np.float32)
    return {
        "feature_transform": "cl2",
        "measure": {"classifier": "nearest_centroid", "feature_transform": "cl2", "ways": 5, "shots": 5},
        "neighbours": neighbour_examples(split, features),
        "confused": confused_examples(split, [(0, 2, 0.25)], [(np.array([0, 1]), np.array([6]))]),
    }


def test_each_query_is_shown_with_the_nearest_images(split):
    examples = examples_of(split)
    queries = examples["neighbours"]
    assert len(queries) == 8 and len({query["class"] for query in queries}) == 8
    # The images of a class are nearly the same.
    for query in queries:
        assert [one["class"] for one in query["nearest"]].count(query["class"]) == 2 and len(query["nearest"]) == 5
    (pair,) = examples["confused"]
    assert (pair["class"], pair["taken_for"], pair["rate"]) == (split.class_names[0], split.class_names[2], 0.25)
    assert len(pair["wrong"]) == 2 and len(pair["others"]) == 1
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pair["others"][0]))), np.float64)
    assert shown.shape == (SIZE, SIZE, 3) and np.abs(shown - split.images[6]).mean() < 20


def test_what_is_written_is_read(split, tmp_path):
    assert read_test_examples(tmp_path) is None and read_test_episodes(tmp_path) == {}
    write_test_examples(tmp_path, examples_of(split))
    assert read_test_examples(tmp_path) == examples_of(split)
    write_test_episodes(tmp_path, {"nearest_centroid/cl2/5": np.array([0.5, 0.25])})
    (found,) = read_test_episodes(tmp_path).items()
    assert found[0] == "nearest_centroid/cl2/5" and found[1].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.pop("neighbours"),
        lambda found: found["confused"][0].update(rate="0.5"),
        lambda found: found["confused"][0].update(rate=1.5),
        lambda found: found["neighbours"][0].update(image='"><script>'),
        lambda found: found["neighbours"][0]["nearest"][0].update({"class": 3}),
        lambda found: found.update(measure=[1]),
    ],
)
def test_something_else_is_no_example(split, tmp_path, damage):
    found = examples_of(split)
    damage(found)
    (tmp_path / TEST_EXAMPLES).write_text(json.dumps(found))
    assert read_test_examples(tmp_path) is None


def test_damaged_episodes_are_none(tmp_path):
    write_test_episodes(tmp_path, {"a": np.array([0.5, np.nan]), "b": np.zeros((2, 2)), "c": np.array([1.0])})
    assert list(read_test_episodes(tmp_path)) == ["c"]
    (tmp_path / TEST_EPISODES).write_bytes(b"PK\3\4")
    assert read_test_episodes(tmp_path) == {}
