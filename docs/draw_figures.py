"""Draws the figures of losses.md from the package's own functions, and that of study.md from its measurements.

Run: python docs/draw_figures.py [FOLDER]
"""

import csv
import pathlib
import sys
from typing import Any

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from dsl_tf import losses
from dsl_tf.evaluation.spectrum import spectral_weights

GREY, RED, BLUE, GREEN = "#5f5f66", "#c24e00", "#0072b2", "#007a5a"


def classifier_of(kernel: np.ndarray) -> keras.layers.Dense:
    """A linear classifier with the kernel `[d, C]`."""
    classifier = keras.layers.Dense(kernel.shape[1])
    classifier.build((None, len(kernel)))
    classifier.kernel.assign(kernel)
    return classifier


def gradient(loss: Any, term: str, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The gradient of one term of an integrated loss with respect to the features, `[n, d]`."""
    features = tf.constant(features, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(features)
        value = loss.reduced_terms(labels, features)[term]
    return tape.gradient(value, features).numpy()


def within_span(vectors: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The part of row vectors `[n, d]` that lies in span(kernel)."""
    return losses.classifier_projection(tf.constant(vectors, tf.float64), kernel, epsilon=0.0).numpy()


def draw_gradients() -> Figure:
    """Where the two losses move a feature of three dimensions, as a sum and as a direct sum."""
    kernel = np.array([[1.0, 0.1], [0.1, 1.0], [0.0, 0.0]])
    labels = np.array([0, 0, 1, 1])
    features = np.array([[0.0, 0.0, 0.0], [-0.3, 0.9, 0.6], [0.6, -0.6, -0.3], [-0.7, -0.3, -0.5]])
    classifier = classifier_of(kernel)
    # From three dimensions to the paper: seen from the front, a little above.
    view = np.array([[0.95, -0.16], [0.5, 0.36], [0.0, 0.9]])
    corners = np.array([[-0.7, -1, 0], [-0.7, 1, 0], [1, 1, 0], [1, -1, 0]]) @ view
    figure = Figure(figsize=(7.6, 2.7), layout="constrained")
    kinds = (("sum (6)", losses.SumLoss), ("direct sum (7)", losses.DirectSumLoss))
    for axes, (title, kind) in zip(figure.subplots(1, 2), kinds, strict=True):
        loss = kind(classifier=classifier)

        def arrow(tip, color, name, offset, axes=axes, **style):
            tip = tip @ view
            properties = {
                "arrowstyle": "-|>,head_width=0.3,head_length=0.6",
                "shrinkA": 0,
                "shrinkB": 0,
                "linewidth": 2,
            }
            axes.annotate("", tip, (0, 0), arrowprops={**properties, "color": color, **style})
            axes.annotate(name, tip, offset, textcoords="offset points", color=color, ha="center", va="center")

        axes.fill(*corners.T, color=GREY, alpha=0.14, linewidth=0)
        axes.annotate("span(W)", corners[0], (16, 4), textcoords="offset points", color=GREY, va="center")
        downhill = {name: -gradient(loss, name, labels, features)[0] for name in ("classification", "metric")}
        downhill = {name: vector / np.linalg.norm(vector) for name, vector in downhill.items()}
        shadow = within_span(downhill["metric"][None], kernel)[0]
        if np.linalg.norm(shadow) > 0.1:
            axes.plot(*(np.array([downhill["metric"], shadow]) @ view).T, color=BLUE, linestyle=":", linewidth=1.2)
            arrow(shadow, BLUE, "part in span(W)", (52, 0), alpha=0.5)
        arrow(downhill["classification"], RED, "classification", (42, 3))
        arrow(downhill["metric"], BLUE, "metric", (0, 8))
        axes.plot(0, 0, "o", color="black", markersize=5)
        axes.set(title=title, aspect="equal", ylim=(-0.6, 1.15))
        axes.set_axis_off()
    return figure


def draw_spectral_weights() -> Figure:
    """The weight of a direction against its share of W, for the powers of Table 6."""
    singular_values = np.linspace(1, 0.005, 200)
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    powers = (0.5, 0.4, 0.3, 0.2, 0.1)
    for power, shade in zip(powers, np.linspace(0.35, 1.0, len(powers)), strict=True):
        weights = spectral_weights(np.diag(singular_values), power)
        axes.plot(singular_values, weights, color=GREEN, alpha=shade)
        axes.annotate(f"p = {power}", (0, weights[-1]), (-4, 0), textcoords="offset points", ha="right", va="center")
    axes.plot(singular_values, spectral_weights(np.diag(singular_values), 0), color=BLUE)
    axes.annotate("p = 0: direct sum", (0, 0), (-4, 0), textcoords="offset points", color=BLUE, ha="right", va="center")
    axes.plot((0, 1), (1, 1), color=RED)
    axes.annotate("sum", (0, 1), (-4, 0), textcoords="offset points", color=RED, ha="right", va="center")
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.spines.left.set_visible(False)
    axes.spines.right.set_visible(True)
    axes.set(xlabel="singular value ÷ the largest", ylabel="weight in the metric loss", xlim=(0, 1), ylim=(-0.02, 1.03))
    return figure


def draw_shares() -> Figure:
    """How much of the metric loss's gradient lies in span(W), for random features, labels and singular vectors."""
    random = np.random.default_rng(0)
    dimensions, classes, images = 64, 16, 128
    left, _, right = np.linalg.svd(random.normal(size=(dimensions, classes)), full_matrices=False)
    kernel = (left * np.geomspace(10, 0.3, classes)) @ right
    features = 0.3 * random.normal(size=(images, dimensions))
    labels = random.integers(0, classes, images)
    classifier = classifier_of(kernel)
    kinds = {
        "classifier_subspace": (losses.ClassifierSubspaceLoss, {}, GREY),
        "sum": (losses.SumLoss, {}, RED),
        "spectral_sum, p = 0.5": (losses.SpectralSumLoss, {"power": 0.5}, GREEN),
        "spectral_sum, p = 0.3": (losses.SpectralSumLoss, {"power": 0.3}, GREEN),
        "spectral_sum, p = 0.1": (losses.SpectralSumLoss, {"power": 0.1}, GREEN),
        "direct_sum": (losses.DirectSumLoss, {}, BLUE),
    }
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, (kind, options, color) in kinds.items():
        moved = gradient(kind(classifier=classifier, **options), "metric", labels, features)
        share = (within_span(moved, kernel) ** 2).sum() / (moved**2).sum()
        axes.barh(name, share, color=color)
        axes.annotate(f"{share:.1%}", (share, name), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="share of the metric loss's gradient in span(W)", xlim=(0, 1.12), xticks=np.linspace(0, 1, 5))
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    return figure


def draw_mini_imagenet() -> Figure:
    """The accuracies of the study on mini-ImageNet, from the table beside this file."""
    with open(pathlib.Path(__file__).parent / "mini_imagenet.csv", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    columns = {
        ("nearest_centroid", "none"): "nearest centroid\nraw",
        ("nearest_centroid", "cl2"): "nearest centroid\ncl2",
        ("laplacian_shot", "cl2"): "LaplacianShot\ncl2",
    }
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    figure.suptitle("mini-ImageNet, 20 classes not seen in training, 5-way accuracy (%)", fontsize=11)
    for axes, shots in zip(figure.subplots(1, 2), ("1", "5"), strict=True):
        for shift, (loss, color) in zip(
            (-0.2, 0, 0.2), (("SCE", GREY), ("SCE+NCA", RED), ("SCE⊕NCA", BLUE)), strict=True
        ):
            found = {
                (row["classifier"], row["feature_transform"]): (float(row["accuracy"]), float(row["half_width"]))
                for row in rows
                if row["loss"] == loss and row["shots"] == shots
            }
            means, half_widths = zip(*(found[column] for column in columns), strict=True)
            positions = np.arange(len(columns)) + shift
            axes.errorbar(positions, means, half_widths, fmt="o", color=color, capsize=3, label=loss)
            for position, mean in zip(positions, means, strict=True):
                axes.annotate(
                    f"{mean:.1f}", (position, mean), (0, 9), textcoords="offset points", ha="center", fontsize=8
                )
        axes.set(title=f"{shots} labelled image{'s' * (shots != '1')} per class", xlim=(-0.5, 2.5))
        axes.set_xticks(range(len(columns)), list(columns.values()), fontsize=8)
        axes.margins(y=0.15)
    figure.axes[0].legend(frameon=False, loc="upper left")
    return figure


FIGURES = {
    "gradients": draw_gradients,
    "spectral_weights": draw_spectral_weights,
    "shares": draw_shares,
    "mini_imagenet": draw_mini_imagenet,
}


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    # The same bytes each time; letters as outlines, which need no fonts.
    matplotlib.rcParams.update(
        {"svg.hashsalt": "dsl_tf", "svg.fonttype": "path", "axes.spines.top": False, "axes.spines.right": False}
    )
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
