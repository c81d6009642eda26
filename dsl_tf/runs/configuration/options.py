"""The fields of configurations. Each describes a flag: its help, topic and limits."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import CLASSIFIERS, is_own

DISTRIBUTIONS = ("auto", "none", "mirrored", "multi_worker")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_LARGEST_INTEGER = 2**31 - 1


def option(
    default: Any,
    text: str,
    topic: str,
    *,
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    mathematical: bool = True,
    items: type | None = None,
    repeats: bool = False,
    path: bool = False,
) -> Any:
    """Defines a dataclass field that describes one flag.

    Args:
        default: the value if the flag is not given.
        text: the help: what the flag does, with units, and what None means.
        topic: the group of flags in which `--help` lists it.
        choices: the allowed values, or a function that returns them when the flag is defined or checked.
        minimum: the smallest allowed value.
        above: an exclusive lower limit.
        maximum: the largest allowed value.
        below: an exclusive upper limit.
        mathematical: whether the value affects the trained weights, so that a run cannot be resumed with another value.
        items: the type of the items of a list.
        repeats: whether an item of a list may occur twice.
        path: whether it is a path, or a list of paths, in which `~` and `~user` stand for a home folder.
    """
    metadata = {
        "help": text,
        "topic": topic,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "mathematical": mathematical,
        "items": items,
        "repeats": repeats,
        "path": path,
    }
    return dataclasses.field(default=default, metadata=metadata)


def distribution_option(text: str) -> Any:
    """Defines the field `distribution` of trainings and evaluations."""
    return option("auto", text, "devices", choices=DISTRIBUTIONS, mathematical=False)


def virtual_devices_option() -> Any:
    """Defines the field `virtual_devices` of trainings and evaluations."""
    return option(
        None,
        "Split the CPU into this many logical devices, to try --distribution=mirrored on a laptop.",
        "devices",
        minimum=1,
        mathematical=False,
    )


@dataclasses.dataclass(frozen=True)
class Checked:
    """Checks every field against its limits.

    Raises:
        UserError: if a value is out of its limits.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.metadata["items"]:
                value = tuple(value)
            if field.metadata["path"]:
                expand = functools.partial(_expand_home, field.name)
                value = tuple(map(expand, value)) if field.metadata["items"] else expand(value)
            object.__setattr__(self, field.name, value)
            if field.metadata["items"]:
                _check_list(field, value)
            for item in value if field.metadata["items"] else [value]:
                _check_value(field.name, item, field.metadata)


def check_classifiers(flag: str, names: Sequence[str]) -> None:
    """Checks that names are few-shot classifiers, or may be functions of the user's own.

    Raises:
        UserError: if one is neither.
    """
    for name in names:
        if name not in CLASSIFIERS and not is_own(name):
            raise UserError(f"--{flag} must be among {', '.join(CLASSIFIERS)}, or module:function. Received: {name!r}.")


def check_devices(distribution: str, virtual_devices: int | None) -> None:
    """Checks that the flags of the devices are consistent.

    Raises:
        UserError: if virtual devices are set without a strategy that uses them.
    """
    if virtual_devices and distribution in ("none", "multi_worker"):
        raise UserError(
            "--virtual_devices must be used with --distribution=mirrored or auto. Received: "
            f"--distribution={distribution}. Omit one of the two."
        )


def _expand_home(name: str, path: str | os.PathLike[str]) -> str:
    path = os.fspath(path)
    expanded = os.path.expanduser(path)
    user = path.split("/")[0]
    if path.startswith("~") and expanded == path and not os.path.lexists(user):
        whose = "no home folder is known" if user == "~" else f"there is no user {user[1:]!r}"
        raise UserError(f"--{name}={path}: {whose}. Write the path without {user}.")
    return expanded


def choices_of(limits: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the allowed values of a field, or None if any value is allowed."""
    choices = limits["choices"]
    return choices() if callable(choices) else choices


def _check_list(field: Any, items: tuple) -> None:
    if not items and field.default:
        raise UserError(f"--{field.name} must not be empty. Omit it to use {','.join(map(str, field.default))}.")
    if not field.metadata["repeats"] and len(set(items)) < len(items):
        raise UserError(
            f"--{field.name} must name each item once. Received: {','.join(map(str, items))}. Remove the repeated ones."
        )


def _check_value(name: str, value: Any, limits: Any) -> None:
    expected = _violation(value, limits)
    if expected:
        raise UserError(f"--{name} must be {expected}. Received: {value!r}.")


def _violation(value: Any, limits: Any) -> str | None:
    """Returns what was expected if a value is out of its limits, else None."""
    # The flagfile of the run stores it in one line of UTF-8, and a path cannot contain NUL.
    if isinstance(value, str) and (len(value.splitlines()) > 1 or "\0" in value or not _is_utf8(value)):
        return "one line of UTF-8 text"
    choices = choices_of(limits)
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    # NumPy and TensorFlow do not accept larger seeds and use 32-bit counters in places.
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return f"at most {_LARGEST_INTEGER}"
    if limits["minimum"] is not None and value < limits["minimum"]:
        return f"at least {limits['minimum']}"
    if limits["above"] is not None and value <= limits["above"]:
        return f"above {limits['above']}"
    if limits["maximum"] is not None and value > limits["maximum"]:
        return f"at most {limits['maximum']}"
    if limits["below"] is not None and value >= limits["below"]:
        return f"below {limits['below']}"
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
