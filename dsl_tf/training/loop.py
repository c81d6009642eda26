"""The epochs of a run: steps, log lines, validations and checkpoints."""

import collections
import math
import time

import tensorflow as tf

from dsl_tf import distribution, evaluation
from dsl_tf.data.balanced import steps_per_epoch
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.stored_images import reading
from dsl_tf.errors import UserError
from dsl_tf.progress import progress_bar
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.features import extract_features

# Workers agree on the end so many steps after a signal: to read what the last step returned would wait for the device.
_STEPS_TO_AGREE = 2
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
    features = extract_features(parts.backbone, split.images)
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


def _diverged(names, epoch, step, learning_rate):
    return UserError(
        f"Training diverged: {', '.join(names)} must be finite. Received: infinity or NaN at epoch {epoch}, step "
        f"{step}, learning rate {learning_rate:.4g}. Checkpoints before it are kept. Lower --learning_rate or lengthen "
        "--warmup_epochs."
    )


def _too_large(configuration, split, replicas):
    return UserError(
        f"A batch must fit into the memory of the devices. Received: --ways={configuration.ways} × --shots="
        f"{configuration.shots} images of {'×'.join(map(str, split.images.shape[1:3]))} pixels on {replicas} of them. "
        "Lower one of these, narrow --filters, or try --precision=mixed_bfloat16 or more devices."
    )


def _check_finite(training_step, epoch, step):
    broken = training_step.broken()
    if broken is not None:
        raise _diverged(broken.terms, epoch, step - broken.steps_ago, broken.learning_rate)


def _log(directory, writer, epoch, step, values):
    run_directory.append_metrics(directory, {"epoch": epoch, "step": step, **values})
    with writer.as_default(step):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.flush()


def _save(checkpoints, parts, training_step, epoch):
    """Saves a checkpoint, but none that would only diverge again."""
    step = int(checkpoints.step)
    _check_finite(training_step, epoch, step)
    size = tf.add_n([tf.reduce_sum(tf.abs(tf.cast(weight, tf.float32))) for weight in parts.trainable_weights])
    if not math.isfinite(size):
        raise _diverged(["the weights"], epoch, step, float(parts.optimizer.learning_rate))
    checkpoints.save()


def run_epochs(configuration, parts, training_step, splits, directory, checkpoints, flip, interruption):
    """Trains from where the checkpoints stand to the last epoch, or until a signal asks for the end.

    The weights that validate best are saved beside the last ones; without a validation split they are the last.

    Args:
        configuration: a `TrainingConfiguration`.
        parts: the `Parts` to train.
        training_step: their `TrainingStep`, restored.
        splits: a dict of `Split`s, with `"train"` and perhaps `"val"`.
        directory: the run directory.
        checkpoints: the restored `Checkpoints` of the parts.
        flip: whether to mirror images at random.
        interruption: a postponed `Interruption`.

    Raises:
        SystemExit: where a signal was received, by any worker; the state is saved.
    """
    strategy = training_step.strategy
    chief, workers = distribution.is_chief(strategy), distribution.has_other_workers(strategy)
    train = splits["train"]
    epoch_steps = steps_per_epoch(train.labels, configuration.ways, configuration.shots)
    last_step = configuration.epochs * epoch_steps
    first_step = step = int(checkpoints.step)
    # Means that are not reset at the end of an epoch: the run was interrupted while it validated.
    unfinished = step > 0 and step % epoch_steps == 0 and float(training_step.steps.numpy()) > 0
    if step >= last_step and not unfinished:
        return
    if chief:
        run_directory.truncate_metrics(directory, step - 1 if unfinished else step)
        writer = tf.summary.create_file_writer(str(directory / run_directory.TENSORBOARD))
    batch_size = configuration.ways * configuration.shots
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
            rows=distribution.worker_rows(strategy, batch_size),
        )
    )
    signals = collections.deque()
    # Of the spectral sum alone.
    decomposition_every = getattr(parts.loss, "interval", 1)

    def interrupted(delay):
        """Returns whether a signal was received; in all workers the same, `delay` steps later."""
        if not workers:
            return interruption.received is not None
        return sum(int(signals.popleft()) for _ in range(len(signals) - delay)) > 0

    log_every = configuration.log_every or epoch_steps
    validate_every = configuration.validate_every or max(1, configuration.epochs // 10)
    started = saved = time.monotonic()
    for epoch in range((step - 1 if unfinished else step) // epoch_steps + 1, configuration.epochs + 1):
        elapsed = time.monotonic() - started
        left = f", {_duration(elapsed / (step - first_step) * (last_step - step))} left" if step > first_step else ""
        print(f"Epoch {epoch}/{configuration.epochs}{left}")
        shown = [*training_step.names, "images_per_second"]
        progress = progress_bar(epoch_steps, "step", line_at_end=True, stateful_metrics=shown)
        epoch_started = displayed = time.monotonic()
        epoch_first_step = step
        epoch_ends = step == epoch * epoch_steps
        while True:
            if not epoch_ends:
                try:
                    with reading(train.images):
                        batch = next(batches)
                    if decomposition_every > 1 and step % decomposition_every == 0:
                        parts.loss.refresh()
                    if workers:
                        signal = tf.constant(interruption.received is not None, tf.int32)
                        signals.append(training_step(*batch, batch_size, signal))
                    else:
                        training_step(*batch)
                except tf.errors.InvalidArgumentError as error:
                    # How the eigenvalue decomposition answers weights that an update has just taken beyond float32.
                    if "ecomposition" not in str(error):
                        raise
                    _check_finite(training_step, epoch, step)
                    rate = float(parts.optimizer.learning_rate)
                    raise _diverged(["the classifier's kernel"], epoch, step + 1, rate) from None
                except tf.errors.ResourceExhaustedError:
                    raise _too_large(configuration, train, strategy.num_replicas_in_sync) from None
                step += 1
                checkpoints.step.assign(step)
            now = time.monotonic()
            epoch_ends = step == epoch * epoch_steps
            log_now = step % log_every == 0 or epoch_ends
            if log_now or chief and now - displayed > _DISPLAY_SECONDS:
                means = training_step.means()
                if step > epoch_first_step:
                    images = (step - epoch_first_step) * batch_size
                    means["images_per_second"] = round(images / (time.monotonic() - epoch_started), 1)
                progress.update(step - (epoch - 1) * epoch_steps, list(means.items()))
                displayed = now
                _check_finite(training_step, epoch, step)
            if log_now:
                means["learning_rate"] = float(parts.optimizer.learning_rate)
                if epoch_ends and "val" in splits and (epoch % validate_every == 0 or epoch == configuration.epochs):
                    # Validation may take longer than a scheduler waits between SIGTERM and SIGKILL.
                    _save(checkpoints, parts, training_step, epoch)
                    with interruption.at_once(), strategy.scope():
                        means.update(_validate(configuration, parts, splits["val"]))
                training_step.reset()
                if chief:
                    _log(directory, writer, epoch, step, means)
            if epoch_ends:
                break
            ends = interrupted(_STEPS_TO_AGREE)
            if ends or now - saved >= configuration.checkpoint_minutes * 60:
                _save(checkpoints, parts, training_step, epoch)
                saved = time.monotonic()
            if ends:
                _end(strategy, interruption)
        accuracies = [value for name, value in means.items() if name.startswith("val_accuracy")]
        if accuracies:
            print("  ".join(f"{name} {value:.4f}" for name, value in means.items() if name.startswith("val_")))
            score = sum(accuracies) / len(accuracies)
            if score > checkpoints.best_score:
                checkpoints.save_best(score)
        _save(checkpoints, parts, training_step, epoch)
        saved = time.monotonic()
        if interrupted(0):
            _end(strategy, interruption)
    if chief:
        writer.close()


def _end(strategy, interruption):
    """Ends the run once the chief has saved it: none of the others may go before."""
    distribution.everywhere(strategy, True)
    interruption.end()
