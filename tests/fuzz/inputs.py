"""What users may hand over, made wrong at random, and the readers that must take it.

Each kind is a function of a `random.Random` and an empty folder: it writes an input there and returns the call that
reads it.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import pickle
import random as random_module
import shutil
import socket
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib

import numpy as np
from absl import flags
from PIL import Image

from dsl_tf.data import folder as image_folder
from dsl_tf.data import prepared, recognition
from dsl_tf.data.class_lists import class_list
from dsl_tf.data.decoding import UnreadableImageError, read_image, shorter_sides
from dsl_tf.data.encoding import encode_image
from dsl_tf.data.formats import imagenet
from dsl_tf.data.formats.class_split import read_class_split
from dsl_tf.data.formats.json_files import read_json
from dsl_tf.data.formats.mini_imagenet_lists import read_lists
from dsl_tf.data.formats.npz_images import find_images
from dsl_tf.data.formats.unpickling import read_pickle
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError
from dsl_tf.report.runs import read_run
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import EvaluationConfiguration, TrainingConfiguration
from dsl_tf.runs.export import load_feature_mean
from dsl_tf.runs.features_file import of_features_file
from tests.fuzz.damage import any_text, any_value, damaged, replaced
from tests.images import write_cifar_fs
from tests.report.made_runs import accuracy, epoch_record, make_run

SIDE = 8
SLOWEST_SECONDS = 10
# The commands tell these in one line, with the words of absl or the system; a line break in them is a blank there.
_TOLD_BY_THE_COMMANDS = (flags.Error, OSError, ValueError)


class NotToldError(AssertionError):
    """A reader broke the rule: a value, or an error of one line, within seconds."""


def outcome(call):
    """Returns `"value"` or `"error"`, and the seconds that the call took."""
    started = time.monotonic()
    try:
        call()
        found = "value"
    except (UserError, UnreadableImageError) as error:
        message = str(error)
        if len(message.splitlines()) != 1:
            raise NotToldError(f"not one line: {message[:500]!r}") from error
        found = "error"
    except _TOLD_BY_THE_COMMANDS as error:
        if getattr(call, "__name__", "") != "parse_command_line":
            raise NotToldError(f"{type(error).__name__}: {error}") from error
        found = "error"
    except Exception as error:
        raise NotToldError(f"{type(error).__name__}: {error}") from error
    seconds = time.monotonic() - started
    if seconds > SLOWEST_SECONDS:
        raise NotToldError(f"took {seconds:.0f} s")
    return found, seconds


def try_input(kind, random):
    """Makes an input of a kind in a folder of its own and reads it; returns what `outcome` does."""
    with tempfile.TemporaryDirectory() as directory:
        return outcome(KINDS[kind](random, pathlib.Path(directory)))


# Images.


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs():
    """Tiny files that declare 20,000×20,000 pixels."""
    side = 20_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000)))
    gif, bmp, jpeg, webp = (bytearray(_encoded("RGB", name)) for name in ("GIF", "BMP", "JPEG", "WEBP"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp[18:26] = struct.pack("<ii", side, side)
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", side, side)
    start = webp.index(b"\x9d\x01\x2a") + 3
    webp[start : start + 4] = struct.pack("<HH", 16383, 16383)
    return [png, bytes(gif), bytes(bmp), bytes(jpeg), bytes(webp)]


@functools.cache
def _encoded(mode, file_format, **options):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), np.uint8)
    image = Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3])
    if mode == "I;16":
        image = Image.fromarray(pixels.view(np.uint16)[..., 0].copy())
    elif mode == "one":
        image = image.resize((1, 1))
    elif mode == "animated":
        options = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)], **options}
    elif mode == "transparent palette":
        image, options = image.convert("P"), {"transparency": 3}
    elif mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    else:
        image = image.convert(mode)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@functools.cache
def whole_images():
    """Image files of every kind."""
    plain = [("RGB", name) for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO")]
    others = [("CMYK", "JPEG"), ("L", "JPEG"), ("I;16", "PNG"), ("1", "PNG"), ("RGBA", "PNG"), ("LA", "PNG")]
    others += [("animated", name) for name in ("GIF", "PNG", "WEBP")] + [("RGBA", "WEBP"), ("1", "BMP"), ("L", "BMP")]
    others += [("transparent palette", name) for name in ("PNG", "GIF")] + [("exif", "JPEG"), ("exif", "PNG")]
    return [_encoded(*kind) for kind in [*plain, *others, ("one", "PNG"), ("one", "JPEG"), ("one", "GIF")]]


def _any_image(random):
    return damaged(random, random.choice([*whole_images(), *bombs()]))


def image(random, folder):
    """One image file under any extension."""
    content = _any_image(random)
    path = folder / f"image{random.choice(['.png', '.jpg', '.gif', '.bmp', '.webp', '.txt', ''])}"
    path.write_bytes(content)

    def read():
        list(shorter_sides([path]))
        if random.randrange(2):
            return read_image(path, SIDE)
        return encode_image(content, SIDE)

    return read


def folders(random, folder):
    """Folders of images, with entries of every kind in them."""
    for split in SPLITS:
        for name in random.sample(["a", "b", "A", ".hidden", "ü", "a b", "c\nd", "🦉"], random.randrange(1, 5)):
            directory = folder / split / name / random.choice(["", "", "group"])
            directory.mkdir(parents=True, exist_ok=True)
            for number in range(random.randrange(4)):
                (directory / f"{number}{random.choice(['.png', '.jpg', '.txt', '.gif'])}").write_bytes(
                    random.choice([random.choice(whole_images()), _any_image(random)])
                )
            if not random.randrange(4):
                (directory / "link.png").symlink_to(random.choice(["link.png", "nowhere", "."]))

    def read():
        size = image_folder.natural_image_size(folder)
        return image_folder.load_split(folder, random.choice(SPLITS), size, strict=bool(random.randrange(2)))

    return read


# Text.


@functools.cache
def _lists():
    return {
        split: "filename,label\n"
        + "".join(f"{name}{number:08}.jpg,{name}\n" for name in names for number in range(1, 3))
        for split, names in class_list("mini_imagenet").items()
    }


def csv_lists(random, folder):
    """The csv files of mini-ImageNet."""
    paths = {}
    for split, text in _lists().items():
        paths[split] = folder / f"{split}.csv"
        content = text.encode(random.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
        paths[split].write_bytes(content)
    split = random.choice(SPLITS)
    lines = _lists()[split].splitlines()
    position = random.randrange(len(lines))
    lines[position] = random.choice(
        [any_text(random), lines[0], lines[-1], "," * 5000, '"', '"' * 3, "a," + "9" * 200_000, lines[position] + "\r"]
    )
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    paths[split].write_bytes(random.choice([content, damaged(random, content)]))
    return lambda: read_lists(paths)


def _json_bytes(random, value):
    text = json.dumps(value, ensure_ascii=bool(random.randrange(2)))
    content = text.encode("utf-8", "surrogatepass")
    other = random.choice(
        [b"[" * 200_000, b'{"a":' * 200_000, b"9" * 5000, b"1e99999", b"\0", text.encode("utf-16", "replace")]
    )
    return random.choice([content, content, content, damaged(random, content), other])


def class_split(random, folder):
    """The JSON file of the classes of each split."""
    path = folder / "classes.json"
    whole = {"train": ["cat", "dog", 3], "val": ["owl"], "test": ["cow"]}
    path.write_bytes(_json_bytes(random, random.choice([replaced(random, whole), any_value(random)])))

    def read():
        read_json(path)
        return read_class_split(path)

    return read


@functools.cache
def _inat():
    categories = [category for names in class_list("meta_inat").values() for category in names]
    return {
        "images": [
            {"id": number, "file_name": f"train_val_images/A/{category}/{number}.jpg"}
            for number, category in enumerate(categories)
        ],
        "annotations": [{"image_id": number, "category_id": category} for number, category in enumerate(categories)],
        "categories": [{"id": category, "name": f"S {category}", "supercategory": "A"} for category in categories],
    }


def meta_inat(random, folder):
    """The annotation file of iNaturalist-2017."""
    (folder / "train_val_images").mkdir()
    (folder / "train_2017_bboxes.json").write_bytes(_json_bytes(random, replaced(random, _inat())))
    return lambda: _first_images("meta_inat", folder)


def _first_images(dataset, folder):
    for split in recognition.recognise(dataset, folder).read(folder).values():
        for position in {0, len(split.labels) - 1}:
            _, found = next(split.read(position))
            with contextlib.suppress(UnreadableImageError):
                encode_image(found, SIDE)


# Pickles.

_OPERATIONS = b"()]}NIJKMFGULTCBX\x8c\x94\x93cRbtldaeus0pqgh\x85\x86\x87\x88\x89\x8a."


def pickles(random, folder):
    """Pickles of values, of calls, and programs of random operations."""
    array = np.arange(12).reshape(3, 4).astype(random.choice(["u1", "<i8", ">f4", "?"]))
    values = {"data": array, "labels": [1, 2, array[0, 0]], b"name": any_value(random), 3: (array.T, b"text", True)}
    value = random.choice([values, any_value(random), np.array([{}], dtype=object), print, {"call": sys.exit}, {1, 2}])
    content = pickle.dumps(value, protocol=random.randrange(6))
    program = bytes(random.choice(_OPERATIONS) for _ in range(random.randrange(60))) + b"."
    path = folder / "values.pkl"
    path.write_bytes(random.choice([damaged(random, content), damaged(random, content), program]))
    return lambda: read_pickle(path)


def _write_pickle(random, path, value):
    content = pickle.dumps(value, protocol=random.choice([2, 3, 4, 5]))
    path.write_bytes(content if random.randrange(8) else damaged(random, content))


def _sometimes(random, value):
    return value if random.randrange(3) else random.choice([replaced(random, value), any_value(random)])


def _labels(random, count):
    return random.choice(
        [list(range(count)), np.arange(count), np.arange(count) + 7, np.arange(count, dtype=np.float64)]
    )


def pickled_data_sets(random, folder):
    """Pickled data sets whose values are of other kinds, shapes and counts."""
    dataset = random.choice(["caches", "labelled", "cifar", "pngs"])
    for split in SPLITS:
        if dataset == "pngs":
            names = class_list("tiered_imagenet")[split]
            png = np.frombuffer(_png_84(), np.uint8)
            files = [random.choice([png, png, png[:, None], png.tobytes()]) for _ in names]
            _write_pickle(random, folder / f"{split}_images_png.pkl", _sometimes(random, files))
            values = {"label_specific": _labels(random, len(names)), "label_specific_str": list(names)}
            _write_pickle(random, folder / f"{split}_labels.pkl", _sometimes(random, values))
            continue
        name = "cifar_fs" if dataset == "cifar" else "mini_imagenet"
        classes = class_list(name)[split]
        side = 32 if dataset == "cifar" else 84
        pixels = np.zeros((len(classes), side, side, 3), np.uint8)
        if dataset == "caches":
            rows = {key: [row] for row, key in enumerate(classes)}
            path, values = f"mini-imagenet-cache-{split}.pkl", {"image_data": pixels, "class_dict": rows}
        else:
            part = "train_phase_train" if split == "train" else split
            path = f"CIFAR_FS_{split}.pickle" if dataset == "cifar" else f"miniImageNet_category_split_{part}.pickle"
            names = dict(enumerate(classes))
            values = {"data": pixels, "labels": _labels(random, len(classes)), "label2catname": names}
        _write_pickle(random, folder / path, _sometimes(random, values))
    names = {"caches": "mini_imagenet", "labelled": "mini_imagenet", "cifar": "cifar_fs", "pngs": "tiered_imagenet"}
    return lambda: _first_images(names[dataset], folder)


@functools.cache
def _png_84():
    buffer = io.BytesIO()
    Image.new("RGB", (84, 84), "red").save(buffer, "PNG")
    return buffer.getvalue()


# Archives.


def tars(random, folder):
    """Tars of the images of ImageNet classes."""
    classes = ["n01532829", "n01558993"]
    for name in classes:
        buffer = io.BytesIO()
        with tarfile.open(
            fileobj=buffer, mode="w", format=random.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
        ) as tar:
            for number in range(3):
                member = tarfile.TarInfo(f"{name}_{number}.JPEG")
                if not random.randrange(6):
                    member.name = any_text(random).encode("utf-8", "replace").decode() or "x"
                if not random.randrange(8):
                    member.type = random.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
                    member.linkname = "/etc/passwd"
                content = random.choice(whole_images())
                member.size = len(content) if member.isreg() else 0
                tar.addfile(member, io.BytesIO(content))
        (folder / f"{name}.tar").write_bytes(damaged(random, buffer.getvalue()))

    def read():
        for found in imagenet.class_images(folder, classes).values():
            for position in range(len(found.names)):
                found.read(position)

    return read


def _npy(random, array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    content = buffer.getvalue()
    kind = random.randrange(8)
    if kind == 0:
        return damaged(random, content)
    if kind == 1:
        shape = random.choice(
            [b"(99999999999,)", b"(-1,)", b"()", b"(2, 1e3)", b"(" * 300, b"__import__('os').abort()"]
        )
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + b", }"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100)
    return content


def _npz(random, arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, array in arrays.items():
            # zipfile ends names at NUL and cannot write empty ones.
            other = any_text(random).encode("utf-8", "replace").decode().partition("\0")[0] or "x"
            stem = name if random.randrange(12) else other
            content = _npy(random, array, allow_pickle=array.dtype == object)
            archive.writestr(random.choice([f"{stem}.npy"] * 12 + [stem, f"../{stem}.npy"]), content)
    return buffer.getvalue() if random.randrange(3) else damaged(random, buffer.getvalue())


def npz_images(random, folder):
    """The arrays of tiered-ImageNet's images."""
    shape = random.choice([(3, SIDE, SIDE, 3)] * 3 + [(), (3,), (0, SIDE, SIDE, 3), (3, SIDE, SIDE)])
    images = np.zeros(shape, random.choice([np.uint8] * 4 + [np.float32, object]))
    path = folder / "images.npz"
    path.write_bytes(_npz(random, {"images": images}))
    return lambda: list(find_images(path, "images", SIDE).read(0))


def features_file(random, folder):
    """Features of any origin, and the training statistics of a run."""
    count, dimension = random.choice([0, 1, 6, 6, 6]), random.choice([0, 1, 4, 4])
    numbers = np.random.default_rng(random.randrange(99))
    labels = random.choice(
        [
            *[numbers.integers(0, 3, count)] * 3,
            *[np.array(["a", "b", "ü"])[numbers.integers(0, 3, count)]] * 2,
            np.full(count, 2**64 - 1, np.uint64),
            np.full(count, 0xFFFFFFFF, np.uint32).view("U1"),
            np.full(count, None),
            numbers.integers(0, 3, (count, 1)),
        ]
    )
    scale = random.choice([1, 1, 1, 1e300, np.nan])
    features = numbers.normal(size=(count, dimension)) * scale
    arrays = {"features": features.astype(random.choice([np.float64, ">f8"])), "labels": labels}
    others = {
        "class_names": np.array(["a", "b", "c\nd"]),
        "mean": np.full(dimension, scale),
        "val_features": features,
        "val_labels": labels,
        "feature_mean": np.zeros(4),
    }
    for name in random.sample(list(others), random.randrange(4)):
        arrays[name] = random.choice([others[name]] * 4 + [np.array(3), np.array([{}], dtype=object), np.zeros((2, 2))])
    (folder / run_directory.STATISTICS).write_bytes(_npz(random, arrays))

    def read():
        if not random.randrange(4):
            return load_feature_mean(folder)
        subject = of_features_file(str(folder / run_directory.STATISTICS))
        assert len(subject.features) and subject.features.shape[1] and np.isfinite(subject.features).all()
        assert subject.mean is None or np.isfinite(subject.mean).all()
        return subject.validation and subject.validation()

    return read


# Flags and runs.


def _flag_lines(random):
    lines = [*flagfiles.to_lines(TrainingConfiguration()), "# a comment", ""]
    for _ in range(random.randrange(4)):
        name = random.choice(lines).partition("=")[0]
        value = random.choice(
            [any_text(random), "9" * 5000, "1e400", "nan", "-1", "1e308", "0", str(2**70), "1," * 5000]
        )
        other = random.choice(
            [
                f"{name}={value}",
                f"{name}={value}",
                name,
                value,
                "--flagfile=run.flags",
                "--flagfile=none",
                "--undefok=x",
            ]
        )
        lines.insert(random.randrange(len(lines) + 1), other)
    return lines


def flagfile(random, folder):
    """The flagfile of a run, as the commands and as run directories read it."""
    path = folder / run_directory.FLAGFILE
    lines = [line.replace("=run.flags", f"={path}") for line in _flag_lines(random)]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(random.choice([content, content, damaged(random, content)]))
    configuration = random.choice([TrainingConfiguration, EvaluationConfiguration])

    def parse_command_line():
        flag_values = flags.FlagValues()
        flagfiles.define(configuration, flag_values, module_name="script")
        flag_values(["script", *flagfiles.expand([f"--flagfile={path}"])])
        found = flagfiles.parse(configuration, flag_values)
        # What cannot be in a path, or in the flagfile of the run, would be a traceback later.
        lines = flagfiles.to_lines(found)
        assert "\0" not in "".join(lines) and "\n".join(lines).encode().decode().splitlines() == lines

    def read_run_flags():
        found = run_directory.read_configuration(folder)
        path.write_text("\n".join(flagfiles.to_lines(found)), encoding="utf-8")
        assert run_directory.read_configuration(folder) == found

    return random.choice([parse_command_line, read_run_flags])


def run_files(random, folder):
    """The results and the log of a run."""
    results = {
        "accuracies": [accuracy(60), accuracy(70, shots=5)],
        "best": {"step": 3, "validation_accuracy": 0.5},
        "discriminant_scores": {"classifier_subspace": 0.5, "complement": 0.1},
        "source": "glyphs",
        "versions": {"keras": "3"},
    }
    directory = make_run(folder / "run", results=results, metrics=[epoch_record(epoch) for epoch in range(3)])
    for name, value in ((run_directory.RESULTS, results), (run_directory.METRICS, epoch_record(4))):
        (directory / name).write_bytes(_json_bytes(random, random.choice([replaced(random, value), any_value(random)])))

    def read():
        assert read_run(directory).state in ("finished", "unreadable")
        run_directory.truncate_metrics(directory, 10)
        return run_directory.read_results(directory)

    return read


@functools.cache
def _prepared():
    """A small prepared data set, made once."""
    root = pathlib.Path(tempfile.mkdtemp())
    write_cifar_fs(root / "source")
    return prepared.prepare("cifar_fs", root / "source", 8, root / "cache", allow_partial=True)


def prepared_data(random, folder):
    """A prepared data set with a damaged file."""
    copy = folder / "1.0.0"
    shutil.copytree(_prepared(), copy)
    path = random.choice(sorted(copy.iterdir()))
    content = path.read_bytes()
    if path.suffix == ".json" and random.randrange(3):
        path.write_bytes(_json_bytes(random, replaced(random, json.loads(content))))
    else:
        path.write_bytes(damaged(random, content))
    if not random.randrange(10):
        path.unlink()

    def read():
        root = prepared.prepare("cifar_fs", copy, cache_dir=folder / "cache", allow_partial=True)
        for name in prepared.prepared_splits(root):
            prepared.load_prepared(root, name)

    return read


# Special files.


def _special(random, path):
    """Puts a pipe, a folder, a socket, or a link to a device or to itself at a path, in place of a file."""
    path.unlink(missing_ok=True)
    kind = random.randrange(5)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(os.fspath(path))
    else:
        path.symlink_to("/dev/zero" if kind == 3 else path.name)


def special_files(random, folder):
    """What is no file where a file is expected: flagfile, results, metrics, features, JSON, prepared data."""
    kind = random.choice(["flagfile", "results", "metrics", "features", "mean", "class split", "prepared"])
    if kind == "flagfile":
        _special(random, folder / "a.flags")
        return lambda: flagfiles.expand([f"--flagfile={folder / 'a.flags'}"])
    if kind in ("results", "metrics"):
        directory = make_run(folder / "run", results={"accuracies": []}, metrics=[epoch_record(1)])
        _special(random, directory / (run_directory.RESULTS if kind == "results" else run_directory.METRICS))
        return lambda: (read_run(directory), run_directory.read_results(directory))
    if kind == "prepared":
        copy = folder / "1.0.0"
        shutil.copytree(_prepared(), copy)
        _special(random, copy / "metadata.json")
        return lambda: prepared.prepared_splits(copy)
    path = folder / run_directory.STATISTICS
    _special(random, path)
    if kind == "class split":
        return lambda: read_class_split(path)
    return lambda: of_features_file(str(path)) if kind == "features" else load_feature_mean(folder)


KINDS = {
    "special file": special_files,
    "image": image,
    "folders": folders,
    "csv": csv_lists,
    "class split": class_split,
    "meta-iNat": meta_inat,
    "pickle": pickles,
    "pickled data set": pickled_data_sets,
    "tar": tars,
    "npz images": npz_images,
    "features file": features_file,
    "flagfile": flagfile,
    "run": run_files,
    "prepared": prepared_data,
}


def seeded(seed):
    """A generator for one input; the same seed gives the same input."""
    return random_module.Random(seed)
