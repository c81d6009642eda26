import json

import keras
import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import few_shot_accuracies, sample_episodes, transform_features
from dsl_tf.report.evaluation import evaluation_text, write_evaluation
from dsl_tf.report.runs import read_run
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.runs.evaluations import read_evaluations
from dsl_tf.training import train
from tests.images import striped_splits, tiny_backbone, tiny_configuration, write_striped_folders

EPISODES = {"ways": 3, "shots": (1, 2), "queries": 5, "episodes": 60}


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory):
    """Two losses with two seeds each, by name."""
    folder = tmp_path_factory.mktemp("runs")
    directories = {}
    for loss, changes in {"sce": {"metric_loss": "none"}, "sum": {"integration": "sum"}}.items():
        for seed in (0, 1):
            directory = folder / loss / f"seed{seed}"
            changes = {**changes, "dataset": "folder", "data_dir": str(data_dir), "image_size": 16, "epochs": 1}
            train(tiny_configuration(directory, seed=seed, **changes), backbone=tiny_backbone())
            directories[f"{loss}{seed}"] = str(directory)
    return directories


def results_of(directory):
    with open(f"{directory}/results.json", encoding="utf-8") as file:
        return json.load(file)


def test_a_run_is_evaluated_from_the_features_of_its_backbone(runs, data_dir):
    result = evaluate(EvaluationConfiguration(run_dir=(runs["sce0"],), **EPISODES)).results[0]
    backbone = keras.models.load_model(f"{runs['sce0']}/backbone.keras", compile=False)
    test = striped_splits()["test"]
    features = backbone.predict(test.images / 127.5 - 1, verbose=0)
    np.testing.assert_allclose(result.subject.features, features, atol=2e-5)
    assert result.subject.class_names == test.class_names
    expected = few_shot_accuracies(features, test.labels, "test", feature_transforms=("none", "l2"), **EPISODES)
    measured = [entry for entry in result.accuracies if entry["feature_transform"] != "cl2"]
    assert len(result.accuracies) == 6
    for entry, other in zip(measured, expected, strict=True):
        assert entry["episodes_fingerprint"] == other["episodes_fingerprint"]
        assert entry["accuracy"] == pytest.approx(other["accuracy"], abs=0.01)


def test_what_training_recorded_stays(runs):
    before = results_of(runs["sce1"])
    evaluation = evaluate(EvaluationConfiguration(run_dir=(runs["sce1"],), **{**EPISODES, "episodes": 70}))
    write_evaluation(evaluation, f"{runs['sce1']}/evaluations")
    assert results_of(runs["sce1"]) == before
    found = read_evaluations(runs["sce1"])
    assert found == evaluation.results[0].accuracies
    assert {entry["episodes"] for entry in read_run(runs["sce1"]).results["accuracies"]} == {50, 70}


def test_smaller_and_larger_evaluations_stand_beside_each_other(runs):
    folders = set()
    for episodes in (80, 50, 80):
        evaluation = evaluate(EvaluationConfiguration(run_dir=(runs["sum1"],), **{**EPISODES, "episodes": episodes}))
        folders.add(write_evaluation(evaluation, f"{runs['sum1']}/evaluations"))
    assert len(folders) == 2
    assert {entry["episodes"] for entry in read_evaluations(runs["sum1"])} == {50, 80}


def test_other_data_are_said_and_do_not_count_as_the_runs_own(runs, tmp_path):
    other = tmp_path / "other"
    write_striped_folders(other)
    image = next((other / "test").rglob("*.png"))
    image.write_bytes(next((other / "train").rglob("*.png")).read_bytes())
    configuration = EvaluationConfiguration(run_dir=(runs["sum0"],), data_dir=str(other), **EPISODES)
    evaluation = evaluate(configuration)
    assert evaluation.results[0].subject.data == "other data"
    assert "other data" in evaluation_text(evaluation)
    folder = write_evaluation(evaluation, f"{runs['sum0']}/evaluations")
    assert json.loads((folder / "evaluation.json").read_text())["subjects"][0]["data"] == "other data"
    assert read_evaluations(runs["sum0"]) == []
    own = evaluate(EvaluationConfiguration(run_dir=(runs["sum0"],), **EPISODES))
    assert own.results[0].subject.data == "the run's own" and own.name != evaluation.name
    assert "other data" not in evaluation_text(own)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"subjects": 3}', b'{"subjects": [{"data": "the run\'s own"}]}', b"[" * 10**5]
)
def test_damaged_evaluations_are_left_out(tmp_path, content):
    (tmp_path / "evaluations" / "broken").mkdir(parents=True)
    (tmp_path / "evaluations" / "broken" / "evaluation.json").write_bytes(content)
    assert read_evaluations(tmp_path) == []


def test_a_comparison_belongs_to_none_of_its_runs(runs):
    alone = EvaluationConfiguration(run_dir=(runs["sce0"],))
    several = EvaluationConfiguration(run_dir=(runs["sce0"], runs["sum0"]))
    assert alone.output_dir == f"{runs['sce0']}/evaluations" and several.output_dir == "evaluations"


def test_features_are_kept_and_read_again(runs, monkeypatch):
    configuration = EvaluationConfiguration(run_dir=(runs["sce0"],), **EPISODES)
    first = evaluate(configuration)
    monkeypatch.setattr("dsl_tf.runs.subjects.extract_features", None)
    assert evaluate(configuration).results[0].accuracies == first.results[0].accuracies


def test_runs_that_differ_in_their_seed_are_compared_as_one(runs):
    evaluation = evaluate(EvaluationConfiguration(run_dir=tuple(runs.values()), **EPISODES))
    assert len(evaluation.results) == 4
    assert set(evaluation.comparisons) == {
        ("nearest_centroid", kind, shots) for kind in ("none", "l2", "cl2") for shots in (1, 2)
    }
    matrix = evaluation.comparisons["nearest_centroid", "none", 1]
    assert matrix.names == ("SCE (2 seeds)", "SCE+NCA (2 seeds)")
    accuracies = {
        name: next(
            entry["accuracy"]
            for entry in result.accuracies
            if (entry["feature_transform"], entry["shots"]) == ("none", 1)
        )
        for name, result in zip(runs, evaluation.results, strict=True)
    }
    difference = (accuracies["sce0"] + accuracies["sce1"] - accuracies["sum0"] - accuracies["sum1"]) / 2
    assert matrix.differences[0, 1] == pytest.approx(difference)
    assert matrix.seeds_half_widths[0, 1] >= 0
    assert len({entry["episodes_fingerprint"] for result in evaluation.results for entry in result.accuracies}) == 2


def test_subjects_on_other_data_are_not_compared(runs, tmp_path, caplog):
    features = np.random.default_rng(0).normal(size=(80, 16))
    np.savez(tmp_path / "other.npz", features=features, labels=np.repeat(np.arange(4), 20))
    chosen = EvaluationConfiguration(run_dir=(runs["sce0"],), features=(str(tmp_path / "other.npz"),), **EPISODES)
    evaluation = evaluate(chosen)
    assert len(evaluation.results) == 2 and evaluation.comparisons == {}
    assert "episodes differ" in caplog.text


def test_features_of_another_framework_are_evaluated_and_compared(tmp_path):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    paths = []
    for spread in (0.5, 2.0):
        features = random.normal(size=(5, 8))[labels] + spread * random.normal(size=(60, 8))
        paths.append(str(tmp_path / f"{spread}.npz"))
        np.savez(paths[-1], features=features, labels=labels)
    evaluation = evaluate(EvaluationConfiguration(features=tuple(paths), **EPISODES))
    near, far = (result.accuracies[0]["accuracy"] for result in evaluation.results)
    assert near > far + 0.1
    matrix = evaluation.comparisons["nearest_centroid", "none", 1]
    assert matrix.names == ("0.5.npz", "2.0.npz")
    assert matrix.differences[0, 1] == pytest.approx(near - far)
    assert {entry["feature_transform"] for entry in evaluation.results[0].accuracies} == {"none", "l2"}


def test_lam_is_chosen_on_the_validation_features_of_the_file(tmp_path, caplog):
    random = np.random.default_rng(0)
    arrays = {"features": random.normal(size=(60, 4)), "labels": np.repeat(np.arange(5), 12)}
    np.savez(tmp_path / "without.npz", **arrays)
    np.savez(tmp_path / "with.npz", **arrays, val_features=arrays["features"] + 1, val_labels=arrays["labels"])
    chosen = {"classifiers": ("laplacian_shot",), "feature_transforms": ("l2",), **EPISODES}
    without = evaluate(EvaluationConfiguration(features=(str(tmp_path / "without.npz"),), **chosen))
    assert {entry["lam"] for entry in without.results[0].accuracies} == {0.7}
    assert "no val classes" in caplog.text
    evaluated = evaluate(EvaluationConfiguration(features=(str(tmp_path / "with.npz"),), **chosen))
    assert all(entry["lam"] in (0.1, 0.3, 0.5, 0.7, 0.8, 1, 1.2, 1.5) for entry in evaluated.results[0].accuracies)


def test_unequal_queries_and_a_classifier_of_the_users_own_are_recorded_apart(tmp_path, monkeypatch):
    lines = ["import tensorflow as tf", "def first(support, query): return tf.zeros(tf.shape(query)[:2], tf.int32)"]
    (tmp_path / "classifiers_of_a_test.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    np.savez(tmp_path / "x.npz", features=np.random.default_rng(0).normal(size=(200, 4)), labels=np.arange(200) % 5)
    chosen = {"features": (str(tmp_path / "x.npz"),), "classifiers": ("classifiers_of_a_test:first",), **EPISODES}
    equal = evaluate(EvaluationConfiguration(**chosen))
    unequal = evaluate(EvaluationConfiguration(query_concentration=2.0, **chosen))
    assert {entry["classifier"] for entry in equal.results[0].accuracies} == {"classifiers_of_a_test:first"}
    assert {entry["query_concentration"] for entry in unequal.results[0].accuracies} == {2.0}
    assert "dirichlet2" in unequal.name and "dirichlet" not in equal.name and ":" not in equal.name
    json.dumps([equal.results[0].report(), unequal.results[0].report()], allow_nan=False)
    with pytest.raises(UserError, match="--details needs equal numbers"):
        EvaluationConfiguration(query_concentration=2.0, details=True, **chosen)
    with pytest.raises(UserError, match="--classifiers must be among .* or module:function. Received: 'svm'"):
        EvaluationConfiguration(**{**chosen, "classifiers": ("svm",)})


def test_cl2_needs_the_mean(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.eye(60), labels=np.repeat(np.arange(5), 12))
    with pytest.raises(UserError, match="cl2 needs"):
        evaluate(EvaluationConfiguration(features=(str(tmp_path / "x.npz"),), feature_transforms=("cl2",), **EPISODES))


def test_a_saved_model_alone_is_evaluated_as_its_run(runs, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = {"feature_transforms": ("none", "l2"), **EPISODES}
    saved_model = EvaluationConfiguration(
        saved_model=f"{runs['sce0']}/saved_model", dataset="folder", data_dir=str(data_dir), **chosen
    )
    of_run = evaluate(EvaluationConfiguration(run_dir=(runs["sce0"],), **chosen)).results[0]
    alone = evaluate(saved_model).results[0]
    np.testing.assert_allclose(alone.subject.features, of_run.subject.features, atol=2e-5)
    for entry, other in zip(alone.accuracies, of_run.accuracies, strict=True):
        assert entry["accuracy"] == pytest.approx(other["accuracy"], abs=0.01)


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_splits(runs, split):
    evaluation = evaluate(EvaluationConfiguration(run_dir=(runs["sce0"],), split=split, **EPISODES))
    assert evaluation.results[0].subject.class_names == striped_splits()[split].class_names
    assert {entry["split"] for entry in evaluation.results[0].accuracies} == {split}


def test_details(runs):
    result = evaluate(EvaluationConfiguration(run_dir=(runs["sum0"],), details=True, **EPISODES)).results[0]
    assert set(result.details) == {"retrieval", "discriminant_scores", "subspace_accuracies", "singular_values"}
    assert 0 < result.details["retrieval"]["map_at_r"] <= result.details["retrieval"]["recall_at_8"] <= 1
    assert len(result.details["singular_values"]) == result.subject.features.shape[1]
    for name in ("classifier_subspace", "complement"):
        assert [entry["shots"] for entry in result.details["subspace_accuracies"][name]] == [1, 2]
    report = result.report()
    json.dumps(report, allow_nan=False)
    entry = report["accuracies"][0]
    assert set(entry["class_accuracies"]) == set(result.subject.class_names)
    labels = result.subject.labels
    support, query = sample_episodes(labels, 3, 1, 5, 60, 0)
    features = transform_features(result.subject.features, "none")
    right, asked = np.zeros(6), np.zeros(6)
    for ways_support, ways_query in zip(support, query, strict=True):
        centroids = features[ways_support].mean(axis=1)
        for way, images in enumerate(ways_query):
            for image in images:
                asked[labels[image]] += 1
                right[labels[image]] += ((features[image] - centroids) ** 2).sum(axis=1).argmin() == way
    np.testing.assert_allclose(list(entry["class_accuracies"].values()), right / asked, atol=0.02)
