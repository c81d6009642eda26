"""Evaluates a trained run on classes that it has not seen: `python -m dsl_tf evaluate`."""

from dsl_tf.commands import evaluate

if __name__ == "__main__":
    evaluate()
