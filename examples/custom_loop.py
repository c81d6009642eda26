"""Adds the direct sum to a Keras classifier in a custom training loop, with `dsl_tf.losses` and without the trainer.

python examples/custom_loop.py

It trains on Latin, digits and Cyrillic characters, and prints the loss and, before and after, how often one of five
Armenian or Georgian characters is recognised from one labelled image per class. It downloads nothing and takes under a
minute on two CPU cores.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from dsl_tf import losses
from dsl_tf.data import BalancedBatches, open_splits
from dsl_tf.evaluation import few_shot_accuracies

STEPS = 200

keras.utils.set_random_seed(0)
splits = {name: load() for name, load in open_splits("glyphs").items()}
train, test = splits["train"], splits["test"]

# An existing model: any that ends with a Dense layer with more inputs than classes.
x = inputs = keras.Input((32, 32, 3))
x = layers.Rescaling(1 / 127.5, offset=-1)(x)
for filters in (32, 64, 128, 256):
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
x = layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, layers.Dense(train.class_count)(x))

# The direct sum needs the classifier and its input features.
classifier = model.layers[-1]
backbone = keras.Model(model.input, classifier.input)
loss = losses.DirectSumLoss(classifier, classification="sce", metric="nca")
optimizer = keras.optimizers.SGD(0.05, momentum=0.9)


@tf.function
def train_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        value = loss(labels, backbone(images, training=True))
    gradients = tape.gradient(value, model.trainable_weights)
    optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    return value


def accuracy_on_unseen_classes() -> str:
    features = backbone.predict(test.images, batch_size=256, verbose=0)
    (result,) = few_shot_accuracies(features, test.labels, "test", shots=(1,), feature_transforms=("l2",))
    return f"{100 * result['accuracy']:.2f} ± {100 * result['half_width']:.2f} %"


print("Before:", accuracy_on_unseen_classes())
# A metric loss compares images of one class, so each batch has 4 images per class of 32 classes.
values = []
for step, indices in BalancedBatches(train.labels, ways=32, shots=4, seed=0).iterate(start_step=1):
    values.append(train_step(train.images[indices], train.labels[indices]))
    if step % 20 == 0:
        print(f"Step {step}: loss {np.mean(values):.3f}")
        values.clear()
    if step == STEPS:
        break
print("After:", accuracy_on_unseen_classes())
