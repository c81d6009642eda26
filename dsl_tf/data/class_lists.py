"""Which classes, and how many images of them, form the splits of the few-shot data sets."""

import functools
import pathlib
from collections.abc import Iterable, Iterator

_FOLDER = pathlib.Path(__file__).parent / "class_splits"

# Table 2. meta-iNat is not in it: the paper does not give its numbers of images.
IMAGE_COUNTS = {
    "mini_imagenet": {"train": 38_400, "val": 9_600, "test": 12_000},
    "tiered_imagenet": {"train": 448_695, "val": 124_261, "test": 206_209},
    "cub": {"train": 5_885, "val": 2_950, "test": 2_953},
    "cifar_fs": {"train": 38_400, "val": 9_600, "test": 12_000},
}
_CUB_CLASSES = 200


@functools.cache
def class_list(dataset: str) -> dict[str, tuple]:
    """Returns the published classes of a data set.

    Args:
        dataset: `"mini_imagenet"` or `"tiered_imagenet"` (ImageNet ids such as `n01532829`), `"cifar_fs"` (the names
            of CIFAR-100), `"meta_inat"` (category ids of iNaturalist-2017, integers; no val) or `"cub"` (positions
            from 0 of the 200 class folders in order).

    Returns:
        A dict from split to the tuple of its classes.
    """
    if dataset == "cub":
        return {
            "train": tuple(range(0, _CUB_CLASSES, 2)),
            "val": tuple(range(1, _CUB_CLASSES, 4)),
            "test": tuple(range(3, _CUB_CLASSES, 4)),
        }
    splits = {}
    for line in (_FOLDER / f"{dataset}.txt").read_text(encoding="utf-8").splitlines():
        split, _, classes = line.partition(": ")
        splits[split] = tuple(classes.split())
    if dataset == "meta_inat":
        return {split: tuple(_expanded(classes)) for split, classes in splits.items()}
    return splits


def _expanded(classes: Iterable[str]) -> Iterator[int]:
    """The integers of ids and ranges of ids such as `3-5`."""
    for part in classes:
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
