"""Writes the features of a folder of images to an .npz file, using only TensorFlow and NumPy.

python examples/extract_features.py runs/glyphs/saved_model IMAGES features.npz
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

saved_model, folder, output = sys.argv[1:]
extract = tf.saved_model.load(saved_model).signatures["serving_default"]
paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
features = []
for path in paths:
    image = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    features.append(extract(images=image[None])["features"][0].numpy())
class_names, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
np.savez(output, features=features, labels=labels, class_names=class_names, files=list(map(str, paths)))
