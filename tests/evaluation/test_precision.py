import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.evaluation import episode_predictions, laplacian_shot, nearest_centroid
from dsl_tf.evaluation.precision import true_float32

enabled = tf.config.experimental.tensor_float_32_execution_enabled


def test_tf32_is_off_inside_and_back_afterwards_even_after_an_error():
    assert enabled()
    with true_float32():
        assert not enabled()
    assert enabled()
    with pytest.raises(RuntimeError), true_float32():
        raise RuntimeError
    assert enabled()


def test_episodes_are_classified_without_tf32():
    seen = []

    def classifier(support, query):
        tf.py_function(lambda: seen.append(enabled()), [], [])
        return tf.zeros(tf.shape(query)[:2], tf.int32)

    indices = np.arange(6).reshape(1, 2, 3)
    episode_predictions(np.zeros((6, 4), np.float32), indices[:, :, :1], indices[:, :, 1:], classifier)
    assert seen == [False]
    assert enabled()


@pytest.mark.parametrize("classifier", [nearest_centroid, laplacian_shot])
def test_the_classifiers_themselves_leave_the_setting_as_it_was(classifier):
    classifier(np.ones((1, 2, 1, 3)), np.ones((1, 2, 3)))
    assert enabled()
