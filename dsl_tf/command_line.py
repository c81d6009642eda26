"""The two scripts: flags in, a run or an evaluation, one line for a user's mistake."""

import sys

from absl import app, flags, logging

from dsl_tf import flagfiles
from dsl_tf.configuration import EvaluationConfiguration, TrainingConfiguration
from dsl_tf.errors import UserError

# What shells use for a wrong command line, and for a process that Ctrl-C ended.
_USER_MISTAKE = 2
_INTERRUPTED = 130


def _fail(message):
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(_USER_MISTAKE)


def _parse(arguments):
    """Parses the command line; unknown flags and values are one line and exit code 2."""
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        _fail(f"{error} (--help lists the flags)")
    if len(rest) > 1:
        _fail(f"expected only --flags. Received: {rest[1]!r} (--help lists the flags)")
    return rest


def _quieten():
    """Keeps TensorFlow's notes on how it saves from drowning the progress, unless --verbosity asks for them."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)


def _run(configuration_class, action):
    """Runs `action(configuration)` under absl, with errors as exit codes."""

    def main(_):
        try:
            action(flagfiles.parse(configuration_class, flags.FLAGS))
        except (UserError, flags.Error) as error:
            _fail(error)
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on from the last checkpoint.", file=sys.stderr)
            sys.exit(_INTERRUPTED)

    flagfiles.define(configuration_class, flags.FLAGS, module_name=sys.argv[0])
    app.run(main, flags_parser=_parse)


def train():
    """Runs a training as the command line says."""

    def action(configuration):
        # Here and not above, so that --help and a wrong flag do not wait for TensorFlow.
        from dsl_tf.report import results_summary
        from dsl_tf.training import train

        _quieten()
        print(results_summary(train(configuration), configuration.output_dir))

    _run(TrainingConfiguration, action)


def evaluate():
    """Runs an evaluation as the command line says."""

    def action(configuration):
        from dsl_tf.evaluation.run import evaluate_run
        from dsl_tf.report import accuracy_table

        _quieten()
        print(accuracy_table(evaluate_run(configuration)))

    _run(EvaluationConfiguration, action)
