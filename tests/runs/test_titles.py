import dataclasses

import pytest

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.titles import inert_flags, loss_key, loss_title, settings, titles


@pytest.mark.parametrize(
    ("flags", "title"),
    [
        ({"metric_loss": "none"}, "SCE"),
        ({"classification_loss": "none", "metric_loss": "proto"}, "Proto"),
        ({"classification_loss": "bce", "integration": "sum"}, "BCE+NCA"),
        ({}, "SCE⊕NCA"),
        ({"epsilon": 0.5}, "SCE⊕NCA ε=0.5"),
        ({"integration": "spectral_sum", "power": 0.2}, "SCE⊕NCA p=0.2"),
        ({"integration": "spectral_sum", "spectral_interval": 10}, "SCE⊕NCA p=0.3 every 10 steps"),
        ({"integration": "classifier_subspace"}, "SCE+NCA in span(W)"),
        ({"gradient_to_kernel": True}, "SCE⊕NCA with gradient to W"),
        ({"head": "axis_basis"}, "SCE⊕NCA axis basis"),
    ],
)
def test_a_loss_has_the_papers_name_and_what_sets_it_apart(flags, title):
    assert loss_title(TrainingConfiguration(**flags)) == title


@pytest.mark.parametrize(
    ("flags", "inert"),
    [
        ({"metric_loss": "none"}, {"power": 0.9, "epsilon": 0.5, "metric_weight": 0.1, "integration": "sum"}),
        ({"classification_loss": "none"}, {"head": "axis_basis", "gradient_to_kernel": True}),
        ({"integration": "sum"}, {"power": 0.9, "epsilon": 0.5, "spectral_interval": 3}),
        ({"integration": "spectral_sum"}, {"epsilon": 0.5}),
        ({}, {"power": 0.9, "spectral_interval": 3}),
        ({"backbone": "MobileNetV2"}, {"filters": (1, 2, 3, 4)}),
        ({"optimizer": "adamw"}, {"momentum": 0.9}),
        ({"schedule": "cosine"}, {"decay_epochs": None, "decay_rate": 0.1}),
    ],
)
def test_flags_without_effect_change_neither_loss_nor_settings(flags, inert):
    first = TrainingConfiguration(**flags)
    other = dataclasses.replace(first, **inert, output_dir="other", seed=3)
    assert set(inert) <= inert_flags(first)
    assert (loss_key(first), settings(first)) == (loss_key(other), settings(other))


def test_titles_of_one_loss_list_what_differs():
    runs = [TrainingConfiguration(metric_loss="none", epochs=epochs) for epochs in (10, 20)]
    runs += [TrainingConfiguration(flip=False), TrainingConfiguration(seed=1, filters=(1, 2, 3, 4))]
    names = [name.split(", ") for name in titles(runs)]
    assert names[:2] == [["SCE", "epochs=10"], ["SCE", "epochs=20"]]
    assert [name[0] for name in names[2:]] == ["SCE⊕NCA", "SCE⊕NCA"]
    assert set(names[2][1:]) == {"filters=64,160,320,640", "flip=False"}
    assert set(names[3][1:]) == {"filters=1,2,3,4", "flip=default"}
    assert titles(runs[:1]) == ["SCE"]
