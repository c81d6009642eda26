"""Trains an image backbone with a classification and a metric loss: `python -m dsl_tf train`."""

from dsl_tf.commands import train

if __name__ == "__main__":
    train()
