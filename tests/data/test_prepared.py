import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dsl_tf.data import open_splits, prepared, shards, stored_images
from dsl_tf.data.class_lists import class_list
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.errors import UserError
from tests import programs
from tests.images import CIFAR_FS_IMAGES_PER_CLASS, noise_image, write_cifar_fs


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """CIFAR-FS in class folders, with fewer images."""
    folder = tmp_path_factory.mktemp("original")
    write_cifar_fs(folder)
    return folder


@pytest.fixture
def source(original, tmp_path):
    """A copy to change."""
    copy = tmp_path / "source"
    subprocess.run(["cp", "-rl", original, copy], check=True)
    return copy


@pytest.fixture(scope="module")
def options(original, tmp_path_factory):
    """Options of a data set that is prepared once."""
    options = {"data_dir": original, "cache_dir": tmp_path_factory.mktemp("cache"), "allow_partial": True}
    prepared.prepare("cifar_fs", **options)
    return options


def assert_whole(splits):
    assert list(splits) == ["train", "val", "test"]
    for split, names in class_list("cifar_fs").items():
        loaded = splits[split]()
        assert loaded.class_names == names
        np.testing.assert_array_equal(loaded.labels, np.repeat(np.arange(len(names)), CIFAR_FS_IMAGES_PER_CLASS))
        expected = np.stack(
            [noise_image(name, number) for name in names for number in range(CIFAR_FS_IMAGES_PER_CLASS)]
        )
        np.testing.assert_array_equal(loaded.images[:], expected)


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in pathlib.Path(folder).rglob("*")}


def test_every_image_arrives_under_its_class(options):
    assert_whole(open_splits("cifar_fs", **options))


def test_the_original_files_are_not_touched_and_preparation_happens_once(original, tmp_path, capsys):
    before = files_below(original)
    options = {"data_dir": original, "cache_dir": tmp_path / "a new" / "cache", "allow_partial": True}
    open_splits("cifar_fs", **options)
    out = capsys.readouterr().out
    assert f"cifar_fs: found class folders in {str(original)!r}" in out
    assert "Preparing 300 images of 32×32 pixels" in out
    after = files_below(tmp_path)
    assert_whole(open_splits("cifar_fs", **options))
    assert "Preparing" not in capsys.readouterr().out
    assert files_below(tmp_path) == after
    assert files_below(original) == before
    assert not [path for path in after if "partial" in path.name]


def test_a_split_too_large_for_memory_stays_on_disk(options, monkeypatch):
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 64 * CIFAR_FS_IMAGES_PER_CLASS * 32 * 32 * 3 - 1)
    splits = open_splits("cifar_fs", **options)
    assert isinstance(splits["train"]().images, StoredImages)
    assert isinstance(splits["val"]().images, np.ndarray)
    assert_whole(splits)


def test_a_prepared_folder_is_itself_a_source(options, tmp_path):
    folder = prepared.prepare("cifar_fs", **options)
    assert_whole(open_splits("cifar_fs", data_dir=folder, cache_dir=tmp_path))
    with pytest.raises(UserError, match="prepared for --dataset=cub. Received: 'cifar_fs' of 32 pixels"):
        open_splits("cub", data_dir=folder)
    with pytest.raises(UserError, match="--image_size=84. Received: 'cifar_fs' of 32 pixels"):
        open_splits("cifar_fs", data_dir=folder, image_size=84)


def test_another_size_or_another_source_is_prepared_for_itself(options, source, tmp_path):
    small = open_splits("cifar_fs", **{**options, "image_size": 16})
    assert small["val"]().images.shape == (16 * CIFAR_FS_IMAGES_PER_CLASS, 16, 16, 3)
    other = prepared.prepare("cifar_fs", **{**options, "data_dir": source})
    assert other != prepared.prepare("cifar_fs", **options)


def test_fewer_images_than_published_are_an_error_that_leaves_nothing(original, tmp_path):
    with pytest.raises(UserError, match="38,400 images.*Received: 192.*--allow_partial"):
        open_splits("cifar_fs", data_dir=original, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord")) and not list(tmp_path.rglob("prepared.json"))


@pytest.mark.parametrize("inside", ["", "cache"])
def test_a_cache_inside_the_data_is_refused(original, inside):
    with pytest.raises(UserError, match="--cache_dir must not lie in --data_dir"):
        open_splits("cifar_fs", data_dir=original, cache_dir=original / inside, allow_partial=True)


def test_a_cache_that_cannot_be_made_is_an_error(original, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--cache_dir=.*must be a folder that can be written"):
        open_splits("cifar_fs", data_dir=original, cache_dir=tmp_path / "file", allow_partial=True)


def test_an_unreadable_image_is_left_out_with_a_warning(source, tmp_path, caplog):
    broken = source / "train" / "bear" / "1.png"
    broken.unlink()
    broken.write_bytes(b"no image")
    (source / "train" / "bear" / "notes.txt").touch()
    open_train = open_splits("cifar_fs", data_dir=source, cache_dir=tmp_path / "cache", allow_partial=True)["train"]
    train = open_train()
    # The list is kept for the runs that come later.
    for split in (train, open_train()):
        paths = {os.path.basename(entry.path): entry.reason for entry in split.skipped}
        assert sorted(paths) == ["1.png", "notes.txt"] and "not an image" in paths["1.png"]
    assert str(broken) in caplog.text and "not an image" in caplog.text
    bear = train.class_names.index("bear")
    np.testing.assert_array_equal(train.images[train.labels == bear], [noise_image("bear", 0), noise_image("bear", 2)])
    assert len(train.labels) == 64 * CIFAR_FS_IMAGES_PER_CLASS - 1


def prepare_in_another_process(source, cache):
    code = (
        "from dsl_tf.data import prepared, shards\n"
        "shards._IMAGES_PER_SHARD, shards._IMAGES_PER_BLOCK = 20, 5\n"
        f"prepared.prepare('cifar_fs', {str(source)!r}, cache_dir={str(cache)!r}, allow_partial=True)\n"
    )
    return programs.start(["-c", code])


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_preparation_goes_on_where_it_stopped(original, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 20)
    process = prepare_in_another_process(original, tmp_path)
    wait_for(lambda: len(list(tmp_path.rglob("*-0*.json"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*-0*.json")}
    assert not list(tmp_path.rglob("prepared.json"))
    if not kept:
        pytest.skip("The process was done before it could be killed.")
    options = {"data_dir": original, "cache_dir": tmp_path, "allow_partial": True}
    folder = prepared.prepare("cifar_fs", **options)
    assert_whole(open_splits("cifar_fs", **options))
    journaled = [name for name, time in kept.items() if (folder / name).stat().st_mtime_ns == time]
    assert len(journaled) >= 3


def test_two_processes_prepare_it_once(original, tmp_path):
    processes = [prepare_in_another_process(original, tmp_path) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    options = {"data_dir": original, "cache_dir": tmp_path, "allow_partial": True}
    assert_whole(open_splits("cifar_fs", **options))


@pytest.mark.parametrize(
    "damage",
    ["shard gone", "shard cut", "index gone", "description cut", "no labels", "too many labels", "wrong labels"],
)
def test_a_damaged_prepared_data_set_is_an_error(options, tmp_path, damage):
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", prepared.prepare("cifar_fs", **options), folder], check=True)
    shard, description = next(folder.glob("train*.tfrecord")), json.loads((folder / "prepared.json").read_text())
    if damage == "shard gone":
        shard.unlink()
    elif damage == "index gone":
        shard.with_suffix(".json").unlink()
    elif damage == "shard cut":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif damage == "too many labels":
        # No memory would hold them, and NumPy's sum of them is 0.
        description["splits"]["train"]["labels"] = [[0, 2**62], [1, 2**62], [2, 2**62], [3, 2**62]]
    elif damage == "wrong labels":
        description["splits"]["train"]["labels"] = [[99, 192]]
    elif damage == "no labels":
        del description["splits"]["train"]["labels"]
    cut = -10 if damage == "description cut" else None
    (folder / "prepared.json").write_text(json.dumps(description)[:cut])
    with pytest.raises(UserError, match="complete prepared data set") as error:
        open_splits("cifar_fs", data_dir=folder)["train"]()
    assert "\n" not in str(error.value)


def test_a_link_to_itself_beside_the_data_is_passed_over(source, options, tmp_path):
    (source / "loop").symlink_to("loop")
    assert_whole(open_splits("cifar_fs", **{**options, "data_dir": source, "cache_dir": tmp_path / "cache"}))


def test_any_tfds_data_set_is_divided_by_a_file(tmp_path):
    names = ["ant", "bee", "cow", "dog"]
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(names=names)}
    )
    examples = [{"image": noise_image(name, number), "label": name} for number in range(5) for name in names]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        features=features,
        data_dir=tmp_path / "tfds",
        split_datasets={"train": list(enumerate(examples))},
    )
    class_split = tmp_path / "classes.json"
    class_split.write_text(json.dumps({"train": ["dog", "ant"], "test": ["cow"]}))
    options = {"data_dir": tmp_path / "tfds", "cache_dir": tmp_path / "cache", "image_size": 32}
    splits = open_splits("tfds:pets", class_split=class_split, **options)
    assert list(splits) == ["train", "test"]
    train = splits["train"]()
    assert train.class_names == ("dog", "ant")
    for image, label in zip(train.images, train.labels, strict=True):
        name = train.class_names[label]
        assert any(np.array_equal(image, noise_image(name, number)) for number in range(5))
    assert np.bincount(train.labels).tolist() == [5, 5]
    with pytest.raises(UserError, match="--class_split"):
        open_splits("tfds:pets", **options)


def test_data_sets_that_need_no_preparation_are_told_apart():
    with pytest.raises(UserError, match="--dataset=glyphs needs no preparation"):
        prepared.prepare("glyphs")


@pytest.mark.parametrize("dataset", ["mini_imagenet", "tiered_imagenet", "meta_inat"])
def test_a_data_set_that_cannot_be_downloaded_needs_a_folder(dataset, tmp_path):
    with pytest.raises(UserError, match=f"--dataset={dataset} needs --data_dir"):
        open_splits(dataset, cache_dir=tmp_path)


def test_the_command_prepares_and_counts(original, tmp_path):
    command = ["-m", "dsl_tf", "prepare", "--dataset=cifar_fs", f"--data_dir={original}", f"--cache_dir={tmp_path}"]
    failed = programs.run(command)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("error: The train split of cifar_fs must have 38,400 images")
    assert "Traceback" not in failed.stderr
    done = programs.run([*command, "--allow_partial"])
    assert done.returncode == 0, done.stderr
    assert "train: 192 images of 64 classes" in done.stdout


def test_originals_of_a_named_data_set_suit_any_image_size(original, tmp_path):
    options = {"cache_dir": tmp_path, "allow_partial": True}
    folder = prepared.prepare("cifar_fs", original, stored_size=32, **options)
    assert folder.name.startswith("cifar_fs-originals-32px-")
    assert folder == prepared.prepare("cifar_fs", original, 16, stored_size=32, **options)
    assert folder != prepared.prepare("cifar_fs", original, 16, stored_size=24, **options)
    assert prepared.split_size(folder, "train") == (64 * CIFAR_FS_IMAGES_PER_CLASS, 64)
    assert_whole(open_splits("cifar_fs", folder, stored_size=32))
    train = open_splits("cifar_fs", folder, 16, stored_size=32)["train"]().images
    assert isinstance(train, StoredImages) and train.shape[1:] == (16, 16, 3)
    with pytest.raises(UserError, match="for --dataset=cifar_fs. Received: 'cifar_fs' of up to 32 .*--stored_size=32"):
        open_splits("cifar_fs", folder)
    squares = prepared.prepare("cifar_fs", original, **options)
    with pytest.raises(UserError, match="--stored_size=32. Received: 'cifar_fs' of 32 pixels. Give") as error:
        open_splits("cifar_fs", squares, stored_size=32)
    assert "\n" not in str(error.value)
