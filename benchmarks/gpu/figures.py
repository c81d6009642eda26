"""How fast the GPU is: training, losses, input, few-shot episodes."""

from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.gpu.sizes import Size
from benchmarks.gpu.training import parts_of, seconds_a_step, timed
from dsl_tf import gpu
from dsl_tf.data import Split, training_batches
from dsl_tf.evaluation import few_shot_accuracies

INTERVAL = 10


def _megabytes() -> str:
    """Returns the peak memory of the device since the last call, in MB; a dash without a GPU."""
    if not gpu.present():
        return "-"
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return f"{peak / 2**20:,.0f}"


def _training(size: Size, variants: dict[str, dict[str, Any]], title: str) -> dict[str, Any]:
    rows = []
    for name, options in variants.items():
        jit_compile, tf32 = options.pop("jit_compile", False), options.pop("tf32", True)
        with gpu.tensor_float_32(tf32):
            seconds = seconds_a_step(parts_of(size, metric_loss="none", **options), size, jit_compile)
        rows.append([name, f"{size.batch / seconds:,.0f}", f"{1e3 * seconds:.1f}", _megabytes()])
    return {"title": title, "columns": ["ResNet-12, SCE", "images/s", "ms a step", "peak MB"], "rows": rows}


def training(size: Size) -> dict[str, Any]:
    """Images per second in each precision."""
    variants = {
        "float32 (TF32 on)": {"precision": "float32"},
        "float32 (TF32 off)": {"precision": "float32", "tf32": False},
        "mixed_bfloat16": {"precision": "mixed_bfloat16"},
        "mixed_float16": {"precision": "mixed_float16"},
    }
    return _training(size, variants, "Training")


def transposing(size: Size) -> dict[str, Any]:
    """The same in half precision, with batch normalisation as TensorFlow computes it by itself."""
    variants = {name: {"precision": name} for name in ("mixed_bfloat16", "mixed_float16")}
    return _training(size, variants, f"Training with {gpu.PERSISTENT_NORMALIZATION}=0")


def compiled(size: Size) -> dict[str, Any]:
    """The same with --jit_compile."""
    variants = {name: {"precision": name, "jit_compile": True} for name in ("float32", "mixed_bfloat16")}
    return _training(size, variants, "Training with --jit_compile")


def losses(size: Size) -> dict[str, Any]:
    """The share of a step that each loss takes."""
    rows = []
    alone = None
    for name, classes, options in (
        ("SCE", size.ways, {"metric_loss": "none"}),
        ("SCE+NCA", size.ways, {"integration": "sum"}),
        ("SCE⊕NCA, direct sum", size.ways, {}),
        ("SCE⊕NCA, spectral sum, 908 classes", 908, {"integration": "spectral_sum", "spectral_interval": 1}),
        (
            f"the same, W decomposed every {INTERVAL} steps",
            908,
            {"integration": "spectral_sum", "spectral_interval": INTERVAL},
        ),
    ):
        parts = parts_of(size, classes, precision="mixed_bfloat16", **options)
        every = options.get("spectral_interval", 0)
        seconds = seconds_a_step(parts, size, refresh_every=every if every > 1 else 0)
        alone = alone or seconds
        rows.append([name, f"{1e3 * seconds:.1f}", f"{100 * (seconds / alone - 1):+.1f}%"])
    return {"title": "Losses, bfloat16", "columns": ["loss", "ms a step", "beside SCE"], "rows": rows}


def pipeline(size: Size) -> dict[str, Any]:
    """Augmented images per second from memory, to be compared with those that training needs."""
    random = np.random.default_rng(0)
    count = size.ways * size.shots * 4
    images = random.integers(0, 256, (count, size.image, size.image, 3), np.uint8)
    labels = np.repeat(np.arange(size.ways, dtype=np.int32), size.shots * 4)
    split = Split(images, labels, tuple(map(str, range(size.ways))))
    rows = []
    for name, options in (("shift, flip", {}), ("resized crop, flip", {"crop": "resized"})):
        batches = iter(training_batches(split, size.ways, size.shots, seed=0, **options))
        for _ in range(3):
            next(batches)
        seconds = timed(lambda batches=batches: [next(batches) for _ in range(size.steps)]) / size.steps
        rows.append([name, f"{size.batch / seconds:,.0f}"])
    return {"title": "Input from memory", "columns": ["augmentation", "images/s"], "rows": rows}


def episodes(size: Size) -> dict[str, Any]:
    """Few-shot episodes per second, 5-way 5-shot."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 50)
    features = (random.normal(size=(20, size.dimensions))[labels] + random.normal(size=(1000, size.dimensions))).astype(
        np.float32
    )
    rows = []
    for classifier in ("nearest_centroid", "laplacian_shot"):

        def evaluate(classifier: str = classifier) -> None:
            few_shot_accuracies(
                features,
                labels,
                "test",
                shots=(5,),
                episodes=size.episodes,
                classifiers=(classifier,),
                feature_transforms=("l2",),
            )

        evaluate()
        rows.append([classifier, f"{size.episodes / timed(evaluate):,.0f}"])
    return {"title": f"Episodes, d = {size.dimensions}", "columns": ["classifier", "episodes/s"], "rows": rows}
