"""Times a training step of ResNet-12: this package and the same network in PyTorch, on the same cores.

Every measurement runs in a separate process, ours and PyTorch's in turn, so that their threads do not compete.
PyTorch is optional: pip install torch==2.13.0

Run: python benchmarks/training_step.py [--rounds=2] [--steps=8] [--shapes=32x64,84x512]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

FILTERS = (64, 160, 320, 640)
CLASSES = 64


def batch(size: int, images: int) -> tuple[Any, Any]:
    """Returns random images uint8 [n, size, size, 3] and labels [n]."""
    import numpy as np

    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, size, size, 3), np.uint8), np.arange(images, dtype=np.int32) % CLASSES


def ours(size: int, images: int, precision: str, jit_compile: bool, deterministic: bool) -> Callable[[], None]:
    """Returns a function that runs one step with this package's trainer."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from dsl_tf.runs.configuration import TrainingConfiguration
    from dsl_tf.training.construction import build
    from dsl_tf.training.step import TrainingStep

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    configuration = TrainingConfiguration(
        output_dir="unused", filters=FILTERS, precision=precision, metric_loss="none", ways=CLASSES, shots=1
    )
    step = TrainingStep(build(configuration, (size, size, 3), CLASSES, 100), jit_compile)
    tensors = [tf.constant(array) for array in batch(size, images)]

    def take_step() -> None:
        step(*tensors)
        step.steps.numpy()

    return take_step


def residual_network(filters: tuple[int, ...], classes: int) -> Any:
    """Returns ResNet-12 with a linear classifier in plain PyTorch."""
    from torch import nn

    def convolution(inputs: int, filters: int, kernel_size: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, filters, kernel_size, padding=kernel_size // 2, bias=False), nn.BatchNorm2d(filters)
        )

    class Block(nn.Module):
        def __init__(self, inputs: int, filters: int) -> None:
            super().__init__()
            self.convolutions = nn.Sequential(
                convolution(inputs, filters, 3),
                nn.LeakyReLU(0.1),
                convolution(filters, filters, 3),
                nn.LeakyReLU(0.1),
                convolution(filters, filters, 3),
            )
            self.shortcut = convolution(inputs, filters, 1)
            # Pooling before the monotone activation, as in this package.
            self.end = nn.Sequential(nn.MaxPool2d(2), nn.LeakyReLU(0.1))

        def forward(self, x: Any) -> Any:
            return self.end(self.convolutions(x) + self.shortcut(x))

    blocks = [Block(inputs, outputs) for inputs, outputs in zip((3, *filters), filters, strict=False)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(filters[-1], classes))


def pytorch(size: int, images: int, precision: str, jit_compile: bool, deterministic: bool) -> Callable[[], None]:
    """Returns a function that runs one step with the same network, loss and optimizer in plain PyTorch."""
    import torch
    from torch import nn

    model = residual_network(FILTERS, CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    arrays = batch(size, images)
    pixels, labels = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1]).long()

    def take_step() -> None:
        x = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != "float32"):
            logits = model(x)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return take_step


def measure(
    library: str, size: int, images: int, precision: str, jit_compile: bool, deterministic: bool, steps: int
) -> None:
    """Prints a JSON line: the seconds of each step, and the peak memory of the process."""
    take_step = {"ours": ours, "PyTorch": pytorch}[library](size, images, precision, jit_compile, deterministic)
    take_step()
    take_step()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        take_step()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measured(*arguments: object) -> Any:
    """Runs `measure` in a separate process."""
    command = [sys.executable, __file__, f"--measure={json.dumps(arguments)}"]
    completed = subprocess.run(command, capture_output=True, text=True)
    if completed.returncode:
        sys.exit(f"{arguments}: {completed.stderr.splitlines()[-1]}")
    return json.loads(completed.stdout.splitlines()[-1])


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--jit_compile", action="store_true", help="ours with --jit_compile")
    parser.add_argument("--shapes", default="32x64,32x256,84x64", help="SIZExBATCH, separated by commas")
    parser.add_argument("--precisions", default="float32,mixed_bfloat16")
    parser.add_argument("--deterministic", action="store_true", help="ours with TensorFlow's deterministic operations")
    parser.add_argument("--ours", action="store_true", help="without PyTorch")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*json.loads(arguments.measure))
        return
    options = arguments.jit_compile, arguments.deterministic, arguments.steps
    libraries = ("ours",) if arguments.ours else ("ours", "PyTorch")
    print(
        f"{'images':>12}{'precision':>16}"
        + "".join(f"{name + ' s':>12}{'MB':>8}" for name in libraries)
        + f"{'ratio':>8}"
    )
    for shape in arguments.shapes.split(","):
        size, images = map(int, shape.split("x"))
        for precision in arguments.precisions.split(","):
            results = {name: [] for name in libraries}
            for _ in range(arguments.rounds):
                for name in libraries:
                    results[name].append(measured(name, size, images, precision, *options))
            medians = [statistics.median(sum((r["seconds"] for r in results[name]), [])) for name in libraries]
            peaks = [max(r["megabytes"] for r in results[name]) for name in libraries]
            cells = "".join(f"{median:12.3f}{peak:8,.0f}" for median, peak in zip(medians, peaks, strict=True))
            print(f"{f'{images}×{size}²':>12}{precision:>16}{cells}{medians[-1] / medians[0]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
