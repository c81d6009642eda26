"""Several devices and several processes: which ones a run has, and which rows of a batch each of them takes."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError

# That of TensorFlow's SLURM resolver; several workers of a node count from it.
_PORT = 8888
# How long a worker may be silent before the others give it up. TensorFlow's own 10 seconds are too few where processes
# share their cores with others; one that dies is noticed at once, by its connections.
_SILENCE_SECONDS = 60


def open_strategy(distribution: str, virtual_devices: int | None = None) -> tf.distribute.Strategy:
    """Builds the strategy that a configuration asks for; one process has one of each kind.

    Args:
        distribution: `"auto"`, `"none"`, `"mirrored"` or `"multi_worker"`.
        virtual_devices: into how many logical devices to split the CPU, or None.

    Returns:
        A `tf.distribute.Strategy`; TensorFlow's default one if there is one device. Within the scope of a strategy of
        the caller's own, that one.

    Raises:
        UserError: if TensorFlow runs already and cannot divide its devices any more, or nothing names the workers.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    if distribution == "multi_worker":
        return _multi_worker_strategy()
    if distribution == "none":
        devices = ["CPU:0"]
    elif virtual_devices:
        devices = _logical_cpus(virtual_devices)
    else:
        devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    return _mirrored_strategy(tuple(devices)) if len(devices) > 1 else tf.distribute.get_strategy()


@functools.cache
def _mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(list(devices))


def _logical_cpus(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    # A second run in the process finds the CPU divided already, and may not ask for what it has.
    if len(tf.config.get_logical_device_configuration(cpu) or ()) != count:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError:
            raise UserError(
                f"--virtual_devices={count} must be set before TensorFlow computes anything. Received: a process in "
                "which it has. Train before other use of TensorFlow, or in a process of its own."
            ) from None
    return [device.name for device in tf.config.list_logical_devices("CPU")]


def _cluster_resolver(environment: Mapping[str, str]) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns who the workers are, and which this one is, from what the scheduler has set."""
    if "TF_CONFIG" in environment:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        try:
            spec, task_type, task_id = resolver.cluster_spec(), resolver.task_type, resolver.task_id
            spec.task_address(task_type, task_id)
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", '
                f'"index": 0}}}}. Received: {environment["TF_CONFIG"]!r} ({" ".join(str(error).split())}).'
            ) from None
    elif "SLURM_STEP_NODELIST" in environment:
        # With one GPU a task nothing is asked of nvidia-smi: SLURM has given each task its GPUs.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_PORT, gpus_per_node=2**16, gpus_per_task=1, auto_set_gpu=False
        )
        spec = resolver.cluster_spec()
        task_type, task_id = resolver.get_task_info()
    else:
        raise UserError(
            "--distribution=multi_worker needs the addresses of the workers from TF_CONFIG, or from srun. Received: "
            "neither. Set TF_CONFIG, or use --distribution=mirrored for the GPUs of one machine."
        )
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=task_type, task_id=task_id, num_accelerators={"GPU": gpus}, rpc_layer="grpc"
    )


@functools.cache
def _multi_worker_strategy() -> tf.distribute.Strategy:
    resolver = _cluster_resolver(os.environ)
    spec = resolver.cluster_spec()
    try:
        # TensorFlow has no public way to say how long workers may be silent.
        from tensorflow.python.distribute.collective_all_reduce_strategy import coordination_config_pb2
        from tensorflow.python.eager import context

        if context.context().coordination_service is None:
            context.context().configure_coordination_service(
                service_type="standalone",
                service_leader=f"/job:{'chief' if 'chief' in spec.jobs else 'worker'}/replica:0/task:0",
                heartbeat_timeout_in_ms=_SILENCE_SECONDS * 1000,
                coordinated_jobs=[
                    coordination_config_pb2.CoordinatedJob(name=job, num_tasks=spec.num_tasks(job))
                    for job in ("chief", "worker")
                    if job in spec.jobs
                ],
            )
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise UserError(
            "--distribution=multi_worker must start before TensorFlow computes anything. Received: a process in which "
            f"it has ({' '.join(str(error).split())}). Train in a process of its own."
        ) from None


@functools.cache
def local_replicas(strategy: tf.distribute.Strategy) -> range:
    """Returns the numbers of this process's replicas among all."""
    ids = strategy.experimental_local_results(
        strategy.experimental_distribute_values_from_function(lambda value: value.replica_id_in_sync_group)
    )
    return range(int(ids[0]), int(ids[0]) + len(ids))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes."""
    return local_replicas(strategy).start == 0


def has_other_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether other processes take part."""
    return len(local_replicas(strategy)) < strategy.num_replicas_in_sync


@tf.function
def _sum_over_replicas(strategy: tf.distribute.Strategy, number: tf.Tensor) -> tf.Tensor:
    return strategy.reduce("SUM", strategy.run(tf.identity, args=(number,)), axis=None)


def _sum_over_workers(strategy: tf.distribute.Strategy, numbers: Any) -> np.ndarray:
    numbers = np.asarray(numbers, np.int64)
    if not has_other_workers(strategy):
        return numbers
    return _sum_over_replicas(strategy, tf.constant(numbers)).numpy() // len(local_replicas(strategy))


def sum_over_workers(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the sum of an integer over all workers, once all have come here."""
    return int(_sum_over_workers(strategy, number))


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers have come here."""
    sum_over_workers(strategy, 0)


def true_on_all_workers(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Returns whether a flag is true in all workers, once all have come here."""
    return sum_over_workers(strategy, not flag) == 0


def gather_bytes(strategy: tf.distribute.Strategy, content: bytes, length: int) -> list[bytes]:
    """Returns what each worker contributes, in their order, once all have come here.

    Args:
        strategy: the `tf.distribute.Strategy`.
        content: this worker's bytes. Those beyond `length`, and zeros at the end, are dropped.
        length: the same number in all workers: tensors of different sizes would make them wait for each other forever.
    """
    local, replicas = local_replicas(strategy), strategy.num_replicas_in_sync
    rows = np.zeros((replicas // len(local), length), np.int64)
    rows[local.start // len(local)] = np.frombuffer(content[:length].ljust(length, b"\0"), np.uint8)
    return [row.astype(np.uint8).tobytes().rstrip(b"\0") for row in _sum_over_workers(strategy, rows)]


def rows_of(replica: Any, replicas: int, count: Any) -> tuple[Any, Any]:
    """Returns the first row of a replica, and the first of the next, of a batch of `count`: even to one row.

    Args:
        replica: its number, an integer or an integer tensor.
        replicas: how many there are.
        count: how many rows there are.
    """
    return replica * count // replicas, (replica + 1) * count // replicas


def worker_rows(strategy: tf.distribute.Strategy, count: int) -> tuple[int, int]:
    """Returns the first row of this process, and the first of the next, of a batch of `count`."""
    local, replicas = local_replicas(strategy), strategy.num_replicas_in_sync
    return rows_of(local.start, replicas, count)[0], rows_of(local.stop, replicas, count)[0]


def replica_rows(strategy: tf.distribute.Strategy, arrays: list[tf.Tensor], count: Any) -> list[tf.Tensor]:
    """Cuts this replica's rows out of those of its process, on the CPU: only they go to the device.

    Args:
        strategy: the `tf.distribute.Strategy`, in whose replica context this is.
        arrays: tensors `[rows of this process, …]`.
        count: how many rows the batch has in all processes, an integer or a tensor.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return arrays
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    before = rows_of(local_replicas(strategy).start, replicas, count)[0]
    first, last = rows_of(replica, replicas, count)
    with tf.device("CPU:0"):
        return [array[first - before : last - before] for array in arrays]


@contextlib.contextmanager
def lost_workers_as_user_error(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow raises after another worker has died into a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.DeadlineExceededError)
        if not has_other_workers(strategy) or not (lost or "ollective" in str(error)):
            raise
        # After a long list of Python's lines.
        reason = " ".join(str(error).rsplit("aborted by:")[-1].split("\n")[0].split())[:200]
        raise UserError(
            f"All workers must run until the end. One of them has ended or cannot be reached ({reason}). Run the same "
            "command again on every worker to resume from the last checkpoint."
        ) from error
