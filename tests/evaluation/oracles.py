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


def bd_cspn(support, labels, query):
    means = class_means(support, labels)
    query = query + support.mean(axis=0) - query.mean(axis=0)
    nearest = [np.argmax([unit(q) @ unit(mean) for mean in means]) for q in query]
    vectors, ways = np.concatenate([support, query]), np.concatenate([labels, nearest])
    rectified = []
    for way, mean in enumerate(means):
        weights = softmax(np.array([10 * unit(x) @ unit(mean) for x in vectors[ways == way]]))
        rectified.append(weights @ vectors[ways == way])
    return 10 * np.array([[unit(q) @ unit(prototype) for prototype in rectified] for q in query])


def pt_map(support, labels, query, alpha=0.2):
    """The authors' loop, in d dimensions."""
    support, query = (unit(np.where(v < 0, -1, 1) * (np.abs(v) + 1e-6) ** 0.5) for v in (support, query))
    support, query = (unit(f - f.mean(axis=0)) for f in (support, query))
    targets = np.eye(labels.max() + 1)[labels]
    means = class_means(support, labels)

    def transported():
        plan = np.exp(-10 * np.array([[((q - mean) ** 2).sum() for mean in means] for q in query]))
        plan /= plan.sum()
        rows = np.zeros(len(query))
        for _ in range(1000):
            if np.abs(rows - plan.sum(axis=1)).max() <= 1e-6:
                break
            rows = plan.sum(axis=1)
            plan = plan / rows[:, None]
            plan = plan * (len(query) / len(means) / plan.sum(axis=0))
        return plan

    for _ in range(20):
        weights = np.concatenate([targets, transported()])
        estimates = weights.T @ np.concatenate([support, query]) / weights.sum(axis=0)[:, None]
        means = means + alpha * (estimates - means)
    return np.log(transported())


def _adam(loss, weights, iterations):
    """Minimises a loss of `[..., N, d]`, whose derivatives are those of steps along the imaginary axis."""
    size = weights.size
    m = v = np.zeros_like(weights)
    steps = 1e-30j * np.eye(size).reshape(size, *weights.shape)
    for number in range(1, iterations + 1):
        gradient = loss(weights + steps).imag.reshape(weights.shape) / 1e-30
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        weights = weights - 1e-4 * (m / (1 - 0.9**number)) / (np.sqrt(v / (1 - 0.999**number)) + 1e-8)
    return weights


def _complex_softmax(scores):
    scores = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def _information_maximised(support, labels, query, marginal_entropy, conditional_entropy, weight, iterations):
    support, query = unit(support), unit(query)
    targets = np.eye(labels.max() + 1)[labels]

    def logits(weights, x):
        return -7.5 * ((x[:, None] - weights[..., None, :, :]) ** 2).sum(axis=-1)

    def loss(weights):
        cross_entropy = (
            -(targets * np.log(_complex_softmax(logits(weights, support)) + 1e-12)).sum(axis=-1).mean(axis=-1)
        )
        p = _complex_softmax(logits(weights, query))
        marginal, conditional = marginal_entropy(p.mean(axis=-2)), conditional_entropy(p).mean(axis=-1)
        return cross_entropy - weight * marginal + conditional

    return logits(_adam(loss, class_means(support, labels), iterations), query)


def tim(support, labels, query, marginal_weight=10.0, iterations=1000):
    def entropy(p):
        return -(p * np.log(p + 1e-12)).sum(axis=-1)

    return _information_maximised(support, labels, query, entropy, entropy, marginal_weight, iterations)


def alpha_tim(support, labels, query, alpha=5.0, iterations=1000):
    def entropy(p):
        return (1 - (p**alpha).sum(axis=-1)) / (alpha - 1)

    return _information_maximised(support, labels, query, entropy, entropy, 1.0, iterations)
