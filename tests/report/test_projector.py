"""Files for TensorBoard's embedding projector, read by TensorBoard."""

import io
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.report.projector import write_projector

NAMES = ("plain", "tab\there", "line\nend", "größe ⊕", "a\\b", "\udcff bytes")


def made(n=30, d=7, size=(12, 12)):
    random = np.random.default_rng(0)
    labels = random.integers(len(NAMES), size=n)
    # Flat images, whose colour tells their position.
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None] * 5, (n, *size, 3))
    return random.standard_normal((n, d)).astype(np.float32), labels, images


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a TensorBoard on a folder to write into."""
    logdir = tmp_path_factory.mktemp("logdir")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tf.summary.create_file_writer(str(logdir / "run" / "tensorboard")).as_default():
        tf.summary.scalar("loss", 1.0, step=0)
    arguments = ["--logdir", logdir, "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield logdir, f"http://127.0.0.1:{port}/data/plugin/projector"
    process.terminate()
    process.wait()


def fetch(address, route, **query):
    with urllib.request.urlopen(f"{address}/{route}?{urllib.parse.urlencode(query)}") as response:
        return response.read()


def wait_for_run(address, run, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if run in json.loads(fetch(address, "runs")):
                return
        except urllib.error.URLError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"TensorBoard does not show {run}")


def test_tensorboard_reads_the_files(server):
    logdir, address = server
    features, labels, images = made()
    features[0] = [0, -1e-30, 1e30, 1 / 3, np.pi, 1e-45, 16777217]
    positions = write_projector(logdir / "run" / "tensorboard", features, labels, NAMES, images, thumbnail=10)
    run = "run/tensorboard"
    wait_for_run(address, run)
    (embedding,) = json.loads(fetch(address, "info", run=run))["embeddings"]
    name = embedding["tensorName"]
    assert embedding["tensorShape"] == [30, 7] and embedding["sprite"]["singleImageDim"] == [10, 10]
    tensor = np.frombuffer(fetch(address, "tensor", run=run, name=name), np.float32)
    np.testing.assert_array_equal(tensor.reshape(30, 7), features[positions])
    lines = fetch(address, "metadata", run=run, name=name).decode("utf-8").split("\n")
    shown = ("plain", "tab\\there", "line\\nend", "größe ⊕", "a\\b", "\\udcff bytes")
    assert lines == ["class\timage", *(f"{shown[labels[i]]}\t{i}" for i in positions), ""]
    sprite = Image.open(io.BytesIO(fetch(address, "sprite_image", run=run, name=name)))
    # 30 thumbnails in 6 rows and columns.
    assert sprite.size == (60, 60)
    pixels = np.asarray(sprite)
    for place, position in enumerate(positions):
        row, column = divmod(place, 6)
        assert (pixels[10 * row : 10 * row + 10, 10 * column : 10 * column + 10] == 5 * position).all()


def table(directory):
    tensor = np.loadtxt(directory / "projector_features.tsv", delimiter="\t", ndmin=2)
    lines = (directory / "projector_metadata.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tensor.astype(np.float32), lines


def test_at_most_so_many_evenly_over_the_classes(tmp_path):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [100, 3, 40, 1]))
    features = np.arange(len(labels), dtype=np.float32)[:, None]
    positions = write_projector(tmp_path, features, labels, NAMES, most=50)
    # 3 and 1 are all there are; the other two share what is left.
    assert np.bincount(labels[positions]).tolist() == [23, 3, 23, 0, 0, 1]
    assert (np.diff(positions) > 0).all()
    # Not the first ones of a class.
    assert positions.max() > 100 and positions.min() < 40
    tensor, lines = table(tmp_path)
    np.testing.assert_array_equal(tensor[:, 0], positions)
    assert [int(line.split("\t")[1]) for line in lines] == positions.tolist()
    np.testing.assert_array_equal(write_projector(tmp_path / "again", features, labels, NAMES, most=50), positions)


@pytest.mark.parametrize("most, counts", [(4, [1, 1, 1, 1]), (2, [0, 0, 1, 1]), (6, [1, 1, 2, 2]), (1, [0, 0, 0, 1])])
def test_fewer_than_classes(most, counts, tmp_path):
    labels = np.repeat(np.arange(4), 10)
    positions = write_projector(tmp_path, np.ones((40, 2)), labels, NAMES, most=most)
    assert sorted(np.bincount(labels[positions], minlength=4)) == counts


def test_all_where_there_are_no_more(tmp_path):
    features, labels, _ = made()
    np.testing.assert_array_equal(write_projector(tmp_path, features, labels, NAMES, most=30), np.arange(30))
    np.testing.assert_array_equal(table(tmp_path)[0], features)


@pytest.mark.parametrize("n, rows", [(1, 1), (2, 2), (4, 2), (5, 3), (12, 4), (30, 6)])
def test_the_sprite_has_as_many_rows_as_columns(n, rows, tmp_path):
    features, labels, images = made(n, size=(9, 20))
    write_projector(tmp_path, features, labels, NAMES, images, thumbnail=8)
    assert Image.open(tmp_path / "projector_sprite.png").size == (8 * rows, 8 * rows)


def test_thumbnails_shrink_where_the_sprite_would_be_too_large(tmp_path):
    features, labels, images = made(10)
    write_projector(tmp_path, features, labels, NAMES, images, thumbnail=3000)
    # 4 rows of 2048 pixels.
    assert Image.open(tmp_path / "projector_sprite.png").size == (8192, 8192)
    assert (tmp_path / "projector_config.pbtxt").read_text().count("single_image_dim: 2048") == 2


def test_a_sprite_does_not_outlive_its_images(tmp_path):
    features, labels, images = made()
    write_projector(tmp_path, features, labels, NAMES, images)
    write_projector(tmp_path, features, labels, NAMES)
    assert not (tmp_path / "projector_sprite.png").exists()
    assert "sprite" not in (tmp_path / "projector_config.pbtxt").read_text()


def test_what_does_not_fit_is_an_error(tmp_path):
    features, labels, images = made()
    for arguments in (
        (features[:-1], labels, NAMES, images),
        (features, labels, NAMES, images[1:]),
        (features[0], labels[:7], NAMES),
        (features[:0], labels[:0], NAMES),
        (features, labels, NAMES, None, 32, 0),
    ):
        with pytest.raises(ValueError, match="Expected features"):
            write_projector(tmp_path, *arguments)
    assert not list(tmp_path.iterdir())
