"""JSON files that users write, whose mistakes are reported in one line."""

import json
import os
from typing import Any

from dsl_tf.errors import UserError


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file, UTF-8 with or without a byte order mark.

    Args:
        path: the file.

    Returns:
        Whatever it holds.

    Raises:
        UserError: if it is missing, cannot be read, is not JSON, or has an object with a key twice.
    """
    # Opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        raise _unreadable(path, "not a regular file" if os.path.exists(path) else "no such file")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"{error.msg} in line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise _unreadable(path, "not in UTF-8") from None
    except RecursionError:
        raise _unreadable(path, "nested too deeply") from None
    except ValueError as error:
        raise _unreadable(path, error) from None
    except OSError as error:
        raise _unreadable(path, error.strerror) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    # JSON's own reader keeps the last of them without a word.
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in values if keys.count(key) > 1)[:80]!r} twice")
    return values


def _unreadable(path: str | os.PathLike[str], reason: object) -> UserError:
    return UserError(f"A readable JSON file was expected. Received: {os.fspath(path)!r} ({reason}). Check the file.")
