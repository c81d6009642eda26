"""Weights of another training, and frozen layers."""

import shutil

import keras
import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.models import EmbeddingModel, FixedSubspaceClassifier, resnet12
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.export import export
from dsl_tf.runs.trained_weights import read_trained_weights
from dsl_tf.training import construction
from dsl_tf.training.initialisation import freeze_until, start_from
from dsl_tf.training.step import TrainingStep
from tests.images import SIZE, striped_split, tiny_configuration

FILTERS = (4, 4, 8, 16)
NAMES = ("ant", "bee", "cat")


def network(seed, filters=FILTERS):
    """A network whose weights, statistics of the batch norm included, are all random."""
    random = np.random.default_rng(seed)
    backbone = resnet12((SIZE, SIZE, 3), filters)
    backbone.set_weights([random.uniform(0.5, 1, weight.shape) for weight in backbone.get_weights()])
    return backbone


def dense(classes, seed):
    layer = keras.layers.Dense(classes)
    layer.build((None, FILTERS[-1]))
    layer.set_weights([np.random.default_rng(seed).normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A run with all its files, a run without a classifier, and a model as Keras saves it."""
    folder = tmp_path_factory.mktemp("sources")
    for name, classifier in (("run", dense(3, seed=1)), ("metric_run", None)):
        (folder / name).mkdir()
        run_directory.record_flags(folder / name, tiny_configuration(folder / name))
        export(network(1), classifier, np.zeros(FILTERS[-1]), folder / name, class_names=NAMES if classifier else ())
    EmbeddingModel(network(1), dense(3, seed=1)).save(folder / "embedding.keras")
    (folder / "unfinished").mkdir()
    run_directory.record_flags(folder / "unfinished", tiny_configuration(folder / "unfinished"))
    (folder / "broken.keras").write_bytes(b"no zip")
    (folder / "empty").mkdir()
    (folder / "weights.txt").write_text("1")
    return folder


@pytest.mark.parametrize(
    ("source", "names", "expected", "told"),
    [
        ("run", NAMES, [0, 1, 2], "the backbone, and W for 3 of 3 classes"),
        ("run", ("cat", "dog", "ant", "eel"), [2, None, 0, None], "the backbone, and W for 2 of 4 classes"),
        ("run", ("dog", "eel"), [None, None], "the backbone alone, since no class has the same name"),
        ("metric_run", NAMES, [None] * 3, "the backbone alone, since no classifier with named classes is stored there"),
        ("run/saved_model", NAMES, [None] * 3, "the backbone alone, since no classifier"),
        ("run/backbone.keras", NAMES, [None] * 3, "the backbone alone, since no classifier"),
        ("embedding.keras", NAMES, [None] * 3, "the backbone alone, since no classifier"),
    ],
)
def test_weights_come_from_every_source_and_those_of_w_by_class_name(sources, source, names, expected, told):
    backbone, classifier, theirs = network(2), dense(len(names), seed=2), dense(3, seed=1)
    own = classifier.get_weights()
    text = start_from(read_trained_weights(str(sources / source)), backbone, classifier, names)
    assert told in text and repr(str(sources / source)) in text and "\n" not in text
    for found, weight in zip(backbone.get_weights(), network(1).get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    for column, origin in enumerate(expected):
        for found, before, weight in zip(classifier.get_weights(), own, theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(
                found[..., column], before[..., column] if origin is None else weight[..., origin]
            )


@pytest.mark.parametrize("classifier", [None, FixedSubspaceClassifier(3)])
def test_without_a_free_classifier_the_backbone_alone_starts(sources, classifier):
    if classifier is not None:
        classifier.build((None, FILTERS[-1]))
    assert "the backbone alone" in start_from(read_trained_weights(str(sources / "run")), network(2), classifier, NAMES)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing", ["a run directory, a .keras file or a SavedModel", "a path that does not exist"]),
        ("empty", ["another folder"]),
        ("weights.txt", ["another file"]),
        ("broken.keras", ["cannot be loaded"]),
        ("unfinished", ["a finished run", "backbone.keras"]),
        ("damaged", ["training_statistics.npz", "cannot be read"]),
        ("pickled", ["training_statistics.npz", "cannot be read"]),
    ],
)
def test_what_cannot_be_read_is_one_line(sources, tmp_path, source, words):
    path = sources / source
    if source in ("damaged", "pickled"):
        path = tmp_path / "run"
        shutil.copytree(sources / "run", path)
        arrays = dict(np.load(path / "training_statistics.npz"))
        names = arrays["class_names"][:2] if source == "damaged" else np.array(NAMES, object)
        np.savez(path / "training_statistics.npz", **{**arrays, "class_names": names})
    with pytest.raises(UserError) as error:
        read_trained_weights(str(path))
    assert all(word in str(error.value) for word in [*words, f"--init_from={path}"]), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("filters", "words"),
    [((4, 4, 8, 20), ["[3, 3, 8, 16]", "[3, 3, 8, 20]"]), ((4, 4, 4, 16), ["[3, 3, 4, 8]", "[3, 3, 4, 4]"])],
)
def test_weights_of_another_network_are_refused(sources, filters, words):
    with pytest.raises(UserError) as error:
        start_from(read_trained_weights(str(sources / "run")), network(2, filters), None, NAMES)
    assert all(word in str(error.value) for word in ["the same network, resnet12", "--filters", *words]), error.value
    small = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Conv2D(4, 3, use_bias=False)])
    with pytest.raises(UserError, match="80 arrays for 1 weights"):
        start_from(read_trained_weights(str(sources / "run/saved_model")), small, None, NAMES)


def nested():
    """A network within a network, with Keras's own batch norm, which training replaces by a faster one."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(6, 5, strides=3, name="inner_1"),
            keras.layers.BatchNormalization(name="inner_normalization"),
            keras.layers.Conv2D(8, 3, activation="relu", name="inner_2"),
            keras.layers.BatchNormalization(name="free_normalization"),
        ],
        name="inner",
    )
    inputs = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.Dense(12, name="outer")(keras.layers.GlobalAveragePooling2D(name="pool")(inner(inputs)))
    return keras.Model(inputs, features, name="nested")


@pytest.mark.parametrize(
    ("last", "frozen"),
    [
        ("inner_normalization", {"inner_1", "inner_normalization"}),
        ("inner", {"inner_1", "inner_normalization", "inner_2", "free_normalization"}),
        ("pool", {"inner_1", "inner_normalization", "inner_2", "free_normalization"}),
    ],
)
def test_layers_are_frozen_up_to_one_at_any_depth_with_their_statistics(last, frozen):
    configuration = tiny_configuration("unused", freeze_until=last, optimizer="adam")
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, nested())
    parts = construction.replicate(parts, configuration, TrainingStep(parts).strategy)
    before = {weight.path: weight.numpy() for weight in parts.backbone.weights}
    split = striped_split(8, 3, seed=1)
    TrainingStep(parts)(split.images, split.labels)
    changed = {
        weight.path.split("/")[-2] for weight in parts.backbone.weights if (weight.numpy() != before[weight.path]).any()
    }
    names = {"inner_1", "inner_normalization", "inner_2", "free_normalization", "outer"}
    assert changed == names - frozen


@pytest.mark.parametrize(
    ("name", "words"), [("inner_3", ["Did you mean inner_"]), ("xyz", ["'xyz'", "named input_layer", "to outer"])]
)
def test_a_layer_that_does_not_exist_is_named(name, words):
    backbone = nested()
    with pytest.raises(UserError) as error:
        freeze_until(backbone, name)
    assert all(word in str(error.value) for word in ["--freeze_until", "nested", *words]), error.value
    assert all(layer.trainable for layer in backbone.layers)
