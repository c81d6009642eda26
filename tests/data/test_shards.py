import errno
import json
import os
import resource

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data import cache, shards
from dsl_tf.data.encoding import decode
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError

SIZE = 8


def pixels(position):
    return np.random.default_rng(position).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def raw_split(count, unreadable=(), reads=None, stop=None):
    """A split whose image at a position is `pixels(position)`; `reads` collects the positions that were read."""

    def read(start):
        for position in range(start, count):
            if position == stop:
                raise KeyboardInterrupt
            if reads is not None:
                reads.append(position)
            yield f"image {position}", b"broken" if position in unreadable else pixels(position)

    return RawSplit(None, np.zeros(count, np.int32), read)


def read_back(paths):
    return [decode(record).numpy() for record in tf.data.TFRecordDataset([str(path) for path in paths])]


def assert_images(paths, positions):
    np.testing.assert_array_equal(read_back(paths), [pixels(position) for position in positions])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 10)
    monkeypatch.setattr(shards, "_IMAGES_PER_BLOCK", 4)


def write(folder, split, advance=lambda images: None):
    paths = shards.shard_paths(folder, "x", len(split.labels))
    return paths, shards.write_shards(split, paths, SIZE, advance)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 35])
def test_every_image_is_written_once_in_order(tmp_path, count):
    done = []
    paths, written = write(tmp_path, raw_split(count), done.append)
    assert [len(shard.lengths) for shard in written] == [min(10, count - start) for start in range(0, count, 10)]
    assert [shard.size for shard in written] == [path.stat().st_size for path in paths]
    assert sum(done) == count
    assert_images(paths, range(count))
    for path, shard in zip(paths, written, strict=True):
        index = shards.read_index(path)
        assert (index.size, index.unreadable) == (shard.size, ())
        assert index.lengths.tolist() == [len(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]


@pytest.mark.parametrize("stop", [0, 5, 10, 17, 34])
def test_an_interrupted_call_is_resumed_after_its_last_complete_shard(tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, raw_split(35, stop=stop))
    reads, done = [], []
    paths, written = write(tmp_path, raw_split(35, reads=reads), done.append)
    assert reads == list(range(stop // 10 * 10, 35))
    assert sum(done) == sum(len(shard.lengths) for shard in written) == 35
    assert_images(paths, range(35))


@pytest.mark.parametrize("damage", ["gone", "cut", "index cut", "index gone", "index of other content"])
def test_a_damaged_shard_is_written_again(tmp_path, damage):
    paths, _ = write(tmp_path, raw_split(25))
    index = paths[1].with_suffix(".json")
    if damage == "gone":
        paths[1].unlink()
    elif damage == "cut":
        paths[1].write_bytes(paths[1].read_bytes()[:-1])
    elif damage == "index cut":
        index.write_text(index.read_text()[:-1])
    elif damage == "index gone":
        index.unlink()
    else:
        index.write_text(json.dumps({"size": paths[1].stat().st_size, "lengths": None, "unreadable": [3]}))
    reads = []
    write(tmp_path, raw_split(25, reads=reads))
    assert set(range(10, 20)) <= set(reads) and min(reads) == 10 and max(reads) < 20
    assert_images(paths, range(25))


def test_unreadable_images_are_skipped_and_named_and_read_again(tmp_path):
    for _ in range(2):
        paths, written = write(tmp_path, raw_split(25, unreadable=(0, 13)))
        assert [len(shard.lengths) for shard in written] == [9, 9, 5]
        skipped = [entry for shard in written for entry in shard.unreadable]
        assert skipped == [(0, "image 0", "not an image"), (13, "image 13", "not an image")]
        assert shards.read_index(paths[1]).unreadable == (skipped[1],)
    assert_images(paths, [position for position in range(25) if position not in (0, 13)])
    reads = []
    paths, written = write(tmp_path, raw_split(25, reads=reads))
    assert set(reads) == set(range(20))
    assert not any(shard.unreadable for shard in written)
    assert_images(paths, range(25))


def test_images_that_end_early_are_an_error(tmp_path):
    with pytest.raises(UserError, match="Received: 21 images"):
        write(tmp_path, RawSplit(None, np.zeros(25), raw_split(21).read))


def test_other_sizes_are_resized(tmp_path):
    big = np.full((20, 30, 3), (200, 100, 10), np.uint8)
    paths, _ = write(tmp_path, RawSplit(None, np.zeros(1), lambda start: iter([("big", big)])))
    np.testing.assert_array_equal(read_back(paths)[0], big[:SIZE, :SIZE])


def test_a_full_disk_is_reported_in_one_line_that_names_the_cache(tmp_path):
    """The limit of a file's size fails as a full disk does, in the writes of TensorFlow and of Python."""
    folder = tmp_path / "cache" / "prepared"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # TensorFlow's writer, then the index.
    for limit in (1000, 60):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(UserError, match=r"--cache_dir=.*cache' must be .*space for the images") as error:
                cache.prepare_once(folder, "the images", lambda: {"written": len(write(folder, raw_split(10))[0])})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(error.value)
        assert not (folder / cache.MARKER).exists()
        assert not [name for name in os.listdir(folder) if "partial" in name]
    cache.prepare_once(folder, "the images", lambda: {"written": len(write(folder, raw_split(10))[0])})
    assert json.loads((folder / cache.MARKER).read_text()) == {"written": 1}


def test_a_source_that_cannot_be_read_is_not_the_fault_of_the_cache(tmp_path):
    def read(start):
        yield "image", pixels(0)
        raise OSError(errno.EIO, "Input/output error", "/data/1.jpg")

    split = RawSplit(None, np.zeros(2), read)
    with pytest.raises(UserError, match="files of the data must be readable.*/data/1.jpg"):
        cache.prepare_once(tmp_path / "prepared", "the images", lambda: write(tmp_path / "prepared", split))
