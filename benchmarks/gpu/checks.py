"""Whether training on the GPU is right: the CPU's losses, repeated bits, nothing on the host."""

import collections
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.gpu.sizes import Size
from benchmarks.gpu.training import batches, parts_of
from dsl_tf import gpu
from dsl_tf.training.step import TrainingStep

# Relative differences of the loss with the same weights; half precision rounds activations to 8 or 11 bits.
LIMITS = {"float32": 1e-4, "mixed_bfloat16": 3e-2, "mixed_float16": 1e-2}
# What the placement log may have on the host: arguments, constants, sizes of tensors, counters.
_MAY_BE_ON_HOST = re.compile(r"_Arg|_Retval|Const|Placeholder|.*Identity.*|Shape.*|StridedSlice|NoOp|VarHandleOp")
_PLACED = re.compile(r": \((\w+)\): \S*/device:(\w+):\d+")


def _device() -> str:
    return "GPU:0" if gpu.present() else "CPU:0"


def same_loss(size: Size) -> dict[str, Any]:
    """Trains on the CPU, and computes each step's loss on the GPU from the same weights."""
    rows, failed = [], []
    for precision, limit in LIMITS.items():
        steps = []
        for device in ("CPU:0", _device()):
            with tf.device(device):
                parts = parts_of(size, precision=precision)
                steps.append((device, parts, TrainingStep(parts)))
        (_, reference, _), (_, other, _) = steps
        largest = 0.0
        with gpu.tensor_float_32(False):
            for images, labels in batches(size, size.compared):
                losses = []
                for weight, source in zip(_weights(other), _weights(reference), strict=True):
                    weight.assign(source)
                for device, _, step in steps:
                    with tf.device(device):
                        step.sums.assign(tf.zeros_like(step.sums))
                        step(images, labels)
                        losses.append(float(step.sums[0]))
                largest = max(largest, abs(losses[1] - losses[0]) / abs(losses[0]))
        rows.append([f"loss beside the CPU's, {precision}, {size.compared} steps", f"{largest:.1e}", f"{limit:.0e}"])
        failed += [rows[-1][0]] if not largest <= limit else []
    return {
        "title": "Largest relative difference",
        "columns": ["check", "found", "limit"],
        "rows": rows,
        "failed": failed,
    }


def _weights(parts: Any) -> list[Any]:
    return [*parts.backbone.weights, *parts.classifier.weights]


def deterministic(size: Size) -> dict[str, Any]:
    """Trains twice with deterministic operations and compares the bits of all weights."""
    tf.config.experimental.enable_op_determinism()
    rows, failed = [], []
    for precision in LIMITS:
        for changes in ({}, {"integration": "spectral_sum", "metric_loss": "proto"}):
            weights = []
            for _ in range(2):
                parts = parts_of(size, precision=precision, **changes)
                step = TrainingStep(parts)
                for images, labels in batches(size, size.compared):
                    step(images, labels)
                weights.append([np.asarray(weight) for weight in _weights(parts)])
            equal = all(first.tobytes() == second.tobytes() for first, second in zip(*weights, strict=True))
            name = f"{precision}, {changes.get('integration', 'direct_sum')}"
            rows.append([f"the same bits twice, {name}", "yes" if equal else "NO", "yes"])
            failed += [] if equal else [rows[-1][0]]
    return {"title": "--deterministic", "columns": ["check", "found", "expected"], "rows": rows, "failed": failed}


def placement(size: Size) -> dict[str, Any]:
    """Lists the operations of a step that TensorFlow's placement log has on the host."""
    # It has no effect once TensorFlow is initialised.
    tf.debugging.set_log_device_placement(True)
    _, (step, images, labels) = _standard_error(lambda: _prepared_step(size))
    log, _ = _standard_error(lambda: step(images, labels))
    on = collections.defaultdict(collections.Counter)
    for operation, device in _PLACED.findall(log):
        on[device][operation] += 1
    host = sorted(name for name in on["CPU"] if not _MAY_BE_ON_HOST.fullmatch(name)) if gpu.present() else []
    rows = [["operations placed", ", ".join(f"{sum(found.values())} on {name}" for name, found in on.items()), "some"]]
    rows.append(["operations on the host", ", ".join(host) or "none", "none"])
    failed = [] if on and not host else ["placement"]
    return {
        "title": "Placement log of a step",
        "columns": ["check", "found", "expected"],
        "rows": rows,
        "failed": failed,
    }


def _prepared_step(size: Size) -> tuple[TrainingStep, tf.Tensor, tf.Tensor]:
    ((images, labels),) = batches(size, 1)
    return TrainingStep(parts_of(size, precision="mixed_bfloat16")), images, labels


def _standard_error(function: Callable[[], Any]) -> tuple[str, Any]:
    """Returns what a call and the C++ libraries in it print to standard error, and its result."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            result = function()
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
        log.seek(0)
        return log.read().decode(errors="replace"), result
