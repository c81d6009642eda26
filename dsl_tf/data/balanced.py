"""Class-balanced batches: N classes, K images of each."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from dsl_tf.data.permutation import shuffled
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.errors import UserError

# What to do with classes of fewer than K images.
SMALL_CLASSES = ("repeat", "skip", "error")

# First key of `shuffled`, so that different kinds of order never share a key.
_RING, _ROUND, _IMAGES = range(3)
_STEPS_AT_ONCE = 16


def steps_per_epoch(labels: np.ndarray, ways: int, shots: int) -> int:
    """Returns the number of batches in an epoch: images divided by N·K, at least 1."""
    return max(len(labels) // (ways * shots), 1)


def drop_small_classes(split: Split, shots: int, small_classes: str = "repeat") -> Split:
    """Handles classes that have fewer images than a batch needs per class.

    Args:
        split: the training images.
        shots: K, images per class in a batch.
        small_classes: one of `SMALL_CLASSES`: `"repeat"` keeps these classes, whose images then repeat within a batch;
            `"skip"` drops them; `"error"` raises an error. Classes without images are dropped, or raise it too.

    Returns:
        The split without the dropped classes.

    Raises:
        UserError: if a class is too small and `small_classes` is `"error"`.
        ValueError: if `small_classes` is unknown.
    """
    if small_classes not in SMALL_CLASSES:
        raise ValueError(f"`small_classes` must be one of {SMALL_CLASSES}. Received: {small_classes!r}")
    counts = np.bincount(split.labels, minlength=split.class_count)
    small = np.flatnonzero(counts < shots)
    if not small.size:
        return split
    names = [f"{split.class_names[label]!r} ({counts[label]})" for label in small[:3]]
    found = (
        f"Batches take --shots={shots} images per class. Received: {small.size} of {split.class_count} training "
        f"classes with fewer, {'such as ' if small.size > 3 else ''}{', '.join(names)}."
    )
    if small_classes == "error":
        raise UserError(f"{found} Add images, lower --shots, or set --small_classes=skip or repeat.")
    if small_classes == "skip":
        logging.warning("%s They are skipped; --small_classes=repeat keeps them.", found)
        return _without(split, counts >= shots)
    logging.warning("%s Their images repeat within a batch; --small_classes=skip drops these classes.", found)
    return _without(split, counts > 0)


def _without(split: Split, kept: np.ndarray) -> Split:
    if kept.all():
        return split
    rows = np.flatnonzero(kept[split.labels])
    images = split.images.take(rows) if isinstance(split.images, StoredImages) else split.images[rows]
    labels = (np.cumsum(kept) - 1)[split.labels[rows]]
    names = tuple(name for name, keep in zip(split.class_names, kept, strict=True) if keep)
    return dataclasses.replace(split, images=images, labels=labels, class_names=names)


def check_balanced(labels: np.ndarray, class_names: Sequence[str], ways: int) -> None:
    """Checks that batches of `ways` classes can be drawn.

    Args:
        labels: integers `[n]`.
        class_names: the name of each class, by label.
        ways: N, classes per batch.

    Raises:
        UserError: if there are fewer classes, or a class has no image.
    """
    if not class_names:
        raise UserError("Training needs classes with images. Received: none. Add images, or lower --shots.")
    if len(class_names) < ways:
        raise UserError(
            f"Batches of --ways={ways} classes need as many training classes. "
            f"Received: {len(class_names)}. Set --ways={len(class_names)} or less."
        )
    counts = np.bincount(labels, minlength=len(class_names))
    if not counts.all():
        raise UserError(
            f"Every training class needs images. Received: none of {class_names[int(counts.argmin())]!r}. Add images, "
            "or remove the class."
        )


class BalancedBatches:
    """An endless, seeded sequence of balanced batches, each computed from its step alone.

    The same arguments and step give the same batch on every machine, and a resumed run replays nothing.

    A batch has N = `ways` different classes. Steps form rounds of ⌊C/N⌋: each round uses a class at most once, in a
    new random order, and C mod N classes are not used; over C / gcd(C, N) rounds, this happens to each class
    equally often. Each class uses all of its images, in random order, before it repeats one. A new order is drawn when
    a pass over its M images ends together with a batch: after every pass if K divides M, and after lcm(M, K) / M passes
    otherwise. No batch repeats an image, unless its class has fewer than K images; these repeat as evenly as possible.

    Args:
        labels: integers `[n]` from 0 to C − 1, each class with at least one image.
        ways: N, classes per batch, at most C.
        shots: K, images per class in a batch.
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
        # On the CPU, because GPUs have no kernels for the integers of `shuffled`.
        with tf.device("CPU"):
            self._members = tf.constant(np.argsort(labels, kind="stable"), tf.int32)
            self._sizes = tf.constant(counts, tf.int64)
            self._periods = tf.constant(np.lcm(counts, shots), tf.int64)
            self._starts = tf.constant(np.cumsum(counts) - counts, tf.int64)
        self._classes, self._ways, self._shots, self._seed = len(counts), ways, shots, seed

    def indices(self, steps: tf.Tensor) -> tf.Tensor:
        """Returns the positions of the images of steps.

        Args:
            steps: integers `[s]`.

        Returns:
            int32 `[s, ways · shots]`, class after class, computed by TensorFlow operations only.
        """
        label, earlier = self._classes_of(tf.cast(steps, tf.int64)[:, None])
        label, earlier = (tf.repeat(values, self._shots, axis=1) for values in (label, earlier))
        size = tf.gather(self._sizes, label)
        place = earlier * self._shots + tf.tile(tf.range(self._shots, dtype=tf.int64), [self._ways])
        item = shuffled(place % size, size, self._seed, _IMAGES, label, place // tf.gather(self._periods, label))
        return tf.gather(self._members, tf.gather(self._starts, label) + item)

    def _classes_of(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the classes of steps `[s, 1]`, int64 `[s, ways]`, and how many earlier steps used each of them."""
        classes, ways = self._classes, self._ways
        steps = classes // ways
        out = classes % ways
        rounds = classes // math.gcd(classes, ways)
        round_number, place = step // steps, step % steps * ways + tf.range(ways, dtype=tf.int64)
        cycle, number = round_number // rounds, round_number % rounds
        # The classes of a cycle form a ring. This round does not use the `out` classes from position out · number on;
        # the others follow in random order.
        after = shuffled(place, classes - out, self._seed, _ROUND, round_number)
        position = (out * (number + 1) + after) % classes
        label = shuffled(position, classes, self._seed, _RING, cycle)
        # `number` rounds have skipped out · number positions of the ring, and this class once per turn of the ring.
        passed_over = (out * number - position + classes - 1) // classes
        return label, cycle * (rounds * steps * ways // classes) + number - passed_over

    def iterate(self, start_step: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yields `(step, indices int32 [ways · shots])` from `start_step` on, class after class."""
        with tf.device("CPU"):
            batches = self.batches(start_step)
        for step, indices in batches.as_numpy_iterator():
            yield int(step), indices

    def batches(self, start_step: int = 0) -> tf.data.Dataset:
        """Returns an endless `tf.data.Dataset` of `(step int64, indices int32 [ways · shots])` from `start_step` on."""
        # Several steps at once, because the overhead of an operation exceeds the cost of hundreds of numbers.
        steps = tf.data.Dataset.range(start_step, tf.int64.max).batch(_STEPS_AT_ONCE)
        # Without AutoGraph, which would translate every function that is called, at each start.
        draw = tf.autograph.experimental.do_not_convert(lambda steps: (steps, self.indices(steps)))
        return steps.map(draw).unbatch()
