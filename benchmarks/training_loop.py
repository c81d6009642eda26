"""Measures the overhead of the training loop per step, and the time until a run starts.

Trains a narrow ResNet-12 on generated images for a few epochs, with batches from memory, progress bar, logs and
checkpoints, and then takes the same steps with one batch that is there already. Loop and bare step take turns.

Run: python benchmarks/training_loop.py [--rounds=3]
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CLASSES, IMAGES_A_CLASS, WAYS, SHOTS, SIZE = 64, 160, 64, 4, 32
FILTERS = (32, 64, 128, 256)
STARTS = {
    "import dsl_tf.training": "import dsl_tf.training",
    "first step": f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r}); "
    "import training_loop; training_loop.first_step()",
}


def seconds_of(code: str) -> float:
    """Returns the seconds that Python needs to start and run some code."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def configuration(output_dir: str, epochs: int = 1) -> Any:
    """Returns the configuration of the runs."""
    from dsl_tf.runs.configuration import TrainingConfiguration

    return TrainingConfiguration(
        output_dir=output_dir, filters=FILTERS, precision="mixed_bfloat16", ways=WAYS, shots=SHOTS, epochs=epochs
    )


def splits() -> dict[str, Any]:
    """Returns generated training images."""
    import numpy as np

    from dsl_tf.data import Split

    images = np.random.default_rng(0).integers(0, 256, (CLASSES * IMAGES_A_CLASS, SIZE, SIZE, 3), np.uint8)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), IMAGES_A_CLASS)
    return {"train": Split(images, labels, tuple(map(str, range(CLASSES))))}


def new_step() -> tuple[Any, Any, Any]:
    """Returns a training step and a batch for it."""
    import tensorflow as tf

    from dsl_tf.training.construction import build
    from dsl_tf.training.step import TrainingStep

    train = splits()["train"]
    step = TrainingStep(build(configuration("unused"), (SIZE, SIZE, 3), CLASSES, 100))
    rows = slice(None, None, len(train.labels) // (WAYS * SHOTS))
    return step, tf.constant(train.images[rows]), tf.constant(train.labels[rows])


def first_step() -> None:
    """Runs one step."""
    step, images, labels = new_step()
    step(images, labels)
    step.steps.numpy()


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name, code in {"import tensorflow": "import tensorflow", **STARTS}.items():
        print(f"{name}: {min(seconds_of(code) for _ in range(3)):.1f} s from the start of Python")

    from dsl_tf.training import train

    step, images, labels = new_step()
    data = splits()
    steps = CLASSES * IMAGES_A_CLASS // (WAYS * SHOTS)

    def bare() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            step(images, labels)
        step.steps.numpy()
        return (time.perf_counter() - started) / steps

    bare()
    bare_seconds, loop_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            output = pathlib.Path(folder) / str(turn)
            with contextlib.redirect_stdout(io.StringIO()):
                train(configuration(str(output), epochs=2), data)
            lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
            # Of the second epoch, because the first one includes tracing the graph.
            loop_seconds.append(WAYS * SHOTS / lines[1]["images_per_second"])
            bare_seconds.append(bare())
    bare_median, loop_median = statistics.median(bare_seconds), statistics.median(loop_seconds)
    print(f"step of {WAYS * SHOTS} images of {SIZE}×{SIZE}: bare {bare_median:.4f} s, in the loop {loop_median:.4f} s")
    print(f"the loop adds {100 * (loop_median / bare_median - 1):.2f}%")
    print(f"the step was traced {step.__call__.experimental_get_tracing_count()} time(s)")


if __name__ == "__main__":
    main()
