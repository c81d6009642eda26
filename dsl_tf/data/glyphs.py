"""The built-in data set `glyphs`: characters of five scripts in the typefaces that Matplotlib contains."""

import contextlib
import functools
import hashlib
import itertools
import os
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import PIL
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from dsl_tf.data.cache import default_cache_dir
from dsl_tf.data.split import Split
from dsl_tf.errors import UserError
from dsl_tf.files import check_regular, replacing

IMAGE_SIZE = 32

# Increase it with every change of a pixel or a class, so that older cache files are not used.
_VERSION = 1
_IMAGES_PER_CLASS = 24
_FEWEST_TYPEFACES = 6
# Ranges of code points, both ends included.
_SCRIPTS = {
    "train": ((0x0030, 0x0039), (0x0041, 0x007A), (0x00C0, 0x017F), (0x0400, 0x052F)),
    "val": ((0x0370, 0x03FF),),
    "test": ((0x0531, 0x0587), (0x10A0, 0x10FF), (0x2D00, 0x2D2D)),
}
# Text typefaces only: symbol and mathematical typefaces have other shapes for some letters.
# Without cmti10, which older versions of Matplotlib lack.
_TYPEFACES = (
    "DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral",
    "DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol",
    "DejaVuSans-Oblique", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique", "STIXGeneralItalic",
    "DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmss10", "cmtt10",
)  # fmt: skip
# Italic is included because some letters look different in it: the italic Cyrillic т looks like a Latin m.
_COMPARED_TYPEFACES = ("DejaVuSans", "DejaVuSerif", "DejaVuSerif-Italic")
_COMPARED_SIZE = 24
# Chosen by eye: Y and y (0.090), Մ and մ (0.102), n and ր (0.105) are too similar; 0 and 6 (0.106), E and F (0.131)
# are not. No pair is within 0.0003 of this threshold, so all builds of FreeType should agree.
_LEAST_DIFFERENCE = 0.1054
_FONT_SIZE = 128
_SUPERSAMPLING = 4
_MARGIN = 2


def load_split(split: str, cache_dir: str | os.PathLike | None = None) -> Split:
    """Renders one split of `glyphs`, or reads it from the cache.

    Args:
        split: `"train"` (Latin, digits and Cyrillic), `"val"` (Greek) or `"test"` (Armenian and Georgian).
        cache_dir: the folder of the cache file; None for `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`. A
            damaged file is replaced. If the folder cannot be written, nothing is cached.

    Returns:
        A `Split` with 24 images per class, uint8 `[n, 32, 32, 3]`, dark on white. The class names are the Unicode names
        of the characters.

    Raises:
        UserError: if the split is unknown.
    """
    if split not in tuple(_SCRIPTS):
        raise UserError(f"The split of glyphs must be one of {', '.join(_SCRIPTS)}. Received: {split!r}.")
    path = pathlib.Path(cache_dir or default_cache_dir()) / f"glyphs-{_fingerprint()}.npz"
    names_and_images = _read(path, split)
    if names_and_images is None:
        arrays = _render()
        _write(path, arrays)
        names_and_images = arrays[f"{split}_names"], arrays[f"{split}_images"]
    names, images = names_and_images
    return Split(
        images=np.repeat(images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 1), 3, axis=-1),
        labels=np.repeat(np.arange(len(names)), _IMAGES_PER_CLASS),
        class_names=tuple(names.tolist()),
    )


def _fingerprint() -> str:
    # Pillow may be built with any version of FreeType, and the random streams of NumPy may change between versions.
    versions = (matplotlib.__version__, PIL.__version__, features.version("freetype2"), np.__version__)
    return hashlib.sha256(repr((_VERSION, *versions)).encode()).hexdigest()[:16]


def _read(path: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as arrays:
            names, images = arrays[f"{split}_names"], arrays[f"{split}_images"]
    except Exception:  # A damaged archive may raise almost any exception.
        return None
    shape = (*names.shape, _IMAGES_PER_CLASS, IMAGE_SIZE, IMAGE_SIZE)
    fits = names.dtype.kind == "U" and names.ndim == 1 and images.dtype == np.uint8 and images.shape == shape
    return (names, images) if fits else None


def _write(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    # If it cannot be written, each run renders the images again.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            np.savez(beside, **arrays)


# Cached in memory too: without a cache file, three splits would need three renderings.
@functools.cache
def _render() -> dict[str, np.ndarray]:
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    paths = {name: os.path.join(folder, f"{name}.ttf") for name in _TYPEFACES}
    # Every build of Pillow has the basic layout.
    layout = ImageFont.Layout.BASIC
    fonts = {name: ImageFont.truetype(path, _FONT_SIZE, layout_engine=layout) for name, path in paths.items()}
    charmaps = {name: FT2Font(path).get_charmap() for name, path in paths.items()}
    inks, split_of = {}, {}
    # In the order train, val, test: of similar characters in two splits, the one in the later split is dropped.
    for split, ranges in _SCRIPTS.items():
        for code_point in itertools.chain.from_iterable(range(first, last + 1) for first, last in ranges):
            character = chr(code_point)
            typefaces = [name for name in _TYPEFACES if code_point in charmaps[name]]
            if _is_plain_letter(character) and len(typefaces) >= _FEWEST_TYPEFACES:
                inks[character] = {name: _ink(character, fonts[name]) for name in typefaces}
                split_of[character] = split
    distinct = _distinct(inks)
    arrays = {}
    for split in _SCRIPTS:
        classes = [character for character in distinct if split_of[character] == split]
        arrays[f"{split}_names"] = np.array([unicodedata.name(character) for character in classes])
        arrays[f"{split}_images"] = np.stack([_samples(character, inks[character]) for character in classes])
    return arrays


def _is_plain_letter(character: str) -> bool:
    # A decomposable character is a letter with an accent, which resembles the plain letter.
    plain = not unicodedata.decomposition(character)
    return plain and unicodedata.category(character) in ("Lu", "Ll", "Lo", "Nd")


def _ink(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Renders a character, bright on dark and cropped to its ink."""
    left, top, right, bottom = map(int, font.getbbox(character))
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    return image.crop(image.getbbox())


def _distinct(inks: Mapping[str, Mapping[str, Image.Image]]) -> list[str]:
    """Returns the characters, in order, that do not resemble an earlier one, regardless of size."""
    characters = list(inks)
    differences = np.ones((len(characters), len(characters)))
    for typeface in _COMPARED_TYPEFACES:
        rows = [row for row, character in enumerate(characters) if typeface in inks[character]]
        boxes = [_boxed(inks[characters[row]][typeface]) for row in rows]
        ink = np.stack([np.asarray(box, np.float32).ravel() for box in boxes])
        # Ink one pixel beside other ink counts as covered; otherwise thin strokes would never match.
        spread = [box.filter(ImageFilter.MaxFilter(3)) for box in boxes]
        reach = np.stack([np.asarray(box, np.float32).ravel() for box in spread])
        uncovered = ink @ (1 - reach / 255).T / ink.sum(axis=1, keepdims=True)
        pairs = np.ix_(rows, rows)
        differences[pairs] = np.minimum(differences[pairs], np.maximum(uncovered, uncovered.T))
    kept = []
    for row in range(len(characters)):
        if np.all(differences[row][kept] >= _LEAST_DIFFERENCE):
            kept.append(row)
    return [characters[row] for row in kept]


def _boxed(ink: Image.Image) -> Image.Image:
    # O, o and 0 fill the same box. Stretching is limited to a factor of two, so that bars do not become blocks.
    width = round(_COMPARED_SIZE * min(1, 2 * ink.width / ink.height))
    height = round(_COMPARED_SIZE * min(1, 2 * ink.height / ink.width))
    frame = _COMPARED_SIZE + 2
    box = Image.new("L", (frame, frame))
    box.paste(ink.resize((width, height)), ((frame - width) // 2, (frame - height) // 2))
    return box


def _samples(character: str, inks: Mapping[str, Image.Image]) -> np.ndarray:
    draws = np.random.default_rng(ord(character)).uniform(-1, 1, size=(_IMAGES_PER_CLASS, 6))
    return np.stack([_deformed(ink, draw) for ink, draw in zip(itertools.cycle(inks.values()), draws)])


def _deformed(ink: Image.Image, draw: np.ndarray) -> np.ndarray:
    """Renders an image `[32, 32]` of the ink, deformed and moved by random numbers from −1 to 1."""
    angle, shear, stretch = draw[:3] * (np.deg2rad(10), 0.15, 0.1)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    deformation = rotation @ np.array([[np.exp(stretch), shear], [0, np.exp(-stretch)]])
    # The extents of the deformed box bound those of the ink, so that the ink never touches the border.
    extents = np.abs(deformation) @ ink.size
    room = _SUPERSAMPLING * (IMAGE_SIZE - 2 * _MARGIN)
    scale = (0.9 + 0.1 * draw[3]) * room / extents.max()
    offset = draw[4:] * np.minimum((room - scale * extents) / 2, 3 * _SUPERSAMPLING)
    # A margin, because strokes that end at the edge of the source would get jagged ends.
    source = Image.new("L", (ink.width + 2, ink.height + 2))
    source.paste(ink, (1, 1))
    size = _SUPERSAMPLING * IMAGE_SIZE
    # Pillow needs the map from the result to the source.
    inverse = np.linalg.inv(scale * deformation)
    origin = np.array(source.size) / 2 - inverse @ (size / 2 + offset)
    coefficients = np.column_stack([inverse, origin]).ravel().tolist()
    image = source.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return 255 - np.asarray(image.reduce(_SUPERSAMPLING))
