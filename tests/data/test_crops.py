"""Boxes cut out of stored images, against Pillow and a plain loop of the same rule."""

import io
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.crops import crop_numbers, cut_out, random_box
from tests.images import photograph

SIZES = [(375, 500), (100, 300), (300, 100), (84, 84), (3, 500), (1, 1)]


def boxes(height, width, numbers):
    # In a graph, as in training; thousands of boxes one by one take seconds.
    @tf.function(autograph=False)
    def drawn_boxes(numbers):
        box = tf.TensorSpec([4], tf.int32)
        return tf.map_fn(lambda row: random_box(height, width, row), numbers, fn_output_signature=box)

    return drawn_boxes(numbers).numpy()


def drawn(count, seed=0):
    return crop_numbers(tf.constant([seed, 7]), (0, count, count))


def box_in_plain_words(height, width, numbers):
    for area, aspect, top, left in numbers.astype(np.float64):
        pixels = (0.08 + 0.92 * area) * height * width
        ratio = math.exp(math.log(3 / 4) + aspect * (math.log(4 / 3) - math.log(3 / 4)))
        box_width, box_height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            corner = math.floor(top * (height - box_height + 1)), math.floor(left * (width - box_width + 1))
            return [*corner, box_height, box_width]
    box_height, box_width = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return [(height - box_height) // 2, (width - box_width) // 2, box_height, box_width]


@pytest.mark.parametrize("height, width", SIZES)
def test_a_box_is_the_first_try_that_fits_or_the_centre(height, width):
    numbers = drawn(200)
    found = boxes(height, width, numbers)
    expected = np.array([box_in_plain_words(height, width, row) for row in numbers.numpy()])
    # Where float32 and float64 round a side to neighbouring pixels.
    same = (found == expected).all(axis=1)
    assert same.mean() > 0.97 and np.abs(found - expected).max() <= 1
    top, left, box_height, box_width = found.T
    assert found.min() >= 0 and (top + box_height <= height).all() and (left + box_width <= width).all()
    assert (box_height > 0).all() and (box_width > 0).all()


def test_boxes_have_the_areas_and_aspects_that_were_drawn():
    _, _, height, width = boxes(2000, 2000, drawn(3000)).T
    area, aspect = height * width / 4e6, np.log(width / height)
    assert 0.079 < area.min() < 0.09 and 0.97 < area.max() <= 1
    assert -0.289 < aspect.min() < -0.28 and 0.28 < aspect.max() < 0.289
    assert abs(aspect.mean()) < 0.02 and abs((area < 0.3).mean() - 0.22 / 0.92) < 0.05


def test_rows_of_a_batch_get_their_own_numbers():
    np.testing.assert_array_equal(crop_numbers(tf.constant([0, 7]), (3, 5, 9)), drawn(9)[3:5])
    assert (drawn(9) != drawn(9, seed=1)).numpy().all()
    assert len(np.unique(drawn(9))) == 9 * 40


@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB")])
@pytest.mark.parametrize("height, width", [(90, 140), (41, 33), (20, 200)])
def test_a_box_is_cut_out_and_resized_as_by_pillow(kind, mode, height, width):
    content = io.BytesIO()
    photograph(height, width).convert(mode).save(content, kind)
    image = Image.open(content).convert("RGB")
    cut = tf.function(lambda numbers: cut_out(tf.constant(content.getvalue()), numbers, 24))
    for numbers in drawn(5):
        top, left, box_height, box_width = random_box(height, width, numbers).numpy().tolist()
        box = image.crop((left, top, left + box_width, top + box_height))
        expected = np.asarray(box.resize((24, 24), Image.Resampling.BILINEAR), int)
        received = cut(numbers).numpy()
        assert received.dtype == np.uint8
        difference = np.abs(received - expected)
        # Beside a box, the colours that JPEG stores at half the resolution are not decoded.
        if (kind, mode) == ("JPEG", "RGB"):
            assert difference.mean() <= 1
        else:
            assert difference.max() <= 1
