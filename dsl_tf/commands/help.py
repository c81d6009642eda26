"""The help of a command: its flags by topic, with units and defaults."""

import dataclasses
import shutil
import textwrap
from typing import Any

from dsl_tf.commands.actions import COMMANDS
from dsl_tf.commands.overview import SUMMARIES
from dsl_tf.runs.configuration.options import choices_of

_WIDEST = 100
_NARROWEST = 60
_LONGEST_CHOICES = 76
_EXAMPLES = {
    "train": "dsl_tf train --dataset=folder --data_dir=DIR --output_dir=runs/mine",
    "evaluate": "dsl_tf evaluate --run_dir=runs/mine --shots=1,5",
    "predict": "dsl_tf predict --model=runs/mine --support_dir=EXAMPLES --images_dir=IMAGES",
    "demo": "dsl_tf demo --model=runs/mine",
    "export": "dsl_tf export --model=runs/mine --formats=litert,onnx",
    "prepare": "dsl_tf prepare --dataset=mini_imagenet --data_dir=DIR",
    "reproduce": "dsl_tf reproduce --table=4 --datasets=cifar_fs --data_dir=DIR",
    "report": "dsl_tf report --runs=runs",
}
_NOTE = (
    "Write lists with commas, as in --filters=16,32,64,128. Turn a switch off with no, as in --noflip. "
    "--flagfile=FILE reads flags from a file, one per line."
)
_EVERY_COMMAND = (
    ("--flagfile=FILE", "Read flags from a file, one per line. Later flags override it."),
    ("--only_check_args", "Check the flags and stop."),
    ("--verbosity={debug,info,warning,error}", "Show messages of this level and above, including those of TensorFlow."),
)


def help_text(name: str) -> str:
    """Returns the text of `dsl_tf NAME --help`."""
    width = max(_NARROWEST, min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST))
    lines = [
        f"Usage: dsl_tf {name} [--flag=value ...]",
        "",
        SUMMARIES[name],
        "",
        "Example:",
        f"  {_EXAMPLES[name]}",
        "",
    ]
    lines += textwrap.wrap(_NOTE, width)
    for topic, fields in _by_topic(name).items():
        lines += ["", f"{topic[0].upper()}{topic[1:]}:"]
        for field in fields:
            lines += _entry(_usage(field), field.metadata["help"] + _default(field), width)
    lines += ["", "Every command:"]
    for usage, text in _EVERY_COMMAND:
        lines += _entry(usage, text, width)
    return "\n".join(lines)


def _by_topic(name: str) -> dict[str, list[dataclasses.Field]]:
    """Returns the flags of a command by topic, in the order of the fields."""
    command = COMMANDS[name]
    topics: dict[str, list[dataclasses.Field]] = {}
    for configuration in command.configurations:
        for field in dataclasses.fields(configuration):
            if field.name not in command.without:
                topics.setdefault(field.metadata["topic"], []).append(field)
    return topics


def _entry(usage: str, text: str, width: int) -> list[str]:
    return [f"  {usage}", *textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)]


def _usage(field: dataclasses.Field) -> str:
    if field.type in (bool, bool | None):
        return f"--[no]{field.name}"
    if choices := choices_of(field.metadata):
        more = ",..." if field.metadata["items"] else ""
        usage = f"--{field.name}={{{','.join(choices)}}}{more}"
        # A list that is longer than a line is for the help's text to describe.
        if len(usage) <= _LONGEST_CHOICES:
            return usage
    return f"--{field.name}={_placeholder(field)}"


def _placeholder(field: dataclasses.Field) -> str:
    kind: Any = field.metadata["items"] or field.type
    names = {int: "N", int | None: "N", float: "X", float | None: "X"}
    name = names.get(kind, "PATH" if field.metadata["path"] else "NAME")
    return f"{name},{name},..." if field.metadata["items"] else name


def _default(field: dataclasses.Field) -> str:
    """Returns the default as a sentence, empty for None, which the help text explains."""
    default = field.default
    if default is None or default == () or default is False:
        return ""
    if default is True:
        return " On by default."
    items = default if isinstance(default, tuple) else [default]
    return f" Default: {','.join(f'{item:g}' if isinstance(item, float) else str(item) for item in items)}."
