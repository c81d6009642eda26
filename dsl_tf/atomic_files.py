"""Files that are there whole or not at all."""

import os
import pathlib


def write_text(path, text):
    """Writes a file whole or not at all: beside it first, then renamed over it."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.partial")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
