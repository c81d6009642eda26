"""Trains an image backbone with a classification and a metric loss: `python -m dsl_tf train`."""

import sys

from dsl_tf.commands import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
