"""Title: Fit a Keras model with the direct sum
Description: Train with a classification and a metric loss that do not get in each other's way, on characters.

The classification loss moves features only inside the subspace that the classifier's weights W span. The direct sum
gives the rest of the feature space to the metric loss. `EmbeddingModel` owns the classifier, so that `fit` trains the
backbone and W together. The result is judged on alphabets that the training never saw.

    python examples/keras_fit.py [--epochs=5] [--loss=direct_sum]

Nothing is downloaded.
"""

import argparse

import keras

from dsl_tf import losses
from dsl_tf.data import open_splits, training_batches
from dsl_tf.evaluation import few_shot_accuracies
from dsl_tf.models import EmbeddingModel

LOSSES = {
    "direct_sum": losses.DirectSumLoss,
    "sum": losses.SumLoss,
    "sce": lambda classifier: losses.SumLoss(classifier, metric=None),
}


def build_backbone() -> keras.Model:
    """A small network from images of 32×32 pixels, 0 to 255, to 256 features: more than the classes."""
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (32, 64, 128, 256):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="backbone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5, help="Epochs of 50 steps. Default: 5.")
    parser.add_argument("--loss", choices=LOSSES, default="direct_sum", help="Loss to train with. Default: direct_sum.")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    splits = {name: load() for name, load in open_splits("glyphs").items()}

    # ## Model and loss
    model = EmbeddingModel(build_backbone(), keras.layers.Dense(splits["train"].class_count, name="classifier"))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss=LOSSES[arguments.loss](model.classifier))

    # ## Training: a metric loss compares images of the same class, so a batch has 4 images of each of 32 classes
    batches = training_batches(splits["train"], ways=32, shots=4, seed=0, flip=False)
    model.fit(batches, steps_per_epoch=50, epochs=arguments.epochs, verbose=2)

    # ## Judging: 5 unseen classes, one labelled image of each
    test = splits["test"]
    features = model.predict(test.images, batch_size=256, verbose=0)
    (result,) = few_shot_accuracies(features, test.labels, "test", shots=(1,), feature_transforms=("l2",))
    print(f"Unseen classes, 5-way 1-shot: {100 * result['accuracy']:.2f} ± {100 * result['half_width']:.2f} %")
    print('Next: --loss=sum and --loss=sce for comparison; metric="proto" or a loss of your own in own_metric_loss.py.')


if __name__ == "__main__":
    main()
