"""Runs a command: `python -m dsl_tf COMMAND`."""

import sys

from dsl_tf.commands import main

if __name__ == "__main__":
    sys.exit(main())
