import csv
import json

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.report.evaluation import evaluation_report, evaluation_text, write_evaluation
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    """One file of features with details, and two compared."""
    folder = tmp_path_factory.mktemp("features")
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    names = np.array(["owl, white", "ant", "bee", "=cow()", 'dog "x"'])
    paths = []
    for spread in (0.5, 2.0):
        paths.append(str(folder / f"{spread}.npz"))
        features = random.normal(size=(5, 8))[labels] + spread * random.normal(size=(60, 8))
        np.savez(paths[-1], features=features, labels=labels, class_names=names)
    options = {"ways": 3, "shots": (1, 2), "queries": 5, "episodes": 60}
    return [
        evaluate(EvaluationConfiguration(features=(paths[0],), details=True, **options)),
        evaluate(EvaluationConfiguration(features=tuple(paths), **options)),
    ]


def test_numbers_are_written_as_json_and_episode_by_episode(evaluations, tmp_path):
    folder = write_evaluation(evaluations[1], tmp_path / "new" / "folder")
    assert folder.parent == tmp_path / "new" / "folder" and folder.name == evaluations[1].name
    assert {"evaluation.json", "episodes.npz"} < {path.name for path in folder.iterdir()}
    report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert report == json.loads(json.dumps(evaluation_report(evaluations[1])))
    assert len(report["subjects"]) == 2 and len(report["comparisons"]) == 4
    assert report["comparisons"][0]["seeds_half_widths"] == [[None, None], [None, None]]
    with np.load(folder / "episodes.npz") as arrays:
        assert [name.endswith(".npz") for name in arrays["names"]] == [True, True]
        for number, subject in enumerate(report["subjects"]):
            for entry in subject["accuracies"]:
                name = f"{number}/{entry['classifier']}/{entry['feature_transform']}/{entry['shots']}"
                assert arrays[name].shape == (60,)
                assert arrays[name].mean() == pytest.approx(entry["accuracy"], rel=1e-5)


def test_details_are_drawn_and_listed(evaluations, tmp_path):
    folder = write_evaluation(evaluations[0], tmp_path)
    assert {"confusion.csv", "confusion.png", "projector"} <= {path.name for path in folder.iterdir()}
    with open(folder / "confusion.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["class", "owl, white", "ant", "bee", "'=cow()", 'dog "x"']
    rates = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
    by_class = evaluation_report(evaluations[0])["subjects"][0]["accuracies"][0]["class_accuracies"]
    np.testing.assert_allclose(np.diag(rates), list(by_class.values()), atol=1e-5)
    assert (folder / "projector" / "projector_config.pbtxt").exists()


def test_the_text_has_accuracies_comparison_and_details(evaluations):
    alone, compared = map(evaluation_text, evaluations)
    assert "3-way 2-shot (%)" in alone and "Recall@1" in alone and "MAP@R" in alone
    assert compared.count("Differences from 0.5.npz") == 1 and compared.count("  2.0.npz  ") == 4
    # One table: the accuracies are in it already.
    assert "split" not in compared and "split" in alone


def test_a_folder_that_cannot_be_made_is_told(evaluations, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output_dir=.*must be a folder that can be written"):
        write_evaluation(evaluations[0], str(tmp_path / "file" / "folder"))


def test_a_repetition_replaces_itself_alone(evaluations, tmp_path):
    first, second = (write_evaluation(evaluation, tmp_path) for evaluation in evaluations)
    (second / "note.txt").write_text("of the user")
    before = (second / "evaluation.json").read_bytes()
    assert write_evaluation(evaluations[0], tmp_path) == first
    assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
    assert (second / "evaluation.json").read_bytes() == before and (second / "note.txt").exists()
