"""Several devices and processes: which ones a run uses, and which rows of a batch each of them processes."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError

# The default of TensorFlow's SLURM resolver. Workers on the same node use consecutive ports from here.
_PORT = 8888
# How long a worker may be silent before the others treat it as lost. TensorFlow's 10 seconds are too short if processes
# share cores. A worker that dies is noticed at once, because its connections close.
_SILENCE_SECONDS = 60


def open_strategy(distribution: str, virtual_devices: int | None = None) -> tf.distribute.Strategy:
    """Returns the strategy that a configuration asks for, the same object for the same devices.

    Args:
        distribution: `"auto"`, `"none"`, `"mirrored"` or `"multi_worker"`.
        virtual_devices: the number of logical devices to split the CPU into, or None.

    Returns:
        A `tf.distribute.Strategy`: the current one if the caller has entered its scope, TensorFlow's default one if
        there is one device.

    Raises:
        UserError: if TensorFlow is already initialised and cannot split its devices, or the workers are not known.
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
    # A second run in this process finds the CPU split already; splitting it again would be an error.
    if len(tf.config.get_logical_device_configuration(cpu) or ()) != count:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError:
            raise UserError(
                f"--virtual_devices={count} must be set before TensorFlow computes anything. Received: a process in "
                "which it has. Train before any other use of TensorFlow, or in a separate process."
            ) from None
    return [device.name for device in tf.config.list_logical_devices("CPU")]


def _cluster_resolver(environment: Mapping[str, str]) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the addresses of the workers and the index of this one, from what the scheduler has set."""
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
        # With one GPU per task, the resolver does not call nvidia-smi: SLURM has assigned GPUs to each task.
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
        # TensorFlow has no public option for the heartbeat timeout.
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
            f"it has ({' '.join(str(error).split())}). Train in a separate process."
        ) from None


@functools.cache
def local_replicas(strategy: tf.distribute.Strategy) -> range:
    """Returns the indices of this process's replicas among all replicas."""
    ids = strategy.experimental_local_results(
        strategy.experimental_distribute_values_from_function(lambda value: value.replica_id_in_sync_group)
    )
    return range(int(ids[0]), int(ids[0]) + len(ids))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the chief, which writes files and prints."""
    return local_replicas(strategy).start == 0


def has_other_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether there are other worker processes."""
    return len(local_replicas(strategy)) < strategy.num_replicas_in_sync


@tf.function(autograph=False)
def _sum_over_replicas(strategy: tf.distribute.Strategy, number: tf.Tensor) -> tf.Tensor:
    return strategy.reduce("SUM", strategy.run(tf.identity, args=(number,)), axis=None)


def _sum_over_workers(strategy: tf.distribute.Strategy, numbers: Any) -> np.ndarray:
    numbers = np.asarray(numbers, np.int64)
    if not has_other_workers(strategy):
        return numbers
    return _sum_over_replicas(strategy, tf.constant(numbers)).numpy() // len(local_replicas(strategy))


def sum_over_workers(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the sum of an integer over all workers. Waits until all of them call it."""
    return int(_sum_over_workers(strategy, number))


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers call it."""
    sum_over_workers(strategy, 0)


def true_on_all_workers(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Returns whether a flag is true in all workers. Waits until all of them call it."""
    return sum_over_workers(strategy, not flag) == 0


def gather_bytes(strategy: tf.distribute.Strategy, content: bytes, length: int) -> list[bytes]:
    """Returns the bytes of all workers, in worker order. Waits until all of them call it.

    Args:
        strategy: the `tf.distribute.Strategy`.
        content: the bytes of this worker. Bytes beyond `length` and trailing zeros are dropped.
        length: the same number in all workers: with tensors of different sizes they would wait for each other forever.
    """
    local, replicas = local_replicas(strategy), strategy.num_replicas_in_sync
    rows = np.zeros((replicas // len(local), length), np.int64)
    rows[local.start // len(local)] = np.frombuffer(content[:length].ljust(length, b"\0"), np.uint8)
    return [row.astype(np.uint8).tobytes().rstrip(b"\0") for row in _sum_over_workers(strategy, rows)]


def single_gpu(strategy: tf.distribute.Strategy, weights: Sequence[Any]) -> str | None:
    """Returns the GPU that holds all weights and can be sent whole batches ahead, or None.

    Several replicas have none: each takes its rows of the process's batch within the step (`replica_rows`).

    Args:
        strategy: the `tf.distribute.Strategy`.
        weights: a list of `keras.Variable`.
    """
    devices = {weight.value.device for weight in weights}
    if strategy.num_replicas_in_sync > 1 or len(devices) != 1:
        return None
    device = devices.pop()
    return device if tf.DeviceSpec.from_string(device).device_type == "GPU" else None


def rows_of(replica: Any, replicas: int, count: Any) -> tuple[Any, Any]:
    """Returns the range of rows of a replica in a batch, as (first, one after the last). Sizes differ by at most one.

    Args:
        replica: the index of the replica, an integer or an integer tensor.
        replicas: the number of replicas.
        count: the number of rows in the batch.
    """
    return replica * count // replicas, (replica + 1) * count // replicas


def worker_rows(strategy: tf.distribute.Strategy, count: int) -> tuple[int, int]:
    """Returns the range of rows of this process in a batch of `count`, as (first, one after the last)."""
    local, replicas = local_replicas(strategy), strategy.num_replicas_in_sync
    return rows_of(local.start, replicas, count)[0], rows_of(local.stop, replicas, count)[0]


def replica_rows(strategy: tf.distribute.Strategy, arrays: list[tf.Tensor], count: Any) -> list[tf.Tensor]:
    """Returns this replica's rows out of those of its process. The slicing runs on the CPU to save device memory.

    Args:
        strategy: the `tf.distribute.Strategy`; this must be called in its replica context.
        arrays: tensors `[rows of this process, …]`.
        count: the number of rows of the batch in all processes, an integer or a tensor.
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
    """Turns the errors that TensorFlow raises after another worker has died into a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.DeadlineExceededError)
        if not has_other_workers(strategy) or not (lost or "ollective" in str(error)):
            raise
        # The reason comes after a long Python traceback.
        reason = " ".join(str(error).rsplit("aborted by:")[-1].split("\n")[0].split())[:200]
        raise UserError(
            f"All workers must run until the end. One of them has ended or cannot be reached ({reason}). Run the same "
            "command again on every worker to resume from the last checkpoint."
        ) from error
