"""Any loss in either place: names, losses of Keras, functions, and what is none of these."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import losses
from dsl_tf.losses.registry import METRIC_LOSSES, RegisteredLoss

LABELS = np.array([0, 1, 0, 2, 2, 2, 1])
INTEGRATED = [losses.SumLoss, losses.DirectSumLoss, losses.SpectralSumLoss, losses.ClassifierSubspaceLoss]


def built_classifier(d=5, classes=3):
    classifier = keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    classifier.build((None, d))
    return classifier


def features(d=5):
    return np.random.default_rng(0).standard_normal((7, d)).astype(np.float32)


def one_hot(y):
    return tf.one_hot(y, 3)


@keras.saving.register_keras_serializable(package="tests")
def focal(y, logits):
    return keras.losses.CategoricalFocalCrossentropy(from_logits=True, reduction="none")(one_hot(y), logits)


@keras.saving.register_keras_serializable(package="tests")
def smoothed(y, logits):
    return keras.losses.categorical_crossentropy(one_hot(y), logits, from_logits=True, label_smoothing=0.1)


@keras.saving.register_keras_serializable(package="tests")
def triplet(y, x):
    """The mean over anchors of the hardest triplet, a scalar."""
    distances = tf.reduce_sum((x[:, None] - x[None]) ** 2, axis=2)
    same = y[:, None] == y[None]
    farthest = tf.reduce_max(tf.where(same, distances, 0), axis=1)
    nearest = tf.reduce_min(tf.where(same, np.inf, distances), axis=1)
    return tf.reduce_mean(tf.nn.relu(farthest - nearest + 0.5))


@keras.saving.register_keras_serializable(package="tests")
class SupervisedContrastive(keras.losses.Loss):
    """Khosla et al., 2020: one value per anchor."""

    def call(self, y_true, y_pred):
        x = tf.math.l2_normalize(y_pred, axis=1)
        n = tf.shape(x)[0]
        scores = tf.where(tf.eye(n, dtype=tf.bool), -1e9, tf.matmul(x, x, transpose_b=True) / 0.1)
        log_probabilities = scores - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
        partners = tf.cast((y_true[:, None] == y_true[None]) & ~tf.eye(n, dtype=tf.bool), x.dtype)
        return -tf.reduce_sum(partners * log_probabilities, axis=1) / tf.reduce_sum(partners, axis=1)


@keras.saving.register_keras_serializable(package="tests")
class AdditiveMargin(keras.losses.Loss):
    """A softmax over cosines with proxies that it learns, the own class's less a margin."""

    def __init__(self, margin=0.2, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin
        self.proxies = keras.Variable(np.random.default_rng(5).standard_normal((5, 3)).astype(np.float32))

    def call(self, y_true, y_pred):
        cosines = tf.matmul(tf.math.l2_normalize(y_pred, axis=1), tf.math.l2_normalize(self.proxies.value, axis=0))
        logits = 10 * (cosines - self.margin * one_hot(y_true))
        return keras.losses.sparse_categorical_crossentropy(y_true, logits, from_logits=True)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


CLASSIFICATION = {
    "keras": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "focal": focal,
    "smoothed": smoothed,
}
METRIC = {"triplet": triplet, "contrastive": SupervisedContrastive(), "margin": AdditiveMargin()}


def metric_value(name, y, x):
    x = tf.cast(x, tf.float32)
    return np.mean(METRIC[name].call(y, x) if isinstance(METRIC[name], keras.losses.Loss) else METRIC[name](y, x))


@pytest.mark.parametrize("metric", METRIC)
@pytest.mark.parametrize("loss", INTEGRATED)
def test_any_metric_loss_is_averaged_as_keras_does(loss, metric):
    classifier, x = built_classifier(), features()
    terms = loss(classifier, metric=METRIC[metric], metric_weight=0.5).reduced_terms(LABELS, x)
    seen = loss(classifier).metric_features(tf.constant(x, tf.float64), classifier.kernel)
    np.testing.assert_allclose(terms["metric"], 0.5 * metric_value(metric, LABELS, seen), rtol=1e-5)


@pytest.mark.parametrize("classification", CLASSIFICATION)
@pytest.mark.parametrize("loss", INTEGRATED)
def test_any_classification_loss_gets_the_logits(loss, classification):
    classifier, x = built_classifier(), features()
    function = CLASSIFICATION[classification]
    terms = loss(classifier, classification=function).reduced_terms(LABELS, x)
    logits = x @ classifier.kernel.numpy() + classifier.bias.numpy()
    expected = np.mean(function.call(LABELS, logits) if hasattr(function, "call") else function(LABELS, logits))
    np.testing.assert_allclose(terms["classification"], expected, rtol=1e-5)


def test_our_own_losses_keep_their_participants():
    classifier, x = built_classifier(), features()
    lonely = np.array([0, 1, 0, 2, 2, 2, 5])
    for named, instance in (("nca", losses.NCALoss()), ("proto", losses.PrototypicalLoss())):
        values = [losses.MetricLoss(metric)(lonely, x) for metric in (named, instance)]
        assert values[0] == values[1] == instance(lonely, x)
    both = [losses.SumLoss(classifier, classification=loss)(LABELS, x) for loss in ("bce", losses.BinaryCrossEntropy())]
    assert both[0] == both[1]


@pytest.mark.parametrize("metric", METRIC)
def test_the_gradient_reaches_features_classifier_and_the_loss_s_own_weights(metric):
    classifier = built_classifier()
    loss = losses.DirectSumLoss(classifier, classification=focal, metric=METRIC[metric])
    x = tf.Variable(features())
    own = loss.trainable_variables
    assert len(own) == (metric == "margin")
    with tf.GradientTape() as tape:
        value = loss(LABELS, x)
    gradients = tape.gradient(value, [x, classifier.kernel.value, *(variable.value for variable in own)])
    assert all(np.isfinite(gradient).all() and np.abs(gradient).max() > 0 for gradient in gradients)


@keras.saving.register_keras_serializable(package="tests")
class TwoMargins(keras.losses.Loss):
    """A loss that keeps layers in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layers = [keras.layers.Dense(2), keras.layers.Dense(3)]
        for layer in self.layers:
            layer.build((None, 5))

    def call(self, y_true, y_pred):
        return tf.add_n([tf.reduce_sum(layer(y_pred) ** 2, axis=1) for layer in self.layers])


def test_weights_are_found_in_lists_and_in_losses_within_losses():
    margins = TwoMargins()
    expected = [variable for layer in margins.layers for variable in layer.trainable_variables]
    for metric in (margins, losses.MetricLoss(margins)):
        found = losses.SumLoss(built_classifier(), metric=metric).trainable_variables
        assert [id(variable) for variable in found] == [id(variable) for variable in expected]


@pytest.mark.parametrize("loss", INTEGRATED)
def test_losses_are_serialised_with_their_parts(loss):
    classifier = built_classifier()
    original = loss(classifier, classification=smoothed, metric=AdditiveMargin(margin=0.3), metric_weight=0.7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(original))
    assert type(copy) is loss and copy.classification is smoothed and copy.metric.margin == 0.3
    copy.classifier.set_weights(classifier.get_weights())
    copy.metric.proxies.assign(original.metric.proxies)
    assert float(copy(LABELS, features())) == float(original(LABELS, features()))


def test_a_scalar_counts_for_each_sample():
    value = losses.MetricLoss(triplet, reduction="none")(LABELS, features())
    np.testing.assert_allclose(value, np.full(7, metric_value("triplet", LABELS, features())), rtol=1e-6)
    assert losses.MetricLoss(triplet, reduction="sum")(LABELS, features()) == value[0]
    # One weight scales it; weights of samples have no meaning.
    assert float(losses.MetricLoss(triplet)(LABELS, features(), sample_weight=3)) == pytest.approx(3 * float(value[0]))
    with pytest.raises(ValueError, match="`sample_weight`.*scalar"):
        losses.MetricLoss(triplet)(LABELS, features(), sample_weight=np.ones(7))


@pytest.mark.parametrize("argument", ["classification", "metric"])
@pytest.mark.parametrize("wrong", ["hinge", ["nca"], 3, keras.losses.MeanSquaredError, {}])
def test_what_is_no_loss_is_an_error(argument, wrong):
    with pytest.raises(ValueError) as caught:
        losses.SumLoss(built_classifier(), **{argument: wrong})
    message = str(caught.value)
    known = "sce" if argument == "classification" else "nca"
    assert f"`{argument}`" in message and f"'{known}'" in message and repr(wrong) in message and "\n" not in message


def test_an_integrated_loss_is_no_part_of_another():
    with pytest.raises(ValueError, match="`metric` must be.*one term"):
        losses.SumLoss(built_classifier(), metric=losses.DirectSumLoss(built_classifier()))


def test_a_registered_loss_has_a_name(monkeypatch):
    monkeypatch.setitem(METRIC_LOSSES, "hardest", RegisteredLoss("Hardest", triplet))
    value = losses.MetricLoss("hardest")(LABELS, features())
    np.testing.assert_allclose(value, metric_value("triplet", LABELS, features()), rtol=1e-6)
