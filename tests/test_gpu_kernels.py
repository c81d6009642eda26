"""The training step and the evaluation stay on a GPU: shown by TensorFlow's registry of kernels, without a GPU."""

import keras
import pytest
import tensorflow as tf

from dsl_tf import gpu
from dsl_tf.evaluation import CLASSIFIERS, predictions
from dsl_tf.runs import features
from dsl_tf.training import construction
from dsl_tf.training.step import TrainingStep
from tests.gpu_placement import device_to_host, float32_products, gpu_kernels, without_deterministic_kernel
from tests.images import SIZE, tiny_backbone, tiny_configuration
from tests.small_network import small_network

# Keras's loss scaling skips a step whose gradients are not finite, and decides so on the host: one truth value a step.
# It is for float16 alone; bfloat16 needs none.
LOSS_SCALING = {("If", "the host waits for its condition")}
# A few numbers for each chunk of thousands of queries: the answers, which are for the host, the indices of neighbours,
# and sizes of diagonals.
CLASSIFYING = {"AddV2", "FloorDiv", "Identity", "MatrixDiagPartV3", "MatrixDiagV3", "Reshape", "StridedSlice"}


CHANGES = [
    {},
    {"classification_loss": "bce", "metric_loss": "proto", "integration": "sum"},
    {"integration": "spectral_sum", "metric_loss": "proto", "precision": "mixed_bfloat16"},
    {"integration": "spectral_sum", "gradient_to_kernel": True},
    {"integration": "classifier_subspace", "classification_loss": "bce", "head": "axis_basis"},
    {"integration": "direct_sum", "head": "random_basis", "precision": "mixed_float16"},
    {"classification_loss": "none"},
    {"metric_loss": "none", "momentum": 0.0},
]


# With ResNet-12; the others with one layer of each kind that it has.
WHOLE = CHANGES[0], CHANGES[2]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: ",".join(map(str, changes.values())) or "default")
def test_a_training_step_stays_on_the_device_and_can_be_deterministic(tmp_path, monkeypatch, changes):
    configuration = tiny_configuration(tmp_path, **changes)
    if changes not in WHOLE:
        monkeypatch.setitem(construction.BACKBONES, "resnet12", small_network)
    parts = construction.build(configuration, (SIZE, SIZE, 3), 6, 2)
    specification = [tf.TensorSpec([18, SIZE, SIZE, 3], tf.uint8), tf.TensorSpec([18], tf.int64)]
    traced = TrainingStep.__call__.get_concrete_function(TrainingStep(parts), *specification)
    allowed = LOSS_SCALING if configuration.precision == "mixed_float16" else set()
    assert set(device_to_host(traced)) == allowed
    assert not without_deterministic_kernel(traced)
    # The network may use TF32, the loss may not.
    features = tf.TensorSpec([18, parts.backbone.output_shape[1]], parts.backbone.compute_dtype)
    loss = tf.function(lambda x, labels: tf.gradients(parts.loss(labels, x), x))
    assert not float32_products(loss.get_concrete_function(features, specification[1]))


@pytest.mark.parametrize("classifier", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_episodes_are_classified_without_the_host(monkeypatch, classifier):
    # Where there is a GPU, no condition decides whether to centre features.
    monkeypatch.setattr(gpu, "present", lambda: True)
    # Traced anew: `_classify` itself may hold a trace of this machine, which has no GPU.
    traced = tf.function(predictions._classify.python_function, autograph=False).get_concrete_function(
        classifier.function,
        tf.TensorSpec([100, 16], tf.float32),
        tf.TensorSpec([2, 4, 5, 3], tf.int32),
        tf.TensorSpec([2, 4, 75], tf.int32),
        {name: tf.TensorSpec([], tf.float32) for name in classifier.grid},
    )
    assert {operation for operation, _ in device_to_host(traced)} <= CLASSIFYING


def test_features_are_computed_without_the_host():
    specification = tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8)
    assert not device_to_host(features._forward.get_concrete_function(tiny_backbone(), specification))


def test_the_registry_finds_what_would_travel():
    """Operations that are known to need the host, so that the tests above can fail."""

    @tf.function
    def travels(labels, x):
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(x, tf.float64))
        if tf.reduce_sum(x) > 0:
            x += 1
        return values, tf.linalg.diag_part(x), tf.argmax(x, axis=1, output_type=tf.int32) == labels

    traced = travels.get_concrete_function(tf.TensorSpec([4], tf.int32), tf.TensorSpec([4, 4], tf.float32))
    found = {operation for operation, _ in device_to_host(traced)}
    expected = {"SparseSoftmaxCrossEntropyWithLogits", "MatrixDiagPartV3", "Equal"}
    assert found - {"If", "StatelessIf"} == expected and len(found) == 4


def test_batches_that_are_prefetched_stay_on_the_device():
    """What `prefetch_to_device` and the iterator run on a GPU has kernels there, whose batches are in its memory."""
    for name in ("GeneratorDataset", "RemoteCall", "PrefetchDataset", "AnonymousIteratorV3", "MakeIterator"):
        assert gpu_kernels(name), name
    assert not any(kernel.host_memory_arg for kernel in gpu_kernels("IteratorGetNext"))


def test_a_layer_of_keras_stays_on_the_device():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 8, 8, 4))
    traced = tf.function(lambda x: layer(x, training=True)).get_concrete_function(
        tf.TensorSpec([2, 8, 8, 4], tf.float32)
    )
    assert not device_to_host(traced)


def test_what_has_no_deterministic_kernel_and_what_may_use_tf32_is_found():
    """The gradient of a frozen batch normalisation, a gather, and a product."""
    layer = keras.layers.BatchNormalization()
    layer.build((None, 8, 8, 4))

    @tf.function
    def gradients(x, weights):
        normalized = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=layer.gamma,
            offset=layer.beta,
            mean=layer.moving_mean,
            variance=layer.moving_variance,
            is_training=False,
        ).y
        pooled = tf.matmul(tf.reduce_mean(normalized, [1, 2]), weights)
        return tf.gradients(tf.math.bincount(tf.cast(pooled[0], tf.int32))[0], x), tf.gradients(pooled, x)

    images, weights = tf.TensorSpec([2, 8, 8, 4], tf.float32), tf.TensorSpec([4, 3], tf.float32)
    traced = gradients.get_concrete_function(images, weights)
    assert without_deterministic_kernel(traced) == {"DenseBincount", "FusedBatchNormGradV3"}
    assert any("MatMul" in name for name in float32_products(traced))
