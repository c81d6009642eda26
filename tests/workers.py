"""Processes that compute together on this machine, and one with several devices."""

import json
import os
import pathlib
import socket
import subprocess
import sys

PROJECT = pathlib.Path(__file__).parents[1]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def start(arguments, **environment):
    """Starts Python with arguments; both streams are one."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


def start_workers(count, arguments, differences=()):
    """Starts Python in worker processes that find each other over loopback; each may have arguments of its own."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    return [
        start(
            [*arguments, *own], TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        )
        for index, own in enumerate(differences or [()] * count)
    ]


def end(processes, timeout=300):
    """Waits for processes and returns `(exit code, output)` of each; none is left behind."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
        return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]
    finally:
        for process in processes:
            process.kill()
