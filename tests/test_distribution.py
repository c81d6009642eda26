"""One device, several, and several processes: for real, and with the same numbers."""

import functools
import itertools
import json
import os
import signal
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.runs import extract_features
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from tests.images import striped_split, tiny_backbone, tiny_configuration
from tests.programs import run, start
from tests.workers import end, start_workers

PROGRAM = ("-m", "tests.replicas_program")
TRAIN = (
    "-m",
    "tests.small_network",
    "--dataset=folder",
    "--image_size=16",
    "--filters=4,4,8,16",
    "--ways=8",
    "--shots=3",
    # At 0.01 one device is, after 7 steps, 2% from itself with each weight a float32 rounding off; so are two devices.
    "--learning_rate=0.001",
    "--log_every=1",
    "--checkpoint_minutes=0",
    "--test_ways=3",
    "--test_shots=1",
    "--test_queries=5",
    "--test_episodes=51",
    "--validation_episodes=20",
)

EPISODES = ("--ways=3", "--shots=1", "--queries=5", "--episodes=51")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What replicas_program wrote, by the devices that computed it."""
    folder = tmp_path_factory.mktemp("computed")
    paths = {name: folder / f"{name}.npz" for name in ("one", "mirrored", "workers")}
    processes = [
        start([*PROGRAM, "none", "0", paths["one"]]),
        start([*PROGRAM, "mirrored", "2", paths["mirrored"]]),
        *start_workers(2, [*PROGRAM, "multi_worker", "0", paths["workers"]]),
    ]
    for code, output in end(processes):
        assert code == 0, output
    found = {}
    for name, path in paths.items():
        with np.load(path) as arrays:
            found[name] = dict(arrays)
    return found


@pytest.mark.parametrize("devices", ["mirrored", "workers"])
@pytest.mark.parametrize("what", ["loss", "normalized", "trained", "broken", "evaluated"])
def test_several_devices_compute_what_one_does(computed, devices, what):
    names = [name for name in computed["one"] if name.startswith(what)]
    assert names
    for name in names:
        expected, found = computed["one"][name], computed[devices][name]
        assert found.shape == expected.shape and found.dtype == expected.dtype, name
        if expected.dtype.kind == "i":
            np.testing.assert_array_equal(found, expected, err_msg=name)
        else:
            scale = max(np.abs(expected).max(), 1e-3)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * scale, err_msg=name)


def test_keras_fits_on_several_devices_as_on_one(computed):
    for name in ("fitted/0", "fitted/1", "fitted/2"):
        np.testing.assert_allclose(computed["mirrored"][name], computed["one"][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("devices", ["one", "mirrored", "workers"])
def test_no_device_takes_a_step_that_is_broken_in_one(computed, devices):
    kernels, told = (computed[devices][f"broken float32/{number}"] for number in (0, 1))
    assert np.isfinite(kernels).all()
    np.testing.assert_allclose(told[1:], [1, 0.01], rtol=1e-6)
    # Half of the first scale, and no error.
    kernels, told = (computed[devices][f"broken mixed_float16/{number}"] for number in (0, 1))
    np.testing.assert_array_equal(told, [2**14])
    moved = [bool(np.abs(after - before).max()) for before, after in itertools.pairwise(kernels)]
    assert moved == [True, False, True]


def test_batches_are_the_same_wherever_they_are_prefetched(computed):
    for part, dtype in ((0, np.uint8), (1, np.int64)):
        expected, found = (computed[devices][f"prefetched/{part}"] for devices in ("one", "mirrored"))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def weight_on(*devices):
    """As far as `single_gpu` looks at Keras variables; this machine has no GPU to make them on."""
    return [types.SimpleNamespace(value=types.SimpleNamespace(device=device)) for device in devices]


def test_batches_go_ahead_to_a_gpu_that_holds_all_weights():
    gpu, cpu = (f"/job:localhost/replica:0/task:0/device:{name}:0" for name in ("GPU", "CPU"))
    strategy = tf.distribute.get_strategy()
    assert distribution.single_gpu(strategy, weight_on(gpu, gpu)) == gpu
    for others in (weight_on(cpu), weight_on(gpu, cpu), tiny_backbone().trainable_weights):
        assert distribution.single_gpu(strategy, others) is None


def test_features_come_in_order_and_number(computed):
    split = striped_split(6, 8, seed=3)
    assert len(computed["workers"]["evaluated/0"]) == 37
    np.testing.assert_allclose(
        computed["workers"]["evaluated/0"], computed["workers"]["evaluated/1"][:37], rtol=1e-4, atol=1e-5
    )
    assert len(computed["workers"]["evaluated/1"]) == len(split.images) == 48
    assert len(np.unique(computed["workers"]["evaluated/1"], axis=0)) == 48


def steps(directory):
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def one_device(data_dir, tmp_path_factory):
    """Returns the directory of a run on one device once it has ended; others may run meanwhile."""
    directory = tmp_path_factory.mktemp("one")
    process = start(
        [*TRAIN, "--epochs=3", "--distribution=none", f"--data_dir={data_dir}", f"--output_dir={directory}"]
    )

    @functools.cache
    def ended():
        ((code, output),) = end([process])
        assert code == 0, output
        return directory

    yield ended
    process.kill()


def trained_weights(directory):
    return tf.keras.models.load_model(directory / "backbone.keras").get_weights()


def assert_same_run(directory, other):
    for ours, theirs in zip(steps(directory), steps(other), strict=True):
        assert ours["step"] == theirs["step"]
        for name in ("loss", "classification_loss", "metric_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), (ours["step"], name)
    for ours, theirs in zip(trained_weights(directory), trained_weights(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)
    served = tf.saved_model.load(str(directory / "saved_model")).signatures["serving_default"]
    assert served(images=tf.zeros([1, 9, 9, 3], tf.uint8))["features"].shape == (1, 16)


def wait_for_steps(directory, count, processes):
    deadline = time.monotonic() + 120
    while len(steps(directory)) < count:
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.02)


def assert_same_bits(directory, other):
    losses = [[step["loss"] for step in steps(run)] for run in (directory, other)]
    assert losses[0] == losses[1]
    for ours, theirs in zip(trained_weights(directory), trained_weights(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_two_devices_go_on_where_one_was_killed_and_evaluate_as_one_does(data_dir, one_device, tmp_path):
    run = [*TRAIN, "--epochs=3", f"--data_dir={data_dir}", f"--output_dir={tmp_path}"]
    process = start([*run, "--distribution=none"])
    wait_for_steps(tmp_path, 3, [process])
    process.kill()
    end([process])
    devices = ("--distribution=mirrored", "--virtual_devices=2")
    ((code, output),) = end([start([*run, *devices])])
    assert code == 0 and "Resuming from step" in output, output
    assert_same_run(tmp_path, one_device())
    assert list(json.loads((tmp_path / "results.json").read_text())["devices"].values()) == [2]
    ((code, output),) = end([start(["run_eval.py", f"--run_dir={tmp_path}", *EPISODES, *devices])])
    assert code == 0, output
    (path,) = tmp_path.glob("evaluations/*/evaluation.json")
    ours = json.loads(path.read_text())["subjects"][0]["accuracies"]
    options = {"run_dir": (str(tmp_path),), "ways": 3, "shots": (1,), "queries": 5, "episodes": 51}
    theirs = evaluate(EvaluationConfiguration(**options)).results[0].accuracies
    assert [entry["accuracy"] for entry in ours] == pytest.approx([entry["accuracy"] for entry in theirs], abs=1e-9)


def test_two_deterministic_runs_on_two_devices_end_with_the_same_bits(data_dir, tmp_path):
    run = [*TRAIN, "--epochs=2", "--learning_rate=0.05", "--deterministic", f"--data_dir={data_dir}"]
    run += ["--distribution=mirrored", "--virtual_devices=2"]
    directories = [tmp_path / "first", tmp_path / "second"]
    for code, output in end([start([*run, f"--output_dir={directory}"]) for directory in directories]):
        assert code == 0, output
    assert len(steps(directories[0])) == 8
    assert_same_bits(*directories)


def test_when_a_worker_dies_the_other_tells_it_and_the_same_command_goes_on(data_dir, one_device, tmp_path):
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    run = [*TRAIN, "--epochs=3", f"--data_dir={data_dir}", "--distribution=multi_worker", "--deterministic"]
    again = [*run, f"--output_dir={broken}"]
    workers = start_workers(2, again)
    wait_for_steps(broken, 5, workers)
    workers[1].kill()
    (code, output), _ = end(workers, timeout=60)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1, output
    assert "workers" in lines[0] and "again on every worker" in lines[0]
    assert "Traceback" not in output
    assert len(steps(broken)) < 12
    workers = start_workers(2, again) + start_workers(2, [*run, f"--output_dir={unbroken}"])
    (code, chief_output), (other_code, other_output), *others = end(workers)
    assert code == 0 and "Resuming from step" in chief_output, chief_output
    assert other_code == 0 and "Resuming from step" not in other_output, other_output
    assert [code for code, _ in others] == [0, 0], others
    assert_same_run(broken, one_device())
    assert_same_bits(broken, unbroken)
    assert list(json.loads((broken / "results.json").read_text())["devices"].values()) == [2]
    assert not list(tmp_path.rglob(".partial.*"))


def test_workers_with_different_flags_all_end_before_the_first_step(data_dir, tmp_path):
    run = [*TRAIN, "--epochs=3", f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--distribution=multi_worker"]
    for code, output in end(start_workers(2, run, [["--weight_decay=0.1"], ["--weight_decay=0.2"]])):
        assert code == 2, output
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "--weight_decay 0.1 on worker 0, 0.2 on worker 1" in line
    assert not list(tmp_path.iterdir())


def test_a_signal_at_any_worker_ends_all_with_the_step_saved(data_dir, tmp_path):
    run = [*TRAIN, "--epochs=400", f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--distribution=multi_worker"]
    workers = start_workers(2, [*run, "--checkpoint_minutes=10", "--validate_every=400"])
    wait_for_steps(tmp_path, 5, workers)
    workers[1].send_signal(signal.SIGTERM)
    for code, output in end(workers, timeout=60):
        assert code == 128 + signal.SIGTERM, output
        assert "Ended by SIGTERM. Run the same" in output and "error: " not in output and "Traceback" not in output
    newest = max(int(path.name.removeprefix("ckpt-")) for path in (tmp_path / "checkpoints").iterdir())
    assert newest == steps(tmp_path)[-1]["step"]


@pytest.mark.parametrize(("count", "replicas"), [(10, 1), (10, 2), (10, 3), (2, 5), (0, 2), (7, 7)])
def test_replicas_take_each_row_once_and_even_shares(count, replicas):
    rows = [distribution.rows_of(replica, replicas, count) for replica in range(replicas)]
    assert [row for first, last in rows for row in range(first, last)] == list(range(count))
    shares = [last - first for first, last in rows]
    assert max(shares) - min(shares) <= 1


def test_one_device_is_tensorflows_own():
    strategy = distribution.open_strategy("auto")
    assert strategy is tf.distribute.get_strategy()
    assert list(distribution.local_replicas(strategy)) == [0]
    assert distribution.is_chief(strategy) and not distribution.has_other_workers(strategy)
    assert distribution.true_on_all_workers(strategy, True) and not distribution.true_on_all_workers(strategy, False)


OWN_SCOPE = """
import tensorflow as tf
from dsl_tf import distribution
own = tf.distribute.OneDeviceStrategy("CPU:0")
for kind in ("none", "auto", "mirrored"):
    with own.scope():
        assert distribution.open_strategy(kind) is own
    assert distribution.open_strategy(kind) is tf.distribute.get_strategy() is not own
"""


def test_a_callers_own_scope_is_used_and_never_kept():
    # In a process of its own: a scope that stayed open would make every later test fail.
    process = run(["-c", OWN_SCOPE])
    assert process.returncode == 0, process.stderr


def test_devices_that_come_too_late_are_an_error_of_one_line():
    extract_features(tiny_backbone(), np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="--virtual_devices=7 must be set before") as error:
        distribution.open_strategy("mirrored", 7)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["none", "multi_worker"])
def test_virtual_devices_are_for_one_process(tmp_path, kind):
    with pytest.raises(UserError, match="--virtual_devices .* Received: --distribution="):
        tiny_configuration(tmp_path, distribution=kind, virtual_devices=2)


@pytest.mark.parametrize(
    "value",
    ["", "{", "[]", '{"cluster": {}}', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 3}}'],
)
def test_a_wrong_tf_config_is_an_error_of_one_line(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(UserError, match="TF_CONFIG must be JSON") as error:
        distribution._cluster_resolver(os.environ)
    assert "\n" not in str(error.value)


def test_workers_that_nobody_tells_are_an_error():
    with pytest.raises(UserError, match="TF_CONFIG, or from srun"):
        distribution._cluster_resolver({})


def test_slurm_tells_the_workers(monkeypatch):
    variables = {
        "SLURM_STEP_NODELIST": "node[07-08]",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_PROCID": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    resolver = distribution._cluster_resolver(variables)
    assert resolver.cluster_spec().as_dict() == {"worker": ["node07:8888", "node07:8889", "node08:8888", "node08:8889"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)
