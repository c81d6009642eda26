"""Writes reference/flags.md, the tables of all flags, from the configurations: python docs/write_flags.py [FILE]."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

from dsl_tf.commands.actions import COMMANDS
from dsl_tf.commands.overview import SUMMARIES
from dsl_tf.runs.configuration.options import choices_of

HEAD = """# Flags

<!-- Written by `python docs/write_flags.py`. Change the help in dsl_tf/runs/configuration instead. -->

Each command reads flags from the command line and from flagfiles (`--flagfile=FILE`, one flag per line).
Write lists with commas: `--shots=1,5`. Turn a switch off by putting `no` before its name: `--noflip`.
`--help` prints the same texts. In Python, each flag of `train` is a field of
[TrainingConfiguration](training.md#dsl_tf.training.TrainingConfiguration).
"""
NOTES = {
    "train": "`run_train.py` is the same command.",
    "evaluate": "`run_eval.py` is the same command.",
    "reproduce": "The flags of `train` work too, except those that a table fixes. They apply to all of its runs.",
}


def default_of(field: dataclasses.Field) -> str:
    """The default as it is written on a command line; empty if there is none."""
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"`{value}`"


def row(field: dataclasses.Field) -> str:
    """A field as a row of a table."""
    choices = choices_of(field.metadata)
    text = field.metadata["help"]
    if choices and not all(choice in text for choice in choices):
        text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    text = text.replace("|", "\\|").replace("<", "&lt;")
    return f"| `--{field.name}` | {default_of(field)} | {text} |"


def tables(fields: Sequence[dataclasses.Field]) -> Iterator[str]:
    """The tables of a command's flags, one per topic, in the order of the fields."""
    for topic in dict.fromkeys(field.metadata["topic"] for field in fields):
        rows = [row(field) for field in fields if field.metadata["topic"] == topic]
        yield "\n".join([f"### {topic.capitalize()}", "", "| flag | default | |", "|---|---|---|", *rows])


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD]
    for name, command in COMMANDS.items():
        parts.append(f"## {name}\n\n{SUMMARIES[name]} {NOTES.get(name, '')}".rstrip())
        # The first configuration is the command's own.
        fields = [field for field in dataclasses.fields(command.configuration) if field.name not in command.without]
        parts.extend(tables(fields))
    return "\n\n".join(map(str.strip, parts)) + "\n"


if __name__ == "__main__":
    beside = pathlib.Path(__file__).parent / "reference" / "flags.md"
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else beside).write_text(page(), encoding="utf-8")
