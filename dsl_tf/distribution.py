"""Several devices and several processes: which ones a run has, and which rows of a batch each of them takes."""

import contextlib
import functools
import os
import socket

import tensorflow as tf

from dsl_tf.errors import UserError

# That of TensorFlow's SLURM resolver; several workers of a node count from it.
_PORT = 8888
_POD_LABEL = "DSL_TF_POD_LABEL"
# How long a worker may be silent before the others give it up. TensorFlow's own 10 seconds are too few where processes
# share their cores with others; one that dies is noticed at once, by its connections.
_SILENCE_SECONDS = 60


@functools.cache
def open_strategy(distribution, virtual_devices=None):
    """Builds the strategy that a configuration asks for; one process has one of each kind.

    Args:
        distribution: `"auto"`, `"none"`, `"mirrored"` or `"multi_worker"`.
        virtual_devices: into how many logical devices to split the CPU, or None.

    Returns:
        A `tf.distribute.Strategy`; TensorFlow's default one where there is one device.

    Raises:
        UserError: where TensorFlow runs already and cannot divide its devices any more, or the workers are not told.
    """
    if distribution == "multi_worker":
        return _multi_worker_strategy(_cluster_resolver(os.environ))
    if distribution == "none":
        return tf.distribute.get_strategy()
    if virtual_devices:
        devices = _logical_cpus(virtual_devices)
    else:
        devices = [device.name for device in tf.config.list_logical_devices("GPU")] or ["CPU:0"]
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()


def _logical_cpus(count):
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


def _cluster_resolver(environment):
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
    elif _POD_LABEL in environment:
        spec, task_type, task_id = _of_pods(environment)
    else:
        raise UserError(
            "--distribution=multi_worker must be told its workers by TF_CONFIG, by srun, or by pods that share the "
            f"label in {_POD_LABEL}. Received: none of them. For the GPUs of one machine use --distribution=mirrored."
        )
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=task_type, task_id=task_id, num_accelerators={"GPU": gpus}, rpc_layer="grpc"
    )


def _of_pods(environment, client=None):
    """Finds the pods of a label; TensorFlow knows them by the addresses of their nodes, this one by HOST_IP."""
    if client is None:
        try:
            import kubernetes
        except ImportError:
            raise UserError(
                f"{_POD_LABEL} needs the Python package kubernetes, which is missing. Install it, or set TF_CONFIG."
            ) from None
        kubernetes.config.load_incluster_config()
        client = kubernetes.client.CoreV1Api()
    try:
        spec = tf.distribute.cluster_resolver.KubernetesClusterResolver(
            {"worker": [environment[_POD_LABEL]]}, tf_server_port=_PORT, override_client=client
        ).cluster_spec()
    except RuntimeError as error:
        raise UserError(f"All pods of {_POD_LABEL} must run. {error}. Repeat the command when they do.") from None
    addresses = spec.job_tasks("worker")
    own = f"{environment.get('HOST_IP') or socket.gethostbyname(socket.gethostname())}:{_PORT}"
    if addresses.count(own) != 1:
        raise UserError(
            f"HOST_IP must be the address of one of the workers' nodes, {', '.join(addresses)}. Received: {own!r}. Set "
            "it from status.hostIP, with one pod a node."
        )
    return spec, "worker", addresses.index(own)


def _multi_worker_strategy(resolver):
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
def local_replicas(strategy):
    """Returns the numbers of this process's replicas among all, a range."""
    ids = strategy.experimental_local_results(
        strategy.experimental_distribute_values_from_function(lambda value: value.replica_id_in_sync_group)
    )
    return range(int(ids[0]), int(ids[0]) + len(ids))


def is_chief(strategy):
    """Returns whether this process is the one that writes."""
    return local_replicas(strategy).start == 0


def has_other_workers(strategy):
    """Returns whether other processes take part."""
    return len(local_replicas(strategy)) < strategy.num_replicas_in_sync


@tf.function
def _sum_over_replicas(strategy, number):
    return strategy.reduce("SUM", strategy.run(tf.identity, args=(number,)), axis=None)


def sum_over_workers(strategy, number):
    """Returns the sum of an integer over all workers, once all have come here."""
    if not has_other_workers(strategy):
        return int(number)
    return int(_sum_over_replicas(strategy, tf.constant(int(number), tf.int64))) // len(local_replicas(strategy))


def everywhere(strategy, flag):
    """Returns whether a flag is true in all workers, once all have come here: a barrier, where it always is."""
    return sum_over_workers(strategy, not flag) == 0


def rows_of(replica, replicas, count):
    """Returns the first row of a replica, and the first of the next, of a batch of `count`: even to one row.

    Args:
        replica: its number, an integer or an integer tensor.
        replicas: how many there are.
        count: how many rows there are.
    """
    return replica * count // replicas, (replica + 1) * count // replicas


def worker_rows(strategy, count):
    """Returns the first row of this process, and the first of the next, of a batch of `count`."""
    local, replicas = local_replicas(strategy), strategy.num_replicas_in_sync
    return rows_of(local.start, replicas, count)[0], rows_of(local.stop, replicas, count)[0]


def replica_rows(strategy, arrays, count):
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
def lost_workers_told(strategy):
    """Turns what TensorFlow raises where another worker has died into a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.DeadlineExceededError)
        if not has_other_workers(strategy) or not (lost or "ollective" in str(error)):
            raise
        # After a long list of Python's lines.
        reason = " ".join(str(error).rsplit("aborted by:")[-1].split("\n")[0].split())[:200]
        raise UserError(
            f"All workers must live while a run lasts. One of them ended or cannot be reached ({reason}). Repeat the "
            "command on every worker: it goes on from the last checkpoint."
        ) from error
