"""Draws the episodes of an evaluation."""

from collections.abc import Sequence

import numpy.typing as npt

from dsl_tf.evaluation.episode_lists import Episodes
from dsl_tf.evaluation.episodes import sample_episodes
from dsl_tf.evaluation.unequal_episodes import sample_unequal_episodes
from dsl_tf.evaluation.varied_episodes import sample_varied_episodes

VARIED = "varied"


def shots_to_draw(shots: Sequence[int], varied: bool) -> Sequence[int | str]:
    """Returns the numbers of support images per class to draw episodes for; varied episodes have all in one."""
    return (VARIED,) if varied else shots


def drawn_episodes(
    labels: npt.ArrayLike,
    ways: int,
    shots: int | str,
    queries: int,
    episodes: int,
    seed: int,
    query_concentration: float | None = None,
    groups: npt.ArrayLike | None = None,
) -> Episodes:
    """Samples episodes of the kind that the arguments ask for.

    Args:
        labels, ways, queries, episodes, seed, groups: as in `sample_episodes`.
        shots: the number of support images per class, or `"varied"` for episodes as `sample_varied_episodes` draws
            them, whatever `ways` and `queries` are.
        query_concentration: None, or as in `sample_unequal_episodes`.

    Raises:
        UserError: if the labels do not hold enough classes or images.
    """
    if isinstance(shots, str):
        return sample_varied_episodes(labels, episodes, seed, groups)
    if query_concentration is None:
        return Episodes(*sample_episodes(labels, ways, shots, queries, episodes, seed, groups))
    unequal = sample_unequal_episodes(labels, ways, shots, queries, episodes, seed, query_concentration, groups)
    return Episodes(*unequal)
