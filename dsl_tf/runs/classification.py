"""What a classification of images found."""

import dataclasses
import typing

import numpy as np


class Prediction(typing.NamedTuple):
    """The class of an image file and its probability.

    `file` is relative to the folder of the images, with forward slashes. Both others are None if the image cannot be
    read; the class alone is None if the image is rejected.
    """

    file: str
    class_name: str | None
    confidence: float | None


@dataclasses.dataclass(frozen=True)
class Classification:
    """Images classified by labelled examples.

    Args:
        files: the m image files that can be read, relative to their folder, with forward slashes.
        unreadable: the others.
        class_names: the N classes.
        probabilities: float64 `[m, N]`, calibrated if there is a temperature.
        nearest: the path of the labelled image with the nearest features, for each image.
        temperature: the temperature T of the probabilities; None if they are not calibrated.
        held_out: the probabilities `[k, N]`, calibrated, and the classes `[k]` of the labelled images that were each
            classified by the others; they show how often confidences are right.
    """

    files: tuple[str, ...]
    unreadable: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    nearest: tuple[str, ...]
    temperature: float | None
    held_out: tuple[np.ndarray, np.ndarray]

    def predictions(self, reject_below: float = 0.0) -> list[Prediction]:
        """Returns a `Prediction` for each image, sorted by file; those of lower confidence have no class."""
        found = {file: Prediction(file, None, None) for file in self.unreadable}
        confidences = self.probabilities.max(axis=1).tolist()
        for file, way, confidence in zip(self.files, self.probabilities.argmax(axis=1), confidences, strict=True):
            found[file] = Prediction(file, self.class_names[way] if confidence >= reject_below else None, confidence)
        return [found[file] for file in sorted(found)]
