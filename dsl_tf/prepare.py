"""Prepares a named data set for training: `python -m dsl_tf.prepare --dataset=mini_imagenet --data_dir=DIR`."""

from dsl_tf import command_line

if __name__ == "__main__":
    command_line.prepare()
