"""Where prepared data are kept."""

import os
import pathlib


def default_cache_dir():
    """Returns `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "dsl_tf"
