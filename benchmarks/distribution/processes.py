"""Processes with one device or several, and workers, that compute together on this machine."""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Sequence

# By name: the number of processes, and of logical devices per process.
DEVICES = {"one": (1, 1), "2 mirrored": (1, 2), "4 mirrored": (1, 4), "2 workers": (2, 1), "4 workers": (4, 1)}


def launch(command: Sequence[str | os.PathLike[str]], processes: int, output: pathlib.Path) -> list[subprocess.Popen]:
    """Starts the processes of a command, as workers if there are several. Their output goes to files."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(processes)]
    cluster = {"worker": [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]}
    for opened in sockets:
        opened.close()
    running = []
    for index in range(processes):
        environment = dict(os.environ)
        if processes > 1:
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        with open(f"{output}.{index}.log", "w") as log:
            running.append(subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log))
    return running


def start(
    arguments: argparse.Namespace,
    devices: str,
    output: pathlib.Path,
    reference: str | os.PathLike[str] = "",
    batch: int = 0,
) -> None:
    """Runs the processes of one kind of devices until they end; the chief writes what it found to `output`."""
    command = ["-m", "benchmarks.distribution", f"--part={arguments.part}", f"--steps={arguments.steps}"]
    command += [f"--losses={arguments.losses}", f"--devices={devices}", f"--child={output}"]
    command += [f"--reference={reference}", f"--batch={batch}"]
    codes = [process.wait() for process in launch(command, DEVICES[devices][0], output)]
    if any(codes):
        sys.exit(pathlib.Path(f"{output}.0.log").read_text()[-3000:])
