"""Tests of reading the images of npz files one by one."""

import collections
import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from dsl_tf.data.formats.npz_images import find_images
from tests.data.formats.coloured_images import pixels, raised_line, write

SIDE = 6


def npz(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def find(tmp_path, content):
    return find_images(write(tmp_path / "some.npz", content), "images", SIDE)


def read_all(tmp_path, content):
    return list(find(tmp_path, content).read(0))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_start(tmp_path, save):
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), np.uint8)
    found = find(tmp_path, npz(save, other=np.arange(3), images=images))
    assert len(found) == 9
    for start in range(10):
        read = list(found.read(start))
        assert len(read) == 9 - start
        for image, expected in zip(read, images[start:]):
            np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header(tmp_path, version):
    images, buffer = pixels(range(4), SIDE), io.BytesIO()
    np.lib.format.write_array(buffer, images, version=version)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images.npy", buffer.getvalue())
    np.testing.assert_array_equal(read_all(tmp_path, archive.getvalue()), images)


def peak_memory(function):
    """The most bytes that a function has at a time."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_images(tmp_path, save):
    images = np.zeros((4000, 84, 84, 3), np.uint8)
    path = write(tmp_path / "some.npz", npz(save, images=images))
    assert peak_memory(lambda: collections.deque(find_images(path, "images", 84).read(0), maxlen=1)) < 2e6
    # Some versions of zipfile skip 16 MiB at a time and have them three times.
    assert peak_memory(lambda: next(find_images(path, "images", 84).read(3999))) < 60e6 < images.nbytes


IMAGES = pixels(range(4), SIDE)


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.array([[1], None], dtype=object), "object"),
        (np.array([IMAGES], dtype=object), "object"),
        (IMAGES.astype(np.int8), "int8"),
        (IMAGES.astype(np.float32), "float32"),
        (IMAGES[:, 1:], "[4, 5, 6, 3]"),
        (IMAGES[0], "[6, 6, 3]"),
        (np.array(5), "[]"),
        (np.asfortranarray(IMAGES), "Fortran"),
        (np.zeros(3, [("a", "u1"), ("b", "i4")]), "[3]"),
    ],
)
def test_other_arrays(tmp_path, array, part):
    line = raised_line(find, tmp_path, npz(images=array))
    assert part in line and "wrong sizes" in line


def test_objects_are_not_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    raised_line(read_all, tmp_path, npz(images=np.array([Evil()], dtype=object)))
    assert not (tmp_path / "made").exists()


def test_a_missing_array(tmp_path):
    assert "'pictures.npy'" in raised_line(find, tmp_path, npz(pictures=IMAGES))
    assert "nothing" in raised_line(find, tmp_path, npz())


def npy(header, data=b""):
    """A zip with an array file of this header."""
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images.npy", content)
    return archive.getvalue()


HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 6, 6, 3), }\n"


def test_the_header_must_fit_the_file(tmp_path):
    assert len(find(tmp_path, npy(HEADER % 2, bytes(216)))) == 2
    for count in (-1, 0, 1, 3, 10**30):
        assert "damaged" in raised_line(find, tmp_path, npy(HEADER % count, bytes(216)))


@pytest.mark.parametrize("header", [b"", b"{}", b"__import__('os').getpid()", b"(" * 5000, b"\xff\n", b"[1]\n"])
def test_malformed_headers(tmp_path, header):
    assert "damaged" in raised_line(find, tmp_path, npy(header))


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip", npz(images=IMAGES)[:-30], npz(images=IMAGES)[40:]])
def test_damaged_files(tmp_path, content):
    assert "damaged" in raised_line(read_all, tmp_path, content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_pixels(tmp_path, save):
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), np.uint8)
    content = bytearray(npz(save, images=images))
    content[600:620] = bytes(20)
    assert "damaged" in raised_line(read_all, tmp_path, bytes(content))
