import os

import pytest

from dsl_tf.files import remove, replacing, write_text


def tree(folder):
    return {str(path.relative_to(folder)): path.is_dir() or path.read_text() for path in sorted(folder.rglob("*"))}


def write_folder(path, text):
    path.mkdir()
    (path / "deep").mkdir()
    (path / "deep" / "file").write_text(text)


@pytest.mark.parametrize("write", [write_folder, lambda path, text: path.write_text(text)])
def test_what_stands_there_is_replaced_by_what_is_whole_and_kept_where_writing_fails(tmp_path, write):
    path = tmp_path / "result.txt"
    with replacing(path) as beside:
        assert beside.parent == tmp_path and beside.suffix == ".txt"
        write(beside, "first")
        assert not path.exists()
    first = tree(tmp_path)
    assert {name.split("/")[0] for name in first} == {"result.txt"}
    for failure in (ValueError, KeyboardInterrupt):
        with pytest.raises(failure), replacing(path) as beside:
            write(beside, "half")
            raise failure
        assert tree(tmp_path) == first
    with replacing(path) as beside:
        write(beside, "second")
    assert tree(tmp_path) == {name: "second" if value == "first" else value for name, value in first.items()}


def test_what_a_killed_process_left_is_written_anew(tmp_path):
    write_folder(tmp_path / ".partial.folder", "half")
    write_folder(tmp_path / ".removed.folder", "half")
    for text in ("first", "second"):
        with replacing(tmp_path / "folder") as beside:
            write_folder(beside, text)
    assert tree(tmp_path) == {"folder": True, "folder/deep": True, "folder/deep/file": "second"}


def test_removing_takes_files_and_folders_and_what_is_not_there(tmp_path):
    write_folder(tmp_path / "folder", "text")
    write_text(tmp_path / "file", "text")
    os.symlink(tmp_path / "folder", tmp_path / "link")
    remove(tmp_path / "link")
    assert sorted(tree(tmp_path)) == ["file", "folder", "folder/deep", "folder/deep/file"]
    for name in ("folder", "file", "none"):
        remove(tmp_path / name)
    assert tree(tmp_path) == {}


def test_a_file_takes_no_folders_place(tmp_path):
    write_folder(tmp_path / "name", "text")
    before = tree(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "name", "text")
    assert tree(tmp_path) == before
