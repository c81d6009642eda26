"""Linear classifiers: free weights, or weights in a fixed subspace (Table 3, rows ii)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="dsl_tf")
class FixedSubspaceClassifier(keras.layers.Layer):
    """A linear classifier whose weights stay in a fixed subspace: W = R·ω, Section 3.2 (ii) of the paper.

    Args:
        classes: C, the number of classes.
        kind: `"random"` for a random orthonormal basis R_C, `"axis"` for I_C, the first C axes.
        seed: the seed of the random basis.

    Raises:
        ValueError: if `kind` is unknown or, when the layer is built, if the features have fewer than C dimensions.
    """

    def __init__(self, classes: int, kind: str = "random", seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("random", "axis"):
            raise ValueError(f"`kind` must be 'random' or 'axis'. Received: {kind!r}")
        self.classes = classes
        self.kind = kind
        self.seed = seed

    def build(self, input_shape: tuple) -> None:
        d = input_shape[-1]
        if d < self.classes:
            raise ValueError(
                f"A fixed subspace needs at least as many feature dimensions d as classes C. "
                f"Received: d = {d}, C = {self.classes}. Use a wider backbone or a free classifier."
            )
        basis = np.eye(d, self.classes)
        if self.kind == "random":
            basis = np.linalg.qr(np.random.default_rng(self.seed).standard_normal((d, self.classes)))[0]
        # No autocasting: half precision would change the basis and round the logits.
        self.basis = self.add_weight(
            shape=(d, self.classes), initializer="zeros", trainable=False, autocast=False, dtype="float32", name="basis"
        )
        self.basis.assign(basis.astype(np.float32))
        self.omega = self.add_weight(
            shape=(self.classes, self.classes),
            initializer=keras.initializers.GlorotUniform(seed=self.seed),
            autocast=False,
            dtype="float32",
            name="omega",
        )
        self.bias = self.add_weight(
            shape=(self.classes,), initializer="zeros", autocast=False, dtype="float32", name="bias"
        )

    @property
    def kernel(self) -> tf.Tensor:
        """W = R·ω, `[d, C]`."""
        # Float32 products have 10 bits of mantissa on recent GPUs.
        basis, omega = (keras.ops.cast(factor, "float64") for factor in (self.basis, self.omega))
        return keras.ops.cast(keras.ops.matmul(basis, omega), "float32")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the logits `[n, C]` of features `[n, d]`."""
        inputs = keras.ops.cast(inputs, "float32")
        return keras.ops.matmul(inputs, self.kernel) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "kind": self.kind, "seed": self.seed}
