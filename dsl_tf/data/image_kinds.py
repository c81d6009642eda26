"""Which kinds of image files are read, and what a file that cannot be read seems to be."""

import functools

from PIL import Image

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif"),
)
# Images too, but never opened.
_UNSUPPORTED_EXTENSIONS = (
    *(".jp2", ".j2k", ".jpx", ".jxl", ".jxr", ".psd", ".svg", ".ico", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".eps"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".exr", ".hdr", ".dds", ".qoi", ".pcx", ".xcf"),
)
# No others, since some of Pillow's readers (PostScript) start other programs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF")
_NEEDS = {"AVIF": "Pillow 11.3 or later", "HEIF": "the package pillow-heif"}
# The position and the bytes by which a file of each kind is known.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "PDF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    *((0, b"P%d\n" % number, "PNM") for number in range(1, 7)),
    (0, b"<svg", "SVG"),
)
SIGNATURE_SIZE = 512


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Returns Pillow's names of the formats that are read: AVIF and HEIF only if this installation can."""
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def is_image_name(name: str) -> bool:
    """Returns whether a file's name has an extension of `EXTENSIONS`, in any case."""
    return name.lower().endswith(EXTENSIONS)


def reason_of_name(name: str) -> str:
    """Returns why a file that `is_image_name` refuses is skipped, in a few words."""
    if name.lower().endswith(_UNSUPPORTED_EXTENSIONS):
        return "an image of a kind that is not supported"
    return "not the extension of an image"


def reason_of_content(start: bytes) -> str:
    """Returns why a file is not read that Pillow does not recognise, in a few words.

    Args:
        start: its first `SIGNATURE_SIZE` bytes.
    """
    if not start:
        return "an empty file"
    kind = _kind(start)
    if kind is None:
        return "not an image"
    if kind in readable_formats():
        return f"a damaged {kind} image"
    if kind in _NEEDS:
        return f"{kind} images need {_NEEDS[kind]}"
    return f"{kind} images are not supported"


def _kind(start: bytes) -> str | None:
    if start.lstrip().startswith(b"<?xml") and b"<svg" in start:
        return "SVG"
    found = (kind for offset, signature, kind in _SIGNATURES if start.startswith(signature, offset))
    return next(found, None)
