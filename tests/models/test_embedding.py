import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import losses
from dsl_tf.models import EmbeddingModel, FixedSubspaceClassifier, resnet12
from tests import programs

CLASSES, DIMENSIONS = 4, 8
random = np.random.default_rng(0)
IMAGES = random.normal(size=(32, 8, 8, 3)).astype(np.float32)
LABELS = np.arange(32) % CLASSES


def backbone(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="convolution"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(DIMENSIONS, name="features"),
        ]
    )


def compiled(loss=losses.DirectSumLoss, optimizer=None, **options):
    model = EmbeddingModel(backbone(), keras.layers.Dense(CLASSES, name="classifier"))
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9) if optimizer is None else optimizer
    model.compile(optimizer, loss=loss(model.classifier), **options)
    return model


def fit(model, epochs=1, **options):
    return model.fit(IMAGES, LABELS, batch_size=16, epochs=epochs, shuffle=False, verbose=0, **options).history


def spectral(interval):
    return lambda classifier: losses.SpectralSumLoss(classifier, interval=interval)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_is_the_gradient_step_of_backbone_and_classifier(jit_compile):
    model = compiled(optimizer=keras.optimizers.SGD(0.05), jit_compile=jit_compile)
    twin = compiled()
    twin.set_weights(model.get_weights())
    with tf.GradientTape() as tape:
        value = twin.loss(LABELS, twin.backbone(IMAGES, training=True))
    weights = [*twin.backbone.trainable_weights, *twin.classifier.trainable_weights]
    expected = [w.numpy() - 0.05 * g.numpy() for w, g in zip(weights, tape.gradient(value, weights), strict=True)]
    history = model.fit(IMAGES, LABELS, batch_size=32, epochs=1, verbose=0).history
    np.testing.assert_allclose(history["loss"], [value.numpy()], rtol=1e-5)
    found = [*model.backbone.trainable_weights, *model.classifier.trainable_weights]
    for after, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(after.numpy(), wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "logged"),
    [
        (losses.DirectSumLoss, {"accuracy", "classification_loss", "metric_loss"}),
        (spectral(1), {"accuracy", "classification_loss", "metric_loss"}),
        (lambda classifier: losses.SumLoss(classifier, metric=None), {"accuracy", "classification_loss"}),
        (lambda classifier: losses.NCALoss(), {"metric_loss"}),
        (lambda classifier: keras.losses.MeanSquaredError(), set()),
    ],
)
def test_fit_logs_the_terms_of_the_loss_and_the_accuracy(loss, logged):
    model = compiled(loss)
    labels = LABELS if logged else np.zeros((32, DIMENSIONS))
    history = model.fit(IMAGES, labels, batch_size=32, verbose=0, validation_data=(IMAGES, labels)).history
    assert set(history) == {f"{prefix}{name}" for prefix in ("", "val_") for name in (*logged, "loss")}
    terms = [history[name][0] for name in logged - {"accuracy"}]
    if terms:
        np.testing.assert_allclose(sum(terms), history["loss"][0], rtol=1e-6)
    if "accuracy" in logged:
        right = np.argmax(model.classifier(model.predict(IMAGES, verbose=0)), axis=1) == LABELS
        assert history["val_accuracy"] == [pytest.approx(right.mean())]


def test_predict_returns_the_features_of_the_backbone():
    model = compiled()
    fit(model)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), model.backbone.predict(IMAGES, verbose=0))


@pytest.mark.parametrize("interval", [1, 3])
def test_a_loaded_model_goes_on_as_the_saved_one_would(tmp_path, interval):
    model = compiled(spectral(interval))
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.classifier is loaded.classifier
    np.testing.assert_allclose(loaded.evaluate(IMAGES, LABELS, verbose=0), model.evaluate(IMAGES, LABELS, verbose=0))
    assert fit(loaded) == fit(model)
    for after, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, expected)


@keras.saving.register_keras_serializable(package="tests.embedding")
class Proxies(keras.losses.Loss):
    """Squared distances to points that the loss learns, one for each class."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.points = keras.Variable(np.ones((CLASSES, DIMENSIONS), np.float32))

    def call(self, y_true, y_pred):
        return tf.reduce_sum((y_pred - tf.gather(self.points.value, y_true)) ** 2, axis=1)


def test_the_loss_s_own_weights_are_trained_and_saved(tmp_path):
    model = compiled(lambda classifier: losses.DirectSumLoss(classifier, metric=Proxies(), metric_weight=0.01))
    fit(model)
    assert np.abs(model.loss.metric.points.numpy() - 1).max() > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.loss.metric.points.numpy(), model.loss.metric.points.numpy())
    assert fit(loaded) == fit(model)


def test_a_frozen_model_has_no_trainable_weights():
    model = compiled(lambda classifier: losses.DirectSumLoss(classifier, metric=Proxies()))
    trained = len(model.trainable_variables)
    model.trainable = False
    assert model.trainable_variables == model.trainable_weights == []
    model.trainable = True
    assert len(model.trainable_weights) == trained == len(model.backbone.trainable_weights) + 3


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_a_spectral_sum_holds_w_for_its_interval(steps_per_execution):
    model = compiled(spectral(4), steps_per_execution=steps_per_execution)
    held = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: held.append(model.loss.projection.numpy()))
    fit(model, epochs=4, callbacks=[keep])
    # Two steps an epoch.
    np.testing.assert_array_equal(held[0], held[1])
    np.testing.assert_array_equal(held[2], held[3])
    assert np.abs(held[1] - held[2]).max() > 1e-3


def test_keras_callbacks_do_their_work(tmp_path):
    model = compiled(optimizer="adam")
    history = fit(
        model,
        epochs=5,
        validation_data=(IMAGES, LABELS),
        callbacks=[
            keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=1, min_delta=2),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss"),
            keras.callbacks.ReduceLROnPlateau("val_metric_loss", mode="min", patience=1, min_delta=1e9, factor=0.5),
            keras.callbacks.TensorBoard(tmp_path / "tensorboard"),
        ],
    )
    assert len(history["loss"]) == 2
    assert history["learning_rate"][-1] == pytest.approx(1e-3) and float(model.optimizer.learning_rate) < 1e-3
    assert keras.models.load_model(tmp_path / "best.keras").predict(IMAGES, verbose=0).shape == (32, DIMENSIONS)
    assert list((tmp_path / "tensorboard" / "validation").iterdir())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
def test_half_precision_trains_the_classifier_in_float32(policy):
    model = EmbeddingModel(resnet12((16, 16, 3), (4, 4, 4, DIMENSIONS)), keras.layers.Dense(CLASSES))
    model.compile(keras.optimizers.SGD(0.05), loss=losses.DirectSumLoss(model.classifier))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    before = model.classifier.kernel.numpy()
    images = np.repeat(np.repeat(IMAGES, 2, axis=1), 2, axis=2)
    history = model.fit(images, LABELS, batch_size=32, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all() and model.classifier.kernel.dtype == "float32"
    assert np.abs(model.classifier.kernel.numpy() - before).max() > 0


def test_a_frozen_backbone_stays_and_the_classifier_learns():
    model = EmbeddingModel(backbone(), FixedSubspaceClassifier(CLASSES))
    model.backbone.trainable = False
    model.compile("sgd", loss=losses.SumLoss(model.classifier, metric=None))
    before, kernel = model.backbone.get_weights(), np.array(model.classifier.kernel)
    fit(model)
    for weight, expected in zip(model.backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert np.abs(np.array(model.classifier.kernel) - kernel).max() > 0


def test_the_summary_shows_backbone_and_classifier():
    lines = io.StringIO()
    compiled().summary(print_fn=lambda line: lines.write(line + "\n"))
    text = lines.getvalue()
    assert "classifier (Dense)" in text and "sequential" in text and f"(None, {DIMENSIONS})" in text


def test_sample_weights_weigh_both_terms():
    model = compiled()
    weights = np.linspace(0, 2, 32).astype(np.float32)
    expected = model.loss(LABELS, model.backbone(IMAGES, training=False), weights)
    found = model.evaluate(IMAGES, LABELS, sample_weight=weights, batch_size=32, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)


MIRRORED = """
import sys, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.models import test_embedding as t
histories = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    with strategy.scope():
        # Without batch normalisation, whose statistics Keras takes in each replica.
        model = t.EmbeddingModel(t.flat_backbone(), t.keras.layers.Dense(t.CLASSES, name="classifier"))
        optimizer = t.keras.optimizers.SGD(0.01)
        model.compile(optimizer, loss=t.losses.SpectralSumLoss(model.classifier, interval=2))
    before = model.classifier.kernel.numpy()
    history = t.fit(model, epochs=3, validation_data=(t.IMAGES, t.LABELS))
    assert np.abs(model.classifier.kernel.numpy() - before).max() > 1e-3
    histories.append({**history, "kernel": model.classifier.kernel.numpy()})
for name, expected in histories[0].items():
    np.testing.assert_allclose(histories[1][name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
with strategy.scope(), t.pytest.raises(ValueError, match="gradient_accumulation_steps.*Received: 2"):
    model.compile(t.keras.optimizers.SGD(0.01, gradient_accumulation_steps=2), loss=model.loss)
"""


def flat_backbone():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(DIMENSIONS)])


def test_mirrored_devices_train_as_one_does():
    process = programs.run(["-c", MIRRORED])
    assert process.returncode == 0, process.stderr[-2000:]


def other_classifier_loss(model):
    other = keras.layers.Dense(CLASSES)
    other.build((None, DIMENSIONS))
    model.compile("sgd", loss=losses.DirectSumLoss(other))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (other_classifier_loss, ["`loss`", "DirectSumLoss(model.classifier)"]),
        (lambda model: model.compile("sgd", loss="mse", metrics=["accuracy"]), ["`metrics`", "'accuracy'"]),
        (lambda _: EmbeddingModel(backbone(), 4), ["`classifier`", "Dense(classes)", "4"]),
        (lambda _: EmbeddingModel(backbone(), keras.layers.ReLU()), ["`classifier`", "d = 8", "no kernel"]),
        (lambda _: EmbeddingModel(backbone(), built_dense(5)), ["`classifier`", "d = 8", "(5, 4)"]),
        (lambda _: EmbeddingModel(keras.Sequential([keras.layers.Dense(3)]), None), ["`backbone`", "build it"]),
        (lambda _: EmbeddingModel(np.zeros(3), None), ["`backbone`", "ndarray"]),
        (lambda _: EmbeddingModel(image_model(), None), ["`backbone`", "(None, 6, 6, 4)"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make, expected):
    with pytest.raises(ValueError) as caught:
        make(compiled())
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in expected), message


def built_dense(dimensions):
    dense = keras.layers.Dense(CLASSES)
    dense.build((None, dimensions))
    return dense


def image_model():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
