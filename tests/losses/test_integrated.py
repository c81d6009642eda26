"""Equations (6), (7) and (11) against loops: values, the gradients of features and classifier, and their directions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.losses import ClassifierSubspaceLoss, DirectSumLoss, SpectralSumLoss, SumLoss
from dsl_tf.models.classifier import FixedSubspaceClassifier
from tests.losses import oracles
from tests.losses.oracles import VALUE_TOLERANCE, assert_gradient, finite_difference_gradient, matrix, rounded

LABELS = np.array([0, 1, 0, 2, 2, 2, 1])
PAIRS = [("sce", "nca"), ("sce", "proto"), ("bce", "nca"), ("bce", "proto")]

# name: the loss, its options, and the projection of the metric loss's features
INTEGRATIONS = {
    "sum": (SumLoss, {}, lambda x, W: x),
    "direct": (DirectSumLoss, {}, lambda x, W: oracles.complement_projection(x, W, 1e-3)),
    "direct, wide ridge": (DirectSumLoss, {"epsilon": 0.3}, lambda x, W: oracles.complement_projection(x, W, 0.3)),
    "classifier": (ClassifierSubspaceLoss, {}, lambda x, W: oracles.classifier_projection(x, W, 1e-3)),
    "spectral": (SpectralSumLoss, {}, lambda x, W: oracles.spectral_projection(x, W, 0.3)),
    "spectral 0": (SpectralSumLoss, {"power": 0}, lambda x, W: oracles.spectral_projection(x, W, 0)),
    "spectral 1": (SpectralSumLoss, {"power": 1}, lambda x, W: oracles.spectral_projection(x, W, 1)),
}


def dense(W, b=None, dtype="float32"):
    """A Dense layer of these weights."""
    layer = keras.layers.Dense(W.shape[1], use_bias=b is not None, dtype=dtype)
    layer.build((None, W.shape[0]))
    layer.set_weights([W] if b is None else [W, b])
    return layer


def problem(d=5, classes=3, n=7, seed=0):
    """Labels, features, and a kernel and bias that float32 holds exactly."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, d)) * 0.8
    W = generator.standard_normal((d, classes)).astype(np.float32).astype(np.float64)
    b = generator.standard_normal(classes).astype(np.float32).astype(np.float64)
    return LABELS[:n] % classes, x, W, b


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", INTEGRATIONS)
def test_value(name, pair, dtype):
    loss, options, project = INTEGRATIONS[name]
    y, x, W, b = problem()
    x, exact = rounded(x, dtype)
    value = loss(dense(W, b), classification=pair[0], metric=pair[1], **options)(y, x)
    assert value.dtype == tf.float32
    expected = oracles.integrated(y, exact, W, b, *pair, project=lambda x: project(x, W))
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize(
    "dtype, pair",
    [("float32", pair) for pair in PAIRS]
    + [
        ("bfloat16", PAIRS[0]),
        ("float16", PAIRS[0]),
        ("bfloat16", PAIRS[3]),
        ("float16", PAIRS[3]),
    ],
)
@pytest.mark.parametrize("name", INTEGRATIONS)
def test_gradient_to_the_features(name, pair, dtype):
    loss, options, project = INTEGRATIONS[name]
    y, x, W, b = problem(n=5)
    x, exact = rounded(x, dtype)
    loss = loss(classifier=dense(W, b), classification=pair[0], metric=pair[1], **options)
    _, gradient = oracles.value_and_gradient(lambda x: loss(y, x), x)
    expected = finite_difference_gradient(
        lambda x: oracles.integrated(y, x, W, b, *pair, project=lambda x: project(x, W)), exact
    )
    # Two terms may each be rounded to the dtype of the features before they are added.
    assert_gradient(gradient, expected, dtype, tolerance=2 * oracles.GRADIENT_TOLERANCE[dtype])


@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[3]])
@pytest.mark.parametrize(
    "name, gradient_to_kernel",
    [("sum", None), *((name, choice) for name in INTEGRATIONS if name != "sum" for choice in (None, False, True))],
)
def test_gradient_to_the_classifier(name, pair, gradient_to_kernel):
    loss, options, project = INTEGRATIONS[name]
    y, x, W, b = problem(n=5)
    if gradient_to_kernel is not None:
        options = {**options, "gradient_to_kernel": gradient_to_kernel}
    classifier = dense(W, b, dtype="float64")
    loss = loss(classifier=classifier, classification=pair[0], metric=pair[1], dtype="float64", **options)
    with tf.GradientTape() as tape:
        value = loss(y, tf.constant(x))
    to_kernel, to_bias = tape.gradient(value, [classifier.kernel.value, classifier.bias.value])

    def of_kernel(kernel):
        projected_on = kernel if gradient_to_kernel else W
        return oracles.integrated(y, x, kernel, b, *pair, project=lambda x: project(x, projected_on))

    assert_gradient(to_kernel, finite_difference_gradient(of_kernel, W), "float64")
    of_bias = finite_difference_gradient(lambda b: oracles.integrated(y, x, W, b, *pair, project=lambda x: x), b)
    assert_gradient(to_bias, of_bias, "float64")


@pytest.mark.parametrize("name", ["direct", "classifier", "spectral"])
def test_the_metric_term_sends_the_kernel_nothing_by_default(name):
    loss, options, _ = INTEGRATIONS[name]
    y, x, W, b = problem()
    loss = loss(classifier=dense(W, b), **options)
    with tf.GradientTape() as tape:
        metric = loss.reduced_terms(y, x)["metric"]
    assert tape.gradient(metric, loss.classifier.kernel.value) is None


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_the_metric_loss_is_weighted(name):
    loss, options, project = INTEGRATIONS[name]
    y, x, W, b = problem()
    value = loss(classifier=dense(W, b), metric_weight=0.25, **options)(y, x)
    classification, both = (
        oracles.integrated(y, x, W, b, "sce", metric, project=lambda x: project(x, W)) for metric in (None, "nca")
    )
    np.testing.assert_allclose(value, classification + 0.25 * (both - classification), rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("classification", ["sce", "bce"])
@pytest.mark.parametrize("name", INTEGRATIONS)
def test_without_a_metric_only_the_classification_is_left(name, classification):
    loss, options, _ = INTEGRATIONS[name]
    y, x, W, b = problem()
    value = loss(classifier=dense(W, b), classification=classification, metric=None, **options)(y, x)
    expected = oracles.integrated(y, x, W, b, classification, None)
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


def test_terms_come_with_their_names():
    y, x, W, b = problem()
    terms = DirectSumLoss(classifier=dense(W, b), classification="bce", metric="proto").reduced_terms(y, x)
    classification = np.mean(oracles.binary_cross_entropy(y, oracles.linear_logits(x, W, b)))
    metric = oracles.mean_of_participants(*oracles.prototypical(y, oracles.complement_projection(x, W, 1e-3)))
    assert set(terms) == {"classification", "metric"}
    np.testing.assert_allclose(terms["classification"], classification, rtol=VALUE_TOLERANCE)
    np.testing.assert_allclose(terms["metric"], metric, rtol=VALUE_TOLERANCE)


def test_a_classifier_without_bias():
    y, x, W, _ = problem()
    value = SumLoss(classifier=dense(W))(y, x)
    expected = oracles.integrated(y, x, W, np.zeros(3), "sce", "nca")
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("loss, options", [(DirectSumLoss, {"epsilon": 0.0}), (SpectralSumLoss, {"power": 0})])
def test_the_two_gradients_of_the_direct_sum_are_disjoint(loss, options, pair):
    y, x, W, b = problem()
    loss = loss(classifier=dense(W, b), classification=pair[0], metric=pair[1], **options)
    x = tf.constant(x)
    _, total = oracles.value_and_gradient(lambda x: loss(y, x), x)
    _, metric = oracles.value_and_gradient(lambda x: loss.reduced_terms(y, x)["metric"], x)
    _, classification = oracles.value_and_gradient(lambda x: loss.reduced_terms(y, x)["classification"], x)
    assert np.abs(metric).max() > 1e-2 and np.abs(classification).max() > 1e-2
    np.testing.assert_allclose(metric @ W, np.zeros((7, 3)), atol=1e-9)
    basis = np.linalg.qr(W)[0]
    np.testing.assert_allclose(total @ basis @ basis.T, classification, atol=1e-9)
    np.testing.assert_allclose(np.sum(metric * classification), 0, atol=1e-9)


def test_the_default_ridge_leaves_a_small_overlap_only():
    y, x, W, b = problem()
    loss = DirectSumLoss(classifier=dense(W, b))
    _, metric = oracles.value_and_gradient(lambda x: loss.reduced_terms(y, x)["metric"], tf.constant(x))
    basis, singular_values, _ = np.linalg.svd(W, full_matrices=False)
    # The ridge leaves ε/(s² + ε) along each direction, once in the features and once in their gradient.
    left = 1e-3 / (singular_values**2 + 1e-3)
    assert (np.abs(metric @ basis) <= left * 10 * np.abs(metric).max()).all()
    assert np.abs(metric @ basis).max() > 0


@pytest.mark.parametrize("pair", PAIRS)
def test_classification_does_not_see_the_complement(pair):
    y, x, W, b = problem()
    basis = np.linalg.qr(W)[0]
    loss = DirectSumLoss(classifier=dense(W, b), classification=pair[0], metric=pair[1], epsilon=0.0)
    whole, inside, outside = (
        loss.reduced_terms(y, features) for features in (x, x @ basis @ basis.T, x - x @ basis @ basis.T)
    )
    np.testing.assert_allclose(inside["classification"], whole["classification"], rtol=1e-6)
    np.testing.assert_allclose(outside["metric"], whole["metric"], rtol=1e-6)


@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[3]])
@pytest.mark.parametrize("shape", [(3, 6), (4, 4), (6, 1)])
def test_the_spectral_sum_takes_any_shape(shape, pair):
    y, x, W, b = problem(*shape)
    loss = SpectralSumLoss(classifier=dense(W, b), classification=pair[0], metric=pair[1])

    def oracle(x):
        return oracles.integrated(y, x, W, b, *pair, project=lambda x: oracles.spectral_projection(x, W, 0.3))

    value, gradient = oracles.value_and_gradient(lambda x: loss(y, x), tf.constant(x))
    np.testing.assert_allclose(value, oracle(x), rtol=VALUE_TOLERANCE)
    assert_gradient(gradient, finite_difference_gradient(oracle, x), "float64")


@pytest.mark.parametrize(("shape", "interval"), [((5, 3), 10), ((3, 5), 2)])
def test_between_refreshes_the_spectral_sum_holds_its_decomposition(shape, interval):
    y, x, W, b = problem(*shape)
    _, _, later_W, later_b = problem(*shape, seed=1)
    loss = SpectralSumLoss(dense(W, b), interval=interval)

    def expected(projected_on):
        return oracles.integrated(
            y, x, later_W, later_b, "sce", "nca", lambda x: oracles.spectral_projection(x, projected_on, 0.3)
        )

    loss.classifier.set_weights([later_W, later_b])
    np.testing.assert_allclose(loss(y, x), expected(W), rtol=VALUE_TOLERANCE)
    loss.refresh()
    np.testing.assert_allclose(loss(y, x), expected(later_W), rtol=VALUE_TOLERANCE)
    copy = SpectralSumLoss.from_config(loss.get_config())
    assert copy.interval == interval
    copy.classifier.set_weights([later_W, later_b])
    copy.refresh()
    np.testing.assert_array_equal(copy(y, x), loss(y, x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interval": 0}, "at least 1"),
        ({"interval": 2, "gradient_to_kernel": True}, "gradient_to_kernel"),
        ({"interval": 2, "classifier": keras.layers.Dense(3)}, "built"),
    ],
)
def test_intervals_that_cannot_be_held_are_errors(options, words):
    with pytest.raises(ValueError, match=words):
        SpectralSumLoss(**{"classifier": dense(np.eye(4, 3)), **options})


@pytest.mark.parametrize("name", ["direct", "spectral", "spectral 0"])
@pytest.mark.parametrize("kernel", ["zero", "rank one", "duplicated columns", "orthonormal"])
def test_degenerate_kernels(name, kernel):
    y, x, W, b = problem()
    W = (
        {
            "zero": np.zeros((5, 3)),
            "rank one": np.outer([1, -2, 0, 3, 1], [1, 0, 2]),
            "duplicated columns": W[:, [0, 1, 0]],
            "orthonormal": np.linalg.qr(W)[0],
        }[kernel]
        .astype(np.float32)
        .astype(np.float64)
    )
    loss, options, project = INTEGRATIONS[name]
    classifier = dense(W, b)
    loss = loss(classifier=classifier, gradient_to_kernel=True, **options)
    expected = oracles.integrated(y, x, W, b, "sce", "nca", project=lambda x: project(x, W))
    with tf.GradientTape() as tape:
        value = loss(y, x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(tape.gradient(value, classifier.kernel.value)).all()


@pytest.mark.parametrize("name", INTEGRATIONS)
@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2]])
def test_no_positive_pair_leaves_the_classification(name, labels):
    loss, options, _ = INTEGRATIONS[name]
    _, x, W, b = problem(n=len(labels))
    y = np.array(labels)
    loss = loss(classifier=dense(W, b), **options)
    expected = np.mean(oracles.softmax_cross_entropy(y, oracles.linear_logits(x, W, b)))
    value, gradient = oracles.value_and_gradient(lambda x: loss(y, x), tf.constant(x))
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)
    of_classification = finite_difference_gradient(
        lambda x: np.mean(oracles.softmax_cross_entropy(y, oracles.linear_logits(x, W, b))), x
    )
    assert_gradient(gradient, of_classification, "float64")


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_labels_as_a_column_or_as_floats(name):
    loss, options, _ = INTEGRATIONS[name]
    y, x, W, b = problem()
    loss = loss(classifier=dense(W, b), **options)
    for labels in (y[:, None], y.astype(np.float32), y[:, None].astype(np.int32)):
        np.testing.assert_array_equal(loss(labels, x), loss(y, x))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("built", [True, False])
def test_the_direct_sum_needs_more_features_than_classes(shape, built):
    y, x, W, b = problem(*shape)
    expected = rf"d = {shape[0]}, C = {shape[1]}\b[\s\S]*[Ss]pectral"
    classifier = keras.layers.Dense(shape[1])
    if not built:
        loss = DirectSumLoss(classifier=classifier)
    classifier.build((None, shape[0]))
    with pytest.raises(ValueError, match=expected):
        loss = DirectSumLoss(classifier=classifier) if built else loss
        loss(y, x)


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_unknown_loss_names_are_an_error(name):
    loss, options, _ = INTEGRATIONS[name]
    _, _, W, b = problem()
    with pytest.raises(ValueError, match="classification.*hinge"):
        loss(classifier=dense(W, b), classification="hinge", **options)
    with pytest.raises(ValueError, match="metric.*triplet"):
        loss(classifier=dense(W, b), metric="triplet", **options)


@pytest.mark.parametrize("name", ["sum", "direct", "spectral"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_mixed_precision_does_not_reach_the_loss(policy, name):
    loss, options, project = INTEGRATIONS[name]
    y, x, W, b = problem()
    x, exact = rounded(x * 3, policy.removeprefix("mixed_"))
    classifier = dense(W, b, dtype=None)
    assert classifier.compute_dtype == x.dtype
    loss = loss(classifier=classifier, **options)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(y, x)
    to_features, to_kernel = tape.gradient(value, [x, classifier.kernel.value])
    assert (value.dtype, to_features.dtype, to_kernel.dtype) == (tf.float32, x.dtype, tf.float32)
    expected = oracles.integrated(y, exact, W, b, "sce", "nca", project=lambda x: project(x, W))
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_a_mixed_precision_model_and_its_classifier_train(policy):
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(1)
    y = np.tile(np.arange(3), 6)
    images = generator.standard_normal((18, 6)) + 2 * np.eye(3, 6)[y]
    backbone = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    classifier = keras.layers.Dense(3)
    classifier.build((None, 5))
    loss = DirectSumLoss(classifier=classifier)
    variables = backbone.trainable_variables + classifier.trainable_variables
    optimizer = keras.optimizers.SGD(0.01)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            features = backbone(images)
            value = loss(y, features)
        optimizer.apply(tape.gradient(value, [variable.value for variable in variables]), variables)
        return features, value

    history = []
    for _ in range(6):
        before = classifier.kernel.numpy().astype(np.float64), classifier.bias.numpy().astype(np.float64)
        features, value = step()
        exact = tf.cast(features, tf.float64).numpy()
        expected = oracles.integrated(
            y, exact, *before, "sce", "nca", lambda x, W=before[0]: oracles.complement_projection(x, W, 1e-3)
        )
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        history.append(float(value))
    assert features.dtype == policy.removeprefix("mixed_")
    assert history[-1] < history[0]


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_both_terms_share_one_reading_of_the_kernel(name):
    # TensorFlow's graph optimiser may drop the order between an optimiser's update and a reading of the same
    # variable through which no gradient flows: the metric loss would then at times see the kernel of the next step.
    loss, options, _ = INTEGRATIONS[name]
    y, x, W, b = problem()
    classifier = dense(W, b)
    loss = loss(classifier=classifier, **options)
    graph = tf.function(lambda y, x: loss(y, x)).get_concrete_function(y, x).graph
    handles = [inner for outer, inner in graph.captures if outer is classifier.kernel.value.handle]
    readings = [operation for handle in handles for operation in handle.consumers()]
    assert [operation.type for operation in readings] == ["ReadVariableOp"]


COMPILED = {
    "sum": (SumLoss, {}, (5, 3)),
    "direct": (DirectSumLoss, {"gradient_to_kernel": True}, (5, 3)),
    "classifier": (ClassifierSubspaceLoss, {"gradient_to_kernel": True}, (5, 3)),
    "spectral": (SpectralSumLoss, {"gradient_to_kernel": True}, (5, 3)),
    "spectral, wide": (SpectralSumLoss, {"gradient_to_kernel": True}, (3, 5)),
}


@pytest.mark.parametrize(
    "name, jit_compile", [*[(name, False) for name in COMPILED], ("direct", True), ("spectral, wide", True)]
)
def test_compiled_with_any_batch_size(name, jit_compile):
    loss, options, shape = COMPILED[name]
    _, _, W, b = problem(*shape)
    W = matrix(np.random.default_rng(2), *shape, [2, 1.5, 1])
    pair = PAIRS[3] if name == "direct" else PAIRS[0]
    classifier = dense(W, b)
    loss = loss(classifier=classifier, classification=pair[0], metric=pair[1], **options)

    def gradients(y, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x)
        return value, *tape.gradient(value, [x, classifier.kernel.value])

    signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, shape[0]], tf.float32)]
    compiled = tf.function(gradients, input_signature=signature, jit_compile=jit_compile)
    for n in (7,) if jit_compile else (7, 1):
        y, x, _, _ = problem(*shape, n=n)
        x = tf.constant(x, tf.float32)
        for actual, expected in zip(compiled(y, x), gradients(y, x)):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 if jit_compile else 1e-6)


def test_as_the_loss_of_a_keras_model_of_features():
    y, images, W, b = problem(d=4, n=7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    _, _, W, b = problem()
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=SpectralSumLoss(classifier=dense(W, b)))
    features = model(images).numpy().astype(np.float64)
    expected = oracles.integrated(y, features, W, b, "sce", "nca", lambda x: oracles.spectral_projection(x, W, 0.3))
    history = model.fit(images, y, batch_size=7, epochs=4, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], expected, rtol=1e-5)
    assert history[-1] < history[0]


# Fixed subspaces, Section 3.2 (ii)


def fixed_classifier(kind, d=5, classes=3):
    classifier = FixedSubspaceClassifier(classes, kind=kind, seed=2)
    classifier.build((None, d))
    generator = np.random.default_rng(3)
    classifier.omega.assign(generator.standard_normal((classes, classes)) * [2, 1, 0.1])
    classifier.bias.assign(generator.standard_normal(classes))
    return classifier


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("kind", ["random", "axis"])
def test_the_direct_sum_projects_on_the_fixed_basis_itself(kind, pair):
    y, x, _, _ = problem()
    classifier = fixed_classifier(kind)
    R, omega = classifier.basis.numpy().astype(np.float64), classifier.omega.numpy().astype(np.float64)
    b = classifier.bias.numpy().astype(np.float64)

    def oracle(x):
        return oracles.integrated(
            y, x, R @ omega, b, *pair, project=lambda x: oracles.complement_projection(x, R, 1e-3)
        )

    loss = DirectSumLoss(classifier=classifier, classification=pair[0], metric=pair[1], fixed_subspace=True)
    value, gradient = oracles.value_and_gradient(lambda x: loss(y, x), tf.constant(x))
    np.testing.assert_allclose(value, oracle(x), rtol=VALUE_TOLERANCE)
    # The kernel R·ω is a float32 product.
    assert_gradient(gradient, finite_difference_gradient(oracle, x), "float64", tolerance=2e-6)


@pytest.mark.parametrize("kind", ["random", "axis"])
def test_a_fixed_subspace_keeps_the_two_gradients_disjoint(kind):
    y, x, _, _ = problem()
    classifier = fixed_classifier(kind)
    loss = DirectSumLoss(classifier=classifier, epsilon=0.0, fixed_subspace=True)
    x = tf.constant(x)
    _, metric = oracles.value_and_gradient(lambda x: loss.reduced_terms(y, x)["metric"], x)
    _, classification = oracles.value_and_gradient(lambda x: loss.reduced_terms(y, x)["classification"], x)
    np.testing.assert_allclose(metric @ classifier.basis.numpy(), np.zeros((7, 3)), atol=1e-6)
    np.testing.assert_allclose(np.sum(metric * classification), 0, atol=1e-6)


def test_the_classification_trains_omega_and_bias_only():
    y, x, _, _ = problem()
    classifier = fixed_classifier("random")
    R, b = classifier.basis.numpy().astype(np.float64), classifier.bias.numpy().astype(np.float64)
    loss = DirectSumLoss(classifier=classifier, gradient_to_kernel=True, fixed_subspace=True)
    with tf.GradientTape() as tape:
        value = loss(y, x)
    to_basis, to_omega = tape.gradient(value, [classifier.basis.value, classifier.omega.value])

    def of_omega(omega):
        return np.mean(oracles.softmax_cross_entropy(y, oracles.linear_logits(x, R @ omega, b)))

    expected = finite_difference_gradient(of_omega, classifier.omega.numpy().astype(np.float64))
    assert_gradient(to_omega, expected, "float32")
    assert to_basis is None or not classifier.basis.trainable
