import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dsl_tf.data import builders, open_splits, prepared, shards, stored_images
from dsl_tf.data.class_lists import class_list
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.errors import UserError
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
    assert not [path for path in after if "partial" in path.name or "incomplete" in path.name]


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
    assert not list(tmp_path.rglob("*.array_record*")) and not list(tmp_path.rglob("dataset_info.json"))


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
    train = open_splits("cifar_fs", data_dir=source, cache_dir=tmp_path / "cache", allow_partial=True)["train"]()
    assert str(broken) in caplog.text and "not an image" in caplog.text
    bear = train.class_names.index("bear")
    np.testing.assert_array_equal(train.images[train.labels == bear], [noise_image("bear", 0), noise_image("bear", 2)])
    assert len(train.labels) == 64 * CIFAR_FS_IMAGES_PER_CLASS - 1


def prepare_in_another_process(source, cache, **options):
    code = (
        "from dsl_tf.data import prepared, shards\n"
        "shards._IMAGES_PER_SHARD, shards._IMAGES_PER_BLOCK = 20, 5\n"
        f"prepared.prepare('cifar_fs', {str(source)!r}, cache_dir={str(cache)!r}, allow_partial=True)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_preparation_goes_on_where_it_stopped(original, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 20)
    process = prepare_in_another_process(original, tmp_path)
    wait_for(lambda: len(list(tmp_path.rglob(".partial-*/[!.]*.json"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob(".partial-*/*.array_record-*-of-?????")}
    assert not list(tmp_path.rglob("dataset_info.json"))
    if not kept:
        pytest.skip("The process was done before it could be killed.")
    options = {"data_dir": original, "cache_dir": tmp_path, "allow_partial": True}
    folder = prepared.prepare("cifar_fs", **options)
    assert_whole(open_splits("cifar_fs", **options))
    journaled = [name for name, time in kept.items() if (folder / name).stat().st_mtime_ns == time]
    assert len(journaled) >= 3
    assert not list(tmp_path.rglob(".partial-*"))


def test_two_processes_prepare_it_once(original, tmp_path):
    processes = [prepare_in_another_process(original, tmp_path) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    options = {"data_dir": original, "cache_dir": tmp_path, "allow_partial": True}
    assert_whole(open_splits("cifar_fs", **options))


@pytest.mark.parametrize(
    "damage", ["shard gone", "shard cut", "metadata cut", "no labels", "too many labels", "info cut", "features cut"]
)
def test_a_damaged_prepared_data_set_is_an_error(options, tmp_path, damage):
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", prepared.prepare("cifar_fs", **options), folder], check=True)
    shard = next(folder.glob("*train*"))
    if damage == "shard gone":
        shard.unlink()
    elif damage == "shard cut":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif damage == "too many labels":
        # No memory would hold them, and NumPy's sum of them is 0.
        lengths = [[0, 2**62], [1, 2**62], [2, 2**62], [3, 2**62]]
        (folder / "metadata.json").write_text(json.dumps({"classes": {"train": 64}, "labels": {"train": lengths}}))
    elif damage == "no labels":
        (folder / "metadata.json").write_text(json.dumps({"classes": {"train": 64}}))
    else:
        name = {"metadata cut": "metadata", "info cut": "dataset_info", "features cut": "features"}[damage]
        path = folder / f"{name}.json"
        path.write_text(path.read_text()[:-10])
    with pytest.raises(UserError, match="whole prepared data set") as error:
        open_splits("cifar_fs", data_dir=folder)["train"]()
    assert "\n" not in str(error.value)


def test_no_module_that_a_prepared_data_set_names_is_imported(options, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", prepared.prepare("cifar_fs", **options), folder], check=True)
    (tmp_path / "named_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = folder / "features.json"
    path.write_text(path.read_text().replace("tensorflow_datasets.core.features.image_feature.Image", "named_module.A"))
    for split in ("train", "val"):
        with pytest.raises(UserError, match="features of TFDS's own"):
            open_splits("cifar_fs", data_dir=folder)
        with pytest.raises(UserError, match="features of TFDS's own"):
            prepared.load_prepared(folder, split)
    assert not (tmp_path / "ran").exists()


def test_a_link_to_itself_beside_the_data_is_passed_over(source, options, tmp_path):
    (source / "loop").symlink_to("loop")
    assert_whole(open_splits("cifar_fs", **{**options, "data_dir": source, "cache_dir": tmp_path / "cache"}))


def test_class_names_that_would_shift_the_labels():
    def checked(names):
        return builders._checked_names({"train": builders._class_names("train", RawSplit(names, None, None))})

    # TensorFlow Datasets keeps one name in a line.
    assert checked(("a\nb", " c  ", "d")) == ["a b", "c", "d"]
    for names in (("a", " a"), ("a", "\n"), ("a", "\ud800")):
        with pytest.raises(UserError, match="different names in Unicode"):
            checked(names)


def test_it_is_a_builder_of_tensorflow_datasets(original, tmp_path):
    config = builders.PreparationConfig(name="partial", image_size=32, allow_partial=True)
    builder = tfds.builder("cifar_fs", config=config, data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=original))
    folder = tmp_path / "cifar_fs" / "partial" / "1.0.0"
    assert_whole(open_splits("cifar_fs", data_dir=folder))
    info = tfds.builder_from_directory(folder).info
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 192, "val": 48, "test": 60}
    source = tfds.builder("cifar_fs", config=config, data_dir=tmp_path).as_data_source("val")
    assert len(source) == 48
    assert info.features["label"].int2str(source[3]["label"]) == "beetle"
    np.testing.assert_array_equal(source[3]["image"], noise_image("beetle", 0))


def test_there_is_no_other_file_format(tmp_path):
    with pytest.raises(ValueError, match="'array_record'. Received: 'tfrecord'"):
        builders.CifarFs(file_format="tfrecord", data_dir=tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="The tfds command needs apache-beam.")
def test_the_tfds_command_builds_it(original, tmp_path):
    command = ["tfds", "build", "cifar_fs", "--imports=dsl_tf.data.builders", f"--data_dir={tmp_path}"]
    ran = subprocess.run([*command, f"--manual_dir={original}"], capture_output=True, text=True)
    # The command is found, and reads the folder; there is no flag of its own for partial data.
    assert "The train split of cifar_fs must have 38,400 images" in ran.stderr
    assert not list(tmp_path.rglob("dataset_info.json"))


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
    with pytest.raises(UserError, match="--dataset=glyphs is read as it is"):
        prepared.prepare("glyphs")


@pytest.mark.parametrize("dataset", ["mini_imagenet", "tiered_imagenet", "meta_inat"])
def test_a_data_set_that_cannot_be_downloaded_needs_a_folder(dataset, tmp_path):
    with pytest.raises(UserError, match=f"--dataset={dataset} needs --data_dir"):
        open_splits(dataset, cache_dir=tmp_path)


def test_the_command_prepares_and_counts(original, tmp_path):
    command = [sys.executable, "-m", "dsl_tf", "prepare", "--dataset=cifar_fs", f"--data_dir={original}"]
    command.append(f"--cache_dir={tmp_path}")
    failed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("error: The train split of cifar_fs must have 38,400 images")
    assert "Traceback" not in failed.stderr
    done = subprocess.run([*command, "--allow_partial"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train: 192 images of 64 classes" in done.stdout
