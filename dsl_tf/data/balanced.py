"""Class-balanced batches: N classes, K images of each."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dsl_tf.data.permutation import shuffled
from dsl_tf.errors import UserError

# What a key of `shuffled` stands for, so that no two orders share one.
_RING, _ROUND, _IMAGES = range(3)
_STEPS_AT_ONCE = 16


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
    """An endless, seeded sequence of balanced batches, each computed from its step alone.

    The same arguments and step give the same batch on every machine, and a resumed run replays nothing.

    A batch holds `ways` different classes. Steps form rounds of ⌊C/N⌋: in a round every class comes at most once, in a
    new random order, and C mod N classes sit out; over C / gcd(C, N) rounds each class sits out equally often.
    A class shows every image once before it shows one again, in a random order. The order is drawn anew when the images
    end with a batch: after each pass where K divides their number M, and after lcm(M, K) / M passes otherwise.
    No batch holds an image twice, unless its class has fewer than K images: these repeat, as evenly as possible.

    Args:
        labels: integers `[n]` from 0 to C − 1, each class with at least one image.
        ways: N, classes per batch, at most C.
        shots: K, images of each class per batch.
        seed: an integer.

    Raises:
        ValueError: if there are fewer than N classes, or a class has no image.
    """

    def __init__(self, labels: np.ndarray, ways: int, shots: int, seed: int) -> None:
        counts = np.bincount(labels)
        if not 1 <= ways <= len(counts) or not counts.all() or shots < 1:
            raise ValueError(
                "`labels` must hold every class from 0 to C − 1, and `ways` be from 1 to C. Received: "
                f"{np.count_nonzero(counts)} of {len(counts)} classes, and ways {ways}, shots {shots}"
            )
        # Here and not on a GPU, which has no kernels for the integers of `shuffled`.
        with tf.device("CPU"):
            self._members = tf.constant(np.argsort(labels, kind="stable"), tf.int32)
            self._sizes = tf.constant(counts, tf.int64)
            self._periods = tf.constant(np.lcm(counts, shots), tf.int64)
            self._starts = tf.constant(np.cumsum(counts) - counts, tf.int64)
        self._classes, self._ways, self._shots, self._seed = len(counts), ways, shots, seed

    def indices(self, steps: tf.Tensor) -> tf.Tensor:
        """Returns the images of steps.

        Args:
            steps: integers `[s]`.

        Returns:
            int32 `[s, ways · shots]`, class after class; made of TensorFlow's operations alone.
        """
        label, earlier = self._classes_of(tf.cast(steps, tf.int64)[:, None])
        label, earlier = (tf.repeat(values, self._shots, axis=1) for values in (label, earlier))
        size = tf.gather(self._sizes, label)
        place = earlier * self._shots + tf.tile(tf.range(self._shots, dtype=tf.int64), [self._ways])
        item = shuffled(place % size, size, self._seed, _IMAGES, label, place // tf.gather(self._periods, label))
        return tf.gather(self._members, tf.gather(self._starts, label) + item)

    def _classes_of(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the classes of steps `[s, 1]`, int64 `[s, ways]`, and how many earlier steps had each of them."""
        classes, ways = self._classes, self._ways
        steps = classes // ways
        out = classes % ways
        rounds = classes // math.gcd(classes, ways)
        round_number, place = step // steps, step % steps * ways + tf.range(ways, dtype=tf.int64)
        cycle, number = round_number // rounds, round_number % rounds
        # The classes of a cycle stand in a ring. Those that sit out are the `out` from position out · number on; those
        # after them come in a random order.
        after = shuffled(place, classes - out, self._seed, _ROUND, round_number)
        position = (out * (number + 1) + after) % classes
        label = shuffled(position, classes, self._seed, _RING, cycle)
        # In `number` rounds, out · number seats of the ring were passed over, this class's each time they went round.
        passed_over = (out * number - position + classes - 1) // classes
        return label, cycle * (rounds * steps * ways // classes) + number - passed_over

    def iterate(self, start_step: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yields `(step, indices int32 [ways · shots])` from a step on, class after class."""
        with tf.device("CPU"):
            batches = self.batches(start_step)
        for step, indices in batches.as_numpy_iterator():
            yield int(step), indices

    def batches(self, start_step: int = 0) -> tf.data.Dataset:
        """Returns `(step int64, indices int32 [ways · shots])` from a step on as an endless `tf.data.Dataset`."""
        # Several at once, since each operation costs as much as hundreds of numbers.
        steps = tf.data.Dataset.range(start_step, tf.int64.max).batch(_STEPS_AT_ONCE)
        return steps.map(lambda steps: (steps, self.indices(steps))).unbatch()
