"""Agreement between workers: that they run the same command, and when to end."""

import collections
import dataclasses
import functools
import hashlib
import json
import pathlib

import tensorflow as tf

import dsl_tf
from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.interruption import Interruption

# Workers read the signals of a step this many steps later: reading those of the last step would wait for the device.
_STEPS_TO_AGREE = 2
_DIGEST_BYTES = 64
# Values are truncated, so that all flags fit.
_TEXT_BYTES = 16_384
_VALUE_CHARACTERS = 100


def check_same_command(strategy: tf.distribute.Strategy, configuration: TrainingConfiguration) -> None:
    """Checks that all workers have the same flags, version and sources. Waits until all workers call it.

    All flags are compared except paths, which may differ between machines.

    Raises:
        UserError: in every worker, if they differ.
    """
    if not distribution.has_other_workers(strategy):
        return
    facts = _facts(configuration)
    text = json.dumps(facts).encode()
    digests = distribution.gather_bytes(strategy, hashlib.sha256(text).hexdigest().encode(), _DIGEST_BYTES)
    if len(set(digests)) == 1:
        return
    # Padded to the same size in all workers.
    texts = [json.loads(found) for found in distribution.gather_bytes(strategy, text, _TEXT_BYTES)]
    difference = _difference(texts)
    # To the others, a worker that ends before they have read would look like a dead one.
    distribution.barrier(strategy)
    raise UserError(
        f"All workers must run the same command with the same version of dsl_tf. Received: {difference}. "
        "Run the same command on every worker."
    )


def _facts(configuration: TrainingConfiguration) -> dict[str, str]:
    flags = {
        f"--{field.name}": str(getattr(configuration, field.name))[:_VALUE_CHARACTERS]
        for field in dataclasses.fields(configuration)
        if not field.metadata["path"]
    }
    return {"version": dsl_tf.__version__, "sources": sources_digest(), **flags}


def _difference(texts: list[dict[str, str]]) -> str:
    """Names the first flag or version that differs, with both values. Other versions may have other flags."""
    first = texts[0]
    for number, other in enumerate(texts[1:], start=1):
        for name in [*first, *other]:
            ours, theirs = (facts.get(name, "nothing") for facts in (first, other))
            if ours != theirs:
                return f"{name} {ours} on worker 0, {theirs} on worker {number}"
    return "flags longer than can be compared"


@functools.cache
def sources_digest() -> str:
    """Returns 16 hexadecimal digits that change with any Python file of this package."""
    folder = pathlib.Path(dsl_tf.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


class Signals:
    """The signals that any worker has received. All workers see them at the same step.

    Args:
        interruption: this worker's `Interruption`.
        strategy: the `tf.distribute.Strategy`.

    Attributes:
        shared: whether there are other workers.
    """

    def __init__(self, interruption: Interruption, strategy: tf.distribute.Strategy) -> None:
        self._interruption, self._strategy = interruption, strategy
        self._totals: collections.deque[tf.Tensor] = collections.deque()
        self.shared = distribution.has_other_workers(strategy)

    def own(self) -> tf.Tensor:
        """Returns 1 if this worker has received a signal, else 0."""
        return tf.constant(self._interruption.received is not None, tf.int32)

    def add(self, total: tf.Tensor) -> None:
        """Adds the sum over all workers that a step returned."""
        self._totals.append(total)

    def received(self, delay: bool) -> bool:
        """Returns whether any worker received a signal, the same in all workers; with `delay`, some steps later."""
        if not self.shared:
            return self._interruption.received is not None
        kept = _STEPS_TO_AGREE if delay else 0
        return sum(int(self._totals.popleft()) for _ in range(len(self._totals) - kept)) > 0

    def end(self) -> None:
        """Ends the run after the chief has saved it; no other worker may end earlier."""
        distribution.barrier(self._strategy)
        self._interruption.end()
