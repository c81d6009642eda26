import zipfile

import keras
import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.runs.features_file import of_features_file
from dsl_tf.runs.subjects import of_run
from tests.images import tiny_backbone
from tests.report.made_runs import make_run


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {"features": random.normal(size=(12, 5)).astype(np.float32), "labels": np.repeat([4, 1, 9], 4)}


def save(tmp_path, arrays):
    path = tmp_path / "features.npz"
    np.savez(path, **arrays)
    return str(path)


def test_features_and_labels_are_enough(tmp_path, arrays):
    subject = of_features_file(save(tmp_path, arrays))
    np.testing.assert_array_equal(subject.features, arrays["features"])
    np.testing.assert_array_equal(subject.labels, np.repeat([1, 0, 2], 4))
    assert subject.class_names == ("1", "4", "9")
    assert subject.validation is subject.mean is subject.kernel is subject.images is None


def test_all_arrays_are_used(tmp_path, arrays):
    arrays["class_names"] = np.array([f"class {label}" for label in range(10)])
    arrays["mean"] = np.arange(5.0)
    arrays["val_features"], arrays["val_labels"] = arrays["features"][:6] + 1, np.arange(6) % 2
    subject = of_features_file(save(tmp_path, arrays))
    assert subject.class_names == ("class 1", "class 4", "class 9")
    np.testing.assert_array_equal(subject.mean, np.arange(5.0))
    features, labels = subject.validation()
    np.testing.assert_array_equal(features, arrays["val_features"])
    np.testing.assert_array_equal(labels, np.arange(6) % 2)


def test_labels_may_be_texts(tmp_path, arrays):
    arrays["labels"] = np.repeat(["owl", "ant", "bee"], 4)
    subject = of_features_file(save(tmp_path, arrays))
    assert subject.class_names == ("ant", "bee", "owl")
    np.testing.assert_array_equal(subject.labels, np.repeat([2, 0, 1], 4))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_any_precision_becomes_float32(tmp_path, arrays, kind):
    arrays["features"] = arrays["features"].astype(kind)
    assert of_features_file(save(tmp_path, arrays)).features.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "must hold the arrays features and labels. Received: 'features'. Add labels"),
        ({"features": None, "x": np.zeros(3)}, "Received: 'labels', 'x'. Add features"),
        ({"features": np.zeros((12, 5), int)}, "floats.*int64"),
        ({"features": np.zeros((12, 5, 1))}, r"floats \[n, d\].*\[12, 5, 1\]"),
        ({"labels": np.zeros(11, int)}, r"labels \[n\].*\[11\]"),
        ({"labels": np.zeros(12)}, "integers or strings. Received: float64"),
        ({"features": np.full((12, 5), np.nan)}, "must be finite"),
        ({"class_names": np.array(["a", "b"])}, "one per label from 0.*labels up to 9"),
        ({"class_names": np.arange(10)}, "class_names must be strings"),
        ({"mean": np.zeros(4)}, r"mean must be a float \[5\]"),
        ({"mean": np.full(5, np.inf)}, "mean must be finite"),
        ({"val_features": np.zeros((3, 5))}, "Add val_labels"),
        ({"val_features": np.zeros((3, 2)), "val_labels": np.arange(3)}, "val_features of as many dimensions"),
        ({"features": np.full((12, 5), 1e300)}, "must be finite as float32"),
        ({"features": np.zeros((0, 5)), "labels": np.zeros(0, int)}, "n and d above 0"),
        ({"features": np.zeros((12, 0))}, "n and d above 0"),
        ({"labels": np.full(12, 0xFFFFFFFF, np.uint32).view("U1")}, "Unicode text"),
        ({"labels": np.full(12, 0xD800, np.uint32).view("U1")}, "Unicode text"),
        ({"features": None, "a\nb": np.zeros(3)}, r"Received: 'labels', 'a\\nb'"),
        ({"features": np.array([{}] * 12, dtype=object)}, "plain arrays"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, arrays, changes, words):
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    path = save(tmp_path, arrays)
    with pytest.raises(UserError, match=words) as error:
        of_features_file(path)
    assert "\n" not in str(error.value) and path in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 and no more"])
def test_a_file_that_is_none_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "features.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="must be an .npz file of plain arrays") as error:
        of_features_file(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"no array",
        b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
        b"\x93NUMPY\x01\x00\x48\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(72),
    ],
)
def test_a_member_that_is_no_array_is_told_in_one_line(tmp_path, arrays, content):
    path = tmp_path / "features.npz"
    np.savez(path, labels=arrays["labels"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("features.npy", content)
    with pytest.raises(UserError, match="--features=") as error:
        of_features_file(str(path))
    assert "\n" not in str(error.value)


def test_a_damaged_compressed_member_is_told_in_one_line(tmp_path, arrays):
    path = tmp_path / "features.npz"
    np.savez_compressed(path, **arrays)
    content = bytearray(path.read_bytes())
    # Past the local header, in the compressed data.
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(UserError, match="must be an .npz file of plain arrays") as error:
        of_features_file(str(path))
    assert "\n" not in str(error.value)


@pytest.fixture
def run(tmp_path):
    directory = make_run(tmp_path / "run", dataset="glyphs")
    tiny_backbone().save(directory / "backbone.keras")
    np.savez(directory / "training_statistics.npz", feature_mean=np.zeros(16, np.float32))
    return directory


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b'{"module": "os", "class_name": "abort"}'])
def test_a_damaged_backbone_is_told_in_one_line(run, name, content):
    with zipfile.ZipFile(run / "backbone.keras") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(run / "backbone.keras", "w") as archive:
        for member, whole in members.items():
            archive.writestr(member, content if member == name else whole)
    with pytest.raises(UserError, match="must be a Keras model file") as error:
        of_run(run, "test")
    assert "\n" not in str(error.value)


def test_a_backbone_with_code_in_it_is_not_run(run):
    layers = keras.layers
    keras.Sequential([keras.Input((16, 16, 3)), layers.Lambda(lambda x: x), layers.Flatten()]).save(
        run / "backbone.keras"
    )
    (run / "saved_model").mkdir(exist_ok=True)
    with pytest.raises(UserError, match="must be a Keras model file.*--saved_model='.*saved_model'") as error:
        of_run(run, "test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "statistics",
    [
        {"feature_mean": np.zeros(15)},
        {"feature_mean": np.full(16, np.nan)},
        {"feature_mean": np.full(16, "text")},
        {"feature_mean": np.zeros(16), "kernel": np.zeros(16)},
        {"feature_mean": np.zeros(16), "kernel": np.zeros((15, 3))},
    ],
)
def test_damaged_statistics_are_told_in_one_line(run, statistics):
    np.savez(run / "training_statistics.npz", **statistics)
    with pytest.raises(UserError, match="must hold the array feature_mean") as error:
        of_run(run, "test")
    assert "\n" not in str(error.value)
