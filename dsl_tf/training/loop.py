"""The epochs of a run: steps, log lines, validations and checkpoints."""

import math
import time

import tensorflow as tf

from dsl_tf import evaluation, run_directory
from dsl_tf.data.balanced import steps_per_epoch
from dsl_tf.data.pipeline import training_batches
from dsl_tf.errors import UserError
from dsl_tf.progress import progress_bar
from dsl_tf.training.step import TrainingStep

# Seconds between updates of the progress bar, because each makes Python wait for the device.
_DISPLAY_SECONDS = 0.5


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def few_shot_arguments(configuration):
    """Returns the arguments of `evaluate_episodes` that validation and test share."""
    return {
        "ways": configuration.test_ways,
        "shots": configuration.test_shots,
        "queries": configuration.test_queries,
        # Whatever the run's seed: all runs answer the same episodes, and their differences can be paired.
        "seed": 0,
    }


def _validate(configuration, parts, split):
    """Returns few-shot accuracies and Table 1's scores of the validation classes, by the name they are logged under."""
    features = evaluation.extract_features(parts.backbone, split.images)
    results = evaluation.few_shot_accuracies(
        features,
        split.labels,
        "val",
        episodes=configuration.validation_episodes,
        feature_transforms=("none",),
        **few_shot_arguments(configuration),
    )
    values = {f"val_accuracy_{result['shots']}_shot": result["accuracy"] for result in results}
    if parts.classifier is not None:
        scores = evaluation.subspace_scores(features, split.labels, tf.convert_to_tensor(parts.classifier.kernel))
        values.update({f"val_discriminant_score_{name}": score for name, score in scores.items()})
    return values


def _check_finite(means, epoch, step):
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"Training diverged: {', '.join(broken)} must be finite, but at epoch {epoch}, step {step} it is not. "
            "Checkpoints before it are kept. Lower --learning_rate or lengthen --warmup_epochs."
        )


def _log(directory, writer, epoch, step, values):
    run_directory.append_metrics(directory, {"epoch": epoch, "step": step, **values})
    with writer.as_default(step):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.flush()


def run_epochs(configuration, parts, splits, directory, checkpoints, flip):
    """Trains from where the checkpoints stand to the last epoch.

    The weights that validate best are saved beside the last ones; without a validation split they are the last.

    Args:
        configuration: a `TrainingConfiguration`.
        parts: the `Parts` to train.
        splits: a dict of `Split`s, with `"train"` and perhaps `"val"`.
        directory: the run directory.
        checkpoints: the restored `Checkpoints` of the parts.
        flip: whether to mirror images at random.
    """
    train = splits["train"]
    epoch_steps = steps_per_epoch(train.labels, configuration.ways, configuration.shots)
    last_step = configuration.epochs * epoch_steps
    first_step = step = int(checkpoints.step)
    if step >= last_step:
        return
    run_directory.truncate_metrics(directory, step)
    writer = tf.summary.create_file_writer(str(directory / run_directory.TENSORBOARD))
    batches = iter(
        training_batches(
            train,
            configuration.ways,
            configuration.shots,
            configuration.seed,
            start_step=step,
            crop=configuration.crop,
            flip=flip,
            color_jitter=configuration.color_jitter,
        )
    )
    training_step = TrainingStep(parts)
    log_every = configuration.log_every or epoch_steps
    validate_every = configuration.validate_every or max(1, configuration.epochs // 10)
    started = time.monotonic()
    for epoch in range(step // epoch_steps + 1, configuration.epochs + 1):
        elapsed = time.monotonic() - started
        left = f", {_duration(elapsed / (step - first_step) * (last_step - step))} left" if step > first_step else ""
        print(f"Epoch {epoch}/{configuration.epochs}{left}")
        shown = [*training_step.names, "images_per_second"]
        progress = progress_bar(epoch_steps, "step", line_at_end=True, stateful_metrics=shown)
        epoch_started = displayed = time.monotonic()
        epoch_first_step = step
        while step < epoch * epoch_steps:
            try:
                training_step(*next(batches))
            except tf.errors.InvalidArgumentError as error:
                # How the Cholesky and the eigenvalue decomposition answer weights that are not finite.
                if "ecomposition" not in str(error):
                    raise
                _check_finite({"the classifier's kernel": math.nan}, epoch, step)
            step += 1
            now = time.monotonic()
            epoch_ends = step == epoch * epoch_steps
            log_now = step % log_every == 0 or epoch_ends
            if log_now or now - displayed > _DISPLAY_SECONDS:
                means = training_step.means()
                images = (step - epoch_first_step) * configuration.ways * configuration.shots
                means["images_per_second"] = round(images / (time.monotonic() - epoch_started), 1)
                progress.update(step - (epoch - 1) * epoch_steps, list(means.items()))
                displayed = now
                _check_finite(means, epoch, step)
            if log_now:
                means["learning_rate"] = float(parts.optimizer.learning_rate)
                training_step.reset()
                if epoch_ends and "val" in splits and (epoch % validate_every == 0 or epoch == configuration.epochs):
                    means.update(_validate(configuration, parts, splits["val"]))
                _log(directory, writer, epoch, step, means)
        checkpoints.step.assign(step)
        accuracies = [value for name, value in means.items() if name.startswith("val_accuracy")]
        if accuracies:
            print("  ".join(f"{name} {value:.4f}" for name, value in means.items() if name.startswith("val_")))
            score = sum(accuracies) / len(accuracies)
            if score > checkpoints.best_score:
                checkpoints.save_best(score)
        checkpoints.save()
    writer.close()
