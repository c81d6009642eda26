"""The images that all parts train on."""

import numpy as np

from dsl_tf.data import Split

SIDE, CLASSES, IMAGES = 16, 16, 24


def make_split(side: int, seed: int = 0) -> Split:
    """Returns classes of noisy colours."""
    generator = np.random.default_rng(seed)
    colours = np.repeat(generator.uniform(60, 200, (CLASSES, 1, 1, 3)), IMAGES, axis=0)
    pixels = np.clip(colours + generator.normal(0, 40, (CLASSES * IMAGES, side, side, 3)), 0, 255)
    return Split(pixels.astype(np.uint8), np.repeat(np.arange(CLASSES), IMAGES), tuple(map(str, range(CLASSES))))
