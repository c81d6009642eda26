import numpy as np
import pytest
from PIL import Image

from dsl_tf.evaluation.paired import comparison_matrix
from dsl_tf.report.paired_figure import draw_paired
from tests.report.test_paired_table import groups

# The colours of a difference that is real, and of one that is not.
HIGHER, LOWER, UNDECIDED = (0, 114, 178), (194, 78, 0), (112, 112, 118)


def draw(runs, path):
    draw_paired(comparison_matrix(runs), path, "glyphs test, 5-way 1-shot: nearest class centroid, $raw$ features")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def amount(picture, color):
    """Counts the pixels of a colour above the legend."""
    return int((picture[:-60] == color).all(axis=2).sum())


@pytest.mark.parametrize("step, color", [(0.02, HIGHER), (-0.02, LOWER), (0.0, None)])
def test_a_real_difference_has_the_colour_of_its_sign(tmp_path, step, color):
    picture = draw(groups(["SCE", "SCE⊕NCA"], step=step), tmp_path / "x.png")
    for other in (HIGHER, LOWER):
        assert (amount(picture, other) > 30) == (other == color)
    assert (amount(picture, UNDECIDED) > 10) == (color is None)


def test_a_difference_between_trainings_that_vary_is_undecided(tmp_path):
    runs = groups(["a", "b"], seeds=3, step=0.02)
    assert amount(draw(runs, tmp_path / "x.png"), HIGHER) > 30
    for run in runs.values():
        run += np.array([[-0.1], [0.0], [0.1]])
    runs["b"][0] += 0.1
    assert amount(draw(runs, tmp_path / "x.png"), HIGHER) == 0


def test_every_run_has_its_row(tmp_path):
    pictures = [draw(groups([f"loss {n}" for n in range(count)]), tmp_path / "x.png") for count in (2, 6, 12)]
    heights = [picture.shape[0] for picture in pictures]
    assert heights[1] - heights[0] > 4 * 50 and heights[2] - heights[1] > 6 * 50


@pytest.mark.filterwarnings("error")
def test_long_names_and_formulas_leave_room_for_the_drawing(tmp_path):
    names = [r"runs/$\frac$_imagenet/a_long_name_of_a_run_with_seed_1", "x" * 120, "of many short words, with commas"]
    picture = draw(groups(names), tmp_path / "x.png")
    assert 1200 < picture.shape[1] < 2000


@pytest.mark.filterwarnings("error")
def test_equal_runs_and_some_without_seeds(tmp_path):
    run = groups(["a"])["a"]
    assert amount(draw({"a": run, "b": run}, tmp_path / "x.png"), HIGHER) == 0
    draw(groups(["a", "b", "c"], seeds=(1, 3, 3)), tmp_path / "x.png")


def test_the_extension_decides_the_format(tmp_path):
    draw_paired(comparison_matrix(groups(["a", "b"])), tmp_path / "x.svg", "title")
    assert "<svg" in (tmp_path / "x.svg").read_text()
