"""Defaults that depend on the devices of the machine."""

import dataclasses
import pathlib

from dsl_tf import gpu
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration

_INTERVAL_ON_GPUS = 10


def with_spectral_interval(configuration: TrainingConfiguration) -> TrainingConfiguration:
    """Replaces the default interval of a spectral sum by that of the run in `output_dir`, or else by the device's.

    A GPU is slow at decomposing one matrix. The run records the interval, so that it goes on with it on any device.
    """
    if configuration.spectral_interval is not None or configuration.integration != "spectral_sum":
        return configuration
    directory = pathlib.Path(str(configuration.output_dir))
    if (directory / run_directory.FLAGFILE).is_file():
        interval = run_directory.read_configuration(directory).spectral_interval
    # With a gradient to W, every step needs a decomposition.
    elif gpu.present() and not configuration.gradient_to_kernel:
        interval = _INTERVAL_ON_GPUS
    else:
        interval = None
    return dataclasses.replace(configuration, spectral_interval=interval)
