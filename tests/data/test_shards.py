import io
import json

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image

from dsl_tf.data import shards
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError

SIZE = 8


def pixels(position):
    return np.random.default_rng(position).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def raw_split(count, unreadable=(), reads=None):
    """A split whose image at a position is `pixels(position)`; `reads` collects the positions that were read."""

    def read(start):
        for position in range(start, count):
            if reads is not None:
                reads.append(position)
            yield f"image {position}", b"broken" if position in unreadable else pixels(position)

    return RawSplit(None, np.zeros(count, np.int32), read)


def serialize(position, png):
    return position.to_bytes(4, "little") + png


def read_back(paths):
    records = ArrayRecordDataSource([str(path) for path in paths]).__getitems__
    count = len(ArrayRecordDataSource([str(path) for path in paths]))
    found = {}
    for record in records(list(range(count))):
        found[int.from_bytes(record[:4], "little")] = np.asarray(Image.open(io.BytesIO(record[4:])))
    return found


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 10)
    monkeypatch.setattr(shards, "_IMAGES_PER_BLOCK", 4)


def paths_for(folder, count):
    return [folder / f"x-{index}" for index in range(shards.shard_count(count))]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 35])
def test_every_image_is_written_once_in_order(small, tmp_path, count):
    paths, done = paths_for(tmp_path, count), []
    written = shards.write_shards(raw_split(count), paths, SIZE, serialize, done.append)
    assert [shard.length for shard in written] == [min(10, count - start) for start in range(0, count, 10)]
    assert [shard.size for shard in written] == [path.stat().st_size for path in paths]
    assert sum(done) == count
    found = read_back(paths)
    assert list(found) == list(range(count))
    for position, image in found.items():
        np.testing.assert_array_equal(image, pixels(position))


@pytest.mark.parametrize("stop", [0, 5, 10, 17, 34])
def test_an_interrupted_writing_goes_on_after_its_last_whole_shard(small, tmp_path, stop):
    count = 35

    def interrupted(start):
        for position in range(start, count):
            if position == stop:
                raise KeyboardInterrupt
            yield f"image {position}", pixels(position)

    paths = paths_for(tmp_path, count)
    with pytest.raises(KeyboardInterrupt):
        shards.write_shards(RawSplit(None, np.zeros(count), interrupted), paths, SIZE, serialize, lambda images: None)
    reads, done = [], []
    written = shards.write_shards(raw_split(count, reads=reads), paths, SIZE, serialize, done.append)
    assert reads == list(range(stop // 10 * 10, count))
    assert sum(done) == sum(shard.length for shard in written) == count
    assert list(read_back(paths)) == list(range(count))


@pytest.mark.parametrize("damage", ["gone", "cut", "journal cut", "journal gone"])
def test_a_damaged_shard_is_written_anew(small, tmp_path, damage):
    paths = paths_for(tmp_path, 25)
    shards.write_shards(raw_split(25), paths, SIZE, serialize, lambda images: None)
    journal = tmp_path / f"{paths[1].name}.json"
    if damage == "gone":
        paths[1].unlink()
    elif damage == "cut":
        paths[1].write_bytes(paths[1].read_bytes()[:-1])
    elif damage == "journal cut":
        journal.write_text(journal.read_text()[:-1])
    else:
        journal.unlink()
    reads = []
    shards.write_shards(raw_split(25, reads=reads), paths, SIZE, serialize, lambda images: None)
    assert set(range(10, 20)) <= set(reads) and min(reads) == 10 and max(reads) < 20
    assert list(read_back(paths)) == list(range(25))


def test_unreadable_images_are_left_out_and_named(small, tmp_path):
    paths = paths_for(tmp_path, 25)
    for _ in range(2):
        written = shards.write_shards(raw_split(25, unreadable=(0, 13)), paths, SIZE, serialize, lambda images: None)
        assert [shard.length for shard in written] == [9, 9, 5]
        left_out = [entry for shard in written for entry in shard.unreadable]
        assert left_out == [(0, "image 0", "not an image"), (13, "image 13", "not an image")]
    assert list(read_back(paths)) == [position for position in range(25) if position not in (0, 13)]
    json.loads((tmp_path / f"{paths[0].name}.json").read_text())


def test_an_image_that_was_mended_is_read_again(small, tmp_path):
    paths, reads = paths_for(tmp_path, 25), []
    shards.write_shards(raw_split(25, unreadable=(13,)), paths, SIZE, serialize, lambda images: None)
    written = shards.write_shards(raw_split(25, reads=reads), paths, SIZE, serialize, lambda images: None)
    assert set(reads) == set(range(10, 20))
    assert not any(shard.unreadable for shard in written)
    assert list(read_back(paths)) == list(range(25))


def test_images_that_end_early_are_an_error(small, tmp_path):
    split = RawSplit(None, np.zeros(25), raw_split(21).read)
    with pytest.raises(UserError, match="Received: 21 images"):
        shards.write_shards(split, paths_for(tmp_path, 25), SIZE, serialize, lambda images: None)


def test_other_sizes_are_resized(small, tmp_path):
    big = np.full((20, 30, 3), (200, 100, 10), np.uint8)
    split = RawSplit(None, np.zeros(1), lambda start: iter([("big", big)]))
    paths = paths_for(tmp_path, 1)
    shards.write_shards(split, paths, SIZE, serialize, lambda images: None)
    np.testing.assert_array_equal(read_back(paths)[0], big[:SIZE, :SIZE])
