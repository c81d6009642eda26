"""Title: Your own metric loss in the direct sum
Description: A supervised contrastive loss takes the place of NCA; the direct sum keeps it out of the classifier's way.

Any `keras.losses.Loss` or function of labels `[n]` and features `[n, d]` can be the metric loss. It returns one value
per sample or a scalar. Under `tf.distribute` it is handed the rows of all devices.

    python examples/own_metric_loss.py [--steps=200]

Nothing is downloaded.
"""

import argparse
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses import DirectSumLoss
from dsl_tf.models import EmbeddingModel


@keras.saving.register_keras_serializable(package="examples")
class SupervisedContrastive(keras.losses.Loss):
    """Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020: one value per sample."""

    def __init__(self, temperature: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.temperature = temperature

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        x = tf.math.l2_normalize(y_pred, axis=1)
        itself = tf.eye(tf.shape(x)[0], dtype=tf.bool)
        scores = tf.where(itself, -1e9, tf.matmul(x, x, transpose_b=True) / self.temperature)
        log_probabilities = scores - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
        partners = tf.cast((y_true[:, None] == y_true[None, :]) & ~itself, x.dtype)
        return -tf.math.divide_no_nan(
            tf.reduce_sum(partners * log_probabilities, axis=1), tf.reduce_sum(partners, axis=1)
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "temperature": self.temperature}


def clouds(points: np.ndarray, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy samples around points, with their labels."""
    noise = np.random.default_rng(seed).normal(0, 0.7, (len(points) * images, points.shape[1]))
    labels = np.repeat(np.arange(len(points)), images)
    return (points[labels] + noise).astype(np.float32), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="Training steps. Default: 200.")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    x, y = clouds(np.random.default_rng(0).normal(size=(8, 16)), images=16, seed=1)

    backbone = keras.Sequential([keras.Input((16,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(32)])
    model = EmbeddingModel(backbone, keras.layers.Dense(8, name="classifier"))
    loss = DirectSumLoss(model.classifier, metric=SupervisedContrastive(), metric_weight=0.5)
    model.compile("adam", loss=loss)
    history = model.fit(x, y, batch_size=len(x), epochs=arguments.steps, verbose=0).history
    for name in ("classification_loss", "metric_loss", "accuracy"):
        print(f"{name}: {history[name][0]:.3f} -> {history[name][-1]:.3f}")
    model.save("own_metric_loss.keras")
    print("Saved own_metric_loss.keras; keras.models.load_model brings back weights, loss and optimizer.")
    print("Next: SpectralSumLoss if your classes outnumber the features; keras_fit.py for images.")


if __name__ == "__main__":
    main()
