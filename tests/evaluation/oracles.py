"""The few-shot classifiers as plain loops in float64, one episode at a time, as their papers describe them.

Each takes support `[S, d]`, labels `[S]` from 0, queries `[M, d]` and the hyperparameters, and returns scores `[M, N]`.
"""

import numpy as np


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def class_means(support, labels):
    return np.stack([support[labels == way].mean(axis=0) for way in range(labels.max() + 1)])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def nearest_centroid(support, labels, query):
    return np.array([[-((q - mean) ** 2).sum() for mean in class_means(support, labels)] for q in query])


def cosine_nearest_centroid(support, labels, query):
    return 10 * np.array([[unit(q) @ unit(mean) for mean in class_means(support, labels)] for q in query])


def nearest_neighbour(support, labels, query):
    return np.array(
        [[-min(((q - x) ** 2).sum() for x in support[labels == way]) for way in range(labels.max() + 1)] for q in query]
    )


def ridge_regression(support, labels, query, penalty=1.0):
    """The normal equations in d dimensions."""
    targets = np.eye(labels.max() + 1)[labels]
    weights = np.linalg.solve(support.T @ support + penalty * np.eye(support.shape[1]), support.T @ targets)
    return query @ weights


def logistic_regression(support, labels, query, penalty=1.0):
    """Newton's method on weights and bias in N·(d + 1) dimensions, with halved steps."""
    x = np.concatenate([support, np.ones((len(support), 1))], axis=1)
    targets = np.eye(labels.max() + 1)[labels]
    ways, d = targets.shape[1], x.shape[1]
    # Nearly no penalty on the bias, so that there is one solution.
    ridge = np.diag([*[penalty] * (d - 1), 1e-9])

    def loss(weights):
        p = softmax(x @ weights)
        return -np.log(np.maximum((p * targets).sum(axis=1), 1e-300)).sum() + (weights * (ridge @ weights)).sum() / 2

    weights = np.zeros((d, ways))
    for _ in range(200):
        p = softmax(x @ weights)
        gradient = x.T @ (p - targets) + ridge @ weights
        curvatures = p[:, :, None] * (np.eye(ways) - p[:, None])
        hessian = np.einsum("ni,nj,ncd->icjd", x, x, curvatures, optimize=True)
        hessian += np.einsum("ij,cd->icjd", ridge, np.eye(ways))
        change = np.linalg.solve(hessian.reshape(d * ways, -1), -gradient.ravel()).reshape(d, ways)
        share = 1.0
        while loss(weights + share * change) > loss(weights) and share > 1e-8:
            share /= 2
        weights = weights + share * change
        if np.abs(x @ change).max() < 1e-9:
            break
    return np.concatenate([query, np.ones((len(query), 1))], axis=1) @ weights
