"""A loss, an optimizer and callbacks of the caller's own, trained for real."""

import functools
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.losses import DirectSumLoss, MetricLoss, SumLoss
from dsl_tf.losses.reduction import TermLoss
from dsl_tf.training import train
from dsl_tf.training.given import Given, copied_optimizer
from tests import programs
from tests.images import striped_splits, tiny_backbone, tiny_configuration


def metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


class ProxyLoss(keras.losses.Loss):
    """−x·proxy of the class, with proxies that it learns."""

    def __init__(self, classes=8, dimensions=16):
        super().__init__()
        self.proxies = keras.Variable(np.full((classes, dimensions), 0.1, np.float32), name="proxies")

    def call(self, y_true, y_pred):
        return tf.reduce_sum((y_pred - tf.gather(self.proxies.value, y_true)) ** 2, axis=-1)


class Cooling(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is not serialisable beyond this file."""

    def __call__(self, step):
        return 0.01 / (1.0 + tf.cast(step, tf.float32))

    def get_config(self):
        return {}


class Watch(keras.callbacks.Callback):
    """Writes down what it is told, and stops after some epochs."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.stop_after, self.told, self.logs = stop_after, [], []

    def on_train_begin(self, logs=None):
        self.told.append("train begins")

    def on_train_end(self, logs=None):
        self.told.append("train ends")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.told.append(f"batch {batch}")

    def on_train_batch_end(self, batch, logs=None):
        assert np.isfinite(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(f"epoch {epoch} ends")
        self.logs.append(logs)
        self.model.stop_training = self.stop_after == epoch


def proxy_direct_sum(made):
    def loss(classifier):
        made.append(DirectSumLoss(classifier, metric=ProxyLoss()))
        return made[-1]

    return loss


def test_a_function_of_ones_own_may_branch_on_tensors(tmp_path):
    """Python's `if` becomes an operation of the graph, as in a `tf.function`."""

    def branching(y, x):
        return tf.reduce_sum(x**2, axis=1) if tf.reduce_sum(x) < np.inf else tf.zeros_like(x[:, 0])

    def plain(y, x):
        return tf.reduce_sum(x**2, axis=1)

    for name, function in (("branching", branching), ("plain", plain)):
        configuration = tiny_configuration(tmp_path / name, epochs=1)
        loss = functools.partial(DirectSumLoss, metric=function)
        train(configuration, striped_splits(), tiny_backbone(), loss=loss)
    ours, theirs = (metrics(tmp_path / name)[0]["metric_loss"] for name in ("branching", "plain"))
    assert ours == pytest.approx(theirs, rel=1e-4) and ours > 0


def test_a_loss_with_weights_of_its_own_trains_and_goes_on_with_any_optimizer(tmp_path):
    """Extended from 2 to 4 epochs, it ends as 4 epochs at once do."""
    made, whole = [], []
    options = {"optimizer": keras.optimizers.AdamW(Cooling(), weight_decay=0.01)}
    for epochs in (2, 4):
        configuration = tiny_configuration(tmp_path / "twice", epochs=epochs, extend=epochs == 4)
        results = train(configuration, striped_splits(), tiny_backbone(), loss=proxy_direct_sum(made), **options)
    train(
        tiny_configuration(tmp_path / "once", epochs=4),
        striped_splits(),
        tiny_backbone(),
        loss=proxy_direct_sum(whole),
        **options,
    )
    proxies = made[-1].metric.proxies.numpy()
    assert np.abs(proxies - 0.1).max() > 1e-3
    np.testing.assert_allclose(proxies, whole[-1].metric.proxies.numpy(), rtol=1e-3)
    for ours, theirs in zip(metrics(tmp_path / "twice"), metrics(tmp_path / "once"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["learning_rate"] == pytest.approx(0.01 / (1 + ours["step"]))
        assert ours["loss"] == pytest.approx(ours["classification_loss"] + ours["metric_loss"], rel=1e-4)
    assert results["loss"]["class"] == "DirectSumLoss" and results["optimizer"]["class"] == "AdamW"
    assert json.loads((tmp_path / "once" / "results.json").read_text())["optimizer"]["config"]["weight_decay"] == 0.01


def test_callbacks_are_told_everything_and_can_stop(tmp_path):
    watch = Watch(stop_after=1)
    results = train(tiny_configuration(tmp_path, epochs=4), striped_splits(), tiny_backbone(), callbacks=[watch])
    batches = [f"batch {number}" for number in range(4)]
    epochs = [text for epoch in range(2) for text in (f"epoch {epoch}", *batches, f"epoch {epoch} ends")]
    assert watch.told == ["train begins", *epochs, "train ends"]
    assert results["steps"] == 8 and results["accuracies"]
    lines = metrics(tmp_path)
    assert len(lines) == 2
    for logs, line in zip(watch.logs, lines, strict=True):
        assert logs == {name: value for name, value in line.items() if name not in ("epoch", "step")}


def test_kerass_own_callbacks_stop_save_and_lower_the_rate(tmp_path):
    callbacks = [
        keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9),
        keras.callbacks.EarlyStopping("loss", patience=2, min_delta=1e9),
        keras.callbacks.ModelCheckpoint(tmp_path / "model.keras"),
    ]
    configuration = tiny_configuration(tmp_path / "run", epochs=5, classification_loss="none")
    optimizer = keras.optimizers.SGD(0.01)
    results = train(configuration, striped_splits(), tiny_backbone(), optimizer=optimizer, callbacks=callbacks)
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1, 2, 3]
    assert [line["learning_rate"] for line in metrics(tmp_path / "run")] == pytest.approx([0.01, 0.01, 0.005])
    assert results["steps"] == 12
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert keras.models.load_model(tmp_path / "model.keras", compile=False).output_shape == (None, 16)


def test_another_loss_is_measured_as_its_sum(tmp_path):
    class Length(TermLoss):
        def terms(self, y, predictions):
            return {"length": (tf.reduce_sum(tf.cast(predictions, tf.float64) ** 2, axis=1), None)}

    configuration = tiny_configuration(tmp_path, classification_loss="none", precision="mixed_float16", epochs=1)
    train(configuration, striped_splits(), loss=lambda classifier: Length(), optimizer=keras.optimizers.Adam())
    (line,) = metrics(tmp_path)
    assert line["loss"] > 0 and not {"metric_loss", "accuracy"} & set(line)


def train_proxies(directory, **devices):
    """Trains with weights of the loss's own, and returns them."""
    made = []
    configuration = tiny_configuration(directory, epochs=1, learning_rate=0.001, **devices)
    optimizer = keras.optimizers.SGD(0.001)
    train(configuration, striped_splits(), tiny_backbone(), loss=proxy_direct_sum(made), optimizer=optimizer)
    return made[-1].metric.proxies.numpy()


def test_two_devices_train_the_weights_of_a_loss_as_one_does(tmp_path):
    two = programs.run(["-m", "tests.training.test_given", tmp_path / "two", tmp_path / "two.npy"])
    assert two.returncode == 0, two.stderr
    one = train_proxies(tmp_path / "one")
    assert np.abs(one - 0.1).max() > 1e-5
    np.testing.assert_allclose(np.load(tmp_path / "two.npy") - 0.1, one - 0.1, rtol=0.02, atol=1e-6)
    assert metrics(tmp_path / "two")[0]["loss"] == pytest.approx(metrics(tmp_path / "one")[0]["loss"], rel=1e-3)


def test_a_copied_optimizer_keeps_what_it_leaves_undecayed():
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    copy = copied_optimizer(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0))
    assert float(copy.initial_scale) == 8.0
    kernel, bias = keras.Variable(np.ones(2), name="kernel"), keras.Variable(np.ones(2), name="bias")
    copy.build([kernel, bias])
    copy.apply([tf.zeros(2), tf.zeros(2)])
    np.testing.assert_allclose(kernel.numpy(), 0.95, rtol=1e-6)
    np.testing.assert_allclose(bias.numpy(), 1.0, rtol=1e-6)


class NoConfiguration(keras.optimizers.SGD):
    def get_config(self):
        raise NotImplementedError("none")


@pytest.mark.parametrize(
    ("argument", "changes", "word"),
    [
        ("optimizer", {"clip_norm": 1.0}, "--clip_norm=1.0"),
        ("optimizer", {"schedule": "cosine"}, "--schedule=cosine"),
        ("optimizer", {"backbone_learning_rate_factor": 0.1}, "--backbone_learning_rate_factor=0.1"),
        ("loss", {"label_smoothing": 0.1}, "--label_smoothing=0.1"),
    ],
)
def test_a_flag_without_effect_beside_an_argument_is_refused(tmp_path, argument, changes, word):
    given = {"optimizer": keras.optimizers.SGD(0.1), "loss": lambda classifier: DirectSumLoss(classifier)}
    with pytest.raises(UserError, match=f"`{argument}` takes the place of .*Received: both, with {word}"):
        train(tiny_configuration(tmp_path, **changes), striped_splits(), **{argument: given[argument]})
    assert list(tmp_path.iterdir()) == []


def test_overwriting_weights_by_averages_is_for_one_device():
    given = Given(optimizer=keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=3))
    given.check(tiny_configuration("unused"), 1)
    with pytest.raises(UserError, match="ema_overwrite_frequency.*Received: 3"):
        given.check(tiny_configuration("unused"), 2)


# Made in the test: an optimizer holds variables, and logical devices must be set before the first one.
LATE = {"unconfigured": NoConfiguration}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "sce"}, ["`loss` must be a function of the classifier", "'sce'"]),
        ({"loss": MetricLoss}, ["`loss` must be a function of the classifier"]),
        ({"loss": lambda classifier: 3}, ["`loss` must return", "int"]),
        ({"loss": lambda classifier: MetricLoss("nca")}, ["MetricLoss", "--classification_loss=none"]),
        ({"loss": lambda classifier: SumLoss(keras.layers.Dense(8))}, ["classifier that it is called with"]),
        ({"loss": lambda classifier: DirectSumLoss(classifier, metric="no")}, ["`metric`", "'no'"]),
        ({"optimizer": "adam"}, ["`optimizer` must be a Keras optimizer", "'adam'"]),
        ({"optimizer": keras.optimizers.SGD}, ["`optimizer` must be a Keras optimizer"]),
        ({"optimizer": "unconfigured"}, ["get_config", "NoConfiguration"]),
        ({"callbacks": keras.callbacks.History()}, ["`callbacks` must be a list", "History"]),
        ({"callbacks": [print]}, ["`callbacks` must be a list", "print"]),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(tmp_path, arguments, words):
    if arguments.get("optimizer") in LATE:
        arguments = {"optimizer": LATE[arguments["optimizer"]]()}
    with pytest.raises(UserError) as error:
        train(tiny_configuration(tmp_path), striped_splits(), tiny_backbone(), **arguments)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


if __name__ == "__main__":
    # Before the backbone and the optimizer, which hold variables.
    distribution.open_strategy("mirrored", 2)
    np.save(sys.argv[2], train_proxies(sys.argv[1], distribution="mirrored", virtual_devices=2))
