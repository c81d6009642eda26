"""What a strategy computes, written to a file: run in processes of its own by test_distribution.py.

Usage: python -m tests.replicas_program DISTRIBUTION VIRTUAL_DEVICES OUTPUT
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import dsl_tf
from dsl_tf import distribution, evaluation, losses
from dsl_tf.data.pipeline import training_batches
from dsl_tf.errors import UserError
from dsl_tf.losses.replicas import sum_over_replicas
from dsl_tf.models.normalization import FusedBatchNormalization
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.features import extract_features
from dsl_tf.training import construction, workers
from dsl_tf.training.averages import averaged
from dsl_tf.training.given import Given
from dsl_tf.training.step import TrainingStep
from tests.images import SIZE, striped_split, tiny_backbone, tiny_configuration

# Not divisible by 2 or 4; a class with one sample, and classes across the replicas' borders.
LABELS = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 0])
FEATURES, CLASSES = 6, 4


def farthest_partner(y, x):
    """A user's loss of one value per sample, which compares samples but knows nothing of devices."""
    distances = tf.reduce_sum((x[:, None] - x[None]) ** 2, axis=2)
    return tf.reduce_max(tf.where(y[:, None] == y[None], distances, 0), axis=1)


LOSSES = {
    "nca": lambda classifier: losses.NCALoss(),
    "sum": lambda classifier: losses.SumLoss(classifier, classification="bce", metric="proto"),
    "spectral_sum": lambda classifier: losses.SpectralSumLoss(classifier, metric="proto", gradient_to_kernel=True),
    "user's values": lambda classifier: losses.DirectSumLoss(classifier, metric=farthest_partner),
    "user's scalars": lambda classifier: losses.SumLoss(
        classifier,
        classification=lambda y, logits: tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, logits, True)),
        metric=lambda y, x: tf.reduce_sum(farthest_partner(y, x)) / len(LABELS),
    ),
}
STEPS = 4


def features():
    return np.random.default_rng(0).normal(size=(len(LABELS), FEATURES)).astype(np.float32)


def images():
    random = np.random.default_rng(1)
    # Far from 0, where a variance as a difference of squares would cancel in float32; not so far that the mean's own
    # rounding shows. At 1000 one device's kernel and the replicas' sums are both 1e-5 off float64, at 100 both 1e-6.
    return (100 + random.normal(size=(len(LABELS), 3, 3, 4)) * [1, 2, 3, 4]).astype(np.float32)


def classifier():
    layer = keras.layers.Dense(CLASSES)
    layer.build((None, FEATURES))
    random = np.random.default_rng(2)
    layer.set_weights([random.normal(size=(FEATURES, CLASSES)), random.normal(size=CLASSES)])
    return layer


def on_replicas(strategy, function, *arrays):
    """Calls a function with each replica's rows; returns its first results joined, its second ones summed."""
    first, last = distribution.worker_rows(strategy, len(LABELS))

    # Without AutoGraph, as training steps are traced.
    @tf.function(autograph=False)
    def run():
        def replica(*arrays):
            rows, shares = function(*distribution.replica_rows(strategy, arrays, len(LABELS)))
            return rows, sum_over_replicas(shares)

        rows, shares = strategy.run(replica, args=[tf.constant(array[first:last]) for array in arrays])
        rows = rows if strategy.num_replicas_in_sync == 1 else strategy.gather(rows, axis=0)
        return rows, [strategy.experimental_local_results(share)[0] for share in shares]

    rows, shares = run()
    return [rows.numpy(), *(share.numpy() for share in shares)]


def loss_and_gradients(strategy, build):
    with strategy.scope():
        layer = classifier()
        loss = build(layer)

    def replica(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x)
        weights = [layer.kernel.value, layer.bias.value]
        to_x, *to_weights = tape.gradient(value, [x, *weights], unconnected_gradients="zero")
        return to_x, [value, *to_weights]

    return on_replicas(strategy, replica, features(), LABELS)


def normalized(strategy):
    with strategy.scope():
        layer = FusedBatchNormalization(synchronized=True, epsilon=1e-5)
        layer.build((None, 3, 3, 4))
        layer.set_weights([np.array(weight, np.float32) for weight in ([1, 2, 3, 4], [4, 3, 2, 1], [0] * 4, [1] * 4)])
    upstream = np.random.default_rng(3).normal(size=images().shape).astype(np.float32)

    def replica(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        to_x, *to_weights = tape.gradient(y, [x, layer.gamma.value, layer.beta.value], upstream)
        return tf.concat([y, to_x], axis=3), to_weights

    return [*on_replicas(strategy, replica, images(), upstream), *(layer.get_weights()[2:])]


def trained(strategy):
    """Losses of some steps and the weights after them."""
    configuration = tiny_configuration(
        "unused",
        learning_rate=0.01,
        shots=3,
        ways=5,
        integration="spectral_sum",
        spectral_interval=2,
        metric_loss="proto",
    )
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, tiny_backbone())
    parts = construction.replicate(parts, configuration, strategy)
    step = TrainingStep(parts, strategy=strategy)
    size = configuration.ways * configuration.shots
    batches = training_batches(
        striped_split(8, 12, seed=1), 5, 3, seed=0, color_jitter=0.2, rows=distribution.worker_rows(strategy, size)
    )
    means = []
    for number, (images, labels) in enumerate(batches.take(STEPS)):
        if number % 2 == 0:
            parts.loss.refresh()
        step.reset()
        step(images, labels, size)
        means.append(list(step.means().values()))
    return [np.array(means), *parts.backbone.get_weights()]


# Limits that every step exceeds.
OPTIONS = {
    "clip_norm": {
        "clip_norm": 0.05,
        "ema_momentum": 0.7,
        "precision": "mixed_float16",
        "backbone_learning_rate_factor": 0.3,
    },
    "clipnorm": {"optimizer": lambda: keras.optimizers.SGD(0.01, clipnorm=0.02, use_ema=True, ema_momentum=0.7)},
    "clipvalue": {"optimizer": lambda: keras.optimizers.SGD(0.01, clipvalue=1e-3, loss_scale_factor=8.0)},
    "lamb": {
        "optimizer": "lamb",
        "label_smoothing": 0.1,
        "schedule": "cosine",
        "freeze_until": "first",
        "backbone_learning_rate_factor": 3.0,
    },
}


def trained_with(strategy, optimizer="sgd", **options):
    """The weights after some steps with an optimizer that clips or averages, and their averages."""
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(8, 3, strides=2, name="first"),
            keras.layers.Conv2D(12, 3, strides=2, activation="tanh"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    given = Given() if isinstance(optimizer, str) else Given(optimizer=optimizer())
    name = optimizer if isinstance(optimizer, str) else "sgd"
    configuration = tiny_configuration("unused", learning_rate=0.01, optimizer=name, **options)
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, backbone, given)
    parts = construction.replicate(parts, configuration, strategy)
    step = TrainingStep(parts, strategy=strategy)
    split = striped_split(8, 3, seed=1)
    first, last = distribution.worker_rows(strategy, len(split.labels))
    for _ in range(3):
        step(split.images[first:last], split.labels[first:last], len(split.labels))
    with averaged(parts, strategy):
        averages = parts.backbone.get_weights()
    return [*parts.backbone.get_weights(), *averages]


class FaultyRow(keras.layers.Layer):
    """Features as they are, with an infinite gradient of those of white images."""

    def call(self, inputs):
        features, images = inputs
        white = tf.reduce_all(images == 1, axis=[1, 2, 3])

        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda upstream: tf.where(white[:, None], np.inf, 1.0) * upstream

        return identity(features)


def broken(strategy, precision):
    """What three steps leave behind, of which the second has a broken gradient in the last row alone."""
    # Without batch normalisation, which would tell all devices.
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(12, 3, activation="relu")(inputs))
    backbone = keras.Model(inputs, FaultyRow(dtype="float32")([features, inputs]))
    configuration = tiny_configuration("unused", learning_rate=0.01, precision=precision)
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, backbone)
    parts = construction.replicate(parts, configuration, strategy)
    step = TrainingStep(parts, strategy=strategy)
    split = striped_split(3, 4, seed=1)
    first, last = distribution.worker_rows(strategy, len(split.labels))
    kernels = [parts.classifier.kernel.numpy()]
    for last_image in (split.images[-1], 255, split.images[-1]):
        images = split.images.copy()
        images[-1] = last_image
        step(images[first:last], split.labels[first:last], len(images))
        kernels.append(parts.classifier.kernel.numpy())
    told = step.broken()
    scale = float(tf.convert_to_tensor(getattr(parts.optimizer, "dynamic_scale", 0.0)))
    return [np.array(kernels), np.array([scale, *(told[:2] if told else ())]), *parts.backbone.get_weights()]


def evaluated(strategy):
    """Features in small batches, the last one smaller than the replicas; and answers to an odd number of episodes."""
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(8)])
    split = striped_split(6, 8, seed=3)
    with strategy.scope():
        copy = keras.models.clone_model(backbone)
        copy.set_weights(backbone.get_weights())
        rows = len(split.images) // 12 * 12 - 11
        found = extract_features(copy, split.images[:rows], batch_size=3)
        whole = extract_features(copy, split.images)
        options = {"ways": 3, "shots": 1, "queries": 2, "episodes": 7, "seed": 0}
        support, query = evaluation.sample_episodes(split.labels, **options)
        answers = [
            evaluation.episode_predictions(whole, support, query, classifier)
            for classifier in (evaluation.nearest_centroid, evaluation.laplacian_shot)
        ]
    return [found, whole, *answers]


def fitted(strategy):
    """What Keras's own training makes of a loss; it does not run in several processes."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(3, kernel_initializer="identity")])
        model.compile(keras.optimizers.SGD(0.1), losses.NCALoss())
    # Keras itself fails where the replicas' shares differ.
    x, y = features()[:8], LABELS[:8]
    history = model.fit(x, y, batch_size=len(x), epochs=3, shuffle=False, verbose=0)
    return [np.array(history.history["loss"], np.float32), *model.get_weights()]


def prefetched(logical_devices):
    """Batches, from the last of several logical devices if there are any, in place of a GPU."""
    device = f"CPU:{logical_devices - 1}" if logical_devices else None
    batches = iter(training_batches(striped_split(8, 12, seed=1), 5, 3, seed=0, start_step=2, device=device))
    found = [next(batches) for _ in range(4)]
    devices = {tensor.device.rsplit("/", 1)[1] for batch in found for tensor in batch}
    assert devices == {f"device:{device or 'CPU:0'}"}, devices
    return [np.stack([part.numpy() for part in parts]) for parts in zip(*found, strict=True)]


def check_disagreements(strategy, worker):
    """Every worker must name what differs, with both values, and paths may differ."""
    cases = {
        "--seed": {"seed": worker},
        "--learning_rate": {"learning_rate": 0.5 + worker},
        "--filters": {"filters": (4, 4, 8, 16 + worker)},
        "--test_episodes": {"test_episodes": 50 + worker},
        "--dataset": {"dataset": "folder" if worker else "glyphs"},
    }
    for name, changes in cases.items():
        configuration = TrainingConfiguration(**changes)
        found = disagreement(strategy, configuration)
        assert f" {name} " in found and f"{changes[name[2:]]} on worker {worker}" in found, found
    assert disagreement(strategy, TrainingConfiguration(output_dir=str(worker), data_dir=str(worker))) == ""
    same = TrainingConfiguration()
    dsl_tf.__version__ += f".{worker}"
    found = disagreement(strategy, same)
    assert f"version {dsl_tf.__version__[:-1]}0 on worker 0, {dsl_tf.__version__[:-1]}1 on worker 1." in found, found
    dsl_tf.__version__ = dsl_tf.__version__[:-2]
    digest = workers.sources_digest()
    workers.sources_digest = lambda: f"{digest}{worker}"
    assert f"sources {digest}0 on worker 0, {digest}1 on worker 1." in disagreement(strategy, same)
    workers.sources_digest = lambda: digest


def disagreement(strategy, configuration):
    try:
        workers.check_same_command(strategy, configuration)
    except UserError as error:
        return str(error)
    return ""


def main(kind, virtual_devices, output):
    strategy = distribution.open_strategy(kind, int(virtual_devices) or None)
    arrays = {f"loss {name}": loss_and_gradients(strategy, build) for name, build in LOSSES.items()}
    arrays["normalized"] = normalized(strategy)
    arrays["trained"] = trained(strategy)
    arrays.update({f"trained with {name}": trained_with(strategy, **options) for name, options in OPTIONS.items()})
    arrays.update({f"broken {name}": broken(strategy, name) for name in ("float32", "mixed_float16")})
    arrays["evaluated"] = evaluated(strategy)
    if not distribution.has_other_workers(strategy):
        arrays["fitted"] = fitted(strategy)
        arrays["prefetched"] = prefetched(int(virtual_devices))
    agreed = [
        distribution.true_on_all_workers(strategy, flag) for flag in (True, False, distribution.is_chief(strategy))
    ]
    assert agreed == [True, False, not distribution.has_other_workers(strategy)]
    worker = distribution.local_replicas(strategy).start // len(distribution.local_replicas(strategy))
    gathered = distribution.gather_bytes(strategy, f"ü{worker} and the rest".encode(), 3)
    assert gathered == ["ü0".encode(), "ü1".encode()][: len(gathered)]
    assert len(gathered) == 1 + distribution.has_other_workers(strategy)
    if distribution.has_other_workers(strategy):
        check_disagreements(strategy, worker)
    if distribution.is_chief(strategy):
        np.savez(output, **{f"{name}/{i}": array for name, found in arrays.items() for i, array in enumerate(found)})
    distribution.barrier(strategy)


if __name__ == "__main__":
    main(*sys.argv[1:])
