"""Title: Fine-tune a pretrained network on a folder of images
Description: Start from a network of keras.applications, and teach it your classes with the direct sum.

A few hundred images are too few to train a network from the start, but enough to adapt one. First the new classifier is
fitted to the network's features, with the network frozen. Then both are trained together by the direct sum at a low
learning rate: the classification loss acts in the subspace that the classifier's weights span, and the metric loss in
the rest, where it separates classes that the training does not know. The result is judged on such classes.

    python examples/fine_tune_folder.py DIR [--backbone=MobileNetV2] [--weights=imagenet] [--size=96]

DIR holds the folders train and test with one folder of images per class; the classes of test are others than those of
train. Keras downloads the weights once (14 MB for MobileNetV2); --weights=none starts from random ones.
"""

import argparse

import keras

from dsl_tf import losses
from dsl_tf.data import Split, open_splits, training_batches
from dsl_tf.evaluation import few_shot_accuracies
from dsl_tf.models import EmbeddingModel, application


def build_backbone(name: str, size: int, weights: str | None) -> keras.Model:
    """The network without its classifier, from images with values 0 to 255 to features."""
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            # Takes values from −1 to 1, and has the preprocessing of its weights inside.
            application(name, (size, size, 3), weights),
        ],
        name="backbone",
    )


def one_shot_accuracy(model: EmbeddingModel, split: Split, ways: int) -> str:
    """Tells classes apart by one labelled image of each, in 2,000 episodes."""
    features = model.predict(split.images[:], batch_size=64, verbose=0)
    (result,) = few_shot_accuracies(
        features, split.labels, "test", ways=ways, shots=(1,), queries=2, episodes=2000, feature_transforms=("l2",)
    )
    return f"{100 * result['accuracy']:.2f} ± {100 * result['half_width']:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="Folder with train and test.")
    parser.add_argument("--backbone", default="MobileNetV2", help="Network of keras.applications.")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a file of weights, or none.")
    parser.add_argument("--size", type=int, default=96, help="Height and width of the images in pixels.")
    parser.add_argument("--epochs", type=int, default=5, help="Epochs of each of the two phases.")
    parser.add_argument("--steps", type=int, default=20, help="Steps of an epoch.")
    parser.add_argument("--learning_rate", type=float, default=1e-4, help="Of the second phase.")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    loaders = open_splits("folder", data_dir=arguments.directory, image_size=arguments.size)
    train, test = loaders["train"](), loaders["test"]()

    # ## Model: the direct sum needs more features than classes
    weights = None if arguments.weights == "none" else arguments.weights
    backbone = build_backbone(arguments.backbone, arguments.size, weights)
    model = EmbeddingModel(backbone, keras.layers.Dense(train.class_count, name="classifier"))

    # ## Data: a batch has 4 images of each of up to 16 classes, so that every image has partners of its class
    ways = min(16, train.class_count)
    batches = training_batches(train, ways=ways, shots=4, seed=0)
    unseen_ways = min(5, test.class_count)
    print(f"Unseen classes, {unseen_ways}-way 1-shot, before: {one_shot_accuracy(model, test, unseen_ways)}")

    # ## First phase: the classifier alone
    backbone.trainable = False
    model.compile("adam", loss=losses.SumLoss(model.classifier, metric=None))
    model.fit(batches, steps_per_epoch=arguments.steps, epochs=arguments.epochs, verbose=2)

    # ## Second phase: everything, slowly
    backbone.trainable = True
    # A new `compile`, because Keras decides there what is trained.
    model.compile(keras.optimizers.Adam(arguments.learning_rate), loss=losses.DirectSumLoss(model.classifier))
    model.fit(batches, steps_per_epoch=arguments.steps, epochs=arguments.epochs, verbose=2)
    print(f"Unseen classes, {unseen_ways}-way 1-shot, after: {one_shot_accuracy(model, test, unseen_ways)}")
    model.save("fine_tuned.keras")
    print("Wrote fine_tuned.keras. Try next: another --learning_rate; or without code, with resuming and a report:")
    print(
        f"dsl_tf train --flagfile=flags/folder.flags --backbone={arguments.backbone} --data_dir={arguments.directory}"
    )


if __name__ == "__main__":
    main()
