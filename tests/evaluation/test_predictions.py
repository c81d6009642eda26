"""The answers of a classifier on given episodes."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation import classification
from dsl_tf.evaluation.episodes import sample_episodes
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.predictions import episode_accuracies, episode_predictions
from tests.evaluation.clusters import clustered, first_way, naive_accuracies


@pytest.mark.parametrize("ways, shots, queries", [(3, 1, 4), (5, 5, 3), (2, 3, 1), (1, 1, 2)])
def test_accuracy_of_each_episode(ways, shots, queries):
    features, labels = clustered()
    support, query = sample_episodes(labels, ways, shots, queries, 60, seed=0)
    predictions = episode_predictions(features, support, query, nearest_centroid)
    assert predictions.dtype == np.int32 and predictions.shape == query.shape
    accuracies = episode_accuracies(predictions)
    assert accuracies.dtype == np.float64 and accuracies.shape == (60,)
    np.testing.assert_allclose(accuracies, naive_accuracies(features, support, query), rtol=1e-12)
    assert ways == 1 or len(set(accuracies)) > 1


def own_way(support, query):
    """Reads the class off the features, the number of a way off the class."""
    return tf.argmax(tf.cast(query[:, :, None, 0] == support[:, None, :, 0, 0], tf.int32), axis=2, output_type=tf.int32)


def test_any_classifier():
    labels = clustered()[1]
    features = labels[:, None].astype(np.float32)
    support, query = sample_episodes(labels, 4, 2, 3, 10, seed=0)
    np.testing.assert_array_equal(episode_predictions(features, support, query, first_way), np.zeros((10, 4, 3)))
    own = episode_predictions(features, support, query, own_way)
    np.testing.assert_array_equal(own, np.broadcast_to(np.arange(4)[:, None], (10, 4, 3)))
    np.testing.assert_array_equal(episode_accuracies(own), np.ones(10))


def test_a_classifier_gets_the_features_of_the_support_and_of_the_queries_way_after_way():
    labels = clustered()[1]
    features = np.stack([np.arange(len(labels)), labels], axis=1).astype(np.float32)
    support, query = sample_episodes(labels, 3, 2, 4, 5, seed=0)
    received = []

    def record(support, query):
        received.append((support.numpy(), query.numpy()))
        return np.zeros(query.shape[:2], np.int32)

    def recording(support, query):
        return tf.py_function(record, [support, query], tf.int32)

    episode_predictions(features, support, query, recording)
    ((support_features, query_features),) = received
    np.testing.assert_array_equal(support_features, features[support])
    np.testing.assert_array_equal(query_features, features[query].reshape(5, 12, 2))


@pytest.mark.parametrize("chunk, calls", [(3, 4), (5, 2), (1, 10), (0, 10), (10, 1), (99, 1)])
def test_chunks_do_not_change_the_predictions(monkeypatch, chunk, calls):
    features, labels = clustered()
    support, query = sample_episodes(labels, 4, 2, 3, 10, seed=0)
    expected = episode_predictions(features, support, query, nearest_centroid)
    # An episode of 4 ways of 2 + 3 vectors of 5 float32 numbers.
    monkeypatch.setitem(classification.BLOCK_BYTES, "CPU", chunk * 4 * (2 + 3) * 5 * 4)
    received = []

    def counted(support, query):
        tf.py_function(lambda: received.append(1), [], [])
        return nearest_centroid(support, query)

    np.testing.assert_array_equal(episode_predictions(features, support, query, counted), expected)
    assert len(received) == calls


def test_other_numbers_of_episodes_do_not_trace_the_classifier_every_time(monkeypatch):
    features, labels = clustered(d=7)
    monkeypatch.setitem(classification.BLOCK_BYTES, "CPU", 4 * 3 * (2 + 2) * 7 * 4)
    traces = []

    def counting(support, query):
        traces.append(support.shape)
        return nearest_centroid(support, query)

    for episodes in (10, 11, 9, 4, 30, 1):
        support, query = sample_episodes(labels, 3, 2, 2, episodes, seed=0)
        assert episode_predictions(features, support, query, counting).shape == (episodes, 3, 2)
    assert len(traces) <= 3


@pytest.mark.parametrize("images", [-1, 72])
def test_indices_of_no_feature_are_an_error(images):
    features, labels = clustered()
    support, query = sample_episodes(labels, 3, 1, 4, 5, seed=0)
    query[2, 1, 0] = images
    with pytest.raises(UserError, match="`query` must be indices of the 72 features"):
        episode_predictions(features, support, query, nearest_centroid)
