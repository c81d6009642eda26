import numpy as np

from dsl_tf.evaluation.neighbours import nearest_others


def test_the_nearest_others_of_each_query():
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    # Two images that are the same: each is the other's nearest, and of two equally near ones the first counts.
    features[7] = features[8] = features[9]
    found = nearest_others(features, [3, 8], 5)
    for query, others in zip((3, 8), found, strict=True):
        distances = {
            other: float(((features[query].astype(np.float64) - features[other]) ** 2).sum())
            for other in range(30)
            if other != query
        }
        assert others.tolist() == sorted(distances, key=lambda other: (distances[other], other))[:5]
    assert found[1, :2].tolist() == [7, 9]


def test_fewer_others_than_asked_for():
    assert nearest_others(np.eye(3), [0], 9).shape == (1, 2)
