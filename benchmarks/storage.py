"""Measures disk space and memory for a data set of the size of tiered-ImageNet, from pickles to training batches.

Writes generated images in the format `{split}_images_png.pkl` with the published number of classes and images, prepares
them, and reads training batches, each in a separate process. Needs 25 GB below --folder.

Run: python benchmarks/storage.py --folder=/a/large/disk [--part=0.01]
"""

import argparse
import io
import os
import pathlib
import pickle
import resource
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE = 84
DISTINCT_IMAGES = 512
WAYS, SHOTS, BATCHES = 128, 4, 50


def generate(folder: pathlib.Path, part: float) -> None:
    """Writes the three pickles of images and of labels; `part` of the images of each class, at least two."""
    import numpy as np
    from PIL import Image

    from dsl_tf.data.class_lists import IMAGE_COUNTS, class_list

    random = np.random.default_rng(0)
    pngs = []
    for _ in range(DISTINCT_IMAGES):
        # Smooth shapes with a little noise: PNG files of 13 kB, as in tiered-ImageNet.
        coarse = Image.fromarray(random.integers(0, 256, (11, 11, 3), np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
        noisy = np.asarray(coarse, np.int32) + random.normal(0, 2, (SIDE, SIDE, 3)).round().astype(np.int32)
        png = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(png, "PNG")
        pngs.append(np.frombuffer(png.getvalue(), np.uint8))
    # Without its header and its stop sign, each is an item of a list that is too long to be in memory. Protocol 3: in
    # protocol 2 Python 3 writes bytes as text, while Python 2, which made the files in circulation, wrote them as such.
    items = [pickle.dumps(png, protocol=3)[2:-1] + pickle.APPEND for png in pngs]
    for split, count in IMAGE_COUNTS["tiered_imagenet"].items():
        classes = class_list("tiered_imagenet")[split]
        labels = np.sort(np.arange(count) % len(classes)).astype(np.int32)
        if part < 1:
            labels = np.repeat(np.arange(len(classes), dtype=np.int32), max(2, round(part * count / len(classes))))
        with open(folder / f"{split}_images_png.pkl", "wb") as file:
            file.write(pickle.PROTO + b"\x03" + pickle.EMPTY_LIST)
            for position in range(len(labels)):
                file.write(items[position % DISTINCT_IMAGES])
            file.write(pickle.STOP)
        with open(folder / f"{split}_labels.pkl", "wb") as file:
            pickle.dump({"label_specific": labels, "label_specific_str": list(classes)}, file, protocol=3)


def _memory() -> tuple[int, int]:
    """Returns in MB the peak memory of this process, and its current memory without mapped files."""
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, int(status["RssAnon"].split()[0]) // 1024


def prepare(source: pathlib.Path, cache: pathlib.Path, allow_partial: bool) -> None:
    """Prepares the generated files and prints time, disk space and memory."""
    from dsl_tf.data import prepared

    started = time.monotonic()
    folder = prepared.prepare("tiered_imagenet", source, cache_dir=cache, allow_partial=allow_partial)
    seconds = time.monotonic() - started
    files = list(folder.glob("*.tfrecord"))
    size = sum(path.stat().st_size for path in files)
    images = sum(len(prepared.load_prepared(folder, split).labels) for split in prepared.prepared_splits(folder))
    most, own = _memory()
    print(
        f"prepared    {images:>9,} images in {seconds:,.0f} s, {len(files)} files, {size / images:,.0f} bytes per image"
    )
    print(f"            peak resident memory {most:,} MB (mapped source files included), own {own:,} MB")


def train(source: pathlib.Path, cache: pathlib.Path, allow_partial: bool) -> None:
    """Reads training batches as a run does, and prints their speed and the memory."""
    from dsl_tf.data import open_splits, training_batches

    def load(name: str) -> Any:
        options = {"data_dir": source, "cache_dir": cache, "allow_partial": allow_partial}
        return open_splits("tiered_imagenet", **options)[name]()

    split = load("train")
    shots = min(SHOTS, len(split.labels) // split.class_count)
    print(f"opened      {len(split.labels):>9,} training images: own memory {_memory()[1]:,} MB")
    batches = iter(training_batches(split, WAYS, shots, seed=0, crop="resized", color_jitter=0.4))
    next(batches)
    started = time.monotonic()
    for _ in range(BATCHES):
        next(batches)
    seconds = time.monotonic() - started
    most, own = _memory()
    print(f"batches     {BATCHES * WAYS * shots / seconds:>9,.0f} augmented images per second")
    print(f"            peak resident memory {most:,} MB, own {own:,} MB")


def main() -> None:
    """Runs the steps, each in a new process, so that their memory is measured separately."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=pathlib.Path, required=True, help="An empty folder, or the folder of an earlier call."
    )
    parser.add_argument("--part", type=float, default=1.0, help="Fraction of the published number of images.")
    parser.add_argument("--step", choices=("generate", "prepare", "train"), help="Run only this step.")
    arguments = parser.parse_args()
    source, cache = arguments.folder / "source", arguments.folder / "cache"
    if arguments.step is None:
        for step in ("generate", "prepare", "train"):
            command = [sys.executable, __file__, f"--folder={arguments.folder}", f"--part={arguments.part}"]
            subprocess.run([*command, f"--step={step}"], check=True)
        return
    source.mkdir(parents=True, exist_ok=True)
    if arguments.step == "generate":
        generate(source, arguments.part)
    else:
        {"prepare": prepare, "train": train}[arguments.step](source, cache, arguments.part < 1)


if __name__ == "__main__":
    main()
