"""Tests of sizes that follow the user's own images."""

import numpy as np
import pytest

from dsl_tf import evaluation
from dsl_tf.data.split import Split
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.fitting import fit_to_data


def split_of(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(np.zeros((len(labels), 1, 1, 3), np.uint8), labels, tuple(map(str, range(len(counts)))))


def test_nothing_changes_if_the_data_suffice(capsys):
    splits = {"train": split_of(*[8] * 64), "val": split_of(*[20] * 5), "test": split_of(*[20] * 5, 1)}
    configuration = TrainingConfiguration()
    assert fit_to_data(configuration, splits) == (configuration, splits)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("counts", "ways", "shots", "expected"),
    [
        ([30] * 10, 64, 8, (10, 30)),
        ([100] * 10, 64, 8, (10, 51)),
        ([100] * 9 + [12], 64, 8, (10, 12)),
        ([100] * 9 + [3], 64, 8, (10, 8)),
        ([100] * 60, 64, 8, (60, 8)),
        ([100] * 10, 10, 2, (10, 2)),
    ],
)
def test_few_classes_are_all_in_a_batch_that_keeps_its_size(counts, ways, shots, expected, capsys):
    fitted, _ = fit_to_data(TrainingConfiguration(ways=ways, shots=shots), {"train": split_of(*counts)})
    assert (fitted.ways, fitted.shots) == expected
    assert ("fewer than --ways=64" in capsys.readouterr().out) == (ways != len(counts))


@pytest.mark.parametrize(
    ("val", "test", "ways", "shots", "queries"),
    [
        ((20,) * 5, (9,) * 7, 5, (1, 5), 4),
        ((30,) * 3, (30,) * 8, 3, (1, 5), 15),
        ((4, 50, 50, 3, 9, 1), (20,) * 5, 5, (1,), 2),
        ((2, 2), (2, 2, 2), 2, (1,), 1),
        (None, (6, 6, 6, 6, 6, 21, 21, 21, 21, 21), 5, (1, 5), 15),
    ],
)
def test_episodes_fit_the_smallest_split(val, test, ways, shots, queries, capsys):
    splits = {"train": split_of(*[8] * 64), "test": split_of(*test), **({"val": split_of(*val)} if val else {})}
    fitted, left = fit_to_data(TrainingConfiguration(), splits)
    assert (fitted.test_ways, fitted.test_shots, fitted.test_queries) == (ways, shots, queries)
    assert left.keys() == splits.keys()
    for name in left.keys() - {"train"}:
        for number in shots:
            evaluation.sample_episodes(left[name].labels, ways, number, queries, 3, seed=0)
    # One line per number that changes.
    assert capsys.readouterr().out.count("in place of") == sum(
        now != before for now, before in zip((ways, shots, queries), (5, (1, 5), 15), strict=True)
    )


def test_a_split_that_nothing_can_be_measured_on_is_not_used(capsys):
    splits = {"train": split_of(*[8] * 64), "val": split_of(20), "test": split_of(1, 1, 30)}
    fitted, left = fit_to_data(TrainingConfiguration(), splits)
    assert list(left) == ["train"] and fitted == TrainingConfiguration()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["val", "test"]
