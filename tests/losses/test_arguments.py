"""What losses are called with: one clear error each, in a graph too as far as shapes tell; NaN where only values do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import losses

LABELS = np.array([0, 1, 0, 2, 2])
FEATURES = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def dense(d=4, classes=3):
    layer = keras.layers.Dense(classes)
    layer.build((None, d))
    return layer


ALL = {
    "sce": lambda: losses.SoftmaxCrossEntropy(),
    "bce": lambda: losses.BinaryCrossEntropy(),
    "nca": lambda: losses.NCALoss(),
    "proto": lambda: losses.PrototypicalLoss(),
    "direct": lambda: losses.DirectSumLoss(dense()),
    "spectral": lambda: losses.SpectralSumLoss(dense(), classification="bce", metric="proto"),
}
WRONG_LABELS = {
    "negative": ([0, -1, 0, 2, 2], "-1"),
    "not whole": ([0, 1.5, 0, 2, 2], "1.5"),
    "not a number": ([0, np.nan, 0, 2, 2], "nan"),
    "texts": (["a", "b", "a", "c", "c"], "string"),
    "matrix": (np.zeros((5, 2), int), "(5, 2)"),
    "too few": ([0, 1], "2 labels"),
    "ragged": ([[0], [1, 2]], "non-rectangular"),
    "truth values": ([True, False, True, True, False], "bool"),
}


@pytest.mark.parametrize("wrong", WRONG_LABELS)
@pytest.mark.parametrize("name", ALL)
def test_labels_that_are_none_are_refused_in_one_line(name, wrong):
    labels, received = WRONG_LABELS[wrong]
    with pytest.raises(ValueError) as caught:
        ALL[name]()(labels, FEATURES)
    message = str(caught.value)
    assert "`y_true`" in message and received in message and "\n" not in message, message


@pytest.mark.parametrize("name", ["sce", "bce", "direct", "spectral"])
def test_a_label_beyond_the_classes_is_refused(name):
    classes = 4 if name in ("sce", "bce") else 3
    with pytest.raises(ValueError, match=f"`y_true`.*0 to {classes - 1}.*{classes}") as caught:
        ALL[name]()([0, 1, 2, classes, 0], FEATURES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "label", "jit_compile"),
    [
        *((name, label, False) for name in ALL for label in (-1, 1.5)),
        *((name, 4, False) for name in ("sce", "bce", "direct", "spectral")),
        ("sce", 4, True),
        ("bce", -1, True),
        ("nca", -1, True),
        ("direct", 1.5, True),
    ],
)
def test_in_a_graph_the_loss_is_nan_where_only_values_tell(name, label, jit_compile):
    loss = ALL[name]()
    compiled = tf.function(lambda y, x: loss(y, x), jit_compile=jit_compile)
    right = compiled(tf.constant([0, 1, 0, 2, 2], tf.float32), tf.constant(FEATURES))
    wrong = compiled(tf.constant([0, label, 0, 2, 2], tf.float32), tf.constant(FEATURES))
    assert np.isfinite(right) and np.isnan(wrong)


@pytest.mark.parametrize(
    ("features", "received"),
    [
        (FEATURES[:, :3], "(5, 3)"),
        (FEATURES[:, :, None], "(5, 4, 1)"),
        (FEATURES[0], "(4,)"),
        (FEATURES.astype(np.int32), "int32"),
    ],
)
@pytest.mark.parametrize("in_graph", [False, True])
def test_features_that_do_not_match_the_kernel_are_refused(features, received, in_graph):
    loss = losses.DirectSumLoss(dense())
    call = tf.function(lambda x: loss(LABELS, x)) if in_graph else lambda x: loss(LABELS, x)
    with pytest.raises(ValueError) as caught:
        call(features)
    assert "`y_pred`" in str(caught.value) and received in str(caught.value)


def test_an_unbuilt_classifier_may_be_built_later():
    classifier = keras.layers.Dense(3, name="head")
    loss = losses.DirectSumLoss(classifier)
    with pytest.raises(ValueError, match=r"`classifier` must be built.*'head'.*build\(\(None, 4\)\)"):
        loss(LABELS, FEATURES)
    classifier.build((None, 4))
    assert np.isfinite(loss(LABELS, FEATURES))


@pytest.mark.parametrize(
    "classifier", [keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), keras.layers.ReLU(), 4, None, "dense"]
)
def test_what_is_no_classifier_is_refused(classifier):
    with pytest.raises(ValueError, match="`classifier` must be a layer with a kernel"):
        losses.DirectSumLoss(classifier)(LABELS, FEATURES)


def test_options_are_keyword_only():
    for loss in (losses.SumLoss, losses.DirectSumLoss, losses.SpectralSumLoss, losses.ClassifierSubspaceLoss):
        with pytest.raises(TypeError):
            loss(dense(), "sce")
