"""The names of the data sets."""

DATASETS = ("glyphs", "folder", "mini_imagenet", "tiered_imagenet", "cub", "cifar_fs", "meta_inat")
# Before the name of any other data set of TensorFlow Datasets.
TFDS_PREFIX = "tfds:"
