"""Classifies images from a few labelled ones: `python -m dsl_tf.predict --model=RUN --support_dir=… --images_dir=…`."""

from dsl_tf import command_line

if __name__ == "__main__":
    command_line.predict()
