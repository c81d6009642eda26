"""The action of each command."""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from absl import flags, logging

from dsl_tf.commands import console
from dsl_tf.errors import UserError
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import (
    DemonstrationConfiguration,
    EvaluationConfiguration,
    ExportConfiguration,
    PredictionConfiguration,
    ReportConfiguration,
    ReproductionConfiguration,
    TrainingConfiguration,
)

_SOME_FAILED = 1
_CLASSIFICATION = ("model", "support_dir", "images_dir", "classifier", "feature_transform", "lam", "calibrate")
_PREPARATION = ("dataset", "data_dir", "image_size", "cache_dir", "allow_partial", "class_split", "stored_size")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: its configuration and its action."""

    configuration: type
    action: Callable[[Any, flags.FlagValues], int]
    # Fields without a flag, and further configurations whose fields are flags too.
    without: tuple[str, ...] = ()
    others: tuple[type, ...] = ()
    after_interrupt: str = ""

    @property
    def configurations(self) -> tuple[type, ...]:
        """The classes whose fields are this command's flags."""
        return (self.configuration, *self.others)


def _is_chief(configuration: Any) -> bool:
    """Returns whether this process is the worker that writes files and prints."""
    from dsl_tf import distribution

    return distribution.is_chief(distribution.open_strategy(configuration.distribution, configuration.virtual_devices))


def _train(configuration: TrainingConfiguration, _: flags.FlagValues) -> int:
    # The functions import what they need, so that a command loads only this.
    from dsl_tf import gpu
    from dsl_tf.report import results_summary
    from dsl_tf.training import train

    gpu.set_up(configuration.precision)
    results = train(configuration)
    if _is_chief(configuration):
        print(results_summary(results, str(configuration.output_dir)))
    return 0


def _evaluate(configuration: EvaluationConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf import gpu
    from dsl_tf.report.evaluation import evaluation_report, evaluation_text, write_evaluation
    from dsl_tf.runs.evaluate import evaluate

    gpu.set_up()
    # Progress and notes would corrupt the JSON.
    with contextlib.redirect_stdout(sys.stderr) if configuration.json else contextlib.nullcontext():
        evaluation = evaluate(configuration)
    if not _is_chief(configuration):
        return 0
    # Prints the numbers first, so that they are not lost if the disk is full.
    print(json.dumps(evaluation_report(evaluation)) if configuration.json else evaluation_text(evaluation), flush=True)
    try:
        written = f"\nWrote {write_evaluation(evaluation, str(configuration.output_dir))}"
        print(written, file=sys.stderr if configuration.json else sys.stdout)
    except UserError as error:
        logging.warning("%s The numbers above were not saved. Set another --output_dir to save them.", error)
    return 0


def _prepare(configuration: TrainingConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf.data import prepared

    path = prepared.prepare(**{name: configuration.data_options[name] for name in _PREPARATION})
    for name in prepared.prepared_splits(path):
        images, classes = prepared.split_size(path, name)
        print(f"{name}: {images:,} images of {classes} classes")
    print(f"Prepared in {str(path)!r}")
    return 0


def _reproduce(reproduction: ReproductionConfiguration, given: flags.FlagValues) -> int:
    from dsl_tf.experiments.reproduce import reproduce
    from dsl_tf.report import write_report

    values = flagfiles.values(TrainingConfiguration, given)
    failed = reproduce(reproduction, {name: value for name, value in values.items() if given[name].present})
    if not reproduction.print_commands:
        output_dir = os.path.join(reproduction.runs, "report")
        print(
            write_report(
                ReportConfiguration(runs=(reproduction.runs,), output_dir=output_dir, tables=reproduction.table)
            )
        )
    if failed:
        return console.error(f"{len(failed)} runs failed: {', '.join(failed)}", _SOME_FAILED)
    return 0


def _report(configuration: ReportConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf.report import write_report

    print(write_report(configuration))
    return 0


def _predict(configuration: PredictionConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf import gpu
    from dsl_tf.report.contact_sheet import write_contact_sheet
    from dsl_tf.runs.predict import classify
    from dsl_tf.runs.predictions_file import check_output, further_columns, write_predictions

    gpu.set_up()
    stem, extension = os.path.splitext(configuration.output)
    # Never the csv file itself.
    sheet = f"{stem}{extension * (extension == '.html')}.html" if configuration.contact_sheet else None
    for path in filter(None, (configuration.output, sheet)):
        check_output(path)
    options = {name: getattr(configuration, name) for name in _CLASSIFICATION}
    found = classify(**options)
    predictions = found.predictions(configuration.reject_below)
    columns = further_columns(found, configuration.top, configuration.probabilities)
    write_predictions(predictions, configuration.output, columns)
    rejected = sum(one.class_name is None for one in predictions) - len(found.unreadable)
    print(
        f"Classified {len(found.files) - rejected:,} images, skipped {len(found.unreadable):,}"
        f"{f', rejected {rejected:,}' if configuration.reject_below else ''}. Wrote {configuration.output!r}"
    )
    if sheet:
        write_contact_sheet(found, sheet, str(configuration.images_dir), configuration.reject_below)
        print(f"Wrote {sheet!r}: the images beside the nearest labelled ones, the least confident first")
    return 0


def _demo(configuration: DemonstrationConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf import gpu
    from dsl_tf.report.demonstration import serve

    gpu.set_up()
    serve(configuration)
    return 0


def _export(configuration: ExportConfiguration, _: flags.FlagValues) -> int:
    from dsl_tf.runs.deployment import convert

    for found in convert(configuration):
        size = found.path.stat().st_size / 1e6
        print(
            f"Wrote {str(found.path)!r} ({size:.1f} MB). Largest difference from the SavedModel over {found.images} "
            f"images: {found.difference:.2g}, with features up to {found.scale:.2g}; smallest cosine similarity "
            f"{found.similarity:.4f}"
        )
    return 0


def _cell_flags() -> tuple[str, ...]:
    from dsl_tf.experiments.reproduce import CELL_FLAGS

    return tuple(CELL_FLAGS)


COMMANDS = {
    "train": Command(
        TrainingConfiguration,
        _train,
        after_interrupt="Run the same command again to resume from the last checkpoint.",
    ),
    "evaluate": Command(EvaluationConfiguration, _evaluate),
    "predict": Command(PredictionConfiguration, _predict),
    "demo": Command(DemonstrationConfiguration, _demo),
    "export": Command(ExportConfiguration, _export),
    "prepare": Command(
        TrainingConfiguration,
        _prepare,
        without=tuple(
            field.name for field in dataclasses.fields(TrainingConfiguration) if field.name not in _PREPARATION
        ),
        after_interrupt="Run the same command again to continue.",
    ),
    "reproduce": Command(
        ReproductionConfiguration,
        _reproduce,
        without=_cell_flags(),
        others=(TrainingConfiguration,),
        after_interrupt="Run the same command again to resume.",
    ),
    "report": Command(ReportConfiguration, _report),
}
