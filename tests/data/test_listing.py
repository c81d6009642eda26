"""Tests of listing folders of images, on real folders."""

import os
import socket

import pytest

from dsl_tf.data.listing import list_folder, walk
from dsl_tf.errors import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def reasons(skipped, expected):
    return {os.path.basename(entry.path): entry.reason for entry in skipped if entry.expected == expected}


def test_files_with_the_extension_of_an_image_are_images(tmp_path):
    names = ["10.JPG", "2.jfif", "a.jpe", "b.TIF", "c.tiff", "d.avif", "e.heic", "f.webp", "g.gif", "h.bmp", "i.png"]
    touch(tmp_path, *names, "notes.txt", "labels.csv", "photo.psd", "raw.CR2", "image", "folder.jpg/inner.txt")
    listing = list_folder(tmp_path)
    assert listing.images == tuple(names) and listing.has_image
    assert listing.folders == ("folder.jpg",)
    assert reasons(listing.skipped, expected=False) == {
        **dict.fromkeys(["notes.txt", "labels.csv", "image"], "not the extension of an image"),
        **dict.fromkeys(["photo.psd", "raw.CR2"], "an image of a kind that is not supported"),
    }


def test_what_systems_leave_behind_is_skipped_without_a_warning(tmp_path):
    files = ["Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "Icon\r"]
    folders = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", ".git", ".ipynb_checkpoints", ".Trash-1000"]
    touch(tmp_path, *files, *(f"{name}/1.jpg" for name in folders), ".dog/1.jpg")
    listing = list_folder(tmp_path)
    assert (listing.folders, listing.images, listing.has_image) == ((), (), False)
    assert reasons(listing.skipped, expected=True).keys() == {*files, *folders}
    assert reasons(listing.skipped, expected=False) == {".dog": "a hidden folder"}


def test_named_pipes_sockets_and_broken_links_make_no_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
    os.symlink("nowhere", "broken.gif")
    os.symlink("round.png", "round.png")
    listing = list_folder(tmp_path)
    assert listing.images == ("broken.gif", "pipe.png", "round.png", "socket.jpg") and not listing.has_image
    assert reasons(listing.skipped, expected=False) == {"pipe": "not a regular file"}


def test_names_in_any_bytes(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    (tmp_path / "class ").mkdir()
    listing = list_folder(tmp_path)
    assert os.fsencode(listing.images[0]) == b"caf\xe9.png" and listing.folders == ("class ",)


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file"), ("file", "Not a directory")])
def test_a_folder_that_cannot_be_read(tmp_path, name, reason):
    touch(tmp_path, "file")
    with pytest.raises(UserError, match=f"{name}.*{reason}"):
        list_folder(tmp_path / name)


def test_walking_goes_into_links_but_never_in_circles(tmp_path):
    touch(tmp_path, "root/a/1.png", "root/b/2.png", "elsewhere/3.png")
    root = tmp_path / "root"
    os.symlink(tmp_path / "elsewhere", root / "linked")
    for number, target in enumerate((root, tmp_path, root / "b")):
        os.symlink(target, root / "b" / f"round{number}")
    os.symlink(root / "b", root / "a" / "to b")
    os.symlink(root / "a", root / "b" / "to a")
    visits = {"/".join(visit.parts): visit for visit in walk(root)}
    assert list(visits) == ["", "a", "a/to b", "b", "b/to a", "linked"]
    assert [os.path.basename(path) for path, _, _ in visits["b"].circles] == ["round0", "round1", "round2"]
    assert [os.path.basename(path) for path, _, _ in visits["a/to b"].circles][-1] == "to a"


def test_folders_taken_off_are_not_gone_into(tmp_path):
    touch(tmp_path, "a/b/1.png", "c/2.png")
    seen = []
    for visit in walk(tmp_path):
        seen.append(visit.parts)
        visit.folders[:] = [name for name in visit.folders if name != "b"]
    assert seen == [(), ("a",), ("c",)]
