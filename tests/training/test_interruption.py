import json
import os
import signal
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.training import train
from dsl_tf.training.interruption import Interruption
from tests import programs
from tests.images import SIZE, striped_splits, tiny_configuration

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


# What alarms do, by number: a layer's configuration holds no functions.
ACTIONS = {}


@keras.saving.register_keras_serializable(package="tests")
class Alarm(keras.layers.Layer):
    """Does something at one of the training steps that it sees."""

    def __init__(self, at=None, action=None, **kwargs):
        super().__init__(**kwargs)
        self.at, self.left, self.action = at, at, action

    def call(self, inputs, training=False):
        def count():
            if self.left is not None:
                self.left -= 1
                if self.left == 0:
                    ACTIONS[self.action]()

        if training:
            tf.py_function(count, [], [])
        return inputs

    def get_config(self):
        return {**super().get_config(), "at": self.at, "action": self.action}


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """A shell starts jobs in the background with SIGINT ignored, which a training respects."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def alarmed_backbone(at=None, action=None):
    number = len(ACTIONS)
    ACTIONS[number] = action
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            Alarm(at, number),
            keras.layers.Conv2D(16, 5, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            # Its random numbers go on too.
            keras.layers.Dropout(0.3, seed=1),
        ]
    )


def send(number):
    return lambda: os.kill(os.getpid(), number)


def crash():
    raise RuntimeError("the power went off")


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def configuration_of(directory, **changes):
    # A spectral sum that decomposes before steps 1, 6 and 11 also has a decomposition of weights that are gone.
    return tiny_configuration(
        directory, epochs=3, log_every=3, integration="spectral_sum", spectral_interval=5, **changes
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unbroken")
    results = train(configuration_of(directory), striped_splits(), alarmed_backbone())
    return lines(directory), results


@pytest.mark.parametrize(
    ("action", "at", "saved", "code"),
    [
        (send(signal.SIGTERM), 7, 7, 143),  # Within the second epoch of four steps.
        (send(signal.SIGUSR1), 9, 9, 138),  # On a step that is logged.
        (send(signal.SIGINT), 8, 8, "Ctrl-C"),  # On the last step of an epoch: its validation is left to do.
        (send(signal.SIGTERM), 12, 12, 143),  # On the last step of all.
        (crash, 7, 6, None),
    ],
)
def test_a_run_goes_on_at_the_very_step_and_logs_as_if_unbroken(tmp_path, unbroken, capsys, action, at, saved, code):
    configuration = configuration_of(tmp_path, checkpoint_minutes=0 if code is None else 10)
    before = [signal.getsignal(number) for number in HANDLED]
    raised = {None: tf.errors.UnknownError, "Ctrl-C": KeyboardInterrupt}.get(code, SystemExit)
    with pytest.raises(raised) as error:
        train(configuration, striped_splits(), alarmed_backbone(at, action))
    assert [signal.getsignal(number) for number in HANDLED] == before
    if raised is SystemExit:
        assert error.value.code == code
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    newest = max(int(path.name.removeprefix("ckpt-")) for path in (tmp_path / "checkpoints").iterdir())
    assert newest == saved
    assert all(line["step"] < saved or saved % 4 and line["step"] == saved for line in lines(tmp_path))
    results = train(configuration, striped_splits(), alarmed_backbone())
    assert f"Resuming from step {saved}." in capsys.readouterr().out
    assert [line["step"] for line in lines(tmp_path)] == [line["step"] for line in unbroken[0]] == [3, 4, 6, 8, 9, 12]
    for ours, theirs in zip(lines(tmp_path), unbroken[0], strict=True):
        for name in set(theirs) - {"images_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    assert results["best"]["step"] == unbroken[1]["best"]["step"]
    np.testing.assert_allclose(
        [entry["accuracy"] for entry in results["accuracies"]],
        [entry["accuracy"] for entry in unbroken[1]["accuracies"]],
        atol=0.02,
    )


@pytest.mark.parametrize("number", HANDLED[1:])
def test_a_signal_ends_at_once_what_can_be_done_again_and_waits_for_what_must_be_whole(number):
    done = []
    with pytest.raises(SystemExit) as error, Interruption():
        send(number)()
        done.append("never")
    assert error.value.code == 128 + number and done == []
    with pytest.raises(SystemExit), Interruption() as interruption, interruption.postponed():
        send(number)()
        # A second one, of whoever is impatient, changes nothing.
        send(number)()
        done.append("whole")
        with interruption.at_once():
            done.append("never")
    assert done == ["whole"] and interruption.received == number
    with pytest.raises(SystemExit), Interruption() as interruption, interruption.postponed():
        with interruption.at_once():
            done.append("long")
        with interruption.at_once():
            send(number)()
            done.append("never")
    assert done == ["whole", "long"]


def test_a_second_ctrl_c_ends_what_the_first_one_waits_for(capfd):
    done = []
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption, interruption.postponed():
        send(signal.SIGINT)()
        done.append("whole")
        send(signal.SIGINT)()
        done.append("never")
    assert done == ["whole"] and "Press Ctrl-C again" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt), Interruption():
        send(signal.SIGINT)()
        done.append("never")
    assert done == ["whole"]


def test_ctrl_c_stays_ignored_in_the_background():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            send(signal.SIGINT)()
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_callers_own_handlers_come_back_and_threads_do_without():
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("caller's"))
    try:
        with Interruption():
            pass
        send(signal.SIGTERM)()
        assert received == ["caller's"]

        def in_thread():
            with Interruption() as interruption:
                received.append(interruption.received)

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        send(signal.SIGTERM)()
        assert received == ["caller's", None, "caller's"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_errors_are_not_told_as_signals(capsys):
    with pytest.raises(KeyError), Interruption():
        raise KeyError
    with pytest.raises(SystemExit), Interruption():
        raise SystemExit(1)
    assert capsys.readouterr().err == ""


def test_a_deterministic_run_that_was_killed_ends_with_the_same_bits():
    process = programs.run(["benchmarks/kill_and_resume.py", "--runs=1", "--kills=2", "--epochs=2", "--filters=16"])
    assert process.returncode == 0, process.stdout + process.stderr
    assert "1 of 1 runs ended identical" in process.stdout
