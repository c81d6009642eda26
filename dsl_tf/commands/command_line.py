"""Parses the flags of a command, runs its action, and handles errors and interruptions."""

import difflib
import os
import re
import sys
from collections.abc import Sequence

from absl import flags, logging

from dsl_tf.commands import console
from dsl_tf.commands.actions import COMMANDS, Command
from dsl_tf.errors import UserError
from dsl_tf.runs import flagfiles

# The exit code by which shells recognise a process that Ctrl-C ended.
_INTERRUPTED = 130
# What absl and Python say of a value of the wrong type, and what it should be.
_TYPES = {
    "('Non-boolean argument": "true or false",
    "invalid literal for int()": "a whole number",
    "could not convert string to float": "a number",
}
_WRONG_TYPE = re.compile(rf"flag --(\w+)=(.*): ({'|'.join(map(re.escape, _TYPES))}).*", re.DOTALL)
_VERBOSITIES = ("debug", "info", "warning", "error")


def run(name: str, arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit code."""
    command = COMMANDS[name]
    try:
        values = parse(name, arguments)
        configuration = flagfiles.parse(command.configuration, values)
        if values.only_check_args:
            return 0
        _set_verbosity(values)
        code = command.action(configuration, values)
        sys.stdout.flush()
        return code
    except (UserError, flags.Error) as error:
        return console.error(error)
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe. Buffered output must not raise the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return console.error(error)
    except KeyboardInterrupt:
        print(f"\nInterrupted. {command.after_interrupt}".rstrip(), file=sys.stderr)
        return _INTERRUPTED


def define(command: Command) -> flags.FlagValues:
    """Defines the flags of a command and those of every command."""
    values = flags.FlagValues()
    for configuration in command.configurations:
        flagfiles.define(configuration, values, module_name="dsl_tf", without=command.without)
    flags.DEFINE_enum("verbosity", None, _VERBOSITIES, "What to log.", flag_values=values)
    flags.DEFINE_bool("only_check_args", False, "Check the flags and stop.", flag_values=values)
    return values


def parse(name: str, arguments: Sequence[str]) -> flags.FlagValues:
    """Parses the flags of a command.

    Raises:
        UserError: if a flag does not exist, a value has the wrong type, or an argument is not a flag.
    """
    values = define(COMMANDS[name])
    hint = f"(dsl_tf {name} --help lists the flags)"
    try:
        rest = values([name, *flagfiles.expand(arguments)])
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"{name} has no flag --{error.flagname}.{_suggestion(error.flagname, values)} {hint}") from None
    # For example, absl raises a ValueError for --noflip=1.
    except (flags.Error, ValueError) as error:
        raise UserError(f"{_in_words(str(error))} {hint}") from None
    if len(rest) > 1:
        raise UserError(f"expected only --flags. Received: {rest[1]!r}. {hint}")
    return values


def _in_words(message: str) -> str:
    """Returns absl's message about a flag, in the words of our own errors if the value has the wrong type."""
    if found := _WRONG_TYPE.fullmatch(message):
        return f"--{found[1]} must be {_TYPES[found[3]]}. Received: --{found[1]}={found[2]}."
    return message.removeprefix("flag ")


def _suggestion(name: str, values: flags.FlagValues) -> str:
    renamed = flagfiles.RENAMED.get(name)
    if renamed and renamed in values:
        return f" It is called --{renamed} now."
    near = [found for found in values if found.startswith(name)] or difflib.get_close_matches(name, list(values), n=1)
    return f" Did you mean --{near[0]}?" if near else ""


def _set_verbosity(values: flags.FlagValues) -> None:
    """Hides TensorFlow's messages about saving models, unless --verbosity asks for them."""
    logging.set_verbosity(values.verbosity or "warning")
    import tensorflow as tf

    tf.get_logger().setLevel((values.verbosity or "error").upper())
