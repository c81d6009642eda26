"""Runs a training, from its configuration to a run directory with results."""

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from dsl_tf import distribution, gpu
from dsl_tf.data import sources
from dsl_tf.data.balanced import drop_small_classes, steps_per_epoch
from dsl_tf.data.skipped import SKIPPED_FILE, write_skipped
from dsl_tf.data.split import Split
from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import classifier_of
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.own_backbone import checked_backbone
from dsl_tf.runs.trained_weights import read_trained_weights
from dsl_tf.training import construction
from dsl_tf.training.checkpoints import Checkpoints, has_checkpoints
from dsl_tf.training.description import description
from dsl_tf.training.device_defaults import with_spectral_interval
from dsl_tf.training.division import record_division
from dsl_tf.training.extension import begin_extension, is_extension
from dsl_tf.training.finish import finish
from dsl_tf.training.given import Given, LossFunction
from dsl_tf.training.initialisation import start_from
from dsl_tf.training.interruption import Interruption
from dsl_tf.training.loop import run_epochs
from dsl_tf.training.measure import Measure, measure_of
from dsl_tf.training.run import Run
from dsl_tf.training.splits import check_splits, load_splits_in_turn
from dsl_tf.training.step import TrainingStep
from dsl_tf.training.workers import check_same_command


def train(
    configuration: TrainingConfiguration,
    splits: dict[str, Split] | None = None,
    backbone: keras.Model | None = None,
    *,
    loss: LossFunction | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains a backbone, or resumes an interrupted run, and evaluates it on unseen classes.

    Several devices share each batch, with the results of one device up to rounding. Several workers must all call it
    with the same arguments; the first one writes `output_dir`, and the others read it.

    In the main thread, SIGTERM, SIGUSR1 and Ctrl-C end the run after the current step: it saves its state and
    raises SystemExit with code 128 + the signal's number (143 for SIGTERM), or KeyboardInterrupt. Repeat the call
    to resume.

    Args:
        configuration: a `TrainingConfiguration`.
        splits: a dict of `Split`s instead of the configuration's data set: `"train"` and, optionally, `"val"` and
            `"test"` with other classes, or with the same ones if the configuration has `held_out="images"`.
        backbone: a `keras.Model` from images `[n, height, width, 3]` with values −1..1 to features `[n, d]`, in place
            of the configuration's.
        loss: a function of the classifier (None with `classification_loss="none"`) to any loss of `dsl_tf.losses`, in
            place of the configuration's, such as `lambda classifier: DirectSumLoss(classifier, metric=my_loss)`. What
            it learns itself (`trainable_variables`) is trained too. It is called for each copy of the network, in the
            scope of the `tf.distribute` strategy, so it should make a new loss each time.
        optimizer: a Keras optimizer, with any schedule and its own weight decay, in place of SGD and the
            configuration's schedule. The run trains with a copy of it.
        callbacks: Keras callbacks. `on_epoch_end` gets the values that metrics.jsonl has. They get a model of the
            backbone and the classifier; if one sets its `stop_training`, training ends after the epoch. Their own state
            is not in the checkpoints: a resumed run calls `on_train_begin` again.

    Returns:
        The content of `results.json` in the run directory: `accuracies`, `discriminant_scores` (Table 1) and the
        information needed to repeat the run.

    Raises:
        UserError: if an argument is of a wrong type, or the flags do not fit the data, or the backbone cannot be
            trained or exported, or the output directory is another run's or one on other data, or another process
            trains in it, or another worker died or runs another command.
    """
    given = Given(backbone, loss, optimizer, callbacks)
    configuration = with_spectral_interval(configuration)
    for name in configuration.test_classifiers:
        # A classifier of the user's own should be missed now, not after the last epoch.
        classifier_of(name)
    strategy = distribution.open_strategy(configuration.distribution, configuration.virtual_devices)
    given.check(configuration, strategy.num_replicas_in_sync)
    if configuration.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError(
            "--jit_compile needs a single device: XLA cannot compile the communication of batch normalisation. "
            f"Received: {strategy.num_replicas_in_sync} devices. Omit the flag, or use one device."
        )
    with distribution.lost_workers_as_user_error(strategy), gpu.tensor_float_32(configuration.tensor_float_32):
        check_same_command(strategy, configuration)
        if distribution.is_chief(strategy):
            return _train_and_write(configuration, splits, given, strategy)
        return _train_beside(configuration, splits, given, strategy)


def _train_and_write(
    configuration: TrainingConfiguration,
    splits: dict[str, Split] | None,
    given: Given,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Trains in the chief or only worker, which tells the others whether there is anything to do."""
    directory, results = _open(configuration)
    if results is None:
        with run_directory.unwritable_as_user_error(directory), run_directory.locked(directory):
            # Checked again, because another process may have written there before this one got the lock.
            _, results = _open(configuration)
            if results is None:
                with Interruption() as interruption:
                    distribution.true_on_all_workers(strategy, True)
                    return _train(configuration, splits, given, directory, interruption, strategy)
    distribution.true_on_all_workers(strategy, False)
    print(f"The run in {str(directory)!r} is complete.")
    return results


def _open(configuration: TrainingConfiguration) -> tuple[pathlib.Path, dict[str, Any] | None]:
    """Returns the run directory, and its results if the run is complete."""
    directory = run_directory.open_directory(configuration)
    return directory, None if is_extension(directory, configuration) else run_directory.read_results(directory)


def _train_beside(
    configuration: TrainingConfiguration,
    splits: dict[str, Split] | None,
    given: Given,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Trains in the other workers: everything except writing files and printing."""
    directory = pathlib.Path(str(configuration.output_dir))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), Interruption() as interruption:
        if not distribution.true_on_all_workers(strategy, True):
            return run_directory.read_results(directory) or {}
        return _train(configuration, splits, given, directory, interruption, strategy)


def _train(
    configuration: TrainingConfiguration,
    splits: dict[str, Split] | None,
    given: Given,
    directory: pathlib.Path,
    interruption: Interruption,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Trains and evaluates in a directory that this process or its chief has locked."""
    source = configuration.dataset if splits is None else "arrays"
    if configuration.deterministic:
        tf.config.experimental.enable_op_determinism()
    splits = load_splits_in_turn(configuration, strategy) if splits is None else splits
    classes = {name: split.class_names for name, split in splits.items()}
    if "train" in splits:
        train_split = drop_small_classes(splits["train"], configuration.shots, configuration.small_classes)
        splits = {**splits, "train": train_split}
    measure = measure_of(configuration)
    fitted, splits = measure.fit(configuration, splits, is_own=source == "folder")
    check_splits(fitted, splits, strategy.num_replicas_in_sync)
    measure.check(fitted, splits)
    exported, run = _build(fitted, splits, given, directory, interruption, strategy, source, measure)
    run.checkpoints.restore()
    _check_restored(run)
    fingerprints = {name: split.fingerprint() for name, split in splits.items()}
    _record(run, configuration, fingerprints)
    if run.is_chief and source == "folder":
        record_division(configuration, directory, classes)
    step = int(run.checkpoints.step)
    if step:
        print(f"Resuming from step {step:,}.")
    with interruption.postponed():
        run_epochs(run)
    # Waits until the chief has written the weights.
    distribution.barrier(strategy)
    measured = finish(run, exported)
    described = given.description(run.parts.loss, run.parts.optimizer)
    results = {**measured, **description(run, exported, source, fingerprints), **described}
    if run.is_chief:
        run_directory.write_results(directory, results)
    # To the chief, workers that end early would look like dead ones.
    distribution.barrier(strategy)
    return results


def _build(
    configuration: TrainingConfiguration,
    splits: dict[str, Split],
    given: Given,
    directory: pathlib.Path,
    interruption: Interruption,
    strategy: tf.distribute.Strategy,
    source: str,
    measure: Measure,
) -> tuple[construction.Parts, Run]:
    """Returns the parts to export, on one device, and the run with the parts to train."""
    train_split = splits["train"]
    steps = steps_per_epoch(train_split.labels, configuration.ways, configuration.shots)
    backbone, shape = given.backbone, train_split.images.shape[1:]
    if backbone is not None:
        # A backbone that is not built yet gets its initial weights here.
        keras.utils.set_random_seed(configuration.seed)
        backbone = checked_backbone(backbone, shape)
    start = None
    if configuration.init_from is not None and not has_checkpoints(directory):
        trained = read_trained_weights(configuration.init_from)

        def start(backbone: keras.Model, classifier: keras.layers.Layer | None) -> None:
            print(start_from(trained, backbone, classifier, train_split.class_names))

    exported = construction.build(configuration, shape, train_split.class_count, steps, backbone, given, start)
    parts = construction.replicate(exported, configuration, strategy, given.loss)
    training_step = TrainingStep(parts, configuration.jit_compile, strategy)
    writes = distribution.is_chief(strategy)
    checkpoints = Checkpoints(directory, parts, training_step, measure.shots(configuration), writes)
    flip = source not in sources.UNMIRRORED if configuration.flip is None else configuration.flip
    return exported, Run(
        configuration,
        directory,
        splits,
        flip,
        parts,
        training_step,
        checkpoints,
        interruption,
        measure,
        given.callbacks,
    )


def _check_restored(run: Run) -> None:
    """Checks that all workers have restored the same checkpoint as the chief."""
    step = int(run.checkpoints.step)
    steps = distribution.sum_over_workers(run.strategy, step * run.is_chief)
    if not distribution.true_on_all_workers(run.strategy, step == steps):
        raise UserError(
            f"--output_dir={str(run.directory)!r} must be a directory that all workers share. Received: "
            f"different checkpoints, step {step:,} here and step {steps:,} in the first worker. Use a shared folder."
        )


def _record_skipped(run: Run) -> None:
    """Writes a list of the skipped files of the data, and prints its path."""
    skipped = {name: split.skipped for name, split in run.splits.items()}
    if any(skipped.values()):
        write_skipped(skipped, run.directory / SKIPPED_FILE)
        print(f"The skipped files are listed in {str(run.directory / SKIPPED_FILE)!r}.")


def _record(run: Run, asked: TrainingConfiguration, fingerprints: dict[str, str]) -> None:
    """Checks that a run resumes with the same data, and writes its flags and fingerprints."""
    if int(run.checkpoints.step):
        run_directory.check_data(run.directory, fingerprints)
    # Only after all checks: a directory with the flags of a failed start would reject the corrected flags.
    if run.is_chief:
        if is_extension(run.directory, asked):
            begin_extension(run.directory, asked, int(run.checkpoints.step))
        # As asked for, and not as fitted to the data: the same command resumes the run.
        run_directory.record_flags(run.directory, asked)
        run_directory.record_data(run.directory, fingerprints)
        _record_skipped(run)
    if distribution.has_other_workers(run.strategy):
        # All workers must train on the data of the first one.
        distribution.barrier(run.strategy)
        run_directory.check_data(run.directory, fingerprints)
