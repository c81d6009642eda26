"""A Keras model of features that owns the classifier of its loss, so that `fit` trains both."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Keras would compare the labels with the features instead of the logits.
_ACCURACIES = ("acc", "accuracy", "categorical_accuracy", "sparse_categorical_accuracy")


class _Refresh(keras.callbacks.Callback):
    """Decomposes W between steps; within the graph, the decomposition would run in every step."""

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.refresh_spectrum()


@keras.saving.register_keras_serializable(package="dsl_tf")
class EmbeddingModel(keras.Model):
    """A backbone with the linear classifier that an integrated loss needs: images in, features out.

    Integrated losses such as `DirectSumLoss` read the classifier's W and b themselves. A plain Keras model does not
    contain the classifier and would not train it; this model does, so `fit` trains backbone, W and b together. `fit`
    logs each term of the loss (`classification_loss`, `metric_loss`) and the classification `accuracy`, and decomposes
    W every `interval` steps for a spectral sum. Callbacks that monitor one of these need a direction, such as
    `EarlyStopping("val_accuracy", mode="max")`. `predict` returns features; `save` and `keras.models.load_model` keep
    weights, loss and optimizer.

    Example:
        model = EmbeddingModel(dsl_tf.models.resnet12((84, 84, 3)), keras.layers.Dense(64))
        model.compile("adam", loss=dsl_tf.losses.DirectSumLoss(model.classifier))
        model.fit(images, labels, batch_size=256, epochs=10)
        features = model.predict(new_images)

    Args:
        backbone: a built `keras.Model` from images to features `[n, d]`.
        classifier: a layer with a `kernel [d, C]` and a `bias [C]` or None, such as `keras.layers.Dense(C)`. It is
            built here if necessary.
        **kwargs: arguments of `keras.Model`, such as `name`.

    Attributes:
        backbone: the backbone.
        classifier: the classifier, built.

    Raises:
        ValueError: if the backbone is not built or does not return features `[n, d]`, or the classifier has no kernel
            with d rows.
    """

    def __init__(self, backbone: keras.Model, classifier: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        d = _feature_dimension(backbone)
        if not isinstance(classifier, keras.layers.Layer):
            raise ValueError(
                f"`classifier` must be a Keras layer such as keras.layers.Dense(classes). Received: {classifier!r}"
            )
        if not classifier.built:
            classifier.build((None, d))
        shape = getattr(getattr(classifier, "kernel", None), "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != d:
            raise ValueError(
                f"`classifier` must have a kernel [d, C] with d = {d}, the backbone's number of features. "
                f"Received: {type(classifier).__name__} with {'no kernel' if shape is None else f'a kernel {shape}'}"
            )
        self.backbone = backbone
        self.classifier = classifier
        self._terms = {name: keras.metrics.Mean(f"{name}_loss") for name in ("classification", "metric")}
        self._accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
        self._logged: tuple[str, ...] = ()
        # For a spectral sum: how many intervals had begun when W was last decomposed.
        self._interval_begun = -1
        self.build(backbone.input_shape)

    def build(self, input_shape: Any) -> None:
        """Does nothing, because backbone and classifier are built already."""
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns features `[n, d]` of images."""
        return self.backbone(images, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the features."""
        return self.backbone.compute_output_shape(input_shape)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, *, metrics: Any = None, **kwargs: Any) -> None:
        """Sets the optimizer and the loss, as `keras.Model.compile` does.

        Args:
            optimizer: a Keras optimizer or its name.
            loss: a function of labels and features: an integrated loss of `dsl_tf.losses` made with this model's
                `classifier`, a metric loss, or any loss on features.
            metrics: Keras metrics of labels and features. The classification accuracy is always logged.
            **kwargs: other arguments of `keras.Model.compile`.

        Raises:
            ValueError: if the loss does not use this model's classifier, `metrics` names an accuracy, or the optimizer
                accumulates gradients on several devices.
        """
        classifier = getattr(loss, "classifier", self.classifier)
        if classifier is not self.classifier:
            raise ValueError(
                "`loss` must be made with this model's classifier, or fit would not train its W: "
                f"{type(loss).__name__}(model.classifier). Received: a loss with another classifier, "
                f"{getattr(classifier, 'name', classifier)!r}"
            )
        wrong = [name for name in metrics or () if isinstance(name, str) and name in _ACCURACIES]
        if wrong:
            raise ValueError(
                f"`metrics` are measured on features, not on logits. Received: {wrong[0]!r}. Omit it: the "
                "classification accuracy is logged as 'accuracy' for every loss with a classifier"
            )
        accumulated = getattr(optimizer, "gradient_accumulation_steps", None)
        if accumulated and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "`optimizer` on several devices must have no gradient_accumulation_steps, which Keras cannot apply "
                f"there. Received: {accumulated}. Omit it, or use one device"
            )
        self._logged, self._interval_begun = (), -1
        if hasattr(loss, "reduced_terms"):
            # A metric loss has no classification term, and a sum may have no metric term.
            without = {"classification"} if not hasattr(loss, "classifier") else set()
            without |= {"metric"} if getattr(loss, "metric", "given") is None else set()
            self._logged = tuple(name for name in self._terms if name not in without)
        super().compile(optimizer, loss, metrics=metrics, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model: the loss gets this model's classifier instead of a copy."""
        config = keras.saving.deserialize_keras_object(config)
        loss: Any = config.get("loss")
        if hasattr(loss, "classifier"):
            loss.classifier = self.classifier
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def _loss_variables(self) -> list[keras.Variable]:
        """Returns the weights that the loss itself learns, such as class proxies."""
        return list(getattr(getattr(self, "loss", None), "trainable_variables", ()))

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights that `fit` trains: the backbone's, the classifier's and the loss's own; none if it is frozen."""
        return [*super().trainable_variables, *self._loss_variables()] if self.trainable else []

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that `fit` and `evaluate` log."""
        own = [*self._terms.values(), self._accuracy]
        logged = [self._terms[name] for name in self._logged]
        logged += [self._accuracy] if "classification" in self._logged else []
        others = [metric for metric in super().metrics if not any(metric is tracker for tracker in own)]
        return [*others, *logged]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns the loss of a batch and records its terms for the log."""
        if not self._logged:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        terms = self.loss.reduced_terms(y, y_pred, sample_weight)
        # In a replica, a term is a share of the global batch's term. Keras logs the mean over replicas.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        rows = tf.shape(y_pred)[0]
        for name, term in terms.items():
            self._terms[name].update_state(term * replicas, sample_weight=rows)
        if "classification" in self._logged:
            self._accuracy.update_state(y, self.loss.logits(y_pred))
        return tf.add_n([*terms.values(), *map(self._aggregate_additional_loss, self.losses)])

    def fit(self, *args: Any, callbacks: Sequence[keras.callbacks.Callback] | None = None, **kwargs: Any) -> Any:
        """Trains backbone and classifier as `keras.Model.fit` does, and returns its history."""
        if self._held_projection() is not None:
            callbacks = [_Refresh(), *(callbacks or ())]
        return super().fit(*args, callbacks=callbacks, **kwargs)

    def _held_projection(self) -> tf.Variable | None:
        """Returns the projection that a spectral sum keeps between decompositions of W, or None."""
        return getattr(getattr(self, "loss", None), "projection", None)

    def refresh_spectrum(self) -> None:
        """Decomposes W for a spectral sum if a new interval of steps has begun. `fit` calls this between steps."""
        if self._held_projection() is not None:
            # With `steps_per_execution`, this is not called before every step and may skip a multiple of the interval.
            begun = int(self.optimizer.iterations.numpy()) // self.loss.interval
            if begun != self._interval_begun:
                self.loss.refresh()
                self._interval_begun = begun

    def save_own_variables(self, store: Any) -> None:
        """Saves the loss's own weights and the projection of a spectral sum."""
        for index, variable in enumerate(self._loss_variables()):
            store[f"loss_{index}"] = variable.numpy()
        projection = self._held_projection()
        if projection is not None:
            store["projection"], store["interval_begun"] = projection.numpy(), np.int64(self._interval_begun)

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        for index, variable in enumerate(self._loss_variables()):
            if f"loss_{index}" in store:
                variable.assign(store[f"loss_{index}"])
        projection = self._held_projection()
        if projection is not None and "projection" in store:
            projection.assign(store["projection"])
            self._interval_begun = int(np.asarray(store["interval_begun"]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "EmbeddingModel":
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("backbone", "classifier")
        }
        return cls(**{**config, **parts})


def _feature_dimension(backbone: keras.Model) -> int:
    """Returns d, if the backbone is a built model from images to features `[n, d]`."""
    if not isinstance(backbone, keras.Model):
        raise ValueError(
            f"`backbone` must be a keras.Model from images to features [n, d]. Received: {type(backbone).__name__}"
        )
    try:
        shape = backbone.output_shape
    # Keras raises these for a model that was never called.
    except (AttributeError, ValueError, TypeError):
        shape = None
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int):
        found = "no known output shape: build it or call it on a batch" if shape is None else f"output shape {shape}"
        raise ValueError(f"`backbone` must return one tensor of features [n, d]. Received: {found}")
    return shape[1]
