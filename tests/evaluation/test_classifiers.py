"""Every few-shot classifier of the registry, against plain loops in float64."""

import functools

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import gpu
from dsl_tf.errors import UserError
from dsl_tf.evaluation import CLASSIFIERS, classifier_of, episode_predictions, few_shot_accuracies, sample_episodes
from tests.evaluation import oracles
from tests.evaluation.clusters import clustered

# LaplacianShot has an oracle and tests of its own.
NAMES = [name for name in CLASSIFIERS if name != "laplacian_shot"]
# Hyperparameters for which the answers differ from those for the default values.
VARIANTS = [
    *[(name, {}) for name in NAMES if name not in ("tim", "alpha_tim")],
    ("ridge_regression", {"penalty": 0.01}),
    ("ridge_regression", {"penalty": 100.0}),
    ("logistic_regression", {"penalty": 0.001}),
    ("logistic_regression", {"penalty": 30.0}),
    ("pt_map", {"alpha": 0.4}),
    ("tim", {"marginal_weight": 1.0, "iterations": 150}),
    ("alpha_tim", {"alpha": 2.0, "iterations": 150}),
]
# The thousand steps that these take by default are compared where the probabilities are.
QUICK = {name: {"iterations": 30} if name in ("tim", "alpha_tim") else {} for name in CLASSIFIERS}
# Those whose answers change if all features are shifted or scaled.
SEES_ORIGIN = {"cosine_nearest_centroid", "ridge_regression", "bd_cspn", "pt_map", "tim", "alpha_tim"}
SEES_SCALE = {"ridge_regression", "logistic_regression"}


def episodes(count=8, ways=5, shots=5, queries=8, d=8, seed=0, mean=0.5):
    """Classes that overlap, support `[E, N, K, d]` and shuffled queries `[E, M, d]`."""
    random = np.random.default_rng(seed)
    centres = random.normal(mean, 0.7, (count, ways, 1, d))
    vectors = centres + random.normal(0, 1, (count, ways, shots + queries, d))
    query = vectors[:, :, shots:].reshape(count, -1, d)
    order = random.permutation(query.shape[1])
    return vectors[:, :, :shots].astype(np.float32), query[:, order].astype(np.float32)


def classify(name, support, query):
    return CLASSIFIERS[name].function(support, query, **QUICK[name])


def expected_scores(name, support, query, **options):
    """Scores `[E, M, N]` of the plain loop."""
    ways, shots = support.shape[1:3]
    labels = np.repeat(np.arange(ways), shots)
    flat = support.reshape(len(support), ways * shots, -1).astype(np.float64)
    pairs = zip(flat, query.astype(np.float64), strict=True)
    return np.stack([getattr(oracles, name)(s, labels, q, **options) for s, q in pairs])


# Every classifier with its defaults on every shape, and every other hyperparameter on one of them.
SHAPES = [{}, {"shots": 1}, {"ways": 2, "shots": 3, "queries": 20, "d": 3}]
CASES = [
    (name, options, shape)
    for number, (name, options) in enumerate(VARIANTS)
    for shape in ([SHAPES[number % len(SHAPES)]] if options else SHAPES)
]


@pytest.mark.parametrize(("name", "options", "shape"), CASES)
def test_it_equals_the_plain_loop(name, options, shape):
    support, query = episodes(**shape)
    predicted = CLASSIFIERS[name].function(support, query, **options)
    expected = expected_scores(name, support, query, **options).argmax(axis=2)
    assert predicted.dtype == tf.int32
    assert (predicted.numpy() == expected).mean() >= 0.995
    assert len(np.unique(expected)) == support.shape[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("counts", [(1, 3, 2), (4, 1)])
def test_probabilities_with_any_numbers_of_support_images(name, counts):
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = random.normal(0, 1, (len(counts), 6))
    support = centres[labels] + random.normal(0, 0.6, (len(labels), 6))
    query = centres[random.integers(len(counts), size=30)] + random.normal(0, 0.6, (30, 6))
    expected = oracles.softmax(getattr(oracles, name)(support, labels, query))
    probabilities = CLASSIFIERS[name].probabilities(support, labels, query)
    assert probabilities.shape == (30, len(counts)) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_far_from_the_origin_and_of_any_size(name):
    support, query = episodes(10, 4, 3, 5)
    for offset, scale in ((300, 1), (0, 1e-12), (0, 1e18), (0, 1e30)):
        # What sees the origin or the scale changes its answers, but may not fail; the loop cannot hold all of them.
        far = [(np.float32(scale) * vectors + np.float32(offset)).astype(np.float32) for vectors in (support, query)]
        predicted = classify(name, *far).numpy()
        assert set(np.unique(predicted)) <= set(range(4))
        if not (name in SEES_ORIGIN and offset or name in SEES_SCALE and scale != 1):
            near = [(vectors.astype(np.float64) - offset) / scale for vectors in far]
            expected = expected_scores(name, *near, **QUICK[name]).argmax(axis=2)
            assert (predicted == expected).mean() >= 0.99
    with pytest.raises(UserError, match="must be finite"):
        classify(name, support * np.nan, query)


@pytest.mark.parametrize("name", NAMES)
def test_equal_and_zero_vectors_are_answered(name):
    support, query = episodes(3, 3, 2, 2, 4)
    support[0], query[1], support[2, :, 1] = 0, 0, support[2, :, 0]
    assert set(np.unique(classify(name, support, query))) <= {0, 1, 2}
    labels = np.arange(6) // 2
    for vectors in (support[0], support[2], np.ones_like(support[0])):
        found = CLASSIFIERS[name].probabilities(vectors.reshape(6, 4), labels, query[1], **QUICK[name])
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_episodes_do_not_see_each_other_and_dtypes_do_not_matter(name):
    support, query = (vectors.astype(ml_dtypes.bfloat16) for vectors in episodes(4, 3, 2, 6))
    together = classify(name, support, query)
    as_float32 = support.astype(np.float32), query.astype(np.float32)
    np.testing.assert_array_equal(classify(name, *as_float32), together)
    alone = [classify(name, support[[index]], query[[index]]).numpy()[0] for index in range(4)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph_of_unknown_sizes_and_under_xla(name, jit_compile):
    support, query = episodes(3, 3, 2, 4, 5)
    shapes = [support.shape, query.shape] if jit_compile else [[None] * 4, [None] * 3]
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    function = functools.partial(classify, name)
    graph = tf.function(function, input_signature=signature, jit_compile=jit_compile)
    np.testing.assert_array_equal(graph(support, query), function(support, query))


@pytest.mark.parametrize("name", ["nearest_centroid", "nearest_neighbour", "laplacian_shot", "logistic_regression"])
def test_what_is_computed_on_a_gpu_has_the_same_answers(monkeypatch, name):
    """There, no condition is asked of the host."""
    support, query = episodes()
    expected = classify(name, support, query)
    monkeypatch.setattr(gpu, "present", lambda: True)
    traced = tf.function(functools.partial(classify, name)).get_concrete_function(support, query)
    assert not any("If" in operation.type for operation in traced.graph.get_operations())
    assert np.mean(traced(*map(tf.constant, (support, query))) == expected) >= 0.995


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_indices_and_arrays_have_the_same_answers(name):
    features, labels = clustered()
    support, query = sample_episodes(labels, 4, 2, 3, 12, seed=0)
    answers = episode_predictions(features, support, query, CLASSIFIERS[name].function)
    arrays = features[support], features[query.reshape(12, -1)]
    np.testing.assert_array_equal(CLASSIFIERS[name].function(*arrays).numpy().reshape(query.shape), answers)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_entries_record_the_hyperparameters(name):
    features, labels = clustered()
    settings = {"ways": 3, "shots": (1,), "queries": 4, "episodes": 5, "feature_transforms": ("l2",)}
    (entry,) = few_shot_accuracies(features, labels, "test", classifiers=(name,), **settings)
    assert {key: entry[key] for key in CLASSIFIERS[name].grid} == CLASSIFIERS[name].defaults
    values = CLASSIFIERS[name].combinations[-1]
    given = {(name, "l2", 1): values}
    (entry,) = few_shot_accuracies(features, labels, "test", classifiers=(name,), hyperparameters=given, **settings)
    assert entry["classifier"] == name and {key: entry[key] for key in values} == values


# Classifiers of the user's own.


@pytest.fixture
def own(tmp_path, monkeypatch):
    lines = [
        "import tensorflow as tf",
        "def last_way(support, query):",
        "    return tf.fill(tf.shape(query)[:2], tf.cast(tf.shape(support)[1] - 1, tf.int64))",
        "def scores(support, query): return tf.reduce_sum(query, axis=2)",
        "def failing(support, query): return query[:, :, 10**6] + nothing",
        "def beyond(support, query): return tf.fill(tf.shape(query)[:2], 3)",
        "constant = 1",
    ]
    (tmp_path / "my_own_classifiers.py").write_text("\n".join(lines))
    (tmp_path / "my_broken_classifiers.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_the_users_own(own):
    features, labels = clustered()
    settings = {"ways": 3, "shots": (1, 2), "queries": 4, "episodes": 5, "feature_transforms": ("l2",)}
    entries = few_shot_accuracies(features, labels, "test", classifiers=("my_own_classifiers:last_way",), **settings)
    assert [entry["classifier"] for entry in entries] == ["my_own_classifiers:last_way"] * 2
    assert [entry["accuracy"] for entry in entries] == [pytest.approx(1 / 3)] * 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("svm", r"among nearest_centroid, .*, or module:function. Received: svm"),
        ("my_own_classifiers:", "or module:function"),
        ("no_such_module_here:f", "needs the module 'no_such_module_here'.*PYTHONPATH"),
        ("my_broken_classifiers:f", "cannot be imported: ZeroDivisionError"),
        ("my_own_classifiers:nothing", "must have a function 'nothing'. Received: None"),
        ("my_own_classifiers:constant", "must have a function 'constant'. Received: 1"),
        ("my_own_classifiers:scores", r"must return integers of the shape.*Received: float32"),
        ("my_own_classifiers:failing", "my_own_classifiers:failing failed: "),
        ("my_own_classifiers:beyond", "way indices from 0 to 2. Received: 3 to 3"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(own, name, words):
    features, labels = clustered()
    settings = {"ways": 3, "shots": (1,), "queries": 4, "episodes": 5, "feature_transforms": ("l2",)}
    with pytest.raises(UserError, match=words) as caught:
        few_shot_accuracies(features, labels, "test", classifiers=(name,), **settings)
    assert "\n" not in str(caught.value)


def test_the_registry_describes_each_classifier():
    assert len({classifier.title for classifier in CLASSIFIERS.values()}) == len(CLASSIFIERS)
    for name, classifier in CLASSIFIERS.items():
        assert classifier_of(name) is classifier and set(classifier.defaults) == set(classifier.grid)
