"""Measures augmented images per second of the input pipeline, compared with PyTorch's DataLoader and torchvision.

Every measurement runs in a separate process, ours and theirs in turn. From memory: uint8 arrays. From disk: JPEG files,
ours in TFRecord files as `prepare` writes them, theirs one file per image. PyTorch and torchvision are optional:
pip install torch==2.13.0 torchvision==0.28.0

Run: python benchmarks/input_pipeline.py [--rounds=2] [--seconds=6]
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

CLASSES, IMAGES_A_CLASS, WAYS, SHOTS = 64, 60, 64, 4
# No augmentation, the default, and a strong one.
RECIPES = {
    "none": {"crop": "none", "flip": False},
    "shift, flip": {},
    "box, flip, colours": {"crop": "resized", "color_jitter": 0.4},
}


def generate(folder: pathlib.Path, size: int) -> None:
    """Writes smooth random images as shards, as a folder of JPEG files and as an array."""
    import numpy as np
    from PIL import Image

    from dsl_tf.data.raw import RawSplit
    from dsl_tf.data.shards import shard_paths, write_shards

    random = np.random.default_rng(0)
    paths, arrays = [], []
    for position in range(CLASSES * IMAGES_A_CLASS):
        coarse = Image.fromarray(random.integers(0, 256, (11, 11, 3), np.uint8)).resize((size, size), Image.BICUBIC)
        noisy = np.asarray(coarse, np.int32) + random.normal(0, 2, (size, size, 3)).round().astype(np.int32)
        arrays.append(np.clip(noisy, 0, 255).astype(np.uint8))
        paths.append(folder / f"{position}.jpg")
        Image.fromarray(arrays[-1]).save(paths[-1], quality=90)
    split = RawSplit(None, np.zeros(len(paths)), lambda start: ((str(path), path) for path in paths[start:]))
    write_shards(split, shard_paths(folder, "images", len(paths)), size, lambda images: None)
    np.save(folder / "images.npy", np.stack(arrays))


def ours(folder: pathlib.Path, size: int, place: str, recipe: str) -> Iterator[Any]:
    """Returns an iterator of batches."""
    import numpy as np

    from dsl_tf.data import Split, training_batches
    from dsl_tf.data.stored_images import StoredImages

    images = np.load(folder / "images.npy")
    if place == "disk":
        images = StoredImages([folder / "images-00000.tfrecord"], size)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), IMAGES_A_CLASS)
    split = Split(images, labels, tuple(map(str, range(CLASSES))))
    return iter(training_batches(split, WAYS, SHOTS, seed=0, **RECIPES[recipe]))


def pytorch(folder: pathlib.Path, size: int, place: str, recipe: str) -> Iterator[Any]:
    """Returns an iterator of batches of the same images and equivalent transforms."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    changes = []
    if "color_jitter" in RECIPES[recipe]:
        changes = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4)]
    elif not RECIPES[recipe]:
        changes = [v2.RandomCrop(size, padding=size // 8, padding_mode="edge"), v2.RandomHorizontalFlip()]
    transform = v2.Compose([v2.ToImage(), *changes])
    arrays = np.load(folder / "images.npy")

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return CLASSES * IMAGES_A_CLASS

        def __getitem__(self, position: int) -> tuple[Any, int]:
            image = arrays[position] if place == "memory" else Image.open(folder / f"{position}.jpg").convert("RGB")
            return transform(image), position // IMAGES_A_CLASS

    # One thread per process, as its documentation advises, because the workers run in parallel.
    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Images(), WAYS * SHOTS, shuffle=True, num_workers=os.cpu_count(), persistent_workers=True
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    return endless()


def measure(library: str, folder: str, size: int, place: str, recipe: str, duration: float) -> None:
    """Prints images per second, and per second of CPU time (of this process, without PyTorch's workers)."""
    batches = {"ours": ours, "DataLoader": pytorch}[library](pathlib.Path(folder), size, place, recipe)
    for _ in range(6):
        next(batches)
    count, started, processor_started = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < duration:
        next(batches)
        count += WAYS * SHOTS
    print(json.dumps([count / (time.perf_counter() - started), count / (time.process_time() - processor_started)]))


def measured(*arguments: object) -> Any:
    """Runs `measure` in a separate process."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, f"--measure={json.dumps(arguments)}"]
    completed = subprocess.run(command, capture_output=True, text=True, env=environment)
    if completed.returncode:
        sys.exit(f"{arguments}: {completed.stderr.splitlines()[-1]}")
    return json.loads(completed.stdout.splitlines()[-1])


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*json.loads(arguments.measure))
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    libraries = ["ours", *(["DataLoader"] if importlib.util.find_spec("torchvision") else [])]
    print("| images | from | changes | ours: images/s | ours: images/s per core | DataLoader: images/s |")
    print("|---|---|---|---|---|---|")
    for size in (32, 84):
        with tempfile.TemporaryDirectory() as folder:
            generate(pathlib.Path(folder), size)
            for place in ("memory", "disk"):
                for recipe in RECIPES:
                    rates = {library: [] for library in libraries}
                    for _ in range(arguments.rounds):
                        for library, values in rates.items():
                            values.append(measured(library, folder, size, place, recipe, arguments.seconds))
                    wall, core = (statistics.mean(values) for values in zip(*rates["ours"], strict=True))
                    peer = [value for value, _ in rates.get("DataLoader", [])]
                    theirs = f"{statistics.mean(peer):,.0f}" if peer else "not installed"
                    print(f"| {size}×{size} | {place} | {recipe} | {wall:,.0f} | {core:,.0f} | {theirs} |", flush=True)


if __name__ == "__main__":
    main()
