"""Measures the expected calibration error of predictions before and after calibration on the labelled images, and what
rejecting the less confident ones costs and brings.

Draws 20 classes of a run's test split, a few labelled images of each and ten others to classify, twenty times, and
prints means over the draws. For the second table, ten images of each of 20 other classes are classified too: "none of
these".

Run: python benchmarks/calibration.py RUN
"""

import argparse

import numpy as np

from dsl_tf.evaluation.calibration import (
    best_temperature,
    expected_calibration_error,
    held_out_probabilities,
    tempered,
)
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.evaluation.transforms import transform_features
from dsl_tf.runs.subjects import Subject, of_run

CLASSES, QUERIES, DRAWS = 20, 10, 20
THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)


def draw(labels: np.ndarray, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws classes and images.

    Returns:
        Positions of support images `[20, shots]` and of others `[20, 10]`, a row for each class; and of images of 20
        other classes `[20, 10]`.
    """
    random = np.random.default_rng(seed)
    classes = random.choice(labels.max() + 1, CLASSES, replace=False)
    rows = np.stack([random.permutation(np.flatnonzero(labels == label))[: shots + QUERIES] for label in classes])
    foreign = random.permutation(np.setdiff1d(labels, classes))[:CLASSES]
    others = np.stack([np.flatnonzero(labels == label)[:QUERIES] for label in foreign])
    return rows[:, :shots], rows[:, shots:], others


def calibration(subject: Subject) -> None:
    """Prints calibration errors."""
    print(f"{'classifier':<22}{'shots':>6}{'before':>9}{'after':>8}")
    for name, transform in (("nearest_centroid", "l2"), ("logistic_regression", "l2"), ("laplacian_shot", "cl2")):
        features = transform_features(subject.features, transform, subject.mean)
        probabilities_of = CLASSIFIERS[name].probabilities
        for shots in (3, 5, 10):
            errors = []
            for seed in range(DRAWS):
                support, query, _ = draw(subject.labels, shots, seed)
                known, right = np.repeat(np.arange(CLASSES), shots), np.repeat(np.arange(CLASSES), QUERIES)
                examples = features[support.ravel()]
                temperature = best_temperature(*held_out_probabilities(probabilities_of, examples, known))
                plain = probabilities_of(examples, known, features[query.ravel()])
                errors.append(
                    [expected_calibration_error(found, right) for found in (plain, tempered(plain, temperature))]
                )
            before, after = np.mean(errors, axis=0)
            print(f"{name:<22}{shots:>6}{before:>9.3f}{after:>8.3f}", flush=True)


def rejection(subject: Subject) -> None:
    """Prints, for nearest centroids and thresholds of the confidence, what is answered and how much of it rightly."""
    features = transform_features(subject.features, "l2", subject.mean)
    probabilities_of = CLASSIFIERS["nearest_centroid"].probabilities
    print(f"\n{'shots':>5}{'reject below':>14}{'answered':>10}{'right of these':>16}{'others rejected':>17}")
    for shots in (3, 5, 10):
        found = []
        for seed in range(DRAWS):
            support, query, others = draw(subject.labels, shots, seed)
            known, right = np.repeat(np.arange(CLASSES), shots), np.repeat(np.arange(CLASSES), QUERIES)
            examples = features[support.ravel()]
            temperature = best_temperature(*held_out_probabilities(probabilities_of, examples, known))
            answers, foreign = (
                tempered(probabilities_of(examples, known, features[images.ravel()]), temperature)
                for images in (query, others)
            )
            answered = [answers.max(axis=1) >= threshold for threshold in THRESHOLDS]
            correct = answers.argmax(axis=1) == right
            rejected = [(foreign.max(axis=1) < threshold).mean() for threshold in THRESHOLDS]
            found.append([(kept.mean(), correct[kept].mean(), lost) for kept, lost in zip(answered, rejected)])
        for threshold, row in zip(THRESHOLDS, np.nanmean(found, axis=0)):
            kept, correct_of_these, lost = row
            print(f"{shots:>5}{threshold:>14.0%}{kept:>10.1%}{correct_of_these:>16.1%}{lost:>17.1%}", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    subject = of_run(parser.parse_args().run, "test")
    calibration(subject)
    rejection(subject)


if __name__ == "__main__":
    main()
