"""The images whose features are nearest to those of an image."""

import numpy as np
import numpy.typing as npt


def nearest_others(features: npt.ArrayLike, queries: npt.ArrayLike, count: int) -> np.ndarray:
    """Finds the nearest other images by Euclidean distance, ‖x_q − x_j‖.

    Args:
        features: `[n, d]`.
        queries: positions of images `[m]`.
        count: how many for each; fewer if there are fewer others.

    Returns:
        positions `[m, count]`, the nearest first; of equally near ones the smaller position.
    """
    features, queries = np.asarray(features), np.asarray(queries)
    nearest = np.empty((len(queries), min(count, len(features) - 1)), np.int64)
    for row, query in enumerate(queries.tolist()):
        # Query by query, without an array [m, n, d].
        distances = np.linalg.norm(features - features[query], axis=1)
        distances[query] = np.inf
        nearest[row] = np.argsort(distances, kind="stable")[: nearest.shape[1]]
    return nearest
