"""Measures episodes per second: this package, an optimised NumPy loop, and easyfsl, on the same data and cores.

easyfsl is optional: pip install torch==2.13.0 && pip install --no-deps easyfsl==1.5.0

Run: python benchmarks/evaluation.py
"""

import os
import resource
import sys
import time
import unittest.mock
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from dsl_tf.evaluation import episode_predictions, laplacian_shot, nearest_centroid, sample_episodes

D, CLASSES, IMAGES, WAYS, QUERIES, EPISODES = 640, 20, 600, 5, 15, 10_000
KNN, LAM, ITERATIONS = 3, 0.7, 20
# Enough episodes for a stable rate of the slow implementations.
LOOP_EPISODES, EASYFSL_EPISODES = 2_000, 400


def features_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Returns normalised features whose classes overlap like those of trained networks, and labels."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = random.normal(size=(CLASSES, D))[labels] + 2.2 * random.normal(size=(len(labels), D))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels


def loop_nearest_centroid(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Classifies one episode in NumPy: support [N, K, d], query [M, d] -> way indices [M]."""
    centroids = support.mean(axis=1)
    return np.argmin((centroids**2).sum(axis=1) - 2 * query @ centroids.T, axis=1)


def loop_laplacian_shot(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Classifies one episode in NumPy: distances from inner products, partial sorting, early stopping."""
    ways, shots, d = support.shape
    flat = support.reshape(-1, d)
    query = query + (flat.mean(axis=0) - query.mean(axis=0))
    prototypes = support.mean(axis=1)
    vectors = np.concatenate([flat, query])
    cosines = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ (
        prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    ).T
    nearest = cosines.argmax(axis=1)
    weights = np.exp(10 * cosines)
    weights = weights[np.arange(len(vectors)), nearest] / weights.sum(axis=1)
    mixture = np.zeros((ways, len(vectors)), np.float32)
    mixture[nearest, np.arange(len(vectors))] = weights
    prototypes = mixture @ vectors / np.bincount(nearest, minlength=ways)[:, None]
    squares = (query**2).sum(axis=1)
    unary = squares[:, None] + (prototypes**2).sum(axis=1) - 2 * query @ prototypes.T
    distances = squares[None] - 2 * query @ query.T
    np.fill_diagonal(distances, np.inf)
    neighbours = np.argpartition(distances, KNN - 1, axis=1)[:, : KNN - 1]
    scores, energy = -unary, np.inf
    for step in range(ITERATIONS + 1):
        scores = scores - scores.max(axis=1, keepdims=True)
        assignments = np.exp(scores)
        assignments /= assignments.sum(axis=1, keepdims=True)
        if step == ITERATIONS:
            break
        pairwise = assignments[neighbours].sum(axis=1)
        if step:
            logarithm = np.log(np.maximum(assignments, 1e-30))
            moved = (assignments * (logarithm + unary - LAM * pairwise)).sum()
            if step >= 3 and abs(moved - energy) <= 1e-6 * abs(energy):
                break
            energy = moved
        scores = LAM * pairwise - unary
    return assignments.argmax(axis=1)


def easyfsl_method(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Returns easyfsl's classifier as a function like the loops above, or None if it is not installed."""
    try:
        import torch

        # It imports torchvision for image networks, which features do not need.
        for module in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
            sys.modules.setdefault(module, unittest.mock.MagicMock())
        from easyfsl import methods
    except ImportError:
        return None
    options = {"knn": KNN, "lambda_regularization": LAM} if name == "LaplacianShot" else {}
    method = getattr(methods, name)(backbone=torch.nn.Identity(), **options)

    def classify(support: np.ndarray, query: np.ndarray) -> np.ndarray:
        ways, shots, d = support.shape
        with torch.no_grad():
            method.process_support_set(
                torch.from_numpy(support.reshape(-1, d)), torch.arange(ways).repeat_interleave(shots)
            )
            return method(torch.from_numpy(query)).argmax(dim=1).numpy()

    return classify


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Returns the result of a function and the seconds of the fastest of three calls."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)


def one_by_one(
    classify: Callable[[np.ndarray, np.ndarray], np.ndarray],
    features: np.ndarray,
    support: np.ndarray,
    query: np.ndarray,
    episodes: int,
) -> np.ndarray:
    """Classifies episodes one by one: predictions [episodes, N, Q]."""
    return np.stack(
        [
            classify(features[support[episode]], features[query[episode].ravel()]).reshape(query.shape[1:])
            for episode in range(episodes)
        ]
    )


def main() -> None:
    """Prints a table of rates and agreements."""
    features, labels = features_and_labels()
    _, seconds = timed(lambda: sample_episodes(labels, WAYS, 5, QUERIES, EPISODES, seed=0))
    print(f"sampling {EPISODES:,} episodes: {seconds:.3f} s")
    classifiers = {
        "nearest centroid": (nearest_centroid, {}, loop_nearest_centroid, "PrototypicalNetworks"),
        "LaplacianShot": (laplacian_shot, {"lam": LAM}, loop_laplacian_shot, "LaplacianShot"),
    }
    print(f"{'':24}{'s for 10,000':>14}{'episodes/s':>12}{'ours is faster':>16}{'same answers':>14}")
    for shots in (1, 5):
        support, query = sample_episodes(labels, WAYS, shots, QUERIES, EPISODES, seed=0)
        for name, (classifier, options, loop, easyfsl_name) in classifiers.items():
            ours, ours_seconds = timed(
                lambda: episode_predictions(features, support, query, classifier, **options)  # noqa: B023
            )
            print(f"{f'{name}, {shots}-shot':24}{ours_seconds:14.2f}{EPISODES / ours_seconds:12,.0f}")
            others = {"NumPy loop": (loop, LOOP_EPISODES)}
            if easyfsl := easyfsl_method(easyfsl_name):
                others["easyfsl 1.5"] = (easyfsl, EASYFSL_EPISODES)
            for other_name, (other, episodes) in others.items():
                theirs, seconds = timed(
                    lambda: one_by_one(other, features, support, query, episodes)  # noqa: B023
                )
                seconds *= EPISODES / episodes
                same = (theirs == ours[:episodes]).mean()
                ratio = seconds / ours_seconds
                print(f"  {other_name:22}{seconds:14.2f}{EPISODES / seconds:12,.0f}{ratio:15.1f}×{100 * same:13.2f}%")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory of the process: {peak:,.0f} MB (features: {features.nbytes / 2**20:,.0f} MB)")


if __name__ == "__main__":
    main()
