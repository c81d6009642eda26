"""Features from files of other programs."""

import json

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.runs.features_file import of_features_file

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(12, 3)).astype(np.float32)
LABELS = np.repeat([4, 1, 9], 4)
TEXTS = np.array(["owl", "Bär", "cat"])[LABELS % 3]
FILES = np.array([f"{row}.jpg" for row in range(12)])


def table(lists=True, texts=False, features=FEATURES, labels=LABELS, **more):
    columns = {"label": TEXTS if texts else labels, **more}
    if lists:
        columns["features"] = list(features)
    else:
        columns |= {f"x{place}": column for place, column in enumerate(features.T)}
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def save_csv(path, content):
    pa.csv.write_csv(content, path)


def save_parquet(path, content):
    pa.parquet.write_table(content, path)


def save_arrow(path, content, stream=True):
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, content.schema) as writer:
        # In two batches.
        writer.write_table(content, max_chunksize=7)


def save_dataset(path, content, names=None):
    """What `datasets` writes."""
    path.mkdir(parents=True)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parts = {"data-00000-of-00002.arrow": content[:5], "data-00001-of-00002.arrow": content[5:]}
    for name, part in parts.items():
        save_arrow(path / name, part)
    files = [{"filename": name} for name in parts]
    (path / "state.json").write_text(json.dumps({"_data_files": files, "_indices_data_files": None}))


def example(**features):
    def feature(values):
        values = values if isinstance(values, list | np.ndarray) else [values]
        if isinstance(values[0], bytes | str):
            values = [value.encode() if isinstance(value, str) else value for value in values]
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], int | np.integer):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    return tf.train.Example(features=tf.train.Features(feature={n: feature(v) for n, v in features.items()}))


def save_records(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in examples:
            writer.write(one.SerializeToString())


def check(subject, features=FEATURES, texts=False, files=True):
    np.testing.assert_array_equal(subject.features, features)
    assert subject.features.dtype == np.float32
    assert [subject.class_names[label] for label in subject.labels] == list(map(str, TEXTS if texts else LABELS))
    assert subject.files == (tuple(FILES) if files else ())


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("form", ["csv", "parquet", "parquet of lists", "arrow", "arrow file", "dataset"])
def test_tables(tmp_path, form, texts):
    path = tmp_path / f"a=b.{form.split()[0]}"
    content = table("lists" in form or form == "dataset", texts, file=FILES)
    if form == "dataset":
        save_dataset(path, content)
    elif "arrow" in form:
        save_arrow(path, content, stream=form == "arrow")
    else:
        {"csv": save_csv, "parquet": save_parquet}[form.split()[0]](path, content)
    subject = of_features_file(str(path))
    check(subject, subject.features, texts)
    np.testing.assert_allclose(subject.features, FEATURES, rtol=1e-6)


@pytest.mark.parametrize("kind", ["half", "double", "fixed", "large"])
def test_lists_of_other_types(tmp_path, kind):
    types = {"half": pa.list_(pa.float16()), "double": pa.list_(pa.float64()), "fixed": pa.list_(pa.float32(), 3)}
    halves = FEATURES.astype(np.float16)
    column = pa.array(
        list(halves) if kind == "half" else FEATURES.tolist(), types.get(kind, pa.large_list(pa.float32()))
    )
    labels = pa.array(TEXTS.tolist(), pa.large_string()).dictionary_encode()
    save_arrow(tmp_path / "x.arrow", pa.table({"features": column, "labels": labels}))
    expected = halves.astype(np.float32) if kind == "half" else FEATURES
    check(of_features_file(str(tmp_path / "x.arrow")), expected, True, files=False)


def test_splits_of_a_table_and_of_a_dataset(tmp_path):
    splits = np.repeat(["Train", "validation", "test"], 4)
    save_csv(tmp_path / "x.csv", table(False, split=splits))
    names = [f"class {number}" for number in range(10)]
    folders = {"train": slice(0, 4), "validation": slice(4, 8), "test": slice(8, 12)}
    for name, rows in folders.items():
        content = table(features=FEATURES[rows], labels=LABELS[rows])
        save_dataset(tmp_path / "dataset" / name, content, names)
    (tmp_path / "dataset" / "dataset_dict.json").write_text(json.dumps({"splits": list(folders)}))
    for path, class_name in (("x.csv", "9"), ("dataset", "class 9")):
        subject = of_features_file(str(tmp_path / path))
        np.testing.assert_allclose(subject.features, FEATURES[8:], rtol=1e-6)
        np.testing.assert_allclose(subject.mean, FEATURES[:4].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(subject.validation()[0], FEATURES[4:8], rtol=1e-6)
        assert subject.class_names == (class_name,)
    save_csv(tmp_path / "x.csv", table(False, split=np.repeat("val", 12)))
    assert len(of_features_file(str(tmp_path / "x.csv")).features) == 12


@pytest.mark.parametrize(("name", "others"), [("my_features", "my_{}"), ("x", "x_{}")])
def test_npy_files_side_by_side(tmp_path, name, others):
    np.save(tmp_path / f"{name}.npy", FEATURES.astype(ml_dtypes.bfloat16))
    for other, array in {"labels": TEXTS, "mean": FEATURES[0].astype(ml_dtypes.bfloat16), "files": FILES}.items():
        np.save(tmp_path / f"{others.format(other)}.npy", array)
    subject = of_features_file(str(tmp_path / f"{name}.npy"))
    check(subject, FEATURES.astype(ml_dtypes.bfloat16).astype(np.float32), texts=True)
    np.testing.assert_array_equal(subject.mean, FEATURES[0].astype(ml_dtypes.bfloat16).astype(np.float32))


def test_bfloat16_in_an_npz_file(tmp_path):
    halves = FEATURES.astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "x.npz", features=halves, labels=LABELS, val_features=halves, val_labels=LABELS)
    subject = of_features_file(str(tmp_path / "x.npz"))
    check(subject, halves.astype(np.float32), files=False)
    np.testing.assert_array_equal(subject.validation()[0], halves.astype(np.float32))


@pytest.mark.parametrize("form", ["floats", "tensors", "bfloat16"])
def test_records(tmp_path, form):
    vectors = FEATURES.astype(ml_dtypes.bfloat16) if form == "bfloat16" else FEATURES
    if form != "floats":
        vectors = [tf.io.serialize_tensor(vector).numpy() for vector in vectors]
    save_records(
        tmp_path / "x.tfrecord",
        [example(features=v, label=text, file=file) for v, text, file in zip(vectors, TEXTS.tolist(), FILES.tolist())],
    )
    expected = FEATURES.astype(ml_dtypes.bfloat16).astype(np.float32) if form == "bfloat16" else FEATURES
    check(of_features_file(str(tmp_path / "x.tfrecord")), expected, texts=True)
    save_records(tmp_path / "y.tfrecords", [example(features=v, labels=n) for v, n in zip(FEATURES, LABELS.tolist())])
    check(of_features_file(str(tmp_path / "y.tfrecords")), files=False)


def test_forms_are_compared_with_each_other(tmp_path):
    labels = np.arange(60) % 5
    features = np.eye(5, dtype=np.float32)[labels] + RANDOM.normal(size=(60, 5)).astype(np.float32)
    np.savez(tmp_path / "x.npz", features=features, labels=labels)
    save_parquet(tmp_path / "x.parquet", table(features=features, labels=labels))
    paths = tuple(str(tmp_path / name) for name in ("x.npz", "x.parquet"))
    evaluation = evaluate(EvaluationConfiguration(features=paths, episodes=20, shots=(1,), queries=5))
    first, second = (result.accuracies for result in evaluation.results)
    assert first == second and (evaluation.comparisons["nearest_centroid", "l2", 1].differences == 0).all()


BAD = {
    "no labels.csv": (lambda: table(False).drop_columns(["label"]), "labels or label. Received: 12 rows of .*'x0'"),
    "text.csv": (lambda: table(False, more=TEXTS), "'more' is no column of numbers .*'more' \\(string\\)"),
    "float labels.csv": (lambda: table(False, labels=LABELS + 0.5), "column label must hold integers .* double"),
    "labels alone.csv": (lambda: table(False).select(["label"]), "Received: no such column; 12 rows"),
    "gaps.csv": (lambda: table(False, x3=pa.array([None, *range(11)])), "'x3' is no column of numbers without empty"),
    "split.csv": (
        lambda: table(False, split=np.repeat("other", 12)),
        "must hold train, val or test. Received: 'other'",
    ),
    "no test.csv": (lambda: table(False, split=np.repeat(["train", "val"], 6)), "the split test, .* train, val"),
    "ragged.parquet": (lambda: table(features=[[1.0]] * 11 + [[1.0, 2.0]]), "lists of one length, .* lengths 1, 2"),
    "nothing.parquet": (lambda: table(features=[[1.0]] * 11 + [None]), "Received: lengths 1, 1 empty cells"),
    "empty cell.arrow": (lambda: table(features=[[1.0]] * 11 + [[None]]), "Received: lengths 1, 1 empty cells"),
    "integers.parquet": (lambda: table(features=[[1]] * 12), "must hold lists of floats. .*list<.*int64>"),
    "no rows.parquet": (lambda: table()[:0], "lists of one length, .* lengths none"),
    "labels of lists.arrow": (lambda: table(labels=[[1]] * 12), "column label must hold integers or texts.*list"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_table_of_something_else_is_told_in_one_line(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / name
    {"csv": save_csv, "parquet": save_parquet, "arrow": save_arrow}[name.split(".")[1]](path, content())
    with pytest.raises(UserError, match=words) as error:
        of_features_file(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.parquet", "x.arrow", "x.tfrecord", "x.tfrecords", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04\x95" + bytes(60), b"PAR1" * 9, None])
def test_a_damaged_file_is_told_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        of_features_file(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (example(features=[1.0]), r"record 1 with 1 of 'features' \(float_list\)"),
        (example(label=3, x=[1.0]), "record 1 with 1 of 'label' .int64_list., 1 of 'x'"),
        (example(features=[1.0, 2.0], label=[1, 2]), "record 1 with 2 of 'features' .*, 2 of 'label'"),
        (example(features=[1.0, 2.0], label=1), "record 1 with 2 of 'features'"),
        (example(features=[1, 2, 3], label=1), r"3 of 'features' \(int64_list\)"),
        (example(), "record 1 with no features"),
    ],
)
def test_an_example_of_something_else_is_told_in_one_line(tmp_path, one, words):
    path = tmp_path / "x.tfrecord"
    save_records(path, [example(features=[1.0, 2.0, 3.0], label=0), one])
    with pytest.raises(UserError, match=words):
        of_features_file(str(path))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="must hold examples. Received: none"):
        of_features_file(str(path))


def test_what_could_hold_code_is_not_opened(tmp_path):
    for suffix in (".pt", ".pkl"):
        with pytest.raises(UserError, match=f"a {suffix} file, which is not opened because it may hold code"):
            (tmp_path / f"x{suffix}").write_bytes(b"")
            of_features_file(str(tmp_path / f"x{suffix}"))
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="must be a readable .npy file.*allow_pickle"):
        of_features_file(str(tmp_path / "x.npy"))


def test_folders_and_files_that_are_missing(tmp_path):
    np.save(tmp_path / "x.npy", FEATURES)
    with pytest.raises(UserError, match="labels must be in '.*x_labels.npy'. Received: no such file"):
        of_features_file(str(tmp_path / "x.npy"))
    with pytest.raises(UserError, match="save_to_disk, with state.json. Received: 'x.npy' in"):
        of_features_file(str(tmp_path))
    save_dataset(tmp_path / "dataset", table())
    (tmp_path / "dataset" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match="must be a readable folder.*No such file"):
        of_features_file(str(tmp_path / "dataset"))
    (tmp_path / "dataset" / "state.json").write_text('{"_indices_data_files": [{"filename": "x"}]}')
    with pytest.raises(UserError, match="chosen by indices. Save it again"):
        of_features_file(str(tmp_path / "dataset"))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["dataset"]}')
    with pytest.raises(UserError, match="its splits must be train, val or test. Received: dataset"):
        of_features_file(str(tmp_path))
