"""Random changes to batches of images."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data.augmentation import CROPS, augment

SEED = (3, 7)
EVERYTHING = {"crop": "resized", "flip": True, "color_jitter": 0.4}
SETTINGS = [
    {"crop": "pad", "flip": False},
    {"crop": "resized", "flip": False},
    {"crop": "none", "flip": True},
    {"crop": "none", "flip": False, "color_jitter": 0.4},
    {"crop": "pad", "flip": True, "color_jitter": 1.0},
    EVERYTHING,
]
LUMA = np.array([0.299, 0.587, 0.114])


def noise(count, height=16, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def repeated(image, count):
    return np.repeat(np.asarray(image, np.uint8)[None], count, axis=0)


def shifted(image, down, right):
    """A shifted image, pixel by pixel; outside, the border goes on."""
    height, width = image.shape[:2]
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            source = image[min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)]
            result[row, column] = source
    return result


def find_shift(image, changed):
    """The one shift, found by trying all, that makes the changed image."""
    height, width = image.shape[:2]
    reach = range(-max(height, width) // 4, max(height, width) // 4 + 1)
    fitting = [
        (down, right) for down in reach for right in reach if np.array_equal(shifted(image, down, right), changed)
    ]
    assert len(fitting) == 1
    return fitting[0]


def pad_shifts(images, seed=SEED):
    """The shifts of many images, each found among those by up to an eighth."""
    changed = augment(images, seed, crop="pad", flip=False).numpy()
    height, width = images.shape[1:3]
    down, right = height // 8, width // 8
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), mode="edge")
    shifts = np.full((len(images), 2), 99)
    for row in range(2 * down + 1):
        for column in range(2 * right + 1):
            fits = (padded[:, row : row + height, column : column + width] == changed).all(axis=(1, 2, 3))
            shifts[fits] = row - down, column - right
    return shifts


def assert_about_uniform(values, possible):
    counts = np.array([(values == value).sum() for value in possible])
    assert counts.sum() == len(values)
    expected = len(values) / len(possible)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_shape_dtype_and_range(settings):
    images = noise(9)
    changed = augment(images, SEED, **settings)
    assert changed.dtype == tf.uint8 and changed.shape == images.shape
    assert (changed.numpy() != images).any()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_seed_decides(settings):
    images = noise(12)
    first = augment(images, SEED, **settings).numpy()
    np.testing.assert_array_equal(augment(images, SEED, **settings), first)
    for other in ((4, 7), (3, 8), (7, 3)):
        assert (augment(images, other, **settings).numpy() != first).any()


@pytest.mark.parametrize("settings", SETTINGS)
def test_global_seeds_do_not_matter(settings):
    tf.random.set_seed(1)
    first = augment(noise(4), SEED, **settings).numpy()
    tf.random.set_seed(2)
    np.testing.assert_array_equal(augment(noise(4), SEED, **settings), first)


@pytest.mark.parametrize("settings", SETTINGS)
def test_images_of_a_batch_are_changed_differently(settings):
    images = repeated(noise(1)[0], 32)
    changed = augment(images, SEED, **settings).numpy()
    different = len({image.tobytes() for image in changed})
    assert different == 2 if settings["crop"] == "none" and settings["flip"] else different > 12


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_image_does_not_depend_on_its_neighbours(settings):
    images, others = noise(6, seed=1), noise(6, seed=2)
    others[3] = images[3]
    np.testing.assert_array_equal(augment(images, SEED, **settings)[3], augment(others, SEED, **settings)[3])


def test_nothing_asked_for_changes_nothing():
    images = noise(5)
    np.testing.assert_array_equal(augment(images, SEED, crop="none", flip=False), images)


@pytest.mark.parametrize("crop", ["centre", None, "PAD"])
def test_an_unknown_crop_is_an_error(crop):
    with pytest.raises(ValueError, match=rf"`crop` must be one of .*pad.*resized.*none.*Received: {crop!r}"):
        augment(noise(1), SEED, crop=crop)


# Shifts.


@pytest.mark.parametrize("height, width", [(16, 16), (16, 24), (25, 9)])
def test_a_pad_crop_shifts_by_up_to_an_eighth_and_repeats_the_border(height, width):
    images = noise(6, height, width)
    changed = augment(images, SEED, crop="pad", flip=False).numpy()
    for image, received in zip(images, changed, strict=True):
        down, right = find_shift(image, received)
        assert abs(down) <= height // 8 and abs(right) <= width // 8


def test_a_pad_crop_leaves_images_of_fewer_than_eight_pixels():
    images = noise(20, 7, 16)
    assert (pad_shifts(images)[:, 0] == 0).all()
    images = noise(20, 7, 5)
    np.testing.assert_array_equal(augment(images, SEED, crop="pad", flip=False), images)


@pytest.mark.parametrize("height, width", [(16, 16), (16, 24)])
def test_shifts_are_uniform_and_independent(height, width):
    down, right = height // 8, width // 8
    shifts = pad_shifts(noise(1500, height, width))
    assert_about_uniform(shifts[:, 0], range(-down, down + 1))
    assert_about_uniform(shifts[:, 1], range(-right, right + 1))
    both = [10 * row + column for row in range(-down, down + 1) for column in range(-right, right + 1)]
    assert_about_uniform(10 * shifts[:, 0] + shifts[:, 1], both)
    # One image and the next, in case a batch repeats its draws.
    pairs = [10 * row + other for row in range(-down, down + 1) for other in range(-down, down + 1)]
    assert_about_uniform(10 * shifts[:-1, 0] + shifts[1:, 0], pairs)


# Mirror images.


def test_about_half_of_the_images_are_mirrored():
    images = noise(1000, 4, 6)
    changed = augment(images, SEED, crop="none", flip=True).numpy()
    mirrored = (changed == images[:, :, ::-1]).all(axis=(1, 2, 3))
    unchanged = (changed == images).all(axis=(1, 2, 3))
    assert (mirrored ^ unchanged).all()
    assert abs(mirrored.sum() - 500) < 5 * np.sqrt(250)
    assert abs((mirrored[1:] == mirrored[:-1]).sum() - 500) < 5 * np.sqrt(250)


def test_mirroring_does_not_depend_on_the_shift():
    image = noise(1, 16, 16)[0]
    changed = augment(repeated(image, 1200), SEED, crop="pad", flip=True).numpy()
    combinations = {}
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = shifted(image, down, right)
            combinations[moved.tobytes()] = (down, right, 0)
            combinations[moved[:, ::-1].tobytes()] = (down, right, 1)
    found = np.array([combinations[received.tobytes()] for received in changed])
    for axis in (0, 1):
        assert_about_uniform(10 * found[:, axis] + found[:, 2], [10 * a + b for a in range(-2, 3) for b in (0, 1)])


# Boxes.


def boxes(count, height, width, seed=SEED):
    """The boxes top, left, bottom, right, from 0 to 1, that were cut out, read off images of two gradients."""
    rows, columns = np.mgrid[:height, :width]
    steps = 255 // (max(height, width) - 1)
    image = np.stack([steps * rows, steps * columns, np.zeros_like(rows)], axis=-1)
    changed = augment(repeated(image, count), seed, crop="resized", flip=False).numpy().astype(np.float64)
    by_row, by_column = changed[..., 0].mean(axis=2) / steps, changed[..., 1].mean(axis=1) / steps
    result = []
    # What was a gradient is one still: a line through all its pixels tells more than two rounded corners.
    for values in (by_row, by_column):
        places = np.linspace(-0.5, 0.5, values.shape[1])
        middle = values.mean(axis=1)
        slope = (values - middle[:, None]) @ places / (places @ places)
        lines = middle[:, None] + slope[:, None] * places
        # Rounding moves the pixels by half a step, and the line by less.
        assert np.abs(values - lines).max() <= 1 / steps
        result.append(np.stack([middle - slope / 2, middle + slope / 2]) / (values.shape[1] - 1))
    (top, bottom), (left, right) = result
    return top, left, bottom, right


@pytest.mark.parametrize("height, width", [(64, 64), (40, 60)])
def test_a_resized_crop_cuts_boxes_of_the_area_and_aspect_that_it_says(height, width):
    top, left, bottom, right = boxes(3000, height, width)
    tolerance = 0.01
    assert min(top.min(), left.min()) > -tolerance and max(bottom.max(), right.max()) < 1 + tolerance
    box_height, box_width = bottom - top, right - left
    area, aspect = box_height * box_width, box_width / box_height
    assert 0.08 - tolerance < area.min() < 0.1 and 0.93 < area.max() < 1 + tolerance
    assert 0.75 - 0.02 < aspect.min() < 0.77 and 1.3 < aspect.max() < 4 / 3 + 0.03
    # Where the box fits whatever its aspect, the area is uniform.
    free = area[area < 0.7]
    assert_about_uniform(np.floor((free - 0.08) / 0.62 * 10).clip(0, 9), range(10))
    small = area < 0.5
    assert abs((aspect[small] > 1).mean() - 0.5) < 5 * np.sqrt(0.25 / small.sum())
    assert abs(np.corrcoef(area[small], aspect[small])[0, 1]) < 5 / np.sqrt(small.sum())


def test_boxes_lie_anywhere():
    top, left, bottom, right = boxes(3000, 64, 64)
    small = (bottom - top) * (right - left) < 0.5
    down, across = (top / (1 - bottom + top))[small], (left / (1 - right + left))[small]
    for place in (down, across):
        assert_about_uniform(np.floor(place * 8).clip(0, 7), range(8))
    for one, other in ((down, across), (down, (bottom - top)[small]), (across, (right - left)[small])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(small.sum())


def test_a_resized_crop_interpolates_between_neighbours():
    image = noise(1, 20, 20)[0]
    rows, columns = np.mgrid[:20, :20]
    # The same seed cuts the same box out of an image that tells where it is.
    gradients = np.stack([12 * rows, 12 * columns, np.zeros_like(rows)], axis=-1)
    changed = augment(repeated(image, 8), SEED, crop="resized", flip=False).numpy()
    places = augment(repeated(gradients, 8), SEED, crop="resized", flip=False).numpy() / 12
    for received, place in zip(changed, places, strict=True):
        expected = np.empty((20, 20, 3))
        for row in range(20):
            for column in range(20):
                y, x = place[row, column, 0], place[row, column, 1]
                top, left = min(int(y), 18), min(int(x), 18)
                down, across = y - top, x - left
                expected[row, column] = (1 - down) * (
                    (1 - across) * image[top, left] + across * image[top, left + 1].astype(float)
                ) + down * ((1 - across) * image[top + 1, left] + across * image[top + 1, left + 1].astype(float))
        # The places were rounded to a 12th of a pixel, which noise multiplies by up to 255 twice.
        assert np.abs(received - expected).mean() < 8


@pytest.mark.parametrize("lowest, highest", [(255, 255), (0, 0), (100, 101), (40, 200)])
@pytest.mark.parametrize("crop", CROPS)
def test_a_crop_makes_no_value_that_was_not_there(crop, lowest, highest):
    images = np.random.default_rng(0).integers(lowest, highest + 1, (500, 9, 9, 3)).astype(np.uint8)
    changed = augment(images, SEED, crop=crop, flip=True).numpy()
    assert lowest <= changed.min() and changed.max() <= highest


def test_a_resized_crop_rounds_to_the_nearest():
    images = np.random.default_rng(0).integers(100, 102, (300, 9, 9, 3)).astype(np.uint8)
    changed = augment(images, SEED, crop="resized", flip=False).numpy()
    # Most values lie between 100 and 101, and as many above the middle as below.
    assert abs(changed.mean() - 100.5) < 0.05


# Colours.


def jitter(images, strength, seed=SEED):
    return np.asarray(augment(images, seed, crop="none", flip=False, color_jitter=strength))


@pytest.mark.parametrize("strength", [0.0, 1e-6])
def test_no_strength_leaves_the_colours(strength):
    images = noise(20)
    np.testing.assert_array_equal(jitter(images, strength), images)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_grey_stays_grey(strength):
    images = np.repeat(noise(50)[..., :1], 3, axis=-1)
    changed = jitter(images, strength)
    np.testing.assert_array_equal(changed[..., 0], changed[..., 1])
    np.testing.assert_array_equal(changed[..., 0], changed[..., 2])
    assert (changed != images).any(axis=(1, 2, 3)).all()


def test_jitter_scales_brightness_contrast_and_saturation():
    strength, count = 0.25, 600
    colours = np.array([[150, 90, 110], [100, 140, 90], [90, 110, 160], [120, 120, 60.0]])
    image = np.tile(colours[:, None], (1, 3, 1))
    changed = jitter(repeated(image, count), strength)
    assert (changed == changed[:, :, :1]).all()
    changed = changed[:, :, 0].astype(np.float64)
    grey = colours @ LUMA
    brightness, contrast, saturation = [], [], []
    for received in changed:
        received_grey = received @ LUMA
        brightness.append(received_grey.mean() / grey.mean())
        deviations = grey - grey.mean()
        contrast.append(deviations @ received_grey / (deviations @ deviations) / brightness[-1])
        chroma = colours - grey[:, None]
        chroma_scale = (chroma * (received - received_grey[:, None])).sum() / (chroma**2).sum()
        saturation.append(chroma_scale / brightness[-1] / contrast[-1])
        mean = brightness[-1] * grey.mean()
        expected_grey = mean + contrast[-1] * (brightness[-1] * grey - mean)
        np.testing.assert_allclose(received, expected_grey[:, None] + chroma_scale * chroma, atol=1.0)
    for factor, tolerance in ((brightness, 0.01), (contrast, 0.06), (saturation, 0.1)):
        factor = np.array(factor)
        assert 1 - strength - tolerance < factor.min() < 1 - strength + 0.05
        assert 1 + strength - 0.05 < factor.max() < 1 + strength + tolerance
        assert abs(factor.mean() - 1) < 5 * strength / np.sqrt(3 * count) + 0.01
    for one, other in ((brightness, contrast), (brightness, saturation), (contrast, saturation)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)


def test_brightness_is_uniform():
    changed = jitter(np.full((1000, 2, 2, 3), 120, np.uint8), 0.5)[:, 0, 0, 0] / 120
    assert_about_uniform(np.floor((changed - 0.5) * 8).clip(0, 7), range(8))


def test_colours_beyond_the_range_are_clipped():
    factors = jitter(np.full((200, 2, 2, 3), 100, np.uint8), 1.0)[:, 0, 0, 0] / 100
    white = jitter(np.full((200, 2, 2, 3), 255, np.uint8), 1.0)[:, 0, 0, 0]
    assert (factors > 1.1).any() and (factors < 0.9).any()
    np.testing.assert_allclose(white, np.minimum(255, 255 * factors), atol=2)
    # A black square on white: every second contrast makes it darker than black.
    image = np.full((4, 4, 3), 255)
    image[1:3, 1:3] = 0
    black = jitter(repeated(image, 200), 1.0)[:, 1, 1, 0]
    assert 70 < (black == 0).sum() < 130


# Where it runs.


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("shape", [[None, 16, 24, 3], [None, None, None, 3], [5, 16, 24, 3]])
def test_in_a_graph(settings, shape):
    graph = tf.function(
        lambda images, seed: augment(images, seed, **settings),
        input_signature=[tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([2], tf.int64)],
    )
    images = noise(5)
    seed = tf.constant(SEED, tf.int64)
    changed = graph(images, seed)
    assert changed.dtype == tf.uint8 and changed.shape == images.shape
    np.testing.assert_array_equal(changed, augment(images, seed, **settings))


def operations(batch_size, settings):
    graph = tf.function(lambda images, seed: augment(images, seed, **settings)).get_concrete_function(
        tf.TensorSpec([batch_size, 16, 24, 3], tf.uint8), tf.TensorSpec([2], tf.int64)
    )
    definition = graph.graph.as_graph_def()
    inner = [node for function in definition.library.function for node in function.node_def]
    return [node.op for node in [*definition.node, *inner]]


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_image_is_handled_by_itself(settings):
    of_many = operations(64, settings)
    loops = ("While", "Map", "PyFunc", "TensorList", "Loop")
    assert [kind for kind in of_many if any(word in kind for word in loops)] == []
    # Nor is a loop over the batch unrolled.
    assert len(of_many) == len(operations(2, settings))
