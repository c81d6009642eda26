"""The default interval of the spectral sum; a machine with a GPU is one whose list of devices holds one."""

import tensorflow as tf

from dsl_tf.runs import directory as run_directory
from dsl_tf.training.device_defaults import with_spectral_interval
from tests.images import tiny_configuration


def interval(directory, **changes):
    return with_spectral_interval(tiny_configuration(directory, **changes)).spectral_interval


def add_a_gpu(monkeypatch):
    devices = tf.config.list_physical_devices

    def with_gpu(kind=None):
        return [
            *devices(kind),
            *([tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")] * (kind in (None, "GPU"))),
        ]

    monkeypatch.setattr(tf.config, "list_physical_devices", with_gpu)


def test_the_default_is_by_device_and_only_for_a_spectral_sum_without_gradient_to_the_kernel(tmp_path, monkeypatch):
    spectral = {"integration": "spectral_sum"}
    assert interval(tmp_path, **spectral) is None
    add_a_gpu(monkeypatch)
    assert interval(tmp_path, **spectral) == 10
    assert interval(tmp_path, **spectral, spectral_interval=1) == 1
    assert interval(tmp_path, **spectral, gradient_to_kernel=True) is None
    assert interval(tmp_path, integration="direct_sum") is None


def test_a_run_keeps_its_interval_on_another_device(tmp_path, monkeypatch):
    spectral = {"integration": "spectral_sum"}
    run_directory.record_flags(tmp_path, tiny_configuration(tmp_path, **spectral, spectral_interval=10))
    assert interval(tmp_path, **spectral) == 10
    # Runs of earlier versions, and those on a CPU, have recorded nothing: every step.
    run_directory.record_flags(tmp_path, tiny_configuration(tmp_path, **spectral))
    add_a_gpu(monkeypatch)
    assert interval(tmp_path, **spectral) is None
