"""Tests of reading JSON files, on files with every fault."""

import pytest

from dsl_tf.data.formats.json_files import read_json
from dsl_tf.errors import UserError


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_reads_utf8_with_and_without_a_byte_order_mark(tmp_path, mark):
    path = tmp_path / "file.json"
    path.write_bytes(mark + '{"Ünï": [1, "ñ"]}\n'.encode())
    assert read_json(path) == {"Ünï": [1, "ñ"]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1,\n"b" 2}', "in line 2, column 5"),
        (b"", "in line 1"),
        ('{"ü": 1}'.encode("latin-1"), "not in UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5000, "digits"),
        (b'{"train": ["cat"], "val": ["owl"], "train": ["dog"]}', "the key 'train' twice"),
    ],
)
def test_tells_faults_in_one_line(tmp_path, content, reason):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_json(path)
    assert "\n" not in str(caught.value) and repr(str(path)) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="not a regular file"):
        read_json(tmp_path)
