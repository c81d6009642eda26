import numpy as np
import pytest

from dsl_tf.report.drawing import apart, within


@pytest.mark.parametrize("count", [1, 2, 7])
def test_labels_that_lie_on_each_other_move_apart_and_stay_in_their_order(count):
    positions = list(np.random.default_rng(count).random(count))
    moved = apart(positions, 0.3)
    assert np.argsort(moved).tolist() == np.argsort(positions).tolist()
    assert (np.diff(sorted(moved)) > 0.3 - 1e-9).all()
    # As little as need be: the mean of those that touch stays.
    assert apart([0.0, 10.0], 1) == [0.0, 10.0] and apart([5.0, 5.0], 1) == [4.5, 5.5]


def test_labels_stay_within_the_axes_as_far_as_there_is_room():
    assert within([9.5, 10.5, 0.0], 1, 0.5, 9.5) == [8.5, 9.5, 0.5]
    assert within([-1.0, 0.0, 1.0], 1, 0.5, 9.5) == [0.5, 1.5, 2.5]
    # Without room they still lie apart.
    assert sorted(within([1.0, 2.0, 3.0], 1, 1.5, 2.5)) == [0.5, 1.5, 2.5]
