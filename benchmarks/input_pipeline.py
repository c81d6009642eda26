"""Measures augmented images per second of the input pipeline, compared with PyTorch's DataLoader and torchvision.

"per core" is images per second of processor time, that of the DataLoader's workers included. It depends little on other
programs on the machine. Every measurement runs in a separate process, ours and theirs in turn. The images come from

- arrays: uint8 pixels in memory.
- JPEG, cached: JPEG files in the operating system's cache. Ours are in TFRecord files as `prepare` writes them, theirs
  are one file per image.
- JPEG, disk: the same files, dropped from the cache just before.

The squares are generated, or mini-ImageNet with --data_dir. --part=originals makes JPEG files that resemble photographs
(noise whose amplitudes fall as 1/f) and measures what --stored_size=500 costs: preparation, disk, batches.

PyTorch and torchvision are optional: pip install torch==2.14.1 torchvision==0.29.1

Run: python benchmarks/input_pipeline.py [--part=squares] [--data_dir=DIR] [--rounds=1] [--seconds=3]
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

CLASSES, IMAGES_PER_CLASS, WAYS, SHOTS, SIZE = 64, 60, 64, 4, 84
STORED_SIZE, PHOTOGRAPHS, LARGE_PHOTOGRAPHS = 500, 1280, 128
# No augmentation, the default, and the paper's.
RECIPES = {
    "none": {"crop": "none", "flip": False},
    "shift, flip": {"crop": "pad"},
    "box, flip": {"crop": "resized"},
}
PLACES = ("arrays", "JPEG, cached", "JPEG, disk")


def write_squares(folder: pathlib.Path) -> None:
    """Writes smooth random images as JPEG files, as shards and as an array."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    paths = []
    for position in range(CLASSES * IMAGES_PER_CLASS):
        coarse = Image.fromarray(random.integers(0, 256, (11, 11, 3), np.uint8)).resize((SIZE, SIZE), Image.BICUBIC)
        noisy = np.asarray(coarse, np.int32) + random.normal(0, 2, (SIZE, SIZE, 3)).round().astype(np.int32)
        paths.append(folder / f"{position}.jpg")
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    write_sources(folder, paths, np.repeat(np.arange(CLASSES), IMAGES_PER_CLASS))


def write_mini_imagenet(folder: pathlib.Path, data_dir: str) -> None:
    """Writes the training images of mini-ImageNet in the same way, from a folder with `images/` and `train.csv`."""
    import csv

    import numpy as np

    with open(pathlib.Path(data_dir) / "train.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    _, labels = np.unique([row["label"] for row in rows], return_inverse=True)
    write_sources(folder, [pathlib.Path(data_dir).resolve() / "images" / row["filename"] for row in rows], labels)


def write_sources(folder: pathlib.Path, paths: list[pathlib.Path], labels: Any, stored_size: int | None = None) -> None:
    """Writes a list of image files, their labels, their shards and, of squares, their pixels."""
    import numpy as np

    from dsl_tf.data.stored_images import StoredImages

    (folder / "files.json").write_text(json.dumps([[str(path) for path in paths], labels.tolist()]))
    images = StoredImages(write_shards_of(folder, paths, stored_size), SIZE, stored_size=stored_size)
    if stored_size is None:
        np.save(folder / "images.npy", images[:])


def write_shards_of(folder: pathlib.Path, paths: list[pathlib.Path], stored_size: int | None) -> list[pathlib.Path]:
    """Writes image files to shards as `prepare` does."""
    import numpy as np

    from dsl_tf.data.raw import RawSplit
    from dsl_tf.data.shards import shard_paths, write_shards

    split = RawSplit(None, np.zeros(len(paths)), lambda start: ((str(path), path) for path in paths[start:]))
    shards = shard_paths(folder, "images", len(paths))
    write_shards(split, shards, SIZE, lambda images: None, stored_size=stored_size)
    return shards


def write_photographs(folder: pathlib.Path, count: int, width: int, height: int) -> list[pathlib.Path]:
    """Writes JPEG files of correlated colours whose amplitudes fall as 1/f, as those of photographs do."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    mixing = np.array([[1, 0.25, 0.1], [1, 0, -0.2], [1, -0.25, 0.1]])
    paths = []
    for number in range(count):
        noise = np.fft.rfft2(random.normal(size=(3, height, width))) / np.maximum(frequency, 1)
        channels = np.fft.irfft2(noise, (height, width))
        channels /= channels.std(axis=(1, 2), keepdims=True)
        pixels = 120 + 55 * np.einsum("ij,jhw->hwi", mixing, channels)
        paths.append(folder / f"photograph-{width}-{number}.jpg")
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def ours(folder: pathlib.Path, place: str, recipe: str, stored_size: int | None) -> Iterator[Any]:
    """Returns an iterator of batches."""
    import numpy as np

    from dsl_tf.data import Split, training_batches
    from dsl_tf.data.stored_images import StoredImages

    if place == "arrays":
        images = np.load(folder / "images.npy")
    else:
        images = StoredImages(sorted(folder.glob("images-*.tfrecord")), SIZE, stored_size=stored_size)
    labels = np.array(json.loads((folder / "files.json").read_text())[1])
    split = Split(images, labels, tuple(map(str, range(labels.max() + 1))))
    return iter(training_batches(split, WAYS, SHOTS, seed=0, **RECIPES[recipe]))


def pytorch(folder: pathlib.Path, place: str, recipe: str, _: int | None) -> Iterator[Any]:
    """Returns an iterator of batches of the same images and equivalent transforms."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    crops = {
        "none": [],
        "shift, flip": [v2.RandomCrop(SIZE, padding=SIZE // 8, padding_mode="edge"), v2.RandomHorizontalFlip()],
        "box, flip": [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()],
    }
    transform = v2.Compose([v2.ToImage(), *crops[recipe]])
    files, labels = json.loads((folder / "files.json").read_text())
    arrays = np.load(folder / "images.npy") if place == "arrays" else None

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, position: int) -> tuple[Any, int]:
            image = Image.open(files[position]).convert("RGB") if arrays is None else arrays[position]
            return transform(image), labels[position]

    # One thread per process, as its documentation advises, because the workers run in parallel.
    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Images(), WAYS * SHOTS, shuffle=True, num_workers=os.cpu_count(), persistent_workers=True
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    return endless()


def drop_from_cache(folder: pathlib.Path) -> None:
    """Asks the operating system to forget the files."""
    for path in [*folder.glob("images-*.tfrecord"), *json.loads((folder / "files.json").read_text())[0]]:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def processor_seconds() -> float:
    """Returns the processor time of this process and its workers."""
    seconds = 0.0
    for process in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def measure(library: str, folder: str, place: str, recipe: str, stored_size: int | None, duration: float) -> None:
    """Prints images per second, and per second of processor time."""
    batches = {"ours": ours, "DataLoader": pytorch}[library](pathlib.Path(folder), place, recipe, stored_size)
    for _ in range(6):
        next(batches)
    if place == "JPEG, disk":
        drop_from_cache(pathlib.Path(folder))
        # Those that were ready before.
        for _ in range(16):
            next(batches)
    count, started, processor_started = 0, time.perf_counter(), processor_seconds()
    while time.perf_counter() - started < duration:
        next(batches)
        count += WAYS * SHOTS
    print(json.dumps([count / (time.perf_counter() - started), count / (processor_seconds() - processor_started)]))


def measured(*arguments: object) -> Any:
    """Runs `measure` in a separate process."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, f"--measure={json.dumps(arguments)}"]
    completed = subprocess.run(command, capture_output=True, text=True, env=environment)
    if completed.returncode:
        sys.exit(f"{arguments}: {completed.stderr.splitlines()[-1]}")
    return json.loads(completed.stdout.splitlines()[-1])


def print_row(folder: str, title: str, place: str, recipe: str, stored_size: int | None, options: Any) -> None:
    """Measures both libraries in turn, and prints a row of the table."""
    libraries = ["ours", *(["DataLoader"] if importlib.util.find_spec("torchvision") else [])]
    rates: dict[str, list[Any]] = {library: [] for library in libraries}
    for _ in range(options.rounds):
        for library, values in rates.items():
            values.append(measured(library, folder, place, recipe, stored_size, options.seconds))
    means = [statistics.mean(values) for found in rates.values() for values in zip(*found, strict=True)]
    cells = [f"{mean:,.0f}" for mean in means] + ["not installed"] * (4 - len(means))
    print(f"| {title} | {place} | {recipe} | {' | '.join(cells)} |", flush=True)


def print_head() -> None:
    """Prints the head of the table."""
    print("| images | from | changes | ours: images/s | per core | DataLoader: images/s | per core |")
    print("|---|---|---|---|---|---|---|")


def originals(folder: pathlib.Path, options: Any) -> None:
    """Prints what it costs to keep photographs of up to 500 pixels."""
    import numpy as np

    from dsl_tf.data.stored_images import StoredImages

    print(
        "| photographs | stored as | kB in the source | kB stored | preparation: images/s per core | tests: the same |"
    )
    print("|---|---|---|---|---|---|")
    for count, width, height in ((PHOTOGRAPHS, 500, 375), (LARGE_PHOTOGRAPHS, 1600, 1200)):
        paths = write_photographs(folder, count, width, height)
        for stored_size in (None, STORED_SIZE):
            below = folder / f"{width}-{stored_size}"
            below.mkdir()
            seconds = -processor_seconds()
            images = StoredImages(write_shards_of(below, paths, stored_size), SIZE, stored_size=stored_size)
            seconds += processor_seconds()
            reading = -processor_seconds()
            images[:]
            reading += processor_seconds()
            source = sum(path.stat().st_size for path in paths) / count / 1000
            stored = sum(path.stat().st_size for path in below.glob("*.tfrecord")) / count / 1000
            title = f"{SIZE}×{SIZE}" if stored_size is None else f"up to {stored_size}"
            rates = f"{count / seconds:,.0f} | {count / reading:,.0f}"
            print(f"| {width}×{height} | {title} | {source:.1f} | {stored:.1f} | {rates} |", flush=True)
            labels = np.arange(count) % CLASSES
            (below / "files.json").write_text(json.dumps([[str(path) for path in paths], labels.tolist()]))
    print_head()
    for stored_size in (None, STORED_SIZE):
        title = f"500×375, {f'{SIZE}×{SIZE}' if stored_size is None else 'originals'}"
        print_row(str(folder / f"500-{stored_size}"), title, "JPEG, cached", "box, flip", stored_size, options)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("squares", "originals"), default="squares")
    parser.add_argument("--data_dir")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*json.loads(options.measure))
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.part == "originals":
            originals(folder, options)
            return
        if options.data_dir:
            write_mini_imagenet(folder, options.data_dir)
        else:
            write_squares(folder)
        print_head()
        for place in PLACES:
            for recipe in RECIPES:
                print_row(name, f"{SIZE}×{SIZE}", place, recipe, None, options)


if __name__ == "__main__":
    main()
