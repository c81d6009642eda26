"""Evaluates trained runs on classes they have not seen: `python -m dsl_tf evaluate`."""

import sys

from dsl_tf.commands import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
