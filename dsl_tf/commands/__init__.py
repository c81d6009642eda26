"""The commands of `dsl_tf`. An error that the user can fix is printed as one line."""

import difflib
import sys
from collections.abc import Sequence

from dsl_tf.commands import console
from dsl_tf.commands.overview import SUMMARIES, overview

_HELP = ("help", "--help", "-help", "-h", "-?", "--helpfull", "--helpshort")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command named by the first argument.

    Args:
        arguments: the command and its flags. By default the arguments of the process.

    Returns:
        The exit code: 0, 1 if some runs failed, 2 for an error that the user can fix, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with console.opened():
        name = arguments[0] if arguments else None
        if name is None or name in _HELP:
            print(overview())
            return 0 if arguments else console.USER_ERROR
        if name not in SUMMARIES:
            near = difflib.get_close_matches(name, SUMMARIES, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            return console.error(
                f"the command must be one of {', '.join(SUMMARIES)}. Received: {name!r}.{meant} (--help describes them)"
            )
        # Imported here, because this imports TensorFlow, which takes seconds.
        from dsl_tf.commands.command_line import run

        if any(argument in _HELP for argument in arguments[1:]):
            from dsl_tf.commands.help import help_text

            print(help_text(name))
            return 0
        return run(name, arguments[1:])
