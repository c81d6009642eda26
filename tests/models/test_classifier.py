"""Linear classifiers in a fixed subspace, Section 3.2 (ii)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.models.classifier import FixedSubspaceClassifier

KINDS = ["random", "axis"]


def build(classes=3, d=8, **kwargs):
    classifier = FixedSubspaceClassifier(classes, **kwargs)
    classifier.build((None, d))
    return classifier


def randomise(classifier, seed=0):
    generator = np.random.default_rng(seed)
    classifier.omega.assign(generator.standard_normal(classifier.omega.shape))
    classifier.bias.assign(generator.standard_normal(classifier.bias.shape))
    return classifier


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes, d", [(3, 8), (8, 8), (1, 5), (64, 640)])
def test_the_basis_is_orthonormal(kind, classes, d):
    basis = build(classes, d, kind=kind).basis.numpy()
    assert basis.shape == (d, classes)
    np.testing.assert_allclose(basis.T.astype(np.float64) @ basis, np.eye(classes), atol=1e-6)


def test_the_axis_basis_is_the_first_axes():
    np.testing.assert_array_equal(build(3, 5, kind="axis").basis, np.eye(5)[:, :3])


def test_the_random_basis_is_dense():
    assert (np.abs(build(3, 8).basis.numpy()) > 1e-4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_lies_in_the_fixed_subspace(kind):
    classifier = randomise(build(kind=kind))
    R, kernel = classifier.basis.numpy().astype(np.float64), np.array(classifier.kernel, np.float64)
    assert kernel.shape == (8, 3)
    np.testing.assert_allclose(kernel, R @ classifier.omega.numpy(), atol=1e-6)
    np.testing.assert_allclose(R @ R.T @ kernel, kernel, atol=1e-6)
    assert np.linalg.matrix_rank(kernel, tol=1e-3) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_logits(kind):
    classifier = randomise(build(kind=kind))
    x = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)
    R, omega = classifier.basis.numpy().astype(np.float64), classifier.omega.numpy().astype(np.float64)
    expected = x.astype(np.float64) @ R @ omega + classifier.bias.numpy()
    np.testing.assert_allclose(classifier(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_logits_under_a_mixed_precision_policy(policy):
    classifier = randomise(build())
    x = tf.cast(np.random.default_rng(1).standard_normal((6, 8)), policy.removeprefix("mixed_"))
    R, omega = classifier.basis.numpy().astype(np.float64), classifier.omega.numpy().astype(np.float64)
    expected = tf.cast(x, tf.float64).numpy() @ R @ omega + classifier.bias.numpy()
    logits = classifier(x)
    # The layer promises float32 logits; a kernel in half precision would also leave span(R).
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_omega_and_bias_train(kind):
    classifier = randomise(build(kind=kind))
    assert {id(variable) for variable in classifier.trainable_variables} == {id(classifier.omega), id(classifier.bias)}
    assert [variable is classifier.basis for variable in classifier.non_trainable_variables] == [True]
    x = np.random.default_rng(2).standard_normal((20, 8)).astype(np.float32)
    y = np.arange(20) % 3
    model = keras.Sequential([keras.Input((8,)), classifier])
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, weight_decay=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = [variable.numpy() for variable in (classifier.basis, classifier.omega, classifier.bias)]
    model.fit(x, y, epochs=2, verbose=0)
    after = [variable.numpy() for variable in (classifier.basis, classifier.omega, classifier.bias)]
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-4
    assert np.abs(after[2] - before[2]).max() > 1e-4


def test_the_same_seed_makes_the_same_classifier():
    first, second, other = build(seed=5), build(seed=5), build(seed=6)
    np.testing.assert_array_equal(first.basis, second.basis)
    np.testing.assert_array_equal(first.omega, second.omega)
    assert np.abs(first.basis.numpy() - other.basis.numpy()).max() > 0.05
    assert np.abs(first.omega.numpy() - other.omega.numpy()).max() > 0.05


def test_the_basis_does_not_depend_on_global_seeds():
    keras.utils.set_random_seed(1)
    first = build(seed=5).basis.numpy()
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(build(seed=5).basis, first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 9, None])
def test_saved_and_loaded_within_a_model(tmp_path, kind, seed):
    inputs = keras.Input((8,))
    classifier = FixedSubspaceClassifier(3, kind=kind, seed=seed, name="head")
    model = keras.Model(inputs, classifier(inputs))
    randomise(classifier)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    head = loaded.get_layer("head")
    assert type(head) is FixedSubspaceClassifier
    assert (head.classes, head.kind, head.seed) == (3, kind, seed)
    np.testing.assert_array_equal(head.basis, classifier.basis)
    x = np.random.default_rng(3).standard_normal((4, 8)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))

    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.Model(inputs, FixedSubspaceClassifier(3, kind=kind, seed=77)(inputs))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(x), model(x))


def test_serialises():
    classifier = FixedSubspaceClassifier(3, kind="axis", seed=4, name="head")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(classifier))
    assert (copy.classes, copy.kind, copy.seed, copy.name) == (3, "axis", 4, "head")
    assert keras.saving.get_registered_name(FixedSubspaceClassifier) == "dsl_tf>FixedSubspaceClassifier"


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="'random'.*'axis'.*'dense'"):
        FixedSubspaceClassifier(3, kind="dense")


def test_fewer_features_than_classes_are_an_error():
    with pytest.raises(ValueError, match="d = 4, C = 5"):
        build(5, 4)
