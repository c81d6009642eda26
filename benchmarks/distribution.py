"""Measures how the number of devices affects the loss, the communication and the speed of steps, over loopback.

Starts one process, processes with 2 and 4 logical devices, and 2 and 4 worker processes. `--part=numbers` trains 50
steps of each loss in each precision: independently ("free"), from the weights of one device at every step ("same
weights"), and on one device with the rows of each batch in other orders ("reordered"). `--part=speed` times steps with
each worker on one core, measures the increase of the chief's memory, and counts the bytes on the loopback device.
`--part=failures` signals one of two training workers and waits for the other one. `--part=model` estimates steps of
ResNet-12 on many GPUs.

Run: python benchmarks/distribution.py [--part=numbers] [--steps=50]
     python benchmarks/distribution.py --part=failures [--signals=SIGKILL,SIGSTOP,SIGTERM]
"""

import argparse
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDE, CLASSES, IMAGES, WAYS, SHOTS = 16, 16, 24, 8, 4
# By name: the number of processes, and of logical devices per process.
DEVICES = {"one": (1, 1), "2 mirrored": (1, 2), "4 mirrored": (1, 4), "2 workers": (2, 1), "4 workers": (4, 1)}
LOSSES = {
    "SCE": {"metric_loss": "none"},
    "NCA": {"classification_loss": "none", "metric_loss": "nca"},
    "Proto": {"classification_loss": "none", "metric_loss": "proto"},
    "sum": {"integration": "sum"},
    "direct sum": {"integration": "direct_sum"},
    "spectral sum": {"integration": "spectral_sum"},
}
PRECISIONS = ("float64", "float32", "mixed_bfloat16", "mixed_float16")
# The number of other row orders of each batch, in which one device is compared with itself.
ORDERS = 4
SCALING = {"strong": lambda replicas: 256, "weak": lambda replicas: 64 * replicas}
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
SCALED_FILTERS, SCALED_SIDE, TIMED_STEPS = (16, 32, 64, 128), 32, 6


def make_split(side, seed=0):
    """Noisy colours."""
    from dsl_tf.data import Split

    generator = np.random.default_rng(seed)
    colours = np.repeat(generator.uniform(60, 200, (CLASSES, 1, 1, 3)), IMAGES, axis=0)
    pixels = np.clip(colours + generator.normal(0, 40, (CLASSES * IMAGES, side, side, 3)), 0, 255)
    return Split(pixels.astype(np.uint8), np.repeat(np.arange(CLASSES), IMAGES), tuple(map(str, range(CLASSES))))


def small_backbone(precision):
    import keras

    from dsl_tf.models.normalization import FusedBatchNormalization

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    layers = [keras.Input((SIDE, SIDE, 3))]
    for width in (16, 32):
        layers += [keras.layers.Conv2D(width, 3, strides=2, use_bias=False), FusedBatchNormalization()]
        layers += [keras.layers.LeakyReLU(0.1)]
    wide = "float64" if precision == "float64" else "float32"
    backbone = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(dtype=wide)])
    keras.config.set_dtype_policy("float32")
    return backbone


def in_float64(parts, configuration):
    """Returns the same parts with classifier, loss and optimizer in float64."""
    import keras

    from dsl_tf.training import construction

    classifier = parts.classifier
    if classifier is not None:
        classifier = keras.layers.Dense(CLASSES, dtype="float64")
        classifier.build((None, parts.backbone.output_shape[1]))
        classifier.set_weights([weight.astype(np.float64) for weight in parts.classifier.get_weights()])
    loss = construction.build_loss(configuration, classifier)
    optimizer = type(parts.optimizer).from_config(parts.optimizer.get_config())
    found = construction.Parts(parts.backbone, classifier, loss, optimizer)
    optimizer.build(found.trainable_weights)
    return found


def float64_step(parts, strategy, size):
    """Returns a training step whose loss stays in float64."""
    import tensorflow as tf

    from dsl_tf import distribution
    from dsl_tf.losses.reduction import reduce_values
    from dsl_tf.losses.replicas import sum_over_replicas

    def replica(images, labels):
        images, labels = distribution.replica_rows(strategy, [images, labels], size)
        with tf.GradientTape() as tape:
            features = parts.backbone(tf.cast(images, tf.float64) / 127.5 - 1.0, training=True)
            terms = parts.loss.terms(tf.cast(labels, tf.int64), features)
            loss = tf.add_n([reduce_values(*term, None, "mean") for term in terms.values()])
        weights = parts.trainable_weights
        gradients = tape.gradient(loss, weights)
        total = sum_over_replicas(loss)
        parts.optimizer.apply(gradients, weights)
        return total

    @tf.function
    def step(images, labels):
        return strategy.experimental_local_results(strategy.run(replica, args=(images, labels)))[0]

    return lambda images, labels: float(step(images, labels))


def float32_step(parts, strategy, size):
    from dsl_tf.training.step import TrainingStep

    training_step = TrainingStep(parts, strategy=strategy)

    def step(images, labels):
        training_step.reset()
        training_step(images, labels, size)
        return training_step.means()["loss"]

    return step


def weights_of(layers):
    return [value for layer in layers for value in layer.get_weights()]


def set_weights(layers, values):
    values = iter(values)
    for layer in layers:
        layer.set_weights(list(itertools.islice(values, len(layer.get_weights()))))


def losses_from(weights, layers, step, batches):
    """Returns the loss of each batch, from given weights at each step."""
    found = []
    for values, batch in zip(weights, batches, strict=True):
        set_weights(layers, values)
        found.append(step(*batch))
    return np.array(found)


def in_another_order(batches, order):
    """Returns the same batches, with the rows of each in another order."""
    for number, (images, labels) in enumerate(batches):
        rows = np.random.default_rng((order, number)).permutation(len(labels))
        yield images.numpy()[rows], labels.numpy()[rows]


def numbers(strategy, losses, steps, reference):
    """Returns the losses of all steps by loss and precision, each training on its own and from the reference's weights.

    Without a reference also what becomes one: the weights at each step, and the losses with the rows in other orders.
    """
    from dsl_tf import distribution
    from dsl_tf.data.pipeline import training_batches
    from dsl_tf.runs.configuration import TrainingConfiguration
    from dsl_tf.training import construction

    size = WAYS * SHOTS
    rows = distribution.worker_rows(strategy, size)
    batches = list(training_batches(make_split(SIDE), WAYS, SHOTS, 0, flip=False, rows=rows).take(steps))
    found = {}
    for name, precision in itertools.product(losses, PRECISIONS):
        configuration = TrainingConfiguration(
            ways=WAYS,
            shots=SHOTS,
            learning_rate=0.05,
            epochs=8,
            precision="float32" if precision == "float64" else precision,
            **LOSSES[name],
        )
        parts = construction.build(
            configuration, (SIDE, SIDE, 3), CLASSES, max(steps // 8, 1), small_backbone(precision)
        )
        if precision == "float64":
            parts = in_float64(parts, configuration)
        parts = construction.replicate(parts, configuration, strategy)
        step = (float64_step if precision == "float64" else float32_step)(parts, strategy, size)
        layers = [parts.backbone] + ([parts.classifier] if parts.classifier is not None else [])
        key = f"{name}/{precision}"
        optimizer_first = [variable.numpy() for variable in parts.optimizer.variables]
        free, weights = [], []
        for batch in batches:
            weights.append(weights_of(layers))
            free.append(step(*batch))
        found[f"{key}/free"] = np.array(free)
        if precision == "mixed_float16":
            # Each skipped step halves the scale, and it first grows after 2,000 steps.
            optimizer = parts.optimizer
            scale = float(np.array(optimizer.dynamic_scale))
            found[f"{key}/skipped"] = round(np.log2(optimizer.initial_scale / scale))
        if reference is not None:
            weights = [
                [reference[f"{key}/weights/{number}/{index}"] for index in range(len(values))]
                for number, values in enumerate(weights)
            ]
            found[f"{key}/same"] = losses_from(weights, layers, step, batches)
            continue
        for number, values in enumerate(weights):
            for index, value in enumerate(values):
                found[f"{key}/weights/{number}/{index}"] = value
        for order in range(ORDERS):
            others = list(in_another_order(batches, order))
            found[f"{key}/same/{order}"] = losses_from(weights, layers, step, others)
            set_weights(layers, weights[0])
            for variable, value in zip(parts.optimizer.variables, optimizer_first, strict=True):
                variable.assign(value)
            found[f"{key}/free/{order}"] = np.array([step(*batch) for batch in others])
    return found


def loopback_bytes():
    line = next(
        line for line in pathlib.Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")
    )
    return int(line.split(":")[1].split()[0])


def memory(kind):
    """Returns bytes of memory of this process: resident ("VmRSS"), or resident at most ("VmHWM")."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


def speed(strategy, size):
    """Returns seconds, memory and bytes on the loopback device of a step with a batch of `size`."""
    from dsl_tf import distribution
    from dsl_tf.data.pipeline import training_batches
    from dsl_tf.runs.configuration import TrainingConfiguration
    from dsl_tf.training import construction
    from dsl_tf.training.step import TrainingStep

    ways, shots = min(size // 4, CLASSES), size // min(size // 4, CLASSES)
    configuration = TrainingConfiguration(ways=ways, shots=shots, filters=SCALED_FILTERS)
    parts = construction.build(configuration, (SCALED_SIDE, SCALED_SIDE, 3), CLASSES, 10)
    step = TrainingStep(construction.replicate(parts, configuration, strategy), strategy=strategy)
    rows = distribution.worker_rows(strategy, size)
    batches = list(training_batches(make_split(SCALED_SIDE), ways, shots, 0, rows=rows).take(2 + TIMED_STEPS))
    seconds = []
    # So that the memory of imports and data does not hide the memory of steps.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    resident = memory("VmRSS")
    for number, (images, labels) in enumerate(batches):
        distribution.barrier(strategy)
        if number == 2:
            before = loopback_bytes()
        started = time.monotonic()
        step(images, labels, size)
        step.means()
        seconds.append(time.monotonic() - started)
    return {
        "seconds": float(np.median(seconds[2:])),
        "memory": memory("VmHWM") - resident,
        "bytes": (loopback_bytes() - before) / TIMED_STEPS,
        "parameter_bytes": sum(4 * int(np.prod(weight.shape)) for weight in parts.trainable_weights),
        "feature_bytes": 8 * size * SCALED_FILTERS[-1],
    }


def child(arguments):
    from dsl_tf import distribution

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


def launch(command, processes, output):
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


def start(arguments, devices, output, reference="", batch=0):
    """Runs the processes of one kind of devices until they end."""
    command = [__file__, f"--part={arguments.part}", f"--steps={arguments.steps}", f"--losses={arguments.losses}"]
    command += [f"--devices={devices}", f"--child={output}", f"--reference={reference}", f"--batch={batch}"]
    codes = [process.wait() for process in launch(command, DEVICES[devices][0], output)]
    if any(codes):
        sys.exit(pathlib.Path(f"{output}.0.log").read_text()[-3000:])


def print_numbers(arguments, folder):
    start(arguments, "one", folder / "one.npz")
    found = {"one": np.load(folder / "one.npz")}
    others = arguments.others.split(",")
    for devices in others:
        start(arguments, devices, folder / f"{devices}.npz", folder / "one.npz")
        found[devices] = np.load(folder / f"{devices}.npz")
    one = found["one"]
    print(f"Largest relative difference of the loss from one device's in {arguments.steps} steps")
    columns = [*others, "reordered"]
    width = 11 * len(columns)
    print(f"{'':27}{'same weights':>{width}}{'free':>{width}}{'loss of one':>18}")
    print(f"{'':27}" + "".join(f"{name:>11}" for name in columns) * 2 + f"{'first':>9}{'last':>9}")
    for name, precision in itertools.product(arguments.losses.split(","), PRECISIONS):
        key = f"{name}/{precision}"
        expected = one[f"{key}/free"]
        differences = []
        for kind in ("same", "free"):
            compared = [[found[devices][f"{key}/{kind}"]] for devices in others]
            compared.append([one[f"{key}/{kind}/{order}"] for order in range(ORDERS)])
            differences += [np.abs(np.array(losses) / expected - 1).max() for losses in compared]
        print(
            f"{name:13}{precision:14}"
            + "".join(f"{value:11.1e}" for value in differences)
            + f"{expected[0]:9.3f}{expected[-1]:9.3f}"
        )
    for name in arguments.losses.split(","):
        skipped = ", ".join(f"{devices} {found[devices][f'{name}/mixed_float16/skipped']}" for devices in found)
        print(f"mixed_float16, steps that {name} skipped: {skipped}")


def print_speed(arguments, folder):
    print(f"{'':19}{'batch':>6}{'s a step':>10}{'images/s':>10}{'MB memory':>11}{'MB a step':>11}{'computed':>10}")
    for kind, (devices, (processes, replicas)) in itertools.product(SCALING, DEVICES.items()):
        batch = SCALING[kind](processes * replicas)
        start(arguments, devices, folder / "speed.json", batch=batch)
        found = json.loads((folder / "speed.json").read_text())
        # A ring: all-reduce of the parameters and of the features' gradient, all-gather of the features.
        computed = (processes - 1) * (2 * found["parameter_bytes"] + 3 * found["feature_bytes"])
        measured = found["bytes"] if processes > 1 else 0
        print(
            f"{kind:8}{devices:11}{batch:6}{found['seconds']:10.3f}{batch / found['seconds']:10.1f}"
            f"{found['memory'] / 1e6:11.0f}{measured / 1e6:11.2f}{computed / 1e6:10.2f}",
            flush=True,
        )


def seconds_until(condition, started):
    """Returns how long after `started` a condition holds, or None if it does not within PATIENCE."""
    while not condition():
        if time.monotonic() - started > PATIENCE:
            return None
        time.sleep(0.02)
    return time.monotonic() - started


def failure(name, index, directory):
    """Signals one of two training workers. Returns the reaction of the other one and the saved state."""
    program = pathlib.Path(__file__).parents[1] / "run_train.py"
    running = launch([program, *FAILING_RUN, f"--output_dir={directory}"], 2, directory)
    log = pathlib.Path(f"{directory}.{1 - index}.log")
    metrics = directory / "metrics.jsonl"

    def steps():
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def checkpoints():
        return [int(path.name.removeprefix("ckpt-")) for path in (directory / "checkpoints").glob("ckpt-*")]

    def any_ended():
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


def print_failures(arguments, folder):
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


# Assumed, not measured: of a GPU, floating-point operations a second in the network and in float64; by the number of
# GPUs (one node of 8, or several), bytes a second to its neighbour and seconds a collective.
NETWORK_SPEED, FLOAT64_SPEED = 60e12, 9e12
LINKS = {8: (200e9, 30e-6), 64: (20e9, 100e-6), 512: (20e9, 300e-6)}
# ResNet-12 at 84 pixels: weights, operations of an image's step (three times the forward pass), widths of its 16 layers
# of batch normalisation in all, and d.
WEIGHTS, IMAGE_OPERATIONS, NORMALISED, DIMENSIONS = 12.4e6, 21e9, 4736, 640


def print_model():
    columns = ("GPUs", "batch", "a GPU", "MB sent", "network ms", "loss ms", "exchange ms", "efficiency")
    print("".join(f"{name:>12}" for name in columns))
    for replicas, (bandwidth, latency) in LINKS.items():
        for batch in (512, 64 * replicas):
            share = (replicas - 1) / replicas
            feature_bytes = 8 * batch * DIMENSIONS
            sent = share * (2 * 4 * WEIGHTS + 3 * feature_bytes + 2 * (3 * 8 + 2 * 4) * NORMALISED)
            compute = batch / replicas * IMAGE_OPERATIONS / NETWORK_SPEED
            loss = 6 * batch / replicas * batch * DIMENSIONS / FLOAT64_SPEED
            # 32 of batch normalisation, and 8 of loss and gradients; nothing of it beside the computation.
            exchange = sent / bandwidth + 40 * latency
            times = [1e3 * seconds for seconds in (compute, loss, exchange)]
            print(
                f"{replicas:12}{batch:12}{batch / replicas:12.0f}{sent / 1e6:12.0f}"
                + "".join(f"{value:12.1f}" for value in times)
                + f"{times[0] / sum(times):12.0%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
