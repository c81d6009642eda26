"""Differences between runs on the same episodes."""

import math
import statistics

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import mean_and_half_width
from dsl_tf.evaluation.corrections import holm
from dsl_tf.evaluation.paired import comparison_matrix, paired_difference
from dsl_tf.evaluation.student import student_p_value, student_quantile


def episodes(random, shape, mean=0.65, common=0.1, own=0.05):
    """Accuracies `[..., S, E]` of runs on the same episodes, which are easy or hard for all of them."""
    return mean + common * random.standard_normal((*shape[:-2], 1, shape[-1])) + own * random.standard_normal(shape)


# Student's t.


@pytest.mark.parametrize(
    # As printed in textbooks.
    "degrees, quantile",
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (7, 2.365), (9, 2.262), (10, 2.228), (20, 2.086),
     (30, 2.042), (60, 2.000), (120, 1.980), (10**6, 1.960)],
)  # fmt: skip
def test_quantiles_of_the_printed_tables(degrees, quantile):
    assert round(student_quantile(degrees), 3) == quantile


def test_quantiles_in_closed_form():
    assert student_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)
    assert student_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)
    assert student_quantile(1e7) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), rel=1e-6)


@pytest.mark.parametrize("degrees", [1, 1.3, 1.9, 2.5, 3, 4.7, 8.01, 29, 31, 200.5])
def test_quantiles_of_any_degrees_hold_95_percent_of_the_density(degrees):
    edges = np.linspace(0, student_quantile(degrees), 100_001)
    middles = (edges[1:] + edges[:-1]) / 2
    density = (1 + middles**2 / degrees) ** (-(degrees + 1) / 2) * math.gamma((degrees + 1) / 2)
    density /= math.sqrt(degrees * math.pi) * math.gamma(degrees / 2)
    assert 2 * density.sum() * edges[1] == pytest.approx(0.95, abs=1e-8)


# Two runs.


def test_a_difference_by_hand():
    found = paired_difference(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.7, 0.7]))
    # Differences 0.1, 0, 0.2 have the standard deviation 0.1; the runs' own are 0.2 and √0.03.
    assert found.difference == pytest.approx(0.1)
    assert found.episodes_half_width == pytest.approx(1.96 * 0.1 / math.sqrt(3))
    assert found.independent_half_width == pytest.approx(1.96 * math.sqrt((0.04 + 0.03) / 3))
    assert found.seeds_half_width is None


def test_equal_runs_differ_by_nothing():
    accuracies = episodes(np.random.default_rng(0), (3, 100))
    found = paired_difference(accuracies[0], accuracies[0])
    assert (found.difference, found.episodes_half_width) == (0, 0) and found.independent_half_width > 0
    found = paired_difference(accuracies, accuracies[::-1], (0, 1, 2), (2, 1, 0))
    assert (found.difference, found.episodes_half_width, found.seeds_half_width) == (0, 0, 0)


def test_runs_with_equal_seeds_have_no_interval_over_seeds_but_zero():
    accuracies = np.repeat(episodes(np.random.default_rng(0), (1, 100)), 2, axis=0)
    assert paired_difference(accuracies, accuracies + 0.01).seeds_half_width == 0


def test_a_third_of_a_point_shows_where_the_intervals_of_the_accuracies_overlap():
    random = np.random.default_rng(0)
    overlap, shows, shows_independently = [], [], []
    for _ in range(100):
        # 75 queries, and episodes that spread by ten points, which makes the usual ± 0.2 of 10,000 episodes.
        easiness = 0.1 * random.standard_normal(10_000)
        first, second = (random.binomial(75, np.clip(mean + easiness, 0, 1)) / 75 for mean in (0.653, 0.65))
        (one, one_half), (other, other_half) = mean_and_half_width(first), mean_and_half_width(second)
        found = paired_difference(first, second)
        overlap.append(one - one_half < other + other_half)
        shows.append(found.difference > found.episodes_half_width)
        shows_independently.append(found.difference > found.independent_half_width)
    assert np.mean(overlap) > 0.9 and np.mean(shows) > 0.9 and np.mean(shows_independently) < 0.6


@pytest.mark.parametrize("common, is_narrower", [(0.1, True), (0.05, True), (0.0, None)])
def test_the_interval_is_narrower_the_more_the_runs_have_in_common(common, is_narrower):
    first, second = episodes(np.random.default_rng(0), (2, 5000), common=common)
    found = paired_difference(first, second)
    if is_narrower:
        # Of the variance of a run, common² + own², pairing leaves own².
        expected = 0.05 / math.hypot(common, 0.05)
        assert found.episodes_half_width / found.independent_half_width == pytest.approx(expected, rel=0.03)
    else:
        assert found.episodes_half_width == pytest.approx(found.independent_half_width, rel=0.03)


def test_95_percent_of_the_intervals_over_episodes_hold_the_true_difference():
    runs = episodes(np.random.default_rng(0), (2000, 2, 300))
    runs[:, 0] += 0.003
    found = [paired_difference(first, second) for first, second in runs]
    covered = np.mean([abs(pair.difference - 0.003) <= pair.episodes_half_width for pair in found])
    assert 0.93 < covered < 0.97
    # What independent intervals would have held: everything, for they are too wide.
    assert np.mean([abs(pair.difference - 0.003) <= pair.independent_half_width for pair in found]) > 0.995


# Groups of seeds.


def test_groups_by_hand():
    first, second = np.array([[0.5, 0.7], [0.7, 0.9]]), np.array([[0.4, 0.4], [0.6, 0.8]])
    found = paired_difference(first, second)
    # Means over seeds: 0.6, 0.8 and 0.5, 0.6, so 0.1 and 0.2 between them.
    assert found.difference == pytest.approx(0.15)
    assert found.episodes_half_width == pytest.approx(1.96 * math.sqrt(0.005 / 2))
    assert found.independent_half_width == pytest.approx(1.96 * math.sqrt((0.02 + 0.005) / 2))
    # Seeds: 0.6, 0.8 and 0.4, 0.7. Paired, 0.2 and 0.1; Welch: variances 0.02 and 0.045 of two each.
    paired = paired_difference(first, second, (3, 8), (3, 8)).seeds_half_width
    assert paired == pytest.approx(math.tan(0.475 * math.pi) * math.sqrt(0.005 / 2))
    degrees = (0.01 + 0.0225) ** 2 / (0.01**2 + 0.0225**2)
    welch = student_quantile(degrees) * math.sqrt(0.01 + 0.0225)
    assert found.seeds_half_width == pytest.approx(welch)
    assert paired_difference(first, second, (3, 8), (3, 9)).seeds_half_width == pytest.approx(welch)
    assert paired_difference(first, second, (3, 8), None).seeds_half_width == pytest.approx(welch)
    # Seeds pair whatever the order of the rows.
    crossed = paired_difference(first, second[::-1], (3, 8), (8, 3))
    assert crossed.seeds_half_width == pytest.approx(paired) and crossed.difference == pytest.approx(0.15)


def test_welch_with_one_group_that_does_not_vary_is_students_of_the_other():
    second = np.array([[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]])
    found = paired_difference(np.full((5, 2), 0.9), second)
    assert found.seeds_half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3))


def test_one_seed_has_no_interval_over_seeds():
    runs = episodes(np.random.default_rng(0), (4, 50))
    assert paired_difference(runs[:1], runs[1:], (0,), (0, 1, 2)).seeds_half_width is None


@pytest.mark.parametrize(
    "sizes, spreads, paired",
    [((2, 2), (0.01, 0.01), True), ((4, 4), (0.01, 0.02), True), ((5, 8), (0.01, 0.02), False)],
)
def test_95_percent_of_the_intervals_over_seeds_hold_the_true_difference(sizes, spreads, paired):
    random = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        easiness = 0.1 * random.standard_normal(20)
        # What the same seed does to both losses: pairing takes it out.
        shared = 0.03 * random.standard_normal((max(sizes), 1)) if paired else 0
        first, second = (
            0.6 + easiness + shared + spread * random.standard_normal((size, 1)) for size, spread in zip(sizes, spreads)
        )
        seeds = [tuple(range(size)) if paired else None for size in sizes]
        found = paired_difference(first + 0.004, second, *seeds)
        held.append(abs(found.difference - 0.004) <= found.seeds_half_width)
    assert 0.93 < np.mean(held) < 0.97


# Matrices.


def test_a_matrix_holds_every_pair_and_changes_its_sign_across_the_diagonal():
    random = np.random.default_rng(0)
    groups = {"a": episodes(random, (3, 200)), "b": episodes(random, (3, 200), 0.7), "c": episodes(random, (1, 200))}
    seeds = {"a": (0, 1, 2), "b": (2, 0, 1), "c": (0,)}
    found = comparison_matrix(groups, seeds)
    assert found.names == ("a", "b", "c") and found.episodes == 200
    np.testing.assert_array_equal(found.differences, -found.differences.T)
    for matrix in (found.episodes_half_widths, found.seeds_half_widths, found.independent_half_widths):
        np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(found.seeds_half_widths), [0, 0, np.nan])
    assert np.isnan(found.seeds_half_widths[2]).all()
    assert not np.diag(found.episodes_half_widths).any() and not np.diag(found.independent_half_widths).any()
    for row, first in enumerate(groups):
        assert found.accuracies[row] == pytest.approx(groups[first].mean())
        assert found.half_widths[row] == mean_and_half_width(groups[first].mean(axis=0))[1]
        order = np.argsort(seeds[first])
        np.testing.assert_allclose(found.seed_accuracies[row], groups[first].mean(axis=1)[order])
        for column, second in enumerate(groups):
            if row != column:
                pair = paired_difference(groups[first], groups[second], seeds[first], seeds[second])
                assert found.differences[row, column] == pair.difference
                assert found.episodes_half_widths[row, column] == pair.episodes_half_width
                assert found.independent_half_widths[row, column] == pair.independent_half_width
                if pair.seeds_half_width is not None:
                    assert found.seeds_half_widths[row, column] == pytest.approx(pair.seeds_half_width, rel=1e-12)


def test_without_seeds_a_matrix_takes_groups_for_independent():
    random = np.random.default_rng(0)
    groups = {"a": episodes(random, (2, 50)), "b": episodes(random, (2, 50))}
    found = comparison_matrix(groups)
    assert found.seeds_half_widths[0, 1] == paired_difference(*groups.values()).seeds_half_width
    assert (
        found.seeds_half_widths[0, 1] != comparison_matrix(groups, {"a": (0, 1), "b": (0, 1)}).seeds_half_widths[0, 1]
    )


def test_groups_are_left_as_they_are():
    groups = {"a": episodes(np.random.default_rng(0), (2, 50)).astype(np.float32)}
    groups["b"] = groups["a"] + np.float32(0.25)
    kept = {name: group.copy() for name, group in groups.items()}
    found = comparison_matrix(groups, {"a": (1, 0), "b": (1, 0)})
    assert all((kept[name] == groups[name]).all() for name in groups) and found.differences.dtype == np.float64


# Mistakes.

ONE = np.full((1, 5), 0.5)


@pytest.mark.parametrize(
    "groups, seeds, message, error",
    [
        ({}, None, "at least two runs. Received: none", UserError),
        ({"SCE": ONE}, None, "at least two runs. Received: SCE", UserError),
        ({"SCE": ONE, "NCA": ONE[:, :4]}, None, "5 of SCE, 4 of NCA", UserError),
        ({"SCE": ONE, "NCA": ONE[:, :1]}, None, "at least 2 episodes. Received: 1", UserError),
        ({"SCE": ONE, "NCA": ONE[0]}, None, r"shape \(5,\)", ValueError),
        ({"SCE": ONE, "NCA": ONE[:0]}, None, r"shape \(0, 5\)", ValueError),
        ({"SCE": ONE, "NCA": np.where(np.arange(5) == 2, np.nan, ONE)}, None, "finite. Received: 1", ValueError),
        ({"SCE": ONE, "NCA": np.where(np.arange(5) > 2, np.inf, ONE)}, None, "finite. Received: 2", ValueError),
        ({"SCE": ONE, "NCA": ONE}, {"SCE": (0,)}, "Received: those of SCE", ValueError),
        ({"SCE": ONE, "NCA": ONE}, {"SCE": (0,), "NCA": (0, 1)}, "1 distinct seeds", ValueError),
        ({"SCE": ONE, "NCA": np.repeat(ONE, 2, axis=0)}, {"SCE": (0,), "NCA": (1, 1)}, "2 distinct seeds", ValueError),
    ],
)
def test_mistakes_are_told_in_a_line(groups, seeds, message, error):
    with pytest.raises(error, match=message) as raised:
        comparison_matrix(groups, seeds)
    assert "\n" not in str(raised.value)


def test_two_runs_of_different_episodes_are_a_mistake():
    with pytest.raises(UserError, match="5 and 4 episodes"):
        paired_difference(ONE[0], ONE[0, :4])


@pytest.mark.parametrize("degrees", [1, 2, 3.7, 19, 4999])
def test_p_values_of_student(degrees):
    assert student_p_value(student_quantile(degrees), degrees) == pytest.approx(0.05, abs=1e-12)
    assert student_p_value(0, degrees) == pytest.approx(1, abs=1e-12)
    for t in (-0.5, 3.0, 30.0):
        # The density's tail by trapezes, in the variable 1/t, in which it ends.
        inverse = np.linspace(1e-9, 1 / abs(t), 200_001)
        logarithm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
        tail = np.exp(logarithm - (degrees + 1) / 2 * np.log1p(1 / inverse**2 / degrees)) / inverse**2
        assert student_p_value(t, degrees) == pytest.approx(2 * np.trapezoid(tail, inverse), rel=1e-3, abs=1e-9)


def slow_holm(p_values):
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for number, place in enumerate(order):
        largest = max(largest, (len(p_values) - number) * p_values[place])
        corrected[place] = min(1, largest)
    return corrected


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    random = np.random.default_rng(0)
    for count in (1, 2, 9):
        p_values = random.random(count) ** 3
        np.testing.assert_allclose(holm(p_values), slow_holm(p_values))
    with_gaps = holm([[np.nan, 0.02], [0.03, np.nan]])
    np.testing.assert_allclose(with_gaps, [[np.nan, 0.04], [0.04, np.nan]])
    assert holm([]).shape == (0,)


def test_of_true_zeros_holm_lets_one_pass_in_at_most_5_percent():
    random = np.random.default_rng(0)
    z = random.standard_normal((4000, 10))
    p_values = np.vectorize(lambda value: math.erfc(abs(value) / math.sqrt(2)))(z)
    passed = np.array([(holm(row) <= 0.05).any() for row in p_values])
    assert 0.035 < passed.mean() < 0.06 < (p_values <= 0.05).any(axis=1).mean()


def test_the_interval_over_classes_is_that_of_the_differences():
    random = np.random.default_rng(0)
    classes = random.permuted(np.tile(np.arange(9), (300, 1)), axis=1)[:, :4]
    first, second = random.random((2, 3, 300))
    pair = paired_difference(first, second, classes=classes)
    differences = first.mean(axis=0) - second.mean(axis=0)
    without = np.array([differences[(classes != label).all(axis=1)].mean() for label in range(9)])
    error = math.sqrt(8 / 9 * ((without - without.mean()) ** 2).sum())
    # 2.306 is Student's quantile for 8 degrees of freedom.
    assert pair.classes_half_width == pytest.approx(2.306004 * error, rel=1e-6)
    assert pair.classes_p_value == pytest.approx(student_p_value(differences.mean() / error, 8))
    assert paired_difference(first, second).classes_half_width is None
    matrix = comparison_matrix({"a": first, "b": second}, classes=classes)
    assert matrix.classes_half_widths[0, 1] == pair.classes_half_width and matrix.classes_half_widths[0, 0] == 0
    assert np.isnan(comparison_matrix({"a": first, "b": second}).classes_half_widths).all()


def test_p_values_agree_with_their_intervals():
    random = np.random.default_rng(0)
    for _ in range(40):
        classes = random.permuted(np.tile(np.arange(9), (60, 1)), axis=1)[:, :4]
        first, second = random.normal(0, 1, (2, 4, 60)) + 0.25 * random.random((2, 4, 1))
        pair = paired_difference(first, second, (1, 2, 3, 4), (1, 2, 3, 4), classes)
        for kind in ("episodes", "seeds", "classes"):
            excludes_0 = abs(pair.difference) > getattr(pair, f"{kind}_half_width")
            assert excludes_0 == (getattr(pair, f"{kind}_p_value") < 0.05)
