"""The figure of spectra."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from dsl_tf.report.spectrum_figure import draw_spectrum

pytestmark = pytest.mark.filterwarnings("error")


def kernel(d=20, C=8, decay=0.0, seed=0):
    return np.random.default_rng(seed).standard_normal((d, C)) * np.exp(-decay * np.arange(C))


def drawn(tmp_path, kernels, **options):
    path = tmp_path / "figure.png"
    draw_spectrum(kernels, path, **options)
    picture = Image.open(path).convert("RGB")
    assert picture.convert("L").getextrema()[0] < 100
    return picture


def test_a_figure_differs_with_the_kernel(tmp_path):
    one, other = (drawn(tmp_path, {"SCE": kernel(decay=decay)}) for decay in (0.1, 0.2))
    assert one.size == other.size and one.tobytes() != other.tobytes()


def test_more_kernels_and_more_powers_take_more_room(tmp_path):
    one = drawn(tmp_path, {"SCE": kernel()})
    two = drawn(tmp_path, {"SCE": kernel(), "SCE⊕NCA": kernel(seed=1)})
    fewer = drawn(tmp_path, {"SCE": kernel(), "SCE⊕NCA": kernel(seed=1)}, powers=(0.3,))
    assert two.height > one.height and fewer.height < two.height and fewer.width < two.width


@pytest.mark.parametrize(
    "kernels",
    [
        {"d ≤ C": kernel(8, 20), "d > C": kernel(20, 8), "another d": kernel(5, 3)},
        {"zeros": np.zeros((4, 2))},
        {"zeros": np.zeros((4, 2)), "steep": kernel(decay=1)},
        {"rank 1": np.outer(np.arange(1, 7), np.ones(4))},
        {"one class": kernel(6, 1), "one feature": kernel(1, 6), "one number": np.ones((1, 1))},
        {"float32": kernel().astype(np.float32)},
        {f"run {position}": kernel(seed=position) for position in range(25)},
        {"$broken": kernel(), "_hidden $x_1$\n": kernel(seed=1)},
        {"$broken": kernel()},
    ],
    ids=lambda kernels: next(iter(kernels)),
)
def test_any_kernels_have_a_line_each(kernels, tmp_path):
    pixels = {tuple(pixel) for pixel in np.asarray(drawn(tmp_path, kernels, powers=(0, 0.3))).reshape(-1, 3)}
    colors = matplotlib.colormaps["tab10"]
    for position in range(min(len(kernels), colors.N)):
        assert tuple(round(255 * part) for part in colors(position)[:3]) in pixels, position


@pytest.mark.parametrize("kernels, powers", [({}, (0,)), ({"a": np.eye(2)}, ()), ({"a": np.ones(3)}, (0,))])
def test_nothing_to_draw_is_an_error(kernels, powers, tmp_path):
    with pytest.raises(ValueError, match="Expected"):
        draw_spectrum(kernels, tmp_path / "figure.png", powers)
