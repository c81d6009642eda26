import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data import shards, stored_images
from dsl_tf.data.encoding import encode_original, view
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages, reading
from dsl_tf.errors import UserError
from tests import images

COUNT, SIZE = 23, 6


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def stored(pixels, tmp_path_factory):
    """Three files of images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_IMAGES_PER_SHARD", 8)
        return images.stored(tmp_path_factory.mktemp("stored"), pixels)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stored_images, "_IMAGES_AT_ONCE", 5)


INDICES = [
    slice(None),
    slice(3, 12),
    slice(20, 99),
    slice(5, 5),
    slice(None, None, -1),
    4,
    np.int64(22),
    [7, 0, 22, 7],
    np.array([3, 1]),
    np.array([], int),
    np.arange(COUNT) % 2 == 0,
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_it_is_indexed_like_an_array(stored, pixels, index):
    np.testing.assert_array_equal(stored[index], pixels[index])
    assert stored[index].dtype == np.uint8
    assert stored[index].shape == pixels[index].shape


def test_it_has_the_attributes_of_an_array(stored, pixels):
    assert (stored.shape, stored.dtype, stored.ndim, len(stored)) == (pixels.shape, pixels.dtype, 4, COUNT)


@pytest.mark.parametrize("index", [COUNT, [0, COUNT], -COUNT - 1])
def test_positions_outside_are_index_errors(stored, index):
    with pytest.raises(IndexError):
        stored[index]


def test_taken_images_are_those_at_the_positions(stored, pixels):
    rows = np.array([5, 3, 17, 4])
    taken = stored.take(rows)
    np.testing.assert_array_equal(taken[:], pixels[rows])
    np.testing.assert_array_equal(taken.take(np.array([2, 0]))[:], pixels[[17, 5]])


def test_a_split_keeps_them_on_disk(stored):
    split = Split(stored, np.arange(COUNT), tuple(map(str, range(COUNT))))
    assert split.images is stored


def test_damaged_images_are_those_of_before_or_reported_in_one_line(pixels, tmp_path):
    images.stored(tmp_path, pixels)
    (path,) = tmp_path.glob("*.tfrecord")
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for position in random.choice(len(content), 12, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        # Each record has a checksum.
        with pytest.raises(UserError, match="must be complete") as error:
            StoredImages([path], SIZE)[:]
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"size": 1, "lengths": [1], "unreadable": []}', "[" * 200_000])
def test_a_damaged_index_is_a_value_error(pixels, tmp_path, index):
    images.stored(tmp_path, pixels)
    (path,) = tmp_path.glob("*.tfrecord")
    path.with_suffix(".json").write_text(index)
    with pytest.raises(ValueError):
        StoredImages([path], SIZE)


def test_a_split_on_disk_has_the_fingerprint_of_its_pixels_in_memory(stored, pixels):
    labels, names = np.arange(COUNT) % 2, ("ant", "bee")
    split = Split(stored, labels, names)
    assert split.fingerprint() == Split(pixels, labels, names).fingerprint()
    others = [
        Split(pixels[::-1], labels, names),
        Split(pixels, labels[::-1] * 0, names),
        Split(stored.take(np.arange(COUNT)[::-1]), labels, names),
        Split(stored.take(np.arange(4)), labels[:4], names),
    ]
    assert len({split.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_file_damaged_while_training_is_an_error_of_one_line(pixels, tmp_path):
    found = images.stored(tmp_path, pixels)
    split = Split(found, np.arange(COUNT) % 2, ("ant", "bee"))
    (path,) = tmp_path.glob("*.tfrecord")
    content = path.read_bytes()
    for damaged in (content[: len(content) // 4] + bytes(len(content) - len(content) // 4), content[:1000], None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        batches = training_batches(split, 2, 3, seed=0).take(9)
        expected = "prepared images in .* must be complete.*the next run"
        with pytest.raises(UserError, match=expected) as error, reading(found):
            list(batches)
        assert "\n" not in str(error.value)


def test_errors_of_images_in_memory_are_left_alone(pixels):
    with pytest.raises(tf.errors.InvalidArgumentError), reading(pixels):
        tf.debugging.Assert(False, ["no file"])


@pytest.fixture(scope="module")
def photographs():
    return [np.asarray(images.photograph(20 + 7 * number, 40, number)) for number in range(COUNT)]


def test_originals_are_indexed_as_squares_of_their_centres(photographs, tmp_path):
    found = images.stored(tmp_path, photographs, SIZE, stored_size=30)
    expected = np.stack([view(encode_original(pixels, 30), SIZE) for pixels in photographs])
    assert (found.shape, found.stored_size) == ((COUNT, SIZE, SIZE, 3), 30)
    for index in INDICES:
        np.testing.assert_array_equal(found[index], expected[index])
    taken = found.take(np.array([4, 2]))
    assert taken.stored_size == 30
    np.testing.assert_array_equal(taken[:], expected[[4, 2]])
    larger = images.StoredImages(sorted(tmp_path.glob("*.tfrecord")), SIZE + 1, stored_size=30)
    assert larger.fingerprint() != found.fingerprint()


def test_damaged_originals_are_reported_in_one_line(photographs, tmp_path):
    found = images.stored(tmp_path, photographs, SIZE, stored_size=30)
    (path,) = tmp_path.glob("*.tfrecord")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="must be complete") as error:
        found[:]
    assert "\n" not in str(error.value)
    split = Split(found, np.arange(COUNT) % 2, ("ant", "bee"))
    with pytest.raises(UserError, match="must be complete"), reading(found):
        list(training_batches(split, 2, 3, seed=0, crop="resized").take(9))
