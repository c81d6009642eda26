"""Class-balanced batches: N classes, K images of each."""

from collections.abc import Iterator, Sequence

import numpy as np

from dsl_tf.errors import UserError


def steps_per_epoch(labels: np.ndarray, ways: int, shots: int) -> int:
    """Returns the number of batches in an epoch: images divided by N·K, at least 1."""
    return max(len(labels) // (ways * shots), 1)


def check_balanced(labels: np.ndarray, class_names: Sequence[str], ways: int, shots: int) -> None:
    """Raises a UserError where a batch of `ways` classes and `shots` images of each cannot be drawn.

    Args:
        labels: integers `[n]`.
        class_names: the name of each class, by label.
        ways: N, classes a batch.
        shots: K, images of each class.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    if len(class_names) < ways:
        raise UserError(
            f"Batches of --ways={ways} classes need as many training classes. "
            f"Received: {len(class_names)}. Set --ways={len(class_names)} or less."
        )
    if counts.min() < shots:
        smallest = int(counts.argmin())
        raise UserError(
            f"Batches of --shots={shots} images a class need as many images in every training class. Received: "
            f"{counts[smallest]} in {class_names[smallest]!r}. Set --shots={counts[smallest]} or less, or add images."
        )


class BalancedBatches:
    """An endless, seeded sequence of balanced batches.

    Every batch holds `ways` classes drawn without replacement. A class's images come in a random order that is
    drawn anew once all of them were seen; no batch holds an image twice. Batch s is a function of the arguments
    and s alone, so that a resumed run goes on with the batches that it would have had.

    Args:
        labels: integers `[n]` from 0 to C − 1, each class with at least `shots` images.
        ways: N, at most C.
        shots: K.
        seed: an integer.
    """

    def __init__(self, labels: np.ndarray, ways: int, shots: int, seed: int) -> None:
        self._members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
        self._ways = ways
        self._shots = shots
        self._seed = seed

    def iterate(self, start_step: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yields `(step, indices int32 [ways · shots])` from a step on, class after class."""
        random = np.random.default_rng(self._seed)
        waiting = [members[:0] for members in self._members]
        step = 0
        while True:
            batch = []
            for label in random.permutation(len(self._members))[: self._ways]:
                if len(waiting[label]) < self._shots:
                    waiting[label] = self._refill(random, label, waiting[label])
                batch.append(waiting[label][: self._shots])
                waiting[label] = waiting[label][self._shots :]
            if step >= start_step:
                yield step, np.concatenate(batch).astype(np.int32)
            step += 1

    def _refill(self, random, label, left_over):
        fresh = random.permutation(self._members[label])
        # Those left over from the last round go into this batch, so the new round starts with others.
        others = np.flatnonzero(~np.isin(fresh, left_over))[: self._shots - len(left_over)]
        return np.concatenate([left_over, fresh[others], np.delete(fresh, others)])
