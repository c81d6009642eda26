"""Random orders computed place by place, beside the same arithmetic in Python's integers."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data.permutation import random_bits, shuffled

LIMIT = 2**64


def naive_bits(*words):
    bits = 0
    for word in words:
        bits = ((bits ^ word % LIMIT) + 0x9E3779B97F4A7C15) % LIMIT
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % LIMIT
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % LIMIT
        bits = bits ^ bits >> 31
    return bits


def naive_item(place, size, *key):
    for number in range(24):
        round_key = naive_bits(*key, number)
        partner = (round_key - place) % size
        if naive_bits(round_key ^ max(place, partner)) >> 63:
            place = partner
    return place


def test_bits_are_those_of_the_integers():
    words = [(0,), (1,), (5, 2**31 - 1), (-3, 7, 2**62)]
    for case in words:
        assert int(random_bits(*[tf.constant(word, tf.int64) for word in case])) == naive_bits(*case)
    # The published first outputs of SplitMix64 from the state 0.
    assert naive_bits(0) == 0xE220A8397B1DCDAF == int(random_bits(0))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 600])
def test_each_order_holds_every_item_once_and_is_that_of_the_integers(size):
    for key in ((0,), (4, 2, 9), (-1, 2**40)):
        items = shuffled(tf.range(size), size, *key).numpy()
        assert sorted(items) == list(range(size))
        assert items.tolist() == [naive_item(place, size, *key) for place in range(size)]


def test_places_of_several_orders_are_answered_together_in_a_graph():
    place, size, key = np.array([0, 4, 2, 0]), np.array([1, 5, 5, 9]), np.array([3, 3, 8, 2])
    items = tf.function(lambda *values: shuffled(*values[:2], 6, values[2]))(place, size, key).numpy()
    assert items.tolist() == [
        naive_item(*values[:2], 6, values[2])
        for values in zip(*map(np.ndarray.tolist, (place, size, key)), strict=True)
    ]


@pytest.mark.parametrize("size, orders", [(2, 8000), (3, 6000), (5, 4000), (7, 4000), (40, 1000)])
def test_every_item_is_in_every_place_and_beside_every_other_equally_often(size, orders):
    place, key = np.tile(np.arange(size), orders), np.repeat(np.arange(orders), size)
    items = shuffled(place, size, 11, key).numpy().reshape(orders, size)
    places = np.stack([np.bincount(column, minlength=size) for column in items.T])
    pairs = np.bincount(items[:, 0] * size + items[:, -1], minlength=size**2).reshape(size, size)
    others = pairs[~np.eye(size, dtype=bool)]
    for counts, freedom in ((places, (size - 1) ** 2), (others, size * (size - 1) - 1)):
        chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi_squared < freedom + 5 * np.sqrt(2 * freedom) + 5
