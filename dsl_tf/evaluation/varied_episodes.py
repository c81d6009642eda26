"""Few-shot episodes whose numbers of ways, support images and queries vary, as those of Meta-Dataset.

Triantafillou et al., "Meta-Dataset: A dataset of datasets for learning to learn from few examples", ICLR 2020, section
3.2 and appendix, whose symbols and constants are used here.
"""

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.class_groups import group_of_classes, group_sizes
from dsl_tf.evaluation.episode_lists import Episodes, listed_episodes

_FEWEST_WAYS, _MOST_WAYS = 5, 50
_MOST_QUERIES = 10
_MOST_SUPPORT, _MOST_OF_A_CLASS = 500, 100
_LOWEST, _HIGHEST = np.log(0.5), np.log(2)


def sample_varied_episodes(
    labels: npt.ArrayLike, episodes: int, seed: int, groups: npt.ArrayLike | None = None
) -> Episodes:
    """Samples episodes as Meta-Dataset does, the same ones for the same arguments.

    An episode has N classes c, uniformly 5 to 50, or as many as there are. Each has q = min(10, min_c ⌊|Im(c)|/2⌋)
    queries. The support has |S| = min(500, Σ_c ⌈β·min(100, |Im(c)| − q)⌉) images or a few less, β uniform in (0, 1]:
    class c has min(⌊R_c·(|S| − N)⌋ + 1, |Im(c)| − q) of them, where R_c is in proportion to exp(α_c)·|Im(c)|, α_c
    uniform in [log ½, log 2).

    Args:
        labels: integers `[n]`; classes with a single image are skipped.
        episodes: E.
        seed: an integer.
        groups: as in `sample_episodes`; groups of fewer than 5 classes are skipped.

    Returns:
        `Episodes`.

    Raises:
        UserError: if there are fewer than 5 classes of at least 2 images, in one group.
    """
    labels = np.asarray(labels)
    counts = np.unique(labels, return_counts=True)[1]
    usable = np.flatnonzero(counts >= 2)
    of_usable = group_of_classes(labels, groups)[usable]
    positions, starts, sizes = group_sizes(of_usable, _FEWEST_WAYS)
    if not len(sizes) or episodes < 1:
        largest, where = np.bincount(of_usable).max(initial=0), "" if groups is None else ", in one group"
        raise UserError(
            f"Varied episodes need {_FEWEST_WAYS} classes of at least 2 images{where}, and at least 1 episode. "
            f"Received: {largest} such classes, {episodes} episodes."
        )
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    classes = [members[place] for place in usable[positions]]
    random = np.random.default_rng(seed)
    support, query = [], []
    for _ in range(episodes):
        group = random.integers(len(sizes))
        ways = random.integers(_FEWEST_WAYS, min(_MOST_WAYS, sizes[group]) + 1)
        chosen = [classes[starts[group] + way] for way in random.choice(sizes[group], ways, replace=False)]
        images = np.array([len(of_class) for of_class in chosen])
        queries = min(_MOST_QUERIES, int(images.min()) // 2)
        drawn = [
            of_class[random.choice(len(of_class), shots + queries, replace=False)]
            for of_class, shots in zip(chosen, _shots(random, images, queries), strict=True)
        ]
        support.append([of_class[queries:] for of_class in drawn])
        query.append([of_class[:queries] for of_class in drawn])
    return listed_episodes(support, query)


def _shots(random: np.random.Generator, images: np.ndarray, queries: int) -> np.ndarray:
    """Draws the number of support images of each class, from the numbers of all its images `[N]`."""
    left = images - queries
    # ⌊(1 − β)·x⌋ + 1 for 1 − β in [0, 1) is ⌈β·x⌉ for β in (0, 1].
    size = min(_MOST_SUPPORT, int(np.floor(random.random() * np.minimum(_MOST_OF_A_CLASS, left) + 1).sum()))
    weights = np.exp(random.uniform(_LOWEST, _HIGHEST, len(images))) * images
    return np.minimum(np.floor(weights / weights.sum() * (size - len(images))).astype(int) + 1, left)
