import os

import numpy as np
import pytest

from dsl_tf.data import Split
from dsl_tf.runs.feature_cache import cached_features, files_fingerprint


def split(seed=0, images=6):
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 4, 4, 3), np.uint8)
    return Split(pixels, np.zeros(images, int), ("a",))


class Counted:
    """Computes features, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images[:, 0, 0].astype(np.float32)


@pytest.fixture
def compute():
    return Counted()


def test_features_are_computed_once(tmp_path, compute):
    first = cached_features(tmp_path / "new" / "folder", "model", split(), compute)
    again = cached_features(tmp_path / "new" / "folder", "model", split(), compute)
    assert compute.calls == 1
    np.testing.assert_array_equal(first, split().images[:, 0, 0])
    np.testing.assert_array_equal(again, first)
    assert again.dtype == np.float32
    assert [path.suffix for path in (tmp_path / "new" / "folder").iterdir()] == [".npy"]


def test_another_model_or_other_images_are_another_entry(tmp_path, compute):
    changed = split().images.copy()
    changed[3, 2, 1, 0] ^= 1
    for model, chosen in [
        ("model", split()),
        ("other", split()),
        ("model", split(seed=1)),
        ("model", Split(changed, split().labels, ("a",))),
        ("model", Split(split().images[::-1], split().labels, ("a",))),
        ("model", split(images=5)),
    ]:
        np.testing.assert_array_equal(cached_features(tmp_path, model, chosen, compute), chosen.images[:, 0, 0])
    assert compute.calls == 6


@pytest.mark.parametrize("damage", [b"", b"no array", "cut", "other", "objects", "bit", "more", "unchecked"])
def test_a_damaged_entry_is_computed_anew(tmp_path, compute, damage):
    cached_features(tmp_path, "model", split(), compute)
    (path,) = tmp_path.iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "bit":
        content = bytearray(path.read_bytes())
        # Within the array: 128 bytes of header come first, 32 of checksum last.
        content[140] ^= 1
        path.write_bytes(content)
    elif damage == "more":
        path.write_bytes(path.read_bytes() + b"0")
    elif damage == "unchecked":
        np.save(path, np.zeros((6, 3), np.float32))
    elif damage == "other":
        np.save(path, np.zeros((2, 3), np.float32))
    elif damage == "objects":
        np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(damage)
    for _ in range(2):
        np.testing.assert_array_equal(cached_features(tmp_path, "model", split(), compute), split().images[:, 0, 0])
    assert compute.calls == 2


def test_where_nothing_can_be_written_features_are_computed_every_time(tmp_path, compute):
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        cached_features(tmp_path / "file" / "features", "model", split(), compute)
    assert compute.calls == 2


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def interrupted(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_features(tmp_path, "model", split(), interrupted)
    assert list(tmp_path.iterdir()) == []


def test_files_are_told_apart_by_every_byte_and_name(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_bytes(b"1234")
    (folder / "b").write_bytes(b"5")
    first = files_fingerprint(folder)
    os.utime(folder / "b")
    assert files_fingerprint(folder) == first
    (folder / "inner" / "a").write_bytes(b"1235")
    second = files_fingerprint(folder)
    (folder / "b").rename(folder / "c")
    third = files_fingerprint(folder)
    assert len({first, second, third, files_fingerprint(folder / "c")}) == 4
