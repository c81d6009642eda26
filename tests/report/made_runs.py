"""Run directories with the numbers that a test chose, without training."""

from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration


def accuracy(value, shots=1, **changes):
    """An entry of `accuracies`; the value in percent."""
    return {
        "split": "test",
        "classifier": "nearest_centroid",
        "feature_transform": "none",
        "ways": 5,
        "shots": shots,
        "queries": 15,
        "episodes": 10_000,
        "seed": 0,
        "accuracy": value / 100,
        "half_width": 0.0021,
        **changes,
    }


def make_run(directory, accuracies=(), validation=None, metrics=(), finished=True, results=None, **flags):
    """Writes the small files of a run directory, and returns its path."""
    directory.mkdir(parents=True)
    configuration = TrainingConfiguration(**{"dataset": "mini_imagenet", "output_dir": str(directory), **flags})
    run_directory.record_flags(directory, configuration)
    for record in metrics:
        run_directory.append_metrics(directory, record)
    if finished:
        best = None if validation is None else {"step": 1, "validation_accuracy": validation}
        run_directory.write_results(
            directory,
            {
                "accuracies": list(accuracies),
                "best": best,
                "loss": configuration.loss_name,
                "source": configuration.dataset,
                "versions": {"dsl_tf": "0.1.0", "tensorflow": "2.21.0"},
                **(results or {}),
            },
        )
    return directory


def epoch_record(epoch, **values):
    """A line of metrics.jsonl."""
    return {"epoch": epoch, "step": 10 * epoch, "loss": 3.0, "classification_loss": 2.0, "metric_loss": 1.0, **values}
