"""TensorFlow Datasets builders of the few-shot data sets: `tfds build mini_imagenet --imports=dsl_tf.data.builders`."""

import collections
import dataclasses
import pathlib
import shutil

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from dsl_tf.data import recognition
from dsl_tf.data.formats import cifar_fs, cub, tensorflow_datasets
from dsl_tf.data.shards import shard_count, shown_preparation, write_shards
from dsl_tf.errors import UserError

_FILE_FORMAT = "array_record"


@dataclasses.dataclass(kw_only=True)
class PreparationConfig(tfds.core.BuilderConfig):
    """What is prepared, and how.

    Args:
        image_size: the side of the stored images, in pixels.
        allow_partial: whether fewer images than published are accepted, and unreadable ones left out.
        tfds_name: for `OtherTfds`, the data set in TensorFlow Datasets.
        class_split: for `OtherTfds`, the JSON file with the classes of each split.
    """

    image_size: int
    allow_partial: bool = False
    tfds_name: str | None = None
    class_split: str | None = None


def _configs(image_size):
    return [PreparationConfig(name=f"{image_size}px", description="Every image, resized", image_size=image_size)]


class _FewShotBuilder(FileReaderBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes PNG images, split after split in the order of the source, each split with classes of its own."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "A folder with the data set in one of the formats that the README lists."

    def __init__(self, *, file_format=None, **kwargs):
        if file_format not in (None, _FILE_FORMAT, tfds.core.FileFormat.ARRAY_RECORD):
            raise ValueError(f"`file_format` must be {_FILE_FORMAT!r}. Received: {file_format!r}")
        super().__init__(file_format=_FILE_FORMAT, **kwargs)

    def _log_download_bytes(self):
        """Says nothing: what is prepared, and how much of it, is said once it is known."""

    def _log_download_done(self):
        """Says nothing either."""

    def _info(self):
        size = self.builder_config.image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name} with disjoint classes in train, val and test, for few-shot classification.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _read(self, folder):
        """Returns the description of the format in a folder (None for TensorFlow Datasets' own), and its splits."""
        if folder is None:
            return self._read_without_folder()
        found = recognition.recognise(self.name, folder)
        return found.description, found.read(folder)

    def _read_without_folder(self):
        raise UserError(f"--dataset={self.name} needs --data_dir, the folder with its files. Received none.")

    def _download_and_prepare(self, dl_manager, download_config=None):
        del download_config
        folder = _manual_folder(dl_manager)
        description, raw_splits = self._read(folder)
        place = f" in {str(folder)!r}" if folder else ""
        print(f"{self.name}: found {description}{place}")
        if self.name in recognition.FORMATS:
            recognition.check_published(self.name, raw_splits, self.builder_config.allow_partial)
        names = {name: _class_names(name, split) for name, split in raw_splits.items()}
        self.info.features["label"].names = _checked_names(names)
        self._write(raw_splits, names)
        self.info.metadata.update(source=description, classes={name: len(names[name]) for name in names})

    def _write(self, raw_splits, names):
        # Beside the folder that TensorFlow Datasets removes on an error, so that what was written is not lost.
        partial = pathlib.Path(f"{self.data_dir_root}") / f".partial-{self.info.full_name.replace('/', '-')}"
        partial.mkdir(parents=True, exist_ok=True)
        size = self.builder_config.image_size
        total = sum(len(split.labels) for split in raw_splits.values())
        advance = shown_preparation(total, size, self.data_dir_root)

        split_infos, runs, unreadable, offset = [], {}, [], 0
        templates = {}
        for name, split in raw_splits.items():
            templates[name] = tfds.core.ShardedFileTemplate(
                data_dir=partial, dataset_name=self.name, split=name, filetype_suffix=_FILE_FORMAT
            )
            count = shard_count(len(split.labels))
            paths = [templates[name].sharded_filepath(shard_index=i, num_shards=count) for i in range(count)]

            def serialize(position, png, labels=split.labels, offset=offset):
                return self.info.features.serialize_example({"image": png, "label": offset + int(labels[position])})

            shards = write_shards(split, paths, size, serialize, advance)
            left_out = [entry for shard in shards for entry in shard.unreadable]
            unreadable += [f"{name} ({reason})" for _, name, reason in left_out]
            labels = np.delete(split.labels, [position for position, _, _ in left_out])
            runs[name] = _run_lengths(labels)
            offset += len(names[name])
            split_infos.append(
                tfds.core.SplitInfo(
                    name=name,
                    shard_lengths=[shard.length for shard in shards],
                    num_bytes=sum(shard.size for shard in shards),
                    filename_template=templates[name].replace(data_dir=self.data_path),
                )
            )
        self._report_unreadable(unreadable)
        for info in split_infos:
            count = info.num_shards
            for index in range(count):
                source = templates[info.name].sharded_filepath(shard_index=index, num_shards=count)
                shutil.move(source, self.data_path / source.name)
        shutil.rmtree(partial)
        self.info.metadata.update(labels=runs)
        self.info.set_splits(tfds.core.SplitDict(split_infos))

    def _report_unreadable(self, unreadable):
        if not unreadable:
            return
        message = (
            f"Every image of {self.name} must be readable. Received: {len(unreadable)} that are not, such as "
            f"{' '.join(', '.join(unreadable[:3]).split())}."
        )
        if not self.builder_config.allow_partial:
            raise UserError(f"{message} Get these files anew, or leave them out with --allow_partial.")
        logging.warning("%s They are left out.", message)


def _described(tfds_name):
    return f"{tfds_name} of TensorFlow Datasets"


def _manual_folder(dl_manager):
    try:
        return pathlib.Path(dl_manager.manual_dir)
    except AssertionError:
        return None


def _class_names(split_name, split):
    if split.class_names is None:
        return [f"{split_name} {label}" for label in range(int(split.labels.max()) + 1)]
    # TensorFlow Datasets keeps them line by line, without the blanks around them.
    return [" ".join(name.split()) for name in split.class_names]


def _checked_names(names):
    """All the names of the splits, one after the other; another one lost or gained would shift the labels."""
    every = [name for split_names in names.values() for name in split_names]
    repeated = [name for name, count in collections.Counter(every).items() if count > 1]
    unwritable = [name for name in every if not name or name.encode(errors="ignore").decode() != name]
    if repeated or unwritable:
        raise UserError(
            f"The classes must have different names in Unicode. Received: {(repeated or unwritable)[0][:80]!r}"
            f"{', more than once' if repeated else ''}. Check where the files come from."
        )
    return every


def _run_lengths(labels):
    """Labels as pairs of a label and how often it follows on itself: short where images lie class by class."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return np.stack([labels[starts], np.diff(starts, append=len(labels))], axis=1).tolist()


class MiniImagenet(_FewShotBuilder):
    """mini-ImageNet: 64, 16 and 20 classes of ImageNet with 600 images each."""

    BUILDER_CONFIGS = _configs(84)


class TieredImagenet(_FewShotBuilder):
    """tiered-ImageNet: 351, 97 and 160 classes of ImageNet, of different branches of its hierarchy."""

    BUILDER_CONFIGS = _configs(84)


class Cub(_FewShotBuilder):
    """Caltech-UCSD Birds-200-2011: 100, 50 and 50 species."""

    BUILDER_CONFIGS = _configs(84)

    def _read_without_folder(self):
        return _described(cub.TFDS_NAME), cub.read_from_tfds(None)


class CifarFs(_FewShotBuilder):
    """CIFAR-FS: the 100 classes of CIFAR-100, 64, 16 and 20, with 600 images each."""

    BUILDER_CONFIGS = _configs(32)

    def _read_without_folder(self):
        return _described(cifar_fs.TFDS_NAME), cifar_fs.read_from_tfds(None)


class MetaInat(_FewShotBuilder):
    """meta-iNat: 908 and 227 categories of iNaturalist-2017; it has no validation split."""

    BUILDER_CONFIGS = _configs(84)


class OtherTfds(_FewShotBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Any image classification data set of TensorFlow Datasets, with splits by class from a file."""

    name = "other_tfds"

    def _read(self, folder):
        config = self.builder_config
        splits = tensorflow_datasets.read_tfds(config.tfds_name, folder, config.class_split)
        return _described(config.tfds_name), splits


BUILDERS = {
    "mini_imagenet": MiniImagenet,
    "tiered_imagenet": TieredImagenet,
    "cub": Cub,
    "cifar_fs": CifarFs,
    "meta_inat": MetaInat,
}
