"""A split: the images of some classes, and which class each shows."""

import dataclasses

import numpy as np

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and integer labels of one part (train, val or test) of a data set.

    Args:
        images: uint8 `[n, height, width, 3]`, RGB.
        labels: integers `[n]` from 0 to the number of classes − 1.
        class_names: the name of each class, by label.

    Raises:
        ValueError: where the shapes, dtypes or labels do not fit together.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self):
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(
                "`images` must be uint8 of shape [n, height, width, 3]. "
                f"Received: {images.dtype} of shape {list(images.shape)}"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"`labels` must be integers of shape [{len(images)}], one for each image. "
                f"Received: {labels.dtype} of shape {list(labels.shape)}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise ValueError(
                f"`labels` must lie in 0..{len(self.class_names) - 1}, one for each class name. "
                f"Received: {labels.min()}..{labels.max()}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int32))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    @property
    def class_count(self):
        """The number of classes."""
        return len(self.class_names)
