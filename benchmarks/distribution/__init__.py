"""One device and several: the same numbers, speed, communication and failures: `python -m benchmarks.distribution`."""
