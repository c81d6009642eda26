"""Writes the features of a folder of images to an .npz file.

python examples/extract_features.py runs/mine IMAGES features.npz

The model is a run directory or its saved_model folder. The images are found and decoded as in training: one folder per
class, at any depth; upright, in RGB, resized as for the model. Unreadable files are skipped with a warning.
"""

import argparse
import os

# TensorFlow's C++ log speaks of missing GPUs and CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import logging

from dsl_tf.data.image_files import read_images
from dsl_tf.data.labelled_images import find_labelled_images
from dsl_tf.data.skipped import Skipped, examples, unexpected
from dsl_tf.errors import UserError
from dsl_tf.runs.export import load_exported_model

IMAGES_AT_ONCE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="The run directory, or its saved_model folder.")
    parser.add_argument("images", help="The folder with one folder of images per class.")
    parser.add_argument("output", help="The .npz file to write: features, labels, class_names and files.")
    arguments = parser.parse_args()
    try:
        write_features(arguments.model, arguments.images, arguments.output)
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None


def write_features(model: str, folder: str, output: str) -> None:
    exported = load_exported_model(model)
    found = find_labelled_images(folder)
    paths = np.array([path for files in found.files.values() for path in files])
    labels = np.repeat(np.arange(len(found.files)), [len(files) for files in found.files.values()])
    features, read, skipped = [], [], list(found.skipped)
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        some = paths[start : start + IMAGES_AT_ONCE]
        images, reasons = read_images(some.tolist(), exported.image_size, stored_size=exported.stored_size)
        skipped += [Skipped(str(some[position]), reason) for position, reason in reasons.items()]
        read += [start + position for position in range(len(some)) if position not in reasons]
        if len(images):
            features.append(exported.signature(images=images)["features"].numpy())
    for note in found.notes:
        logging.warning("%s", note)
    if seen := unexpected(skipped):
        logging.warning("%d files or folders are skipped: %s.", len(seen), examples(seen))
    if not features:
        raise UserError(f"{folder!r} must hold one folder of images per class. Received: no readable image.")
    # Classes without a readable image are skipped too, as in training.
    used, labels = np.unique(labels[read], return_inverse=True)
    class_names = np.array(list(found.files))[used]
    np.savez(output, features=np.concatenate(features), labels=labels, class_names=class_names, files=paths[read])
    print(f"Wrote {len(read):,} features of {len(used):,} classes to {output}.")
    fewest = int(np.bincount(labels).min())
    if len(used) > 1 and fewest > 1:
        episodes = f"--ways={min(5, len(used))} --shots=1 --queries={min(15, fewest - 1)}"
        print(f"Try next: python -m dsl_tf evaluate --features={output} {episodes}")
    else:
        print("Try next: two or more images of two or more classes, whose features `dsl_tf evaluate` can compare.")


if __name__ == "__main__":
    main()
