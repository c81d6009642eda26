"""Evaluates a trained run by few-shot classification of classes it has not seen.

Example: python run_eval.py --run_dir=runs/glyphs --shots=1,5
"""

import os

# TensorFlow's C++ log speaks of missing GPUs and CPU features; what matters comes as a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dsl_tf import command_line

if __name__ == "__main__":
    command_line.evaluate()
