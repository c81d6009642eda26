"""Writes reference/flags.md, the tables of all flags, from the configurations: python docs/write_flags.py [FILE]."""

import dataclasses
import pathlib
import sys

from dsl_tf.runs import configuration

HEAD = """# Flags

<!-- Written by `python docs/write_flags.py`. Change the help in dsl_tf/runs/configuration instead. -->

Each command reads flags from the command line and from flagfiles (`--flagfile=FILE`, one flag per line).
Write lists with commas: `--shots=1,5`. Turn a switch off by putting `no` before its name: `--noflip`.
`--help` prints the same texts. In Python, each flag of `train` is a field of
[TrainingConfiguration](training.md#dsl_tf.training.TrainingConfiguration).
"""
SECTIONS = (
    (
        "train",
        configuration.TrainingConfiguration,
        "`run_train.py` is the same command. `prepare` takes the flags of the data.",
    ),
    ("evaluate", configuration.EvaluationConfiguration, "`run_eval.py` is the same command."),
    ("predict", configuration.PredictionConfiguration, ""),
    (
        "reproduce",
        configuration.ReproductionConfiguration,
        "The flags of `train` that a table does not fix work too, for all its runs.",
    ),
    ("report", configuration.ReportConfiguration, ""),
)


def default_of(field):
    """The default as it is written on a command line; empty if there is none."""
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"`{value}`"


def row(field):
    """A field as a row of a table."""
    choices = field.metadata["choices"]
    text = field.metadata["help"]
    if choices and not all(choice in text for choice in choices):
        text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    text = text.replace("|", "\\|").replace("<", "&lt;")
    return f"| `--{field.name}` | {default_of(field)} | {text} |"


def page():
    """The whole page, as Markdown."""
    parts = [HEAD]
    for command, kind, note in SECTIONS:
        parts.append(f"\n## {command}\n\n`python -m dsl_tf {command}`. {note}".rstrip() + "\n")
        fields = dataclasses.fields(kind)
        groups = {"": fields}
        if len(fields) > 10:
            groups = {topic: [f for f in fields if f.metadata["topic"] == topic] for topic in configuration.TOPICS}
        for topic, group in groups.items():
            heading = f"\n### {topic.capitalize()}\n" if topic else ""
            rows = "\n".join(map(row, group))
            parts.append(f"{heading}\n| flag | default | |\n|---|---|---|\n{rows}\n" if group else "")
    return "".join(parts)


if __name__ == "__main__":
    beside = pathlib.Path(__file__).parent / "reference" / "flags.md"
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else beside).write_text(page(), encoding="utf-8")
