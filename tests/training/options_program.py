"""Trains with options of each kind, whole and stopped in the middle, and writes what both leave: a process of its own.

Determinism holds for the rest of a process. Usage: python -m tests.training.options_program FOLDER
"""

import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses import DirectSumLoss
from dsl_tf.training import train
from tests.images import SIZE, striped_splits, tiny_configuration
from tests.training.test_given import ProxyLoss

STOP = 6
KINDS = {
    "averaged": {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "clip_norm": 0.5,
        "ema_momentum": 0.8,
        "label_smoothing": 0.1,
        "backbone_learning_rate_factor": 0.3,
    },
    "started, frozen and stopped early": {
        "init_from": "start.keras",
        "freeze_until": "first_normalization",
        "weight_decay": 0.01,
        "optimizer": "lion",
        "schedule": "constant",
        "precision": "mixed_float16",
        "backbone_learning_rate_factor": 0.1,
        "early_stopping": 2,
    },
    "own": {},
}


class MovingProxyLoss(ProxyLoss):
    """`ProxyLoss`, minus a tenth of its own moving mean, which it keeps from step to step."""

    def __init__(self):
        super().__init__(dimensions=12)
        self.mean = keras.Variable(0.0, trainable=False, name="mean")

    def call(self, y_true, y_pred):
        values = super().call(y_true, y_pred)
        self.mean.assign(0.5 * self.mean + 0.5 * tf.reduce_mean(values))
        return values - 0.1 * tf.convert_to_tensor(self.mean)


class Stop(keras.callbacks.Callback):
    """Sends SIGTERM in a step within an epoch."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == STOP:
            os.kill(os.getpid(), signal.SIGTERM)


def backbone():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(6, 5, strides=3, name="first"),
            keras.layers.BatchNormalization(name="first_normalization"),
            keras.layers.Conv2D(12, 3, activation="relu", name="second"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def arguments(kind, made):
    """The arguments of `train` that are Python objects, new ones for each call."""

    def loss(classifier):
        made.append(DirectSumLoss(classifier, metric=MovingProxyLoss()))
        return made[-1]

    if kind != "own":
        return {}
    optimizers = keras.optimizers
    optimizer = optimizers.Adafactor(optimizers.schedules.ExponentialDecay(0.01, 4, 0.5), use_ema=True)
    # Not in the earliest versions of Keras that the package takes.
    if hasattr(optimizers, "MultiOptimizer"):
        optimizer = optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizer, {"first/.*": optimizers.Adam()}))
    return {"loss": loss, "optimizer": optimizer}


def ending(directory, made):
    """What a run leaves: its log without times, and its weights."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    results = json.loads((directory / "results.json").read_text())
    weights = keras.models.load_model(directory / "backbone.keras").get_weights()
    with np.load(directory / "training_statistics.npz") as statistics:
        weights += [statistics[name] for name in ("feature_mean", "kernel", "bias")]
    weights += [made[-1].metric.proxies.numpy(), made[-1].metric.mean.numpy()] if made else []
    return {
        "lines": lines,
        "accuracies": results["accuracies"],
        "steps": results["steps"],
        "weights": [weight.astype(np.float32).tobytes().hex() for weight in weights],
    }


def main(folder):
    os.chdir(folder)
    found = {}
    for kind, changes in KINDS.items():
        splits = striped_splits()
        if kind == "own":
            del splits["val"], splits["test"]
        endings = []
        for name in ("whole", "broken"):
            directory, made = pathlib.Path(f"{name} {kind}"), []
            configuration = tiny_configuration(
                directory, epochs=3, test_shots=(1,), test_episodes=20, log_every=3, deterministic=True, **changes
            )
            backbone().save("start.keras")
            if name == "broken":
                try:
                    train(configuration, splits, backbone(), callbacks=[Stop()], **arguments(kind, made))
                    raise AssertionError("not stopped")
                except SystemExit:
                    assert (directory / "checkpoints" / f"ckpt-{STOP}").is_dir()
                # Read at the start alone.
                os.remove("start.keras")
            train(configuration, splits, backbone(), **arguments(kind, made))
            endings.append(ending(directory, made))
        found[kind] = endings
    pathlib.Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
