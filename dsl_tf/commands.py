"""The commands: flags in, a run or an evaluation, one line for a user's mistake."""

import contextlib
import dataclasses
import json
import os
import sys

from absl import app, flags, logging

from dsl_tf.errors import UserError
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import (
    EvaluationConfiguration,
    PredictionConfiguration,
    ReportConfiguration,
    ReproductionConfiguration,
    TrainingConfiguration,
)

# What shells use for a wrong command line, and for a process that Ctrl-C ended.
_USER_MISTAKE = 2
_INTERRUPTED = 130
_SOME_FAILED = 1


def _fail(message):
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(_USER_MISTAKE)


def _parse(arguments):
    """Parses the command line; unknown flags and values are one line and exit code 2."""
    try:
        rest = flags.FLAGS(arguments)
    # A ValueError, for one, is what absl raises for --noflip=1.
    except (flags.Error, OSError, ValueError) as error:
        _fail(f"{error} (--help lists the flags)")
    if len(rest) > 1:
        _fail(f"expected only --flags. Received: {rest[1]!r} (--help lists the flags)")
    return rest


def _quieten():
    """Keeps TensorFlow's notes on how it saves from drowning the progress, unless --verbosity asks for them."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)


def _run(configuration_class, action, without=()):
    """Runs `action(configuration)` under absl, with errors as exit codes; `without` names fields that get no flag."""

    def main(_):
        try:
            action(flagfiles.parse(configuration_class, flags.FLAGS))
        except (UserError, flags.Error) as error:
            _fail(error)
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on where it can.", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:
            # The reader, such as head, has what it wanted; what is still buffered shall not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    flagfiles.define(configuration_class, flags.FLAGS, module_name=sys.argv[0], without=without)
    app.run(main, flags_parser=_parse)


def _is_chief(configuration):
    """Returns whether this process is the one that writes and speaks."""
    from dsl_tf import distribution

    return distribution.is_chief(distribution.open_strategy(configuration.distribution, configuration.virtual_devices))


def train():
    """Runs a training as the command line says."""

    def action(configuration):
        # Here and not above, so that --help and a wrong flag do not wait for TensorFlow.
        from dsl_tf.report import results_summary
        from dsl_tf.training import train

        _quieten()
        results = train(configuration)
        if _is_chief(configuration):
            print(results_summary(results, configuration.output_dir))

    _run(TrainingConfiguration, action)


def evaluate():
    """Runs an evaluation as the command line says."""

    def action(configuration):
        from dsl_tf.report.evaluation import evaluation_report, evaluation_text, write_evaluation
        from dsl_tf.runs.evaluate import evaluate

        _quieten()
        # Progress and notes would be in the way of whoever reads the JSON.
        with contextlib.redirect_stdout(sys.stderr) if configuration.json else contextlib.nullcontext():
            evaluation = evaluate(configuration)
            if not _is_chief(configuration):
                return
            written = write_evaluation(evaluation, configuration.output_dir)
        if configuration.json:
            print(json.dumps(evaluation_report(evaluation)))
        else:
            print(f"{evaluation_text(evaluation)}\n\nWrote {', '.join(written)} in {configuration.output_dir}")

    _run(EvaluationConfiguration, action)


def prepare():
    """Prepares a named data set as the command line says."""
    options = ("dataset", "data_dir", "image_size", "cache_dir", "allow_partial", "class_split")

    def action(configuration):
        from dsl_tf.data import prepared

        _quieten()
        path = prepared.prepare(**{name: configuration.data_options[name] for name in options})
        for name in prepared.prepared_splits(path):
            split = prepared.load_prepared(path, name)
            print(f"{name}: {len(split.labels):,} images of {split.class_count} classes")
        print(f"Prepared in {str(path)!r}")

    others = [field.name for field in dataclasses.fields(TrainingConfiguration) if field.name not in options]
    _run(TrainingConfiguration, action, without=others)


def reproduce():
    """Runs the experiments of the paper's tables as the command line says; any training flag changes them all."""
    from dsl_tf.experiments import reproduce
    from dsl_tf.report import write_report

    def action(reproduction):
        values = flagfiles.values(TrainingConfiguration, flags.FLAGS)
        failed = reproduce.reproduce(
            reproduction, {name: value for name, value in values.items() if flags.FLAGS[name].present}
        )
        if not reproduction.print_commands:
            output_dir = os.path.join(reproduction.runs, "report")
            print(write_report(ReportConfiguration((reproduction.runs,), output_dir, reproduction.table)))
        if failed:
            print(f"error: {len(failed)} runs failed: {', '.join(failed)}", file=sys.stderr)
            sys.exit(_SOME_FAILED)

    flagfiles.define(TrainingConfiguration, flags.FLAGS, module_name=sys.argv[0], without=reproduce.CELL_FLAGS)
    _run(ReproductionConfiguration, action)


def report():
    """Writes a report of runs as the command line says."""

    def action(configuration):
        from dsl_tf.report import write_report

        print(write_report(configuration))

    _run(ReportConfiguration, action)


def predict():
    """Classifies images as the command line says."""

    def action(configuration):
        from dsl_tf.runs.predict import check_output, predict, write_predictions

        _quieten()
        options = dataclasses.asdict(configuration)
        output = options.pop("output")
        check_output(output)
        predictions = predict(**options)
        write_predictions(predictions, output)
        classified = sum(found.class_name is not None for found in predictions)
        print(f"{classified:,} images classified, {len(predictions) - classified:,} cannot be read: {output!r}")

    _run(PredictionConfiguration, action)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "prepare": prepare,
    "reproduce": reproduce,
    "report": report,
    "predict": predict,
}


def main() -> None:
    """Runs the command that the first argument names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print("Commands: " + ", ".join(COMMANDS))
        sys.exit(0 if arguments else _USER_MISTAKE)
    if arguments[0] not in COMMANDS:
        _fail(f"the command must be one of {', '.join(COMMANDS)}. Received: {arguments[0]!r} (--help describes them)")
    sys.argv = [f"dsl_tf {arguments[0]}", *arguments[1:]]
    COMMANDS[arguments[0]]()
