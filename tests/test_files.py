import csv
import os
import socket
import subprocess
import sys

import pytest

from dsl_tf.errors import UserError
from dsl_tf.files import check_regular, guarded, is_temporary, remove, replacing, write_csv, write_text


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


def killed_writer(folder):
    """A process that dies while it writes a folder and has begun to remove another."""
    script = (
        "import os, pathlib, sys; from dsl_tf.files import replacing; place = pathlib.Path(sys.argv[1]) / 'result.d'\n"
        "with replacing(place) as beside: beside.mkdir(); (beside / 'half').write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, folder], check=False).returncode == 9


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    killed_writer(tmp_path)
    (left,) = tmp_path.iterdir()
    assert is_temporary(left) and not is_temporary(tmp_path / ".partial.mine")
    left.rename(left.with_name(left.name.replace(".partial.", ".removed.")))
    write_text(tmp_path / ".partial.mine", "a user's own")
    with replacing(tmp_path / "folder") as beside:
        write_folder(beside, "text")
    assert tree(tmp_path) == {
        ".partial.mine": "a user's own",
        "folder": True,
        "folder/deep": True,
        "folder/deep/file": "text",
    }


def test_two_writers_of_one_place_do_not_mix(tmp_path):
    with replacing(tmp_path / "name") as first:
        write_folder(first, "first")
        with replacing(tmp_path / "name") as second:
            assert second != first
            write_folder(second, "second")
        assert tree(tmp_path / "name")["deep/file"] == "second"
    assert tree(tmp_path) == {"name": True, "name/deep": True, "name/deep/file": "first"}


def test_names_as_long_as_the_disk_allows_are_written(tmp_path):
    write_text(tmp_path / ("x" * 251 + ".txt"), "text")
    write_text(tmp_path / ("." + "x" * 254), "text")
    assert len(tree(tmp_path)) == 2


def test_only_files_are_opened(tmp_path):
    write_text(tmp_path / "file", "text")
    os.symlink(tmp_path / "file", tmp_path / "link")
    check_regular(tmp_path / "file")
    check_regular(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    os.symlink(tmp_path / "pipe", tmp_path / "link to a pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(tmp_path / "socket"))
        for name, kind in {
            "pipe": "pipe",
            "link to a pipe": "pipe",
            "socket": "socket",
            ".": "folder",
            "/dev/zero": "device",
        }.items():
            with pytest.raises(UserError, match=f"must be a file. Received: a .*{kind}"):
                check_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")


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


def test_a_csv_comes_back_and_holds_no_formula(tmp_path):
    names = ["=1+1", "+a", "-b", "@c", " =d", "plain", "two\nlines", "a\rb", 'quote "x", y', "tab\t"]
    write_csv(tmp_path / "names.csv", [["name", "number"], *([guarded(name), None] for name in names)])
    with open(tmp_path / "names.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "number"]
    assert [name for name, _ in rows[1:]] == [f"'{name}" for name in names[:5]] + names[5:]
    assert {number for _, number in rows[1:]} == {""}
