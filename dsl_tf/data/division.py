"""The division of classes into those to train on, to validate on and to test on."""

import hashlib
from collections.abc import Sequence

from dsl_tf.data.labelled_images import same_class

# Of the classes, where they suffice.
_FRACTION = 0.2
# With fewer classes, nothing can be held out: an episode has at least two, and so has a training.
_FEWEST = 4


def divide_classes(
    names: Sequence[str], val_fraction: float = 0.0, test_fraction: float | None = None, seed: int = 0, ways: int = 5
) -> tuple[dict[str, list[str]], str]:
    """Divides classes by a seed, with the same result on every machine.

    The order of the classes is that of a hash of the seed and the name. Therefore a class that is added later moves few
    others.

    Args:
        names: the names of the classes.
        val_fraction: the fraction of the classes to validate on. 0 for none if `test_fraction` is given; otherwise 0
            leaves the choice to the number of classes.
        test_fraction: the fraction of the classes to test on. None for 0.2, and at least `ways` classes if half of the
            classes remain for training.
        seed: any integer.
        ways: the classes of an episode, which validation and test need.

    Returns:
        A dict from `"train"`, `"val"` and `"test"`, those with classes only, to sorted names; and a sentence that says
        why a split is missing or small, empty if none is.
    """
    val, test, why = _sizes(len(names), val_fraction, test_fraction, ways)
    ordered = sorted(names, key=lambda name: random_place(name, seed))
    divided = {"train": ordered[val + test :], "val": ordered[test : test + val], "test": ordered[:test]}
    return {split: sorted(found) for split, found in divided.items() if found}, why


def random_place(name: str, seed: int) -> tuple[bytes, str]:
    """Returns what to sort names by, for an order that a seed decides on every machine."""
    return hashlib.blake2b(f"{seed}\0{same_class(name)}".encode("utf-8", "surrogateescape")).digest(), name


def _sizes(count: int, val_fraction: float, test_fraction: float | None, ways: int) -> tuple[int, int, str]:
    """The numbers of classes to validate on and to test on, and why they are small."""
    if count < _FEWEST:
        return 0, 0, f"With fewer than {_FEWEST} classes, all are trained on and nothing is measured."
    most = count // 2
    if test_fraction is not None or val_fraction:
        test = _asked(count, _FRACTION if test_fraction is None else test_fraction)
        val = min(_asked(count, val_fraction), count - test - 2)
        return max(val, 0), min(test, count - 2), ""
    held_out = max(round(_FRACTION * count), ways)
    if 2 * held_out <= most:
        return held_out, held_out, ""
    if held_out <= most:
        why = f"{count} classes are too few to validate on {ways} as well: the weights of the last epoch are tested."
        return 0, held_out, why
    why = f"{count} classes are too few to hold out {ways}: half of them are tested, the others trained on."
    return 0, most, why


def _asked(count: int, fraction: float) -> int:
    """At least two classes if any are asked for: an episode has no fewer."""
    return max(round(fraction * count), 2) if fraction else 0
