"""The choice of hyperparameters on validation classes."""

import itertools

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import CLASSIFIERS, choose_hyperparameters, few_shot_accuracies
from tests.evaluation.clusters import clustered

TUNED = ["ridge_regression", "laplacian_shot", "pt_map"]


@pytest.mark.parametrize("name", TUNED)
def test_values_are_chosen_by_accuracy_for_each_transform_and_shot(name):
    """Where classes overlap but keep local structure, some value beats another; the choice must be a best one."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    features = random.normal(0, 1, (6, 8))[labels] + random.normal(0, 0.8, (120, 8))
    settings = {"ways": 4, "queries": 6, "episodes": 60, "seed": 3, "classifiers": (name,)}
    chosen = choose_hyperparameters(features, labels, shots=(1, 3), feature_transforms=("none", "l2"), **settings)
    assert set(chosen) == {(name, kind, shots) for kind in ("none", "l2") for shots in (1, 3)}
    grid = CLASSIFIERS[name].grid
    for (_, kind, shots), values in list(chosen.items())[:2]:

        def accuracy(values, kind=kind, shots=shots):
            (entry,) = few_shot_accuracies(
                features,
                labels,
                "val",
                shots=(shots,),
                feature_transforms=(kind,),
                hyperparameters={(name, kind, shots): values},
                **settings,
            )
            assert {key: entry[key] for key in values} == values
            return entry["accuracy"]

        found = [accuracy(dict(zip(grid, others))) for others in itertools.product(*grid.values())]
        assert accuracy(values) == max(found) and set(values) == set(grid)


def test_classifiers_without_hyperparameters_need_no_validation_classes():
    features, labels = clustered()
    settings = {"ways": 50, "shots": (1,), "queries": 15, "seed": 0, "feature_transforms": ("none",)}
    assert choose_hyperparameters(features, labels, classifiers=("nearest_centroid",), **settings) == {}


def test_too_small_validation_classes_are_named():
    features, labels = clustered(images=12)
    settings = {"ways": 5, "shots": (1,), "queries": 15, "seed": 0, "feature_transforms": ("none",)}
    with pytest.raises(UserError, match="of laplacian_shot are chosen on the val classes.*at most 12"):
        choose_hyperparameters(features, labels, classifiers=("nearest_centroid", "laplacian_shot"), **settings)
