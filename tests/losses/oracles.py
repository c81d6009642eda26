"""Naive float64 NumPy versions of the paper's equations, and what the loss tests share.

Everything is written with loops straight from the equations, slow and obvious, so that it has nothing in common
with the code under test.
"""

import numpy as np
import tensorflow as tf

DTYPES = ["float32", "bfloat16", "float16"]

# A loss comes out in float32, whatever goes in.
VALUE_TOLERANCE = 2e-6
# A gradient comes out in the dtype of the features: twice the unit roundoff, or what finite differences can tell.
GRADIENT_TOLERANCE = {"float64": 1e-6, "float32": 5e-6, "bfloat16": 2.0**-8, "float16": 2.0**-10}
SMALLEST = {"float64": 0.0, "float32": 0.0, "bfloat16": 0.0, "float16": 2.0**-24}


def log_sum_exp(values):
    largest = max(values)
    return largest + np.log(sum(np.exp(value - largest) for value in values))


def linear_logits(x, W, b):
    n, classes = len(x), W.shape[1]
    return np.array([[W[:, c] @ x[i] + b[c] for c in range(classes)] for i in range(n)])


def softmax_cross_entropy(y, logits):
    """Equation (1), one value a sample."""
    return np.array([log_sum_exp(list(row)) - row[label] for label, row in zip(y, logits)])


def binary_cross_entropy(y, logits):
    """Equation (2), one value a sample."""
    values = []
    for label, row in zip(y, logits):
        value = 0.0
        for c, logit in enumerate(row):
            # −log of exp(z)/(1 + exp(z)) is log(1 + exp(−z)); −log of 1/(1 + exp(z)) is log(1 + exp(z)).
            value += np.logaddexp(0.0, -logit) if c == label else np.logaddexp(0.0, logit)
        values.append(value)
    return np.array(values)


def squared_distance(a, b):
    return float(sum((a[k] - b[k]) ** 2 for k in range(len(a))))


def nca(y, x):
    """Equation (4): one value a sample, 0 where it has no partner, and which samples have one."""
    values, participates = [], []
    for i in range(len(x)):
        partners, others = [], []
        for j in range(len(x)):
            if j == i:
                continue
            score = -squared_distance(x[i], x[j])
            others.append(score)
            if y[j] == y[i]:
                partners.append(score)
        participates.append(bool(partners))
        values.append(log_sum_exp(others) - log_sum_exp(partners) if partners else 0.0)
    return np.array(values), np.array(participates)


def prototypical(y, x):
    """Equation (3): one value a sample, 0 where its own class has no prototype, and which samples have one."""
    values, participates = [], []
    for i in range(len(x)):
        scores = {}
        for c in set(y.tolist()):
            members = [x[j] for j in range(len(x)) if j != i and y[j] == c]
            if members:
                scores[c] = -squared_distance(x[i], sum(members) / len(members))
        own = y.tolist()[i]
        participates.append(own in scores)
        values.append(log_sum_exp(list(scores.values())) - scores[own] if own in scores else 0.0)
    return np.array(values), np.array(participates)


def mean_of_participants(values, participates):
    chosen = [value for value, takes_part in zip(values, participates) if takes_part]
    return sum(chosen) / len(chosen) if chosen else 0.0


def classifier_projection(x, W, epsilon):
    """The subtrahend of equation (8), sample by sample."""
    inverse = np.linalg.inv(W.T @ W + epsilon * np.eye(W.shape[1]))
    return np.array([W @ (inverse @ (W.T @ sample)) for sample in x])


def complement_projection(x, W, epsilon):
    """Equation (8)."""
    return x - classifier_projection(x, W, epsilon)


def exact_complement(x, W):
    """What equation (8) approximates, for a W of full column rank: an orthonormal basis of span(W) by QR."""
    basis = np.linalg.qr(W)[0]
    return np.array([sample - sum(column * (column @ sample) for column in basis.T) for sample in x])


def spectral_projection(x, W, power):
    """Equations (9) to (11); a singular value of 0 has weight 0 for every power."""
    d = W.shape[0]
    basis, singular_values, _ = np.linalg.svd(W, full_matrices=True)
    padded = np.zeros(d)
    padded[: len(singular_values)] = singular_values
    largest = padded.max()
    cutoff = max(W.shape) * np.finfo(np.float32).eps * largest
    result = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(d):
            weight = (padded[j] / largest) ** power if padded[j] > cutoff else 0.0
            result[i] += (1 - weight) * (basis[:, j] @ x[i]) * basis[:, j]
    return result


CLASSIFICATION = {"sce": softmax_cross_entropy, "bce": binary_cross_entropy}
METRIC = {"nca": nca, "proto": prototypical}


def integrated(y, x, W, b, classification, metric, project=lambda x: x):
    """Equations (6), (7) and (11): the mean of one loss and the other on projected features."""
    value = np.mean(CLASSIFICATION[classification](y, linear_logits(x, W, b)))
    if metric is None:
        return value
    return value + mean_of_participants(*METRIC[metric](y, project(x)))


def finite_difference_gradient(function, point, step=1e-5):
    """Central differences of a scalar function of a float64 array."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        above, below = point.copy(), point.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (above[index] - below[index])
    return gradient


def rounded(x, dtype):
    """A tensor of that dtype, and the float64 array of what is left of x in it."""
    tensor = tf.cast(tf.constant(np.asarray(x, np.float64)), dtype)
    return tensor, tf.cast(tensor, tf.float64).numpy()


def value_and_gradient(function, tensor):
    """The value of a scalar function and its gradient, in the tensor's dtype."""
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = function(tensor)
    return value, tape.gradient(value, tensor)


def assert_gradient(actual, expected, dtype, tolerance=None, noise=1e-10):
    """Compares a gradient with finite differences, within that dtype's rounding of its largest element.

    `noise` is what finite differences themselves may be off by.
    """
    assert actual.dtype == dtype
    actual = tf.cast(actual, tf.float64).numpy()
    assert np.isfinite(actual).all()
    tolerance = GRADIENT_TOLERANCE[dtype] if tolerance is None else tolerance
    allowed = tolerance * np.abs(expected).max() + SMALLEST[dtype]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=allowed + noise)


def matrix(generator, d, classes, singular_values):
    """A [d, C] matrix with the given singular values, padded with zeros, and random singular vectors."""
    left = np.linalg.qr(generator.standard_normal((d, d)))[0]
    right = np.linalg.qr(generator.standard_normal((classes, classes)))[0]
    middle = np.zeros((d, classes))
    for k, singular_value in enumerate(singular_values):
        middle[k, k] = singular_value
    return left @ middle @ right.T
