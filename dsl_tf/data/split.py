"""A split: images and the labels of their classes."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from dsl_tf.data.labelled_images import same_class
from dsl_tf.data.skipped import Skipped
from dsl_tf.data.stored_images import StoredImages

SPLITS = ("train", "val", "test")
# Of images on disk, only so many are read: this takes seconds instead of minutes.
_IMAGES_OF_FINGERPRINT = 256


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and integer labels of one part (train, val or test) of a data set.

    Args:
        images: uint8 `[n, height, width, 3]`, RGB: an array, or `StoredImages` if they would not fit into memory.
        labels: integers `[n]` from 0 to the number of classes − 1.
        class_names: the name of each class, by label.
        skipped: the files and folders that were not read, and the reasons.
        files: the path of each image, or none if that is not known.

    Raises:
        ValueError: if the shapes, dtypes or labels do not match.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, np.asarray(self.labels)
        if not isinstance(images, StoredImages):
            images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(
                "`images` must be uint8 of shape [n, height, width, 3]. "
                f"Received: {images.dtype} of shape {list(images.shape)}"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"`labels` must be integers of shape [{len(images)}], one per image. "
                f"Received: {labels.dtype} of shape {list(labels.shape)}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise ValueError(
                f"`labels` must lie in 0..{len(self.class_names) - 1}, the positions of class names. "
                f"Received: {labels.min()}..{labels.max()}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int32))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def stored_size(self) -> int | None:
        """The largest shorter side of images that are stored with their aspect, in pixels; None for other images."""
        return self.images.stored_size if isinstance(self.images, StoredImages) else None

    def images_fingerprint(self) -> str:
        """Returns hexadecimal digits that change with any image or the order of the images."""
        if isinstance(self.images, StoredImages):
            return self.images.fingerprint()
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Returns hexadecimal digits that change with the labels and the pixels, independent of where they are stored.

        Of images on disk, only 256, evenly spaced, are included.
        """
        images = self.images
        if isinstance(images, StoredImages):
            count = min(len(images), _IMAGES_OF_FINGERPRINT)
            images = images[np.linspace(0, len(images) - 1, count).astype(int)]
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        digest.update(self.labels.astype("<i4").data)
        digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()

    def hold_out(self, fraction: float) -> tuple["Split", "Split"]:
        """Divides the classes into those to train on and those to validate on, evenly spaced in their order.

        Args:
            fraction: the fraction of the classes to hold out, above 0 and below 1. At least one class is held out.

        Returns:
            Two `Split`s without a common class: the remaining classes (with `skipped`), and the held-out ones.

        Raises:
            ValueError: if there are fewer than two classes.
        """
        if self.class_count < 2:
            raise ValueError(f"Holding out classes needs at least 2. Received: {self.class_count}")
        count = min(max(round(fraction * self.class_count), 1), self.class_count - 1)
        held_out = np.zeros(self.class_count, bool)
        held_out[(np.arange(count) * 2 + 1) * self.class_count // (2 * count)] = True
        return self._of_classes(~held_out, self.skipped), self._of_classes(held_out, ())

    def labelled_as(self, class_names: Sequence[str]) -> "Split":
        """Returns the images of given classes, labelled by their position among these; others are left out.

        Args:
            class_names: names of classes, some of which may have no images here.
        """
        position = {same_class(name): label for label, name in enumerate(class_names)}
        known = np.array([same_class(name) in position for name in self.class_names], bool)
        kept = self if known.all() else self._of_classes(known, self.skipped)
        labels = np.array([position[same_class(name)] for name in kept.class_names], np.int32)
        return dataclasses.replace(kept, labels=labels[kept.labels], class_names=tuple(class_names))

    def _of_classes(self, chosen: np.ndarray, skipped: tuple[Skipped, ...]) -> "Split":
        rows = np.flatnonzero(chosen[self.labels])
        labels = (np.cumsum(chosen) - 1)[self.labels[rows]]
        images = self.images.take(rows) if isinstance(self.images, StoredImages) else self.images[rows]
        names = tuple(np.array(self.class_names, dtype=object)[chosen])
        return Split(images, labels, names, skipped, tuple(self.files[row] for row in rows) if self.files else ())
