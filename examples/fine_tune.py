"""Fine-tunes MobileNetV2 of `keras.applications` with the direct sum, on one folder of images per class.

python examples/fine_tune.py --weights=imagenet --data_dir=DIR --ways=64 --shots=8 --output_dir=runs/fine_tuned

DIR has the layout that the README describes. `--weights=imagenet` downloads ImageNet's weights once; a path reads them
from a file of weights without the top. Without the flag, training starts from random weights. All flags of
`dsl_tf train` except --backbone and --filters work here too. The run directory can be evaluated and used for
predictions like any other.
"""

import os
import sys

# TensorFlow's C++ log speaks of missing GPUs and CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from absl import app, flags

from dsl_tf.errors import UserError
from dsl_tf.report import results_summary
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import train

flags.DEFINE_string("weights", None, "Weights to start from: imagenet, or a file.")
flagfiles.define(TrainingConfiguration, flags.FLAGS, sys.argv[0], without=("backbone", "filters"))
flags.FLAGS.set_default("dataset", "folder")
flags.FLAGS.set_default("image_size", 96)
flags.FLAGS.set_default("epochs", 20)
# A tenth of the rate from scratch, not to lose what the weights know.
flags.FLAGS.set_default("learning_rate", 0.01)


def main(_: list[str]) -> None:
    try:
        configuration = flagfiles.parse(TrainingConfiguration, flags.FLAGS)
        # Layers take the policy in force when they are made; `train` leaves a given backbone as it is.
        keras.config.set_dtype_policy(configuration.precision)
        backbone = keras.applications.MobileNetV2(
            input_shape=(configuration.image_size, configuration.image_size, 3),
            include_top=False,
            pooling="avg",
            weights=flags.FLAGS.weights,
        )
        # `train` hands over images of −1..1, which is MobileNetV2's own preprocessing. For a network with another one:
        # keras.Sequential([inputs, keras.layers.Rescaling(127.5, offset=127.5), preprocessing, network]).
        results = train(configuration, backbone=backbone)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(results_summary(results, configuration.output_dir))


if __name__ == "__main__":
    app.run(main)
