"""Small data that a tiny network learns in a few steps."""

import keras
import numpy as np
from PIL import Image

from dsl_tf.data import Split
from dsl_tf.data.class_lists import class_list
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.shards import shard_paths, write_shards
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.runs.configuration import TrainingConfiguration

SIZE = 16
CIFAR_FS_IMAGES_PER_CLASS = 3


def striped_split(classes, images, seed):
    """A split whose classes are stripes of their own colour, direction and width, with noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures = []
    for _ in range(classes):
        angle, width = random.uniform(0, np.pi), random.uniform(2, 6)
        stripes = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) * 2 * np.pi / width)
        clean = 128 + 100 * stripes[:, :, None] * random.uniform(-1, 1, 3)
        pictures.append(clean + random.normal(0, 20, (images, SIZE, SIZE, 3)))
    pixels = np.clip(np.concatenate(pictures), 0, 255).astype(np.uint8)
    names = tuple(f"stripes {seed}.{label}" for label in range(classes))
    return Split(pixels, np.repeat(np.arange(classes), images), names)


def striped_splits():
    """Train, val and test splits of different classes."""
    return {
        "train": striped_split(8, 12, seed=1),
        "val": striped_split(5, 10, seed=2),
        "test": striped_split(6, 10, seed=3),
    }


def stored(folder, images, image_size=None, stored_size=None):
    """Writes images (square ones without a `stored_size`) to shards in a folder; returns them as `StoredImages`."""
    split = RawSplit(None, np.zeros(len(images)), lambda start: (("image", image) for image in images[start:]))
    paths = shard_paths(folder, "images", len(images))
    image_size = image_size or images[0].shape[0]
    write_shards(split, paths, image_size, lambda images: None, stored_size=stored_size)
    return StoredImages(paths, image_size, stored_size=stored_size)


def photograph(height, width, seed=0):
    """A smooth image of any size, as photographs are, with some noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int32)
    return Image.fromarray(np.clip(smooth + random.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8))


def write_striped_folders(folder):
    """Writes `striped_splits` as folders of PNG files."""
    for name, split in striped_splits().items():
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / name / split.class_names[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def tiny_configuration(output_dir, **changes):
    """A run of seconds on `striped_splits`."""
    return TrainingConfiguration(
        **{
            "filters": (4, 4, 8, 16),
            "ways": 8,
            "shots": 3,
            "epochs": 2,
            "test_ways": 3,
            "test_shots": (1, 2),
            "test_queries": 5,
            "test_episodes": 50,
            "validation_episodes": 20,
            "output_dir": str(output_dir),
            **changes,
        }
    )


def tiny_backbone(width=16):
    """A network that is built in a moment, for tests of all but the network."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(width, 5, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def noise_image(name, number):
    """Noise that belongs to one class and number, uint8 `[32, 32, 3]`."""
    seed = int.from_bytes(name.encode(), "little") % 2**32 + number
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def write_cifar_fs(folder):
    """Writes CIFAR-FS as class folders, with fewer images, `noise_image`s."""
    for split, names in class_list("cifar_fs").items():
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for number in range(CIFAR_FS_IMAGES_PER_CLASS):
                Image.fromarray(noise_image(name, number)).save(folder / split / name / f"{number}.png")
