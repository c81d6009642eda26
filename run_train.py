"""Trains an image backbone with a classification and a metric loss, and evaluates it on unseen classes.

Example: python run_train.py --flagfile=flags/glyphs.flags
"""

import os

# TensorFlow's C++ log speaks of missing GPUs and CPU features; what matters comes as a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dsl_tf import command_line

if __name__ == "__main__":
    command_line.train()
