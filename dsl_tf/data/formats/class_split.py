"""The file that says which classes of a data set of TensorFlow Datasets form which split."""

import os

from dsl_tf.data.formats.json_files import read_json
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError


def read_class_split(path: str | os.PathLike[str]) -> dict[str, tuple[str | int, ...]]:
    """Reads which classes form the splits.

    Args:
        path: a JSON file such as `{"train": ["cat", "dog"], "val": ["owl"], "test": ["cow"]}`, with names of classes or
            their labels; val and test are optional.

    Returns:
        A dict from split to the tuple of its classes, names or integers.

    Raises:
        UserError: if it cannot be read or is not of this form.
    """
    splits = read_json(path)
    wanted = f'{os.fspath(path)!r} must be like {{"train": ["cat", "dog"], "val": ["owl"], "test": ["cow"]}}'
    if not isinstance(splits, dict):
        raise UserError(f"{wanted}. Received: a {type(splits).__name__}. Write an object from split to its classes.")
    others = [name for name in splits if name not in SPLITS]
    if others:
        raise UserError(f"{wanted}. Received: the split {in_words(others)}. Name the splits 'train', 'val' and 'test'.")
    if "train" not in splits:
        raise UserError(f"{wanted}. Received: no 'train'. Add the classes to train on.")
    for split, classes in splits.items():
        if not isinstance(classes, list) or not classes:
            raise UserError(f"{wanted}. Received: no list of classes for {split!r}. Write one, or remove the split.")
        wrong = [entry for entry in classes if type(entry) not in (str, int)]
        if wrong:
            raise UserError(
                f"{wanted}, with names of classes or their labels. Received: {in_words(wrong)} in {split!r}. "
                "Correct the file."
            )
    return {split: tuple(splits[split]) for split in SPLITS if split in splits}
