"""Images written once into ArrayRecord shards, in bounded memory; an interrupted writing goes on where it stopped."""

import concurrent.futures
import dataclasses
import itertools
import json
import os

from array_record.python.array_record_module import ArrayRecordWriter

from dsl_tf.data.decoding import UnreadableImageError, encode_image
from dsl_tf.errors import UserError
from dsl_tf.files import write_text
from dsl_tf.progress import progress_bar

# About 55 MB at 84×84 pixels: what an interruption costs, and few enough files for a network disk.
_IMAGES_PER_SHARD = 4096
# As many undecoded images as wait in memory at once; photographs as they come from a camera may have megabytes.
_IMAGES_PER_BLOCK = 128
# More would gain little, since the disk is one.
_MOST_THREADS = 32
# One record a chunk: a random reader decompresses no neighbours.
_WRITER_OPTIONS = "group_size:1"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A written shard.

    Args:
        length: its number of images.
        size: its bytes.
        unreadable: of each image that was left out, the position in the split, the name and the reason.
    """

    length: int
    size: int
    unreadable: tuple[tuple[int, str, str], ...]


def shard_count(images):
    """Returns into how many shards a number of images goes."""
    return -(-images // _IMAGES_PER_SHARD)


def shown_preparation(total, image_size, folder):
    """Says what is prepared and where, and returns a function that moves a progress bar by a number of images."""
    print(f"Preparing {total:,} images of {image_size}×{image_size} pixels in {str(folder)!r}")
    progress, done = progress_bar(total, "image"), 0

    def advance(images):
        nonlocal done
        done += images
        progress.update(done)

    return advance


def write_shards(raw_split, paths, image_size, serialize, advance):
    """Writes the images of a split, those shards excepted that an earlier, interrupted call has written.

    Args:
        raw_split: a `RawSplit`.
        paths: the files to write, `shard_count` of them, in a folder that nothing else writes to.
        image_size: the side of the stored images, in pixels.
        serialize: from (the position in the split, the bytes of a PNG file) to the bytes of a record.
        advance: called with the number of images done, again and again.

    Returns:
        A list of `Shard`.

    Raises:
        OSError: where a file cannot be written.
        UserError: whatever the reader of the split raises.
    """
    shards = [_read_journal(path) for path in paths]
    count = len(raw_split.labels)
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        images, position = None, 0
        for index, path in enumerate(paths):
            start = index * _IMAGES_PER_SHARD
            stop = min(start + _IMAGES_PER_SHARD, count)
            if shards[index] is None:
                if images is None or position != start:
                    images = raw_split.read(start)
                shards[index] = _write_shard(path, images, start, stop, image_size, serialize, advance, pool)
                position = stop
            else:
                advance(stop - start)
    return shards


def _write_shard(path, images, start, stop, image_size, serialize, advance, pool):
    beside = f"{path}.partial"
    writer = ArrayRecordWriter(beside, _WRITER_OPTIONS)
    unreadable = []

    def encode(named_image):
        name, image = named_image
        try:
            return encode_image(image, image_size)
        except UnreadableImageError as error:
            return name, str(error)

    try:
        for block_start in range(start, stop, _IMAGES_PER_BLOCK):
            expected = min(_IMAGES_PER_BLOCK, stop - block_start)
            block = list(itertools.islice(images, expected))
            if len(block) < expected:
                raise UserError(
                    f"The data must have an image for each label. Received: {block_start + len(block)} images, then "
                    f"none, and {stop} labels or more. Get the files anew."
                )
            for position, encoded in enumerate(pool.map(encode, block), start=block_start):
                if isinstance(encoded, tuple):
                    unreadable.append((position, *encoded))
                else:
                    writer.write(serialize(position, encoded))
            advance(len(block))
    finally:
        writer.close()
    shard = Shard(stop - start - len(unreadable), os.path.getsize(beside), tuple(unreadable))
    os.replace(beside, path)
    # After the shard itself: what has a journal is whole.
    write_text(_journal(path), json.dumps(dataclasses.asdict(shard)))
    return shard


def _journal(path):
    return f"{path}.json"


def _read_journal(path):
    try:
        with open(_journal(path), encoding="utf-8") as file:
            values = json.load(file)
        # What could not be read may have been mended since.
        if os.path.getsize(path) != values["size"] or values["unreadable"]:
            return None
        return Shard(values["length"], values["size"], ())
    except (OSError, ValueError, KeyError, TypeError):
        return None
