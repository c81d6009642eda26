"""Tests of finding the members of tars in place, on tars that tarfile made and that are damaged by hand."""

import os
import tarfile
import tracemalloc

import pytest

from dsl_tf.data.formats.tar_members import tar_members
from tests.data.formats.coloured_images import raised_line, write
from tests.data.formats.tars import tar

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
FILES = {"a": b"first", "b": b"", "c": b"x" * 512, "d": b"y" * 1025}


def contents(path, start=0, end=None):
    with open(path, "rb") as file:
        members = list(tar_members(file, start, path.stat().st_size if end is None else end))
        found = {}
        for name, offset, size in members:
            file.seek(offset)
            found[name] = file.read(size)
    assert len(found) == len(members)
    return found


def contents_of(tmp_path, content):
    return contents(write(tmp_path / "some.tar", content))


@pytest.mark.parametrize("tar_format", FORMATS)
def test_members(tmp_path, tar_format):
    assert contents_of(tmp_path, tar(FILES, tar_format)) == FILES


@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("inner_format", FORMATS)
def test_a_tar_in_a_tar(tmp_path, tar_format, inner_format):
    inner = {"one.tar": tar(FILES, inner_format), "two.tar": tar({"e": b"other"}, inner_format), "three.tar": tar({})}
    path = write(tmp_path / "outer.tar", tar(inner, tar_format))
    with open(path, "rb") as file:
        spans = {name: (start, start + size) for name, start, size in tar_members(file, 0, path.stat().st_size)}
    assert contents(path, *spans["one.tar"]) == FILES
    assert contents(path, *spans["two.tar"]) == {"e": b"other"}
    assert contents(path, *spans["three.tar"]) == {}


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders(tmp_path, tar_format):
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    files = {f"./{'f' * 120}/{'n' * 150}.JPEG": b"long", "folder/é": b"short"}
    content = tar(files, tar_format, members=[folder])
    assert contents_of(tmp_path, content) == {f"{'n' * 150}.JPEG": b"long", "é": b"short"}


def test_a_tar_without_its_empty_last_blocks(tmp_path):
    assert contents_of(tmp_path, tar(FILES)[: 512 * (4 + 1 + 0 + 1 + 3)]) == FILES


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path, kind):
    member = tarfile.TarInfo("evil")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "'evil'" in raised_line(contents_of, tmp_path, tar(FILES, members=[member]))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\evil", "C:evil"])
@pytest.mark.parametrize("tar_format", FORMATS)
def test_unsafe_names(tmp_path, name, tar_format):
    line = raised_line(contents_of, tmp_path, tar({name: b""}, tar_format))
    assert "evil" in line and "outside" in line


def test_sparse_files(tmp_path):
    member = tarfile.TarInfo("sparse")
    member.type = tarfile.GNUTYPE_SPARSE
    assert "sparse" in raised_line(contents_of, tmp_path, tar({}, members=[member]))
    member = tarfile.TarInfo("sparse")
    member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "5"}
    assert "sparse" in raised_line(contents_of, tmp_path, tar({}, tarfile.PAX_FORMAT, members=[member]))


def with_size(content, position, size):
    """The tar with another size in the header at a position, with the check sum that fits."""
    header = bytearray(content[position : position + 512])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:position] + bytes(header) + content[position + 512 :]


NEGATIVE = b"\xff" * 8 + b"\xff\xff\xfc\x00"
HUGE = b"\x80" + b"\0" * 4 + b"\x7f" + b"\xff" * 6


@pytest.mark.parametrize("size", [NEGATIVE, HUGE, b"00000200000\0", b"00000000001\0"])
def test_wrong_sizes_of_files(tmp_path, size):
    content = with_size(tar({"a": b"x" * 1000, "b": b"y" * 10}), 0, size)
    assert "damaged" in raised_line(contents_of, tmp_path, content)


@pytest.mark.parametrize("size", [NEGATIVE, HUGE, b"77777777777\0"])
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("first", [{}, {"a": b"x" * 500}])
def test_wrong_sizes_of_headers(tmp_path, size, tar_format, first):
    content = tar({**first, "n" * 150: b""}, tar_format)
    position = content.index(b"././@")
    if tar_format == tarfile.PAX_FORMAT and first:
        position = content.index(b"././@", position + 512)
    assert "damaged" in raised_line(contents_of, tmp_path, with_size(content, position, size))


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_huge_header_in_a_huge_file_does_not_fill_the_memory(tmp_path, tar_format):
    path = write(tmp_path / "some.tar", with_size(tar({"n" * 150: b""}, tar_format), 0, b"00700000000\0"))
    os.truncate(path, 1 << 28)
    tracemalloc.start()
    try:
        assert "damaged" in raised_line(contents, path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_member_may_not_reach_past_its_tar(tmp_path):
    inner = with_size(tar({"a": b"inside"}), 0, b"00000100000\0")
    path = write(tmp_path / "outer.tar", tar({"inner.tar": inner, "other": b"z" * 100_000}))
    assert "damaged" in raised_line(contents, path, 512, 512 + len(inner))


@pytest.mark.parametrize("position", [0, 3, 512 + 512, 512 * 3 + 150])
def test_damaged_headers(tmp_path, position):
    content = bytearray(tar(FILES))
    content[position] ^= 1
    assert "damaged" in raised_line(contents_of, tmp_path, bytes(content))


@pytest.mark.parametrize("size", [1, 511, 513, 1024 + 100, 512 * 4 + 511])
def test_truncated_tars(tmp_path, size):
    assert "cut short" in raised_line(contents_of, tmp_path, tar(FILES)[:size])


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars(tmp_path, mode):
    assert "compressed" in raised_line(contents_of, tmp_path, tar(FILES, mode=mode))


def test_an_endless_chain_of_headers(tmp_path):
    content = tar({"n" * 150: b""})
    assert "damaged" in raised_line(contents_of, tmp_path, content[:1024] * 3000)
