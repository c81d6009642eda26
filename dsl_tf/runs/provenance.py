"""Records how a result was computed: the commit of the sources and the devices."""

import collections
import os
import pathlib
import subprocess

import tensorflow as tf

_SECONDS = 10


def commit(folder: str | os.PathLike[str] | None = None) -> str | None:
    """Finds the git commit of a checkout.

    Args:
        folder: the folder of a Python package; None for this one.

    Returns:
        The commit as 40 digits, followed by `-dirty` if the checkout has changes; None for an installed package or if
        git is missing.
    """
    folder = pathlib.Path(__file__).parent if folder is None else folder
    # A virtual environment may lie within another repository, which does not track the package.
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    return tracked and _git(folder, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def _git(folder: str | os.PathLike[str], *arguments: str) -> str | None:
    """Returns what git prints, or None if it fails."""
    # Without optional locks, git does not rewrite the index, which another process may be using.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        process = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            capture_output=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None


def devices(strategy: tf.distribute.Strategy) -> dict[str, int]:
    """Names the devices of a `tf.distribute.Strategy`.

    Args:
        strategy: the strategy.

    Returns:
        A dict from the name of a GPU or CPU to its number of replicas. With several workers, the names are those of
        this worker: TensorFlow requires the same number of devices in each.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas > 1:
        own = strategy.extended.worker_devices
    else:
        own = ["GPU:0"] if tf.config.list_physical_devices("GPU") else ["CPU:0"]
    names = collections.Counter(_name(tf.DeviceSpec.from_string(device)) for device in own)
    return {name: count * replicas // len(own) for name, count in names.items()}


def _name(device: tf.DeviceSpec) -> str:
    if device.device_type == "CPU":
        return f"CPU ({_processor()})"
    physical = tf.config.list_physical_devices(device.device_type)[device.device_index]
    return tf.config.experimental.get_device_details(physical).get("device_name", device.device_type)


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else 'unknown'}"
