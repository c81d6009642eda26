"""Measures the expected calibration error of predictions before and after calibration on the labelled images.

Draws 20 classes of a run's test split, a few labelled images of each and ten others to classify, twenty times, and
prints means over the draws.

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
from dsl_tf.runs.subjects import of_run

CLASSES, QUERIES, DRAWS = 20, 10, 20


def draw(labels: np.ndarray, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of support images `[20, shots]` and of others `[20, 10]`, a row for each class."""
    random = np.random.default_rng(seed)
    classes = random.choice(labels.max() + 1, CLASSES, replace=False)
    rows = np.stack([random.permutation(np.flatnonzero(labels == label))[: shots + QUERIES] for label in classes])
    return rows[:, :shots], rows[:, shots:]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    subject = of_run(parser.parse_args().run, "test")
    print(f"{'classifier':<22}{'shots':>6}{'before':>9}{'after':>8}")
    for name, transform in (("nearest_centroid", "l2"), ("logistic_regression", "l2"), ("laplacian_shot", "cl2")):
        features = transform_features(subject.features, transform, subject.mean)
        probabilities_of = CLASSIFIERS[name].probabilities
        for shots in (3, 5, 10):
            errors = []
            for seed in range(DRAWS):
                support, query = draw(subject.labels, shots, seed)
                known, right = np.repeat(np.arange(CLASSES), shots), np.repeat(np.arange(CLASSES), QUERIES)
                examples = features[support.ravel()]
                temperature = best_temperature(*held_out_probabilities(probabilities_of, examples, known))
                plain = probabilities_of(examples, known, features[query.ravel()])
                errors.append(
                    [expected_calibration_error(found, right) for found in (plain, tempered(plain, temperature))]
                )
            before, after = np.mean(errors, axis=0)
            print(f"{name:<22}{shots:>6}{before:>9.3f}{after:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
