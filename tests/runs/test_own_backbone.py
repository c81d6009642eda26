import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from dsl_tf.data.preprocessing import normalize
from dsl_tf.errors import UserError
from dsl_tf.models.convolution import Convolution2D
from dsl_tf.models.normalization import FusedBatchNormalization
from dsl_tf.runs.export import export_saved_model, load_exported_model
from dsl_tf.runs.own_backbone import checked_backbone
from tests.images import tiny_backbone

SHAPE = (16, 16, 3)
layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)


@keras.saving.register_keras_serializable(package="tests")
class Scale(layers.Layer):
    """A layer whose arguments Keras can save by itself."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs


@keras.saving.register_keras_serializable(package="tests")
class Forgetful(Scale):
    """A layer whose configuration lacks its argument."""

    def get_config(self):
        return layers.Layer.get_config(self) if self.factor == 1 else {"name": self.name}


class Unsaved(layers.Layer):
    """A layer without get_config, with an argument that Keras cannot save."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model without get_config: Keras saves it as if all arguments had their defaults."""

    def __init__(self, features=4, **kwargs):
        super().__init__(**kwargs)
        self.features = features
        self.convolution = layers.Conv2D(features, 3)
        self.normalization = layers.BatchNormalization()
        self.pooling = layers.GlobalAveragePooling2D()

    def call(self, images, training=None):
        return self.pooling(self.normalization(self.convolution(images), training=training))


@keras.saving.register_keras_serializable(package="tests")
class WithConfiguration(Subclassed):
    def get_config(self):
        return {**super().get_config(), "features": self.features}


class OnHost(layers.Layer):
    """A layer that works only outside of a graph."""

    def call(self, inputs):
        return tf.reduce_mean(inputs, [1, 2]) * float(np.asarray(inputs).max())

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[-1]


class Silent(keras.Model):
    def call(self, images):
        return None


def sequential(*inner, shape=SHAPE):
    return keras.Sequential([keras.Input(shape), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), *inner])


def functional(inputs, outputs=1, output=None):
    """A functional model of `inputs`, a tensor or any structure of tensors."""
    pooled = [layers.GlobalAveragePooling2D()(image) for image in keras.tree.flatten(inputs)]
    features = [layers.Dense(4)(pooled[0] if len(pooled) == 1 else layers.add(pooled)) for _ in range(outputs)]
    return keras.Model(inputs, output(features) if output else features if outputs > 1 else features[0])


def float16_model():
    return keras.Sequential([*sequential().layers, layers.Activation("linear", dtype="float16")])


def frozen():
    model = tiny_backbone()
    model.trainable = False
    return model


def around_this_packages_layers():
    """A backbone of which a part must be copied, and another cannot be."""
    inner = keras.Sequential(
        [keras.Input(SHAPE), Convolution2D(4, 3), FusedBatchNormalization(), layers.GlobalAveragePooling2D()]
    )
    return keras.Sequential([keras.Input(SHAPE), inner, layers.Lambda(lambda features: features * 2)])


WORKING = {
    "sequential": tiny_backbone,
    "not built": lambda: keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]),
    "subclassed": Subclassed,
    "subclassed with get_config": lambda: WithConfiguration(5),
    "any size": lambda: sequential(shape=(None, None, 3)),
    "lambda": lambda: sequential(layers.Lambda(lambda features: features * 2)),
    "lambda on this package's layers": around_this_packages_layers,
    "a layer whose arguments Keras saves": lambda: sequential(Scale(2.0)),
    "a dict of one input": lambda: functional({"image": keras.Input(SHAPE, name="image")}),
    "a list of one input": lambda: functional([keras.Input(SHAPE)]),
    "a dict of one output": lambda: functional(keras.Input(SHAPE), output=lambda found: {"features": found[0]}),
    "frozen": frozen,
    "float16": float16_model,
}


@pytest.mark.parametrize("kind", WORKING)
def test_a_backbone_that_keras_can_export_is_exported(tmp_path, kind):
    backbone = WORKING[kind]()
    model = checked_backbone(backbone, SHAPE)
    assert model.input_shape == (None, *SHAPE) and len(model.output_shape) == 2
    assert {id(weight) for weight in model.weights} == {id(weight) for weight in backbone.weights}
    export_saved_model(model, tmp_path / "saved_model")
    served = load_exported_model(tmp_path).signature(images=tf.constant(IMAGES))["features"]
    images = normalize(IMAGES)
    argument = {"image": images} if kind == "a dict of one input" else images
    expected = keras.tree.flatten(backbone(argument, training=False))[0]
    np.testing.assert_allclose(served, tf.cast(expected, tf.float32), rtol=1e-2, atol=1e-4)


def test_an_anonymous_function_is_warned_of_before_training(caplog):
    with caplog.at_level(logging.WARNING):
        checked_backbone(WORKING["lambda"](), SHAPE)
    assert "safe_mode=False" in caplog.text and "backbone.keras" in caplog.text


REFUSED = {
    "no model": (lambda: layers.Dense(3), "keras.Model.*Dense"),
    "another size": (lambda: sequential(shape=(20, 20, 3)), r"\(None, 16, 16, 3\).*\(None, 20, 20, 3\)"),
    "grey images": (lambda: sequential(shape=(16, 16, 1)), r"\(None, 16, 16, 3\).*\(None, 16, 16, 1\)"),
    "a fixed batch": (lambda: functional(keras.Input(batch_shape=(8, *SHAPE))), r"\(8, 16, 16, 3\)"),
    "vectors": (lambda: keras.Sequential([keras.Input((5,)), layers.Dense(3)]), r"\(None, 5\)"),
    "two inputs": (lambda: functional([keras.Input(SHAPE), keras.Input(SHAPE)]), "one input.*2 inputs"),
    "a dict of two inputs": (lambda: functional({name: keras.Input(SHAPE, name=name) for name in "ab"}), "2 inputs"),
    "two outputs": (lambda: functional(keras.Input(SHAPE), outputs=2), r"one output.*2 outputs.*\(None, 4\)"),
    "no output": (Silent, "one output|take images"),
    "maps": (lambda: keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3)]), r"features \[n, d\]"),
    "too small": (lambda: keras.Sequential([layers.Conv2D(4, 99), layers.Flatten()]), "take images of shape"),
    "integers": (lambda: sequential(layers.Lambda(lambda x: tf.cast(x, tf.int32))), "floating-point.*int32"),
    "a model without get_config": (lambda: Subclassed(5), "Keras can save.*get_config"),
    "no get_config": (lambda: sequential(Unsaved(tf.nn.relu)), "Keras can save.*get_config"),
    "a constructor's argument is forgotten": (lambda: sequential(Forgetful(3.0)), "same features.*backbone.keras"),
    "not in a graph": (lambda: keras.Sequential([keras.Input(SHAPE), OnHost()]), "SavedModel|take images"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_backbone_that_cannot_be_exported_is_refused_in_one_line(kind):
    make, message = REFUSED[kind]
    with pytest.raises(UserError, match=message) as error:
        checked_backbone(make(), SHAPE)
    assert "\n" not in str(error.value) and str(error.value).startswith("A backbone must")


def test_a_class_that_keras_cannot_find_again_is_refused():
    class Local(layers.Layer):
        def call(self, inputs):
            return inputs

    with pytest.raises(UserError, match="load again.*register_keras_serializable") as error:
        checked_backbone(sequential(Local()), SHAPE)
    assert "\n" not in str(error.value)
