"""Few-shot episodes whose ways have unequal numbers of queries, for transductive classifiers.

Veilleux, Boudiaf, Piantanida and Ben Ayed, "Realistic evaluation of transductive few-shot learning", NeurIPS 2021.
"""

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import sample_episodes


def sample_unequal_episodes(
    labels: npt.ArrayLike,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    seed: int,
    concentration: float,
    groups: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples episodes, the same ones for the same arguments, whose ways share M = N·Q queries unequally.

    The ways' shares are drawn from a Dirichlet distribution, and M times each is rounded so that all sum to M. Any way
    may get all of them: classes with fewer than `shots + ways·queries` images are skipped.

    Args:
        labels: integers `[n]`.
        ways: N, classes per episode.
        shots: K, support images of each class.
        queries: Q, query images of each class on average.
        episodes: E.
        seed: an integer.
        concentration: of the Dirichlet distribution, the same for each way; the smaller, the more unequal. The paper
            takes 2.
        groups: as in `sample_episodes`.

    Returns:
        Indices into `labels`, int64, those of the support `[E, N, K]` and those of the queries `[E, M]`, way after way;
        and the way index of each query `[E, M]`.

    Raises:
        UserError: as `sample_episodes`, or if the concentration is not from 1e-3 to 1e6.
    """
    if not 1e-3 <= concentration <= 1e6:
        raise UserError(
            f"The concentration of query numbers must be from 0.001 to 1,000,000. Received: {concentration}."
        )
    most = ways * queries
    # As many queries of each way as one could get; the first of them are taken.
    support, candidates = sample_episodes(labels, ways, shots, most, episodes, seed, groups)
    # Another stream than that of the images, made from the same seed.
    random = np.random.default_rng([seed, 1])
    taken = np.arange(most) < _shared(most, random.dirichlet(np.full(ways, concentration), episodes))[:, :, None]
    truth = np.broadcast_to(np.arange(ways)[:, None], taken.shape)
    return support, candidates[taken].reshape(episodes, most), truth[taken].reshape(episodes, most)


def _shared(total: int, shares: np.ndarray) -> np.ndarray:
    """Rounds `total` times each share `[E, N]`, by the largest remainders, to integers that sum to `total`."""
    exact = total * shares
    whole = np.floor(exact).astype(np.int64)
    left = total - whole.sum(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1)
    return whole + (rank < left)
