"""Images of one colour each, in which a mix-up of images, or of red and blue, shows."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from dsl_tf.errors import UserError


def colour(index):
    """A colour for each of 32,768 images, with red < 128 < blue."""
    return index % 128, index // 128, 200 + index % 50


def pixels(indices, side):
    """Images, uint8 `[n, side, side, 3]`."""
    colours = np.array([colour(index) for index in indices], np.uint8)
    return np.repeat(colours, side * side, axis=0).reshape(len(indices), side, side, 3)


def encoded(index, side=4, file_format="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour(index)).save(buffer, file_format)
    return buffer.getvalue()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def colour_of(image):
    """The one colour of what `RawSplit.read` gives."""
    if not isinstance(image, np.ndarray):
        image = np.asarray(Image.open(image if isinstance(image, pathlib.Path) else io.BytesIO(image)))
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert (image == image[0, 0]).all()
    return tuple(image[0, 0].tolist())


def assert_split(raw_split, class_names, labels, indices):
    """Checks all that a split says, and what it reads from every start."""
    assert raw_split.class_names == class_names
    assert raw_split.labels.dtype == np.int32 and raw_split.labels.tolist() == list(labels)
    read = list(raw_split.read(0))
    assert [colour_of(image) for _, image in read] == [colour(index) for index in indices]
    names = [name for name, _ in read]
    assert len(set(names)) == len(names)
    for start in range(len(read)):
        name, image = next(raw_split.read(start))
        assert name == names[start] and colour_of(image) == colour(indices[start])
    assert [name for name, _ in raw_split.read(len(read) // 3)] == names[len(read) // 3 :]
    assert list(raw_split.read(len(read))) == []


def raised_line(function, *args):
    """The message of a `UserError`."""
    with pytest.raises(UserError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message and "Received: " in message
    return message
