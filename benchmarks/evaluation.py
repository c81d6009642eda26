"""Measures episodes per second: this package, loops in NumPy, scikit-learn and easyfsl, on the same data and cores.

Each time is that of the fastest of three runs, which take turns, for 10,000 episodes. On a busy machine compare the
processor's seconds: those of all cores together, so that a program which uses two of them takes half as long. The loops
run on one core, which is fastest for arrays as small as an episode's. Peers are optional:
pip install scikit-learn==1.5.2 torch==2.13.0 && pip install --no-deps easyfsl==1.5.0

Run: python benchmarks/evaluation.py [CLASSIFIER ...] [growth]
"""

import os
import resource
import sys
import time
import unittest.mock
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation import CLASSIFIERS, episode_predictions, sample_episodes

D, CLASSES, IMAGES, WAYS, SHOTS, QUERIES, EPISODES = 640, 20, 600, 5, 5, 15, 10_000
KNN, LAM, ITERATIONS = 3, 0.7, 20
# Episodes that are measured where 10,000 would take minutes, and by the slow implementations.
FEWER = {"pt_map": 1_000, "tim": 50, "alpha_tim": 50}
GROWTH_EPISODES = 200
LOOP_EPISODES, PEER_EPISODES, TIM_EPISODES = 1_000, 200, 2

Classify = Callable[[np.ndarray, np.ndarray], np.ndarray]


def features_and_labels(d: int = D) -> tuple[np.ndarray, np.ndarray]:
    """Returns normalised features, not negative, whose classes overlap like those of trained networks, and labels."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = 0.35 * random.normal(size=(CLASSES, d))[labels] + 1.5 * random.normal(size=(len(labels), d))
    features = np.maximum(features, 0)
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


def loop_nearest_neighbour(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Classifies one episode in NumPy: support [N, K, d], query [M, d] -> way indices [M]."""
    flat = support.reshape(-1, support.shape[2])
    return np.argmin((flat**2).sum(axis=1) - 2 * query @ flat.T, axis=1) // support.shape[1]


def loop_ridge_regression(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Classifies one episode in NumPy: support [N, K, d], query [M, d] -> way indices [M]."""
    ways, shots, d = support.shape
    flat = support.reshape(-1, d)
    weights = np.linalg.solve(flat @ flat.T + np.eye(len(flat), dtype=np.float32), np.repeat(np.eye(ways), shots, 0))
    return (query @ (flat.T @ weights)).argmax(axis=1)


def scikit_learn() -> Classify | None:
    """Returns scikit-learn's logistic regression as a function like the loops above, or None if it is not installed."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None

    def classify(support: np.ndarray, query: np.ndarray) -> np.ndarray:
        ways, shots, d = support.shape
        model = LogisticRegression(max_iter=1000)
        return model.fit(support.reshape(-1, d), np.repeat(np.arange(ways), shots)).predict(query)

    return classify


def easyfsl(name: str, **options: float) -> Classify | None:
    """Returns easyfsl's classifier as a function like the loops above, or None if it is not installed."""
    try:
        import torch

        # It imports torchvision for image networks, which features do not need.
        for module in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
            sys.modules.setdefault(module, unittest.mock.MagicMock())
        from easyfsl import methods
    except ImportError:
        return None
    torch.set_num_threads(1)
    method = getattr(methods, name)(backbone=torch.nn.Identity(), **options)

    def classify(support: np.ndarray, query: np.ndarray) -> np.ndarray:
        ways, shots, d = support.shape
        # TIM needs gradients, which the other methods do not ask for.
        with torch.set_grad_enabled(name == "TIM"):
            labels = torch.arange(ways).repeat_interleave(shots)
            method.process_support_set(torch.from_numpy(support.reshape(-1, d)), labels)
            return method(torch.from_numpy(query)).argmax(dim=1).numpy()

    return classify


# For each classifier its peers, by name: a function and the number of episodes to measure.
PEERS: dict[str, dict[str, tuple[Classify | None, int]]] = {
    "nearest_centroid": {
        "NumPy loop": (loop_nearest_centroid, LOOP_EPISODES),
        "easyfsl": (easyfsl("PrototypicalNetworks"), PEER_EPISODES),
    },
    "cosine_nearest_centroid": {"easyfsl": (easyfsl("SimpleShot"), PEER_EPISODES)},
    "nearest_neighbour": {"NumPy loop": (loop_nearest_neighbour, LOOP_EPISODES)},
    "ridge_regression": {"NumPy loop": (loop_ridge_regression, LOOP_EPISODES)},
    "logistic_regression": {"scikit-learn": (scikit_learn(), PEER_EPISODES)},
    "laplacian_shot": {
        "NumPy loop": (loop_laplacian_shot, LOOP_EPISODES),
        "easyfsl": (easyfsl("LaplacianShot", knn=KNN, lambda_regularization=LAM), PEER_EPISODES),
    },
    "bd_cspn": {"easyfsl": (easyfsl("BDCSPN"), PEER_EPISODES)},
    "pt_map": {"easyfsl": (easyfsl("PTMAP", fine_tuning_steps=20), PEER_EPISODES)},
    "tim": {"easyfsl": (easyfsl("TIM", fine_tuning_steps=1000), TIM_EPISODES)},
}


def one_by_one(
    classify: Classify, features: np.ndarray, support: np.ndarray, query: np.ndarray, episodes: int
) -> np.ndarray:
    """Classifies episodes one by one: predictions [episodes, N, Q]."""
    return np.stack(
        [
            classify(features[support[episode]], features[query[episode].ravel()]).reshape(query.shape[1:])
            for episode in range(episodes)
        ]
    )


def timed_in_turn(functions: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, tuple[Any, float, float]]:
    """Returns of each function the result, and the seconds and the processor's seconds for 10,000 episodes."""
    found: dict[str, tuple[Any, float, float]] = {}
    for _ in range(3):
        for name, (function, episodes) in functions.items():
            started = time.perf_counter(), time.process_time()
            result = function()
            seconds = time.perf_counter() - started[0], time.process_time() - started[1]
            _, *best = found.get(name, (None, np.inf, np.inf))
            wall, processor = (min(old, new * EPISODES / episodes) for old, new in zip(best, seconds, strict=True))
            found[name] = result, wall, processor
    return found


def gram_products() -> float:
    """Returns the processor's seconds for the inner products of 10,000 episodes, at the speed of one large product."""
    large = tf.random.normal([4096, 4096])
    (_, _, seconds) = timed_in_turn({"large": (lambda: tf.reduce_sum(large @ large).numpy(), EPISODES)})["large"]
    return seconds * EPISODES * (WAYS * (SHOTS + QUERIES)) ** 2 * D / 4096**3


def compare(name: str, features: np.ndarray, support: np.ndarray, query: np.ndarray, limit: float) -> None:
    """Prints the rates of a classifier and of its peers."""
    classifier, episodes = CLASSIFIERS[name], FEWER.get(name, len(query))
    support, query = support[:episodes], query[:episodes]
    # Arrays of all episodes take 2.5 GB.
    arrays = features[support], features[query.reshape(episodes, -1)]
    functions: dict[str, tuple[Callable[[], Any], int]] = {
        "ours": (lambda: episode_predictions(features, support, query, classifier.function), episodes),
        "ours, from arrays": (lambda: classifier.function(*arrays).numpy().reshape(query.shape), episodes),
    }
    for peer, (classify, count) in PEERS.get(name, {}).items():
        if classify is not None:
            functions[peer] = (lambda f=classify, n=count: one_by_one(f, features, support, query, n)), count  # type: ignore[misc]
    found = timed_in_turn(functions)
    ours, our_seconds, our_processor = found["ours"]
    accuracy, share = 100 * (ours == np.arange(WAYS)[:, None]).mean(), 100 * limit / our_processor
    print(f"{classifier.title}, accuracy {accuracy:.1f}%, {share:.0f}% of the arithmetic limit")
    for who, (answers, seconds, processor) in found.items():
        same = (answers == ours[: len(answers)]).mean()
        ratios = ["", ""] if who == "ours" else [f"{seconds / our_seconds:.1f}×", f"{processor / our_processor:.1f}×"]
        print(
            f"  {who:18}{seconds:10.2f}{ratios[0]:>9}{processor:14.2f}{ratios[1]:>9}{100 * same:13.2f}%",
            flush=True,
        )


def growth(names: tuple[str, ...]) -> None:
    """Prints how time grows with ways, shots, dimensions and episodes."""
    print(f"\n{'processor s per 1,000 episodes':36}" + "".join(f"{name:>22}" for name in names))
    base = (5, 5, D, GROWTH_EPISODES)
    shapes = [(5, 1, *base[2:]), base, (5, 20, *base[2:]), (10, *base[1:]), (20, *base[1:])]
    shapes += [(5, 5, 64, base[3]), (5, 5, 2048, base[3]), (5, 5, D, 2_000), (5, 5, D, EPISODES)]
    for ways, shots, d, episodes in shapes:
        features, labels = features_and_labels(d)
        support, query = sample_episodes(labels, ways, shots, QUERIES, episodes, seed=0)
        functions = {
            name: (
                lambda n=name: episode_predictions(features, support, query, CLASSIFIERS[n].function),  # noqa: B023
                episodes,
            )
            for name in names
        }
        found = timed_in_turn(functions)
        seconds = "".join(f"{1_000 / EPISODES * processor:22.3f}" for _, _, processor in found.values())
        shape = f"{ways} ways, {shots} shots, d = {d}" + (f", {episodes:,}" if episodes != GROWTH_EPISODES else "")
        print(f"{shape:36}{seconds}", flush=True)


def main() -> None:
    """Prints a table of times and agreements."""
    names = sys.argv[1:] or [*CLASSIFIERS, "growth"]
    limit = gram_products()
    print(f"{WAYS} ways, {SHOTS} shots, {QUERIES} queries, d = {D}; arithmetic limit {limit:.2f} s for 10,000 episodes")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':20}{'seconds':>10}{'of ours':>9}{'processor s':>14}{'of ours':>9}{'same answers':>14}")
    features, labels = features_and_labels()
    support, query = sample_episodes(labels, WAYS, SHOTS, QUERIES, EPISODES, seed=0)
    for name in names:
        if name != "growth":
            compare(name, features, support, query, limit)
    if "growth" in names:
        growth(("nearest_centroid", "logistic_regression", "pt_map", "laplacian_shot"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:,.0f} MB, of which features {features.nbytes / 2**20:,.0f} MB")


if __name__ == "__main__":
    main()
