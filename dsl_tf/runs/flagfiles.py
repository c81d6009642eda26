"""Configurations as absl flags and flagfiles."""

import dataclasses
import os
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from absl import flags

from dsl_tf.errors import UserError
from dsl_tf.files import check_regular
from dsl_tf.runs.configuration.options import choices_of

# Flags of earlier versions, which old flagfiles still contain.
RENAMED = {"classifier": "head"}

_DEFINITIONS: dict[type, Callable] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def _scalar_type(field: dataclasses.Field) -> type:
    """Returns the type of a field that may also be None."""
    return next(kind for kind in (bool, int, float, str) if field.type in (kind, kind | None))


def define(configuration: type, flag_values: flags.FlagValues, module_name: str, without: Collection[str] = ()) -> None:
    """Defines a flag for each field of a configuration class.

    Args:
        configuration: a dataclass of `dsl_tf.runs.configuration`.
        flag_values: the `absl.flags.FlagValues` to define them in.
        module_name: the module that absl records as the definer.
        without: the names of fields to skip.
    """
    for field in dataclasses.fields(configuration):
        if field.name in without:
            continue
        metadata = field.metadata
        common: Any = {"flag_values": flag_values, "module_name": module_name}
        default: Any = field.default
        if metadata["items"]:
            default = None if default is None else ",".join(map(str, default))
            flags.DEFINE(
                flags.ListParser(),
                field.name,
                default,
                metadata["help"],
                serializer=flags.CsvListSerializer(","),
                **common,
            )
        elif choices := choices_of(metadata):
            flags.DEFINE_enum(field.name, default, choices, metadata["help"], **common)
        else:
            _DEFINITIONS[_scalar_type(field)](field.name, default, metadata["help"], **common)


def values(configuration: type, flag_values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the defined flags of a configuration, by field name.

    Raises:
        absl.flags.Error: if an item of a list has the wrong type.
    """
    found = {}
    for field in dataclasses.fields(configuration):
        if field.name not in flag_values:
            continue
        value = flag_values[field.name].value
        items = field.metadata["items"]
        if items and value is not None:
            try:
                value = tuple(items(item) for item in value)
            except ValueError:
                raise flags.IllegalFlagValueError(
                    f"flag --{field.name}={','.join(value)}: expected a list of {items.__name__} values"
                ) from None
        found[field.name] = value
    return found


def parse(configuration: type, flag_values: flags.FlagValues) -> Any:
    """Builds a configuration from parsed flags.

    Raises:
        UserError: if a value is out of its limits.
    """
    return configuration(**values(configuration, flag_values))


def to_lines(configuration: Any, with_defaults: bool = True) -> list[str]:
    """Returns the lines of a flagfile that repeats a configuration; fields that are None are omitted.

    Args:
        configuration: an instance of a dataclass of `dsl_tf.runs.configuration`.
        with_defaults: whether to include fields that have their default value.
    """
    lines = []
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if value is None or (not with_defaults and _is_default(configuration, field)):
            continue
        if isinstance(value, bool):
            lines.append(f"--{field.name}" if value else f"--no{field.name}")
        elif field.metadata["items"]:
            lines.append(f"--{field.name}={','.join(map(str, value))}")
        else:
            lines.append(f"--{field.name}={value}")
    return lines


def _is_default(configuration: Any, field: dataclasses.Field) -> bool:
    """Returns whether a configuration is the same without its value of a field."""
    if getattr(configuration, field.name) == field.default:
        return True
    try:
        # Some defaults follow from other fields.
        return dataclasses.replace(configuration, **{field.name: field.default}) == configuration
    except UserError:
        return False


def expand(arguments: Iterable[str], opened: tuple[str, ...] = ()) -> list[str]:
    """Replaces each `--flagfile=FILE` in a list of arguments with the flags in that file.

    Args:
        arguments: a command's flags, without its name.
        opened: the files that are being read, to detect a file that includes itself.

    Raises:
        UserError: if a file cannot be read, or includes itself.
    """
    rest, expanded = iter(arguments), []
    for argument in rest:
        name, _, path = argument.partition("=")
        if argument == "--":
            expanded += [argument, *rest]
        elif name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
        else:
            path = os.path.expanduser(path if "=" in argument else next(rest, ""))
            if os.path.realpath(path) in opened:
                raise UserError(f"--flagfile={path} includes itself. Remove that line from the file.")
            expanded += expand(_lines(path), (*opened, os.path.realpath(path)))
    return expanded


def read(path: str | os.PathLike[str], configuration: type) -> Any:
    """Reads a configuration from a flagfile.

    Raises:
        absl.flags.Error, UserError: if the file cannot be read, or has unknown flags or values out of their limits.
    """
    flag_values = flags.FlagValues()
    define(configuration, flag_values, module_name=__name__)
    flag_values(["flagfile", *expand(_lines(path), (os.path.realpath(path),))])
    return parse(configuration, flag_values)


def _lines(path: str | os.PathLike[str]) -> list[str]:
    """Returns the flags of a file, one per line, without comments and with renamed flags updated."""
    try:
        check_regular(path)
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"--flagfile={os.fspath(path)} must be a text file with one flag per line. {reason}.") from None
    for old, new in RENAMED.items():
        lines = [re.sub(f"^--?{old}=", f"--{new}=", line) for line in lines]
    return [line for line in lines if line and not line.startswith(("#", "//"))]
