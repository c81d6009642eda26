"""Episodes in files, and groups of classes."""

import json

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import Episodes, sample_episodes, sample_unequal_episodes, sample_varied_episodes
from dsl_tf.report.evaluation import evaluation_text, write_evaluation
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.episodes_file import read_episodes, write_episodes
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.runs.evaluations import read_evaluations
from dsl_tf.runs.groups_file import read_groups
from dsl_tf.runs.subjects import Subject

CLASSES = ("owl", "=ant", "Bär", "cat", "dog", "elk")
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 20))
FEATURES = (np.eye(6)[LABELS] + np.random.default_rng(1).normal(size=(120, 6))).astype(np.float32)
FILES = tuple(f"/data/test/{CLASSES[label]}/a b/{position}.jpg" for position, label in enumerate(LABELS))
PLAIN = Subject("plain", FEATURES, LABELS, CLASSES)
NAMED = Subject("named", FEATURES, LABELS, CLASSES, files=FILES)
KINDS = {
    "equal": Episodes(*sample_episodes(LABELS, 3, 2, 4, 5, 0)),
    "unequal": Episodes(*sample_unequal_episodes(LABELS, 3, 2, 4, 5, 0, 1.0)),
    "varied": sample_varied_episodes(LABELS, 5, 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", [PLAIN, NAMED], ids=lambda subject: subject.name)
def test_what_is_written_is_read(tmp_path, kind, subject):
    path = tmp_path / "episodes.jsonl"
    write_episodes(path, KINDS[kind], subject)
    for found, expected in zip(read_episodes(path, subject), KINDS[kind], strict=True):
        np.testing.assert_array_equal(found, expected)
    image = next(iter(json.loads(path.read_text().splitlines()[0])["support"].values()))[0]
    assert isinstance(image, str) == bool(subject.files)


def test_images_are_found_by_the_end_of_their_names(tmp_path):
    owls, cats = (np.flatnonzero(label == LABELS) for label in (0, 3))
    path = tmp_path / "episodes.jsonl"
    one = {"support": {"cat": [f"{cats[0]}.jpg"], "owl": [f"a b/{owls[1]}.jpg"]}, "query": {"owl": [FILES[owls[2]]]}}
    path.write_text("\n\n".join(["\ufeff" + json.dumps(one), json.dumps(one), ""]), encoding="utf-8")
    episodes = read_episodes(path, NAMED)
    assert episodes.support.shape == (2, 2, 1) and episodes.query_ways.tolist() == [[1], [1]]
    assert episodes.support[0].ravel().tolist() == [cats[0], owls[1]] and episodes.query[1].tolist() == [owls[2]]


def test_of_two_names_with_one_end_the_shorter_is_meant(tmp_path):
    files = ("/d/x.png", "/d/more/x.png", "/d/other/more/x.png", "/d/y.png")
    subject = Subject("s", FEATURES[:4], np.array([0, 0, 0, 1]), ("a", "b"), files=files)
    path = tmp_path / "episodes.jsonl"
    line = {"support": {"a": ["x.png"], "b": ["y.png"]}, "query": {"a": ["more/x.png", "other/more/x.png"]}}
    path.write_text(f"{json.dumps(line)}\n" * 2)
    episodes = read_episodes(path, subject)
    assert episodes.support[0].tolist() == [[0], [3]] and episodes.query[0].tolist() == [1, 2]


OWLS, CATS = (np.flatnonzero(label == LABELS).tolist() for label in (0, 3))
GOOD = {"support": {"owl": OWLS[:1], "cat": CATS[:1]}, "query": {"owl": OWLS[2:4]}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no json", "line 2: expected .* Received: no JSON"),
        ("[" * 100_000, "line 2: expected .* Received: no JSON"),
        ("[1, 2]", r"line 2: expected .* Received: '\[1, 2\]'"),
        ('{"support": {}}', "line 2: expected"),
        ('{"support": {"owl": 3}, "query": {}}', "line 2: expected"),
        ({**GOOD, "query": {"dog": [1]}}, "queries must be of classes with support images. Received: queries of 'dog'"),
        ({**GOOD, "support": {"owl": [120]}}, "its position, from 0 to 119. Received: '120'"),
        ({**GOOD, "support": {"owl": [-1]}}, "its position, from 0 to 119. Received: '-1'"),
        ({**GOOD, "support": {"owl": [True]}}, "its position, .* Received: 'True'"),
        ({**GOOD, "support": {"owl": [1.5]}}, "its position, .* Received: '1.5'"),
        ({"support": {"emu": [1]}, "query": {}}, "classes of the data, such as 'owl'. Received: 'emu'"),
        ({**GOOD, "support": {"owl": CATS[:1]}}, "image of class 'owl'. Received: image .* which is of 'cat'"),
        ({**GOOD, "support": {"owl": ["x.jpg"]}}, "names of these images are not known"),
        ({**GOOD, "query": {"owl": OWLS[:1]}}, f"episode 2 has image {OWLS[0]} twice"),
        ({**GOOD, "query": {}}, "episode 2 .* queries of 2 ways, 0 in all"),
        ("", "at least 2 episodes, one per line. Received: 1"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_in_one_line(tmp_path, line, words):
    path = tmp_path / "episodes.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line if isinstance(line, str) else json.dumps(line)}\n")
    with pytest.raises(UserError, match=words) as error:
        read_episodes(path, PLAIN)
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 400


def test_a_wrong_name_and_a_wrong_file_are_told_in_one_line(tmp_path):
    path = tmp_path / "episodes.jsonl"
    double = Subject("s", FEATURES, LABELS, CLASSES, files=tuple(f"{file}/x.jpg" for file in FILES))
    for subject, name, words in ((NAMED, "z.jpg", "the name of no image"), (double, "x.jpg", "of several images")):
        path.write_text(json.dumps({**GOOD, "support": {"owl": [name]}}))
        with pytest.raises(UserError, match=words):
            read_episodes(path, subject)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="it is not UTF-8 text"):
        read_episodes(path, PLAIN)
    with pytest.raises(UserError, match="No such file"):
        read_episodes(tmp_path / "none", PLAIN)
    with pytest.raises(UserError, match="must be a file. Received: a folder"):
        read_episodes(tmp_path, PLAIN)


def test_groups(tmp_path):
    path = tmp_path / "groups.csv"
    rows = ["Class,Group,more", "owl,bird,1", "'=ant,insect,2", "Ba\u0308r,beast,3", "else,x,", "cat,beast,4"]
    path.write_text("\n".join([*rows, "dog,beast,5", "elk, beast ,6", ""]), encoding="utf-8")
    assert read_groups(path, CLASSES).tolist() == ["bird", "insect", "beast", "beast", "beast", "beast"]
    with pytest.raises(UserError, match="no group for 'emu', 'fox', 'gnu' and 1 more. Add them"):
        read_groups(path, [*CLASSES, "emu", "fox", "gnu", "hen"])
    for text, words in (
        ("owl,bird\n", "Received: the header 'owl,bird'"),
        ("class,group\nowl,\n", "Received: '' for 'owl'"),
        ("class,group\nowl,a\nowl,b\n", "two groups for 'owl'"),
        ("", "Received: the header ''"),
        ("class,group\n", "no group for 'owl'"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            read_groups(path, ["owl"])
    with pytest.raises(UserError, match="Received: No such file"):
        read_groups(tmp_path / "none", CLASSES)


@pytest.fixture
def chosen(tmp_path):
    """Flags of an evaluation of features with validation classes."""
    names = {"class_names": np.array(CLASSES), "files": np.array(FILES)}
    path = tmp_path / "x.npz"
    np.savez(path, features=FEATURES, labels=LABELS, val_features=FEATURES, val_labels=LABELS, **names)
    return {"features": (str(path),), "feature_transforms": ("none",), "classifiers": ("ridge_regression",)}


def test_an_evaluation_writes_its_episodes_and_answers_them_again(tmp_path, chosen):
    small = {"ways": 3, "shots": (1, 2), "queries": 4, "episodes": 30}
    drawn = evaluate(EvaluationConfiguration(write_episodes=True, **small, **chosen))
    folder = write_evaluation(drawn, tmp_path / "out")
    for shots, entry in zip((1, 2), drawn.results[0].accuracies, strict=True):
        file = str(folder / f"episodes_{shots}_shot.jsonl")
        listed = evaluate(EvaluationConfiguration(episodes_file=file, **chosen))
        (again,) = listed.results[0].accuracies
        assert again["listed"] and again["episodes_file"] == file and again["episodes"] == 30
        for name in ("ways", "shots", "queries", "episodes_fingerprint", "accuracy", "classes_half_width"):
            assert again[name] == entry[name]
        assert "30-listedepisodes" in listed.name and "seed" not in listed.name and listed.name != drawn.name
        assert "30 (from a file)" in evaluation_text(listed)
        json.dumps(listed.results[0].report(), allow_nan=False)


def test_varied_episodes_and_groups_are_recorded_and_named_apart(tmp_path, chosen):
    names = set()
    groups = tmp_path / "groups.csv"
    for number in (1, 2):
        groups.write_text("class,group\n" + "".join(f"{name},{place % number}\n" for place, name in enumerate(CLASSES)))
        flags = {"class_groups": str(groups), "ways": 3, "shots": (1,), "queries": 4, "episodes": 20}
        evaluation = evaluate(EvaluationConfiguration(**flags, **chosen))
        (entry,) = evaluation.results[0].accuracies
        assert entry["within_groups"] == number and "20 (within groups)" in evaluation_text(evaluation)
        names.add(evaluation.name)
    varied = evaluate(EvaluationConfiguration(varied_episodes=True, episodes=20, write_episodes=True, **chosen))
    (entry,) = varied.results[0].accuracies
    assert entry["varied"] and entry["ways"] == "5-6" and entry["penalty"] in (0.01, 0.1, 1, 10, 100)
    text = evaluation_text(varied)
    assert "20 (varied)" in text and "5-6-way" in text
    folder = write_evaluation(varied, tmp_path / "run" / "evaluations")
    assert read_episodes(next(folder.glob("episodes_*_shot.jsonl")), NAMED).support_ways is not None
    # Tables of runs have equal episodes only.
    report = json.loads((folder / "evaluation.json").read_text())
    report["subjects"][0]["data"] = "the run's own"
    (folder / "evaluation.json").write_text(json.dumps(report))
    assert read_evaluations(tmp_path / "run") == []
    assert len({*names, varied.name}) == 3 and "varied" in varied.name


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"varied_episodes": True, "ways": 4}, "--varied_episodes chooses the episodes alone. Received: --ways too"),
        ({"episodes_file": "f", "seed": 1, "varied_episodes": True}, "Received: --varied_episodes, --seed too"),
        ({"varied_episodes": True, "details": True}, "--details needs equal .* Received: --varied_episodes"),
    ],
)
def test_flags_that_exclude_each_other(flags, words):
    with pytest.raises(UserError, match=words):
        EvaluationConfiguration(features=("x.npz",), **flags)


def test_details_of_a_file_need_equal_numbers(tmp_path, chosen):
    path = tmp_path / "episodes.jsonl"
    write_episodes(path, KINDS["unequal"], NAMED)
    with pytest.raises(UserError, match="--details needs equal numbers of queries. Received: other episodes"):
        evaluate(EvaluationConfiguration(episodes_file=str(path), details=True, **chosen))
