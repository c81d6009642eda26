"""Small data sets prepared by TensorFlow Datasets itself."""

import tensorflow_datasets as tfds

FILE_FORMATS = ("tfrecord", "array_record")


def prepare(data_dir, name, features, splits, file_format="tfrecord", version="1.0.0", config=None, shards=1):
    """Writes examples, a dict from split to a list of them, as TensorFlow Datasets does; returns the builder."""
    tfds.disable_progress_bar()
    return tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        config=config,
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: list(enumerate(examples)) for split, examples in splits.items()},
        data_dir=data_dir,
        file_format=file_format,
        download_config=tfds.download.DownloadConfig(num_shards=shards),
    )
