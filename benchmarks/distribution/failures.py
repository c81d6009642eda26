"""What a worker does when the other one is killed, falls silent or is told to end."""

import argparse
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.distribution.processes import launch

# How often each signal is sent to each of two workers. A worker that only falls silent is lost after a timeout.
SIGNALS = {"SIGKILL": 3, "SIGSTOP": 1, "SIGTERM": 3}
FAILING_RUN = (
    "--distribution=multi_worker",
    "--dataset=glyphs",
    "--filters=8,16,32,128",
    "--ways=8",
    "--shots=3",
    "--epochs=1000",
    "--validate_every=1000",
    "--log_every=1",
    "--checkpoint_minutes=0.05",
)
PATIENCE = 100


def seconds_until(condition: Callable[[], Any], started: float) -> float | None:
    """Returns how long after `started` a condition holds, or None if it does not within PATIENCE."""
    while not condition():
        if time.monotonic() - started > PATIENCE:
            return None
        time.sleep(0.02)
    return time.monotonic() - started


def failure(name: str, index: int, directory: pathlib.Path) -> dict[str, Any]:
    """Signals one of two training workers. Returns the reaction of the other one and the saved state."""
    program = pathlib.Path(__file__).parents[2] / "run_train.py"
    command: list[str | os.PathLike[str]] = [program, *FAILING_RUN, f"--output_dir={directory}"]
    running = launch(command, 2, directory)
    log = pathlib.Path(f"{directory}.{1 - index}.log")
    metrics = directory / "metrics.jsonl"

    def steps() -> int:
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def checkpoints() -> list[int]:
        return [int(path.name.removeprefix("ckpt-")) for path in (directory / "checkpoints").glob("ckpt-*")]

    def any_ended() -> bool:
        return any(process.poll() is not None for process in running)

    try:
        trained = seconds_until(lambda: any_ended() or steps() > 20 and checkpoints(), time.monotonic())
        if trained is None or any_ended():
            sys.exit(f"The workers did not train: {log.read_text()[-3000:]}")
        running[index].send_signal(getattr(signal, name))
        started, other = time.monotonic(), running[1 - index]
        told = seconds_until(lambda: "error: " in log.read_text() or other.poll() is not None, started)
        told = told if "error: " in log.read_text() else None
        ended = seconds_until(lambda: other.poll() is not None, started)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return {"told": told, "ended": ended, "code": other.returncode, "step": steps(), "saved": max(checkpoints())}


def print_failures(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    """Prints a row for each signal and receiver."""
    print(f"{'signal':10}{'to':10}{'times':>6}{'s to error:':>14}{'s to end':>14}{'code':>6}{'step':>14}{'saved':>14}")
    for name in arguments.signals.split(","):
        for index, receiver in ((1, "second"), (0, "chief")):
            found = [failure(name, index, folder / f"{name}{index}{number}") for number in range(SIGNALS[name])]
            columns = []
            for key, format_as, width in (
                ("told", ".1f", 14),
                ("ended", ".1f", 14),
                ("code", "d", 6),
                ("step", "d", 14),
                ("saved", "d", 14),
            ):
                values = sorted({format(one[key], format_as) for one in found if one[key] is not None}, key=float)
                columns.append(f"{' to '.join(dict.fromkeys([values[0], values[-1]])) if values else '-':>{width}}")
            print(f"{name:10}{receiver:10}{len(found):6}{''.join(columns)}", flush=True)
