"""The figures of confused classes."""

import numpy as np
import pytest
from PIL import Image

from dsl_tf.report.confusion_figure import draw_confused_pairs, draw_confusion

pytestmark = pytest.mark.filterwarnings("error")


def made_rates(classes, unmet=0.0):
    random = np.random.default_rng(0)
    rates = 0.3 * random.random((classes, classes)) ** 3
    rates[random.random(rates.shape) < unmet] = np.nan
    np.fill_diagonal(rates, 0.6)
    return rates


def drawn(tmp_path, rates):
    names = [f"n{position:08d} ${'long_name' * (position % 4)}\n" for position in range(len(rates))]
    draw_confusion(rates, names, tmp_path / "confusion.png")
    return Image.open(tmp_path / "confusion.png").convert("RGB")


@pytest.mark.parametrize("classes, unmet", [(1, 0), (2, 0), (5, 0.3), (20, 0), (90, 0.5), (5, 1)])
def test_any_number_of_classes(classes, unmet, tmp_path):
    picture = drawn(tmp_path, made_rates(classes, unmet))
    assert 300 < picture.width < 2500 and 300 < picture.height < 2500


def test_the_figure_shows_the_rates(tmp_path):
    rates = made_rates(20)
    pictures = [drawn(tmp_path, rates)]
    rates[3, 7] = 0.9
    pictures.append(drawn(tmp_path, rates))
    rates[3, 3] = 0.1
    pictures.append(drawn(tmp_path, rates))
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_darkest_cell_is_the_most_confused_pair(tmp_path):
    rates = np.zeros((20, 20))
    rates[2, 15] = 0.4
    np.fill_diagonal(rates, 0.6)
    # Black letters are thin; a cell has some hundred black pixels.
    dark = np.asarray(drawn(tmp_path, rates)).max(axis=2) < 20
    blocks = np.lib.stride_tricks.sliding_window_view(dark, (25, 25)).all(axis=(2, 3))
    y, x = np.nonzero(blocks)
    assert np.ptp(y) < 15 and np.ptp(x) < 15
    # The colours of the heatmap's zeros frame it.
    pale = (np.abs(np.asarray(drawn(tmp_path, rates)).astype(int) - (252, 253, 191)) < 4).all(axis=2)
    rows, columns = (np.nonzero(pale.sum(axis=axis) > 200)[0] for axis in (1, 0))
    cell = (rows[-1] - rows[0]) / 20
    assert (y.mean() + 12 - rows[0]) // cell == 2 and (x.mean() + 12 - columns[0]) // cell == 15


def test_wrong_rates_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        draw_confusion(np.zeros((2, 3)), ["a", "b", "c"], tmp_path / "x.png")
    with pytest.raises(ValueError, match="names for 3 classes. Received: 2"):
        draw_confusion(np.zeros((3, 3)), ["a", "b"], tmp_path / "x.png")


def flat(count, color, size=(8, 8)):
    return np.full((count, *size, 3), color, np.uint8)


def test_the_pairs_show_all_their_images(tmp_path):
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    images = [
        (flat(3, colors[0]), flat(5, colors[1])),
        (flat(1, colors[2]), flat(0, 0)),
        (flat(0, 0), flat(2, colors[3])),
    ]
    pairs = [(0, 1, 0.5), (2, 1, 0.25), (1, 0, 0.125)]
    path = tmp_path / "pairs.png"
    draw_confused_pairs(pairs, images, ["$a", "b_" * 30, "c\t"], path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    one = {}
    for color, count in zip(colors, (3, 5, 1, 2)):
        same = (np.abs(picture - color) < 8).all(axis=2)
        one[color] = same.sum() / count
        y, x = np.nonzero(same)
        # The confused images stand left, the others right; a row a pair.
        is_right = color in (colors[1], colors[3])
        assert (x.min() > picture.shape[1] / 2) == is_right and (x.max() > picture.shape[1] / 2) == is_right
        row = {colors[2]: 1, colors[3]: 2}.get(color, 0)
        assert row / 3 < y.min() / len(picture) and y.max() / len(picture) <= (row + 1) / 3
    # All images are of one size.
    assert max(one.values()) < 1.05 * min(one.values())


def test_images_that_are_not_square(tmp_path):
    draw_confused_pairs([(0, 1, 0.5)], [(flat(2, 9, (10, 30)), flat(2, 9, (30, 10)))], "ab", tmp_path / "pairs.png")
    assert np.asarray(Image.open(tmp_path / "pairs.png")).min() < 30


def test_pairs_without_images_are_an_error(tmp_path):
    for pairs, images in (([], []), ([(0, 1, 0.5)], []), ([(0, 1, 0.5)], [(flat(2, 9),)])):
        with pytest.raises(ValueError, match="Expected pairs"):
            draw_confused_pairs(pairs, images, "ab", tmp_path / "x.png")
    with pytest.raises(ValueError, match="names for 3 classes"):
        draw_confused_pairs([(0, 2, 0.5)], [(flat(1, 9), flat(1, 9))], "ab", tmp_path / "x.png")
