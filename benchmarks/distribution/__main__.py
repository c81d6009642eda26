"""Measures how the number of devices affects the loss, the communication and the speed of steps, over loopback.

Starts one process, processes with 2 and 4 logical devices, and 2 and 4 worker processes. `--part=numbers` trains 50
steps of each loss in each precision: independently ("free"), from the weights of one device at every step ("same
weights"), and on one device with the rows of each batch in other orders ("reordered"). `--part=speed` times steps with
each worker on one core, measures the increase of the chief's memory, and counts the bytes on the loopback device.
`--part=failures` signals one of two training workers and waits for the other one. `--part=model` estimates steps of
ResNet-12 on many GPUs.

Run: python -m benchmarks.distribution [--part=numbers] [--steps=50]
     python -m benchmarks.distribution --part=failures [--signals=SIGKILL,SIGSTOP,SIGTERM]
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.distribution.failures import SIGNALS, print_failures
from benchmarks.distribution.model import print_model
from benchmarks.distribution.numbers import LOSSES, numbers, print_numbers
from benchmarks.distribution.processes import DEVICES
from benchmarks.distribution.speed import print_speed, speed
from dsl_tf import distribution


def child(arguments: argparse.Namespace) -> None:
    """Computes in one of the processes that this program starts."""
    processes, devices = DEVICES[arguments.devices]
    if arguments.part == "speed" and devices == 1:
        index = json.loads(os.environ["TF_CONFIG"])["task"]["index"] if processes > 1 else 0
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
    kind = "multi_worker" if processes > 1 else "mirrored" if devices > 1 else "none"
    strategy = distribution.open_strategy(kind, devices if devices > 1 else None)
    if arguments.part == "speed":
        found = speed(strategy, arguments.batch)
        if distribution.is_chief(strategy):
            pathlib.Path(arguments.child).write_text(json.dumps(found))
    else:
        reference = np.load(arguments.reference) if arguments.reference else None
        found = numbers(strategy, arguments.losses.split(","), arguments.steps, reference)
        if distribution.is_chief(strategy):
            np.savez(arguments.child, **found)
    distribution.barrier(strategy)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("numbers", "speed", "failures", "model"), default="numbers")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--others", default=",".join(list(DEVICES)[1:]), help="what is compared with one device")
    parser.add_argument("--signals", default=",".join(SIGNALS), help="what workers get")
    for name in ("devices", "child", "reference"):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    if arguments.part == "model":
        print_model()
        return
    with tempfile.TemporaryDirectory() as folder:
        parts = {"numbers": print_numbers, "speed": print_speed, "failures": print_failures}
        parts[arguments.part](arguments, pathlib.Path(folder))


if __name__ == "__main__":
    main()
