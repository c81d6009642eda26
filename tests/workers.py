"""Processes that compute together on this machine, and one with several devices."""

import json
import socket

from tests.programs import start


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


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
        outputs = ["".join(process.communicate(timeout=timeout)) for process in processes]
        return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]
    finally:
        for process in processes:
            process.kill()
