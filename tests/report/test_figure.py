import pytest
from PIL import Image

from dsl_tf.report import draw_accuracies
from tests.report.test_table import ENTRY


def results(accuracy):
    return {"accuracies": [{**ENTRY, "shots": shots, "accuracy": accuracy} for shots in (1, 5)]}


def test_a_figure_is_drawn_and_differs_with_the_accuracies(tmp_path):
    for name, accuracy in (("low", 0.5), ("high", 0.6)):
        runs = {"SCE": results(0.55), "SCE⊕NCA": results(accuracy)}
        draw_accuracies(runs, tmp_path / f"{name}.png", feature_transform="l2")
    pictures = [Image.open(tmp_path / f"{name}.png").convert("L") for name in ("low", "high")]
    assert all(picture.width > 600 and picture.getextrema()[0] < 100 for picture in pictures)
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_a_missing_accuracy_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nearest_centroid"):
        draw_accuracies({"SCE": results(0.5), "NCA": {"accuracies": []}}, tmp_path / "x.png", feature_transform="l2")
    with pytest.raises(ValueError):
        draw_accuracies({"SCE": results(0.5)}, tmp_path / "x.png", feature_transform="none")
