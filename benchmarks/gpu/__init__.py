"""Checks and figures of a GPU: `python -m benchmarks.gpu`."""
