"""Predictions as a page to look at: each image beside the labelled image that is nearest to it."""

import base64
import html
import io
import os
import pathlib

import numpy as np
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, read_image
from dsl_tf.errors import UserError
from dsl_tf.evaluation.calibration import expected_calibration_error
from dsl_tf.files import write_text
from dsl_tf.report.wording import printable
from dsl_tf.runs.classification import Classification

_SIDE = 96
# At 3 kB a picture, the page stays below 10 MB.
_MOST_IMAGES = 1000
_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
# Nothing is loaded and no script runs, whatever the names of the files are.
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Predictions</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.4 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1.25rem 1rem; }
figure { margin: 0; break-inside: avoid; min-width: 0; }
figure img { width: 46%; max-width: 96px; height: auto; margin-right: 1%; }
figcaption { font-size: 0.85rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin-bottom: 2rem; } th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: right; }
</style></head><body>
"""


def write_contact_sheet(
    found: Classification,
    path: str | os.PathLike[str],
    images_dir: str | os.PathLike[str],
    reject_below: float = 0.0,
) -> None:
    """Writes an HTML page with each image, its class and confidence and the nearest labelled image.

    The least confident images come first, at most 1,000 of them. A table shows, for several thresholds of the
    confidence, how many labelled images are above it and how many of these are right, each classified by the others.

    Args:
        found: what `classify` returned.
        path: the file to write or replace.
        images_dir: the folder of the images.
        reject_below: images of lower confidence are shown as rejected.

    Raises:
        UserError: if it cannot be written.
    """
    lines = [_HEAD, "<h1>Predictions</h1>", f"<p>{_summary(found, reject_below)}</p>", *_thresholds(found)]
    lines.append('<div class="sheet">')
    confidence = found.probabilities.max(axis=1)
    for position in np.argsort(confidence, kind="stable")[:_MOST_IMAGES].tolist():
        name = found.class_names[int(found.probabilities[position].argmax())]
        told = f"{name}, {confidence[position]:.1%}"
        told = f"rejected (nearest: {told})" if confidence[position] < reject_below else told
        file, nearest = found.files[position], found.nearest[position]
        beside = pathlib.PurePath(nearest).parent.name
        lines += [
            "<figure>",
            _picture(os.path.join(images_dir, file), file),
            _picture(nearest, f"nearest labelled image, of {beside}"),
            f"<figcaption><strong>{_escape(told)}</strong><br>{_escape(file)}</figcaption>",
            "</figure>",
        ]
    lines += ["</div>", "</body></html>", ""]
    try:
        write_text(path, "\n".join(lines))
    except OSError as error:
        raise UserError(f"The contact sheet must be written to {os.fspath(path)!r}. {error.strerror}.") from None


def _summary(found: Classification, reject_below: float) -> str:
    count, rejected = len(found.files), int((found.probabilities.max(axis=1) < reject_below).sum())
    text = f"{count:,} images, {len(found.class_names)} classes, {len(found.unreadable):,} unreadable files"
    text += f", {rejected:,} rejected below {reject_below:.0%}" if reject_below else ""
    shown = f" The {_MOST_IMAGES:,} least confident are shown." if count > _MOST_IMAGES else ""
    return f"{text}. The least confident come first; beside each image is the nearest labelled one.{shown}"


def _thresholds(found: Classification) -> list[str]:
    probabilities, labels = found.held_out
    if not len(labels):
        return ["<p>The confidences are not calibrated: no class has two labelled images.</p>"]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    lines = [
        f"<p>From {len(labels):,} labelled images, each classified by the others (expected calibration error "
        f"{expected_calibration_error(probabilities, labels):.1%}):</p>",
        "<table><tr><th>reject below</th><th>answered</th><th>right of these</th></tr>",
    ]
    for threshold in _THRESHOLDS:
        answered = confidence >= threshold
        correct = f"{right[answered].mean():.1%}" if answered.any() else "none"
        lines.append(f"<tr><td>{threshold:.0%}</td><td>{answered.mean():.1%}</td><td>{correct}</td></tr>")
    return [*lines, "</table>"]


def _picture(path: str, alternative: str) -> str:
    try:
        pixels = read_image(path, _SIDE, keep_truncated=True)
    # It was readable before: somebody has moved it since.
    except UnreadableImageError:
        return f"<span>{_escape(alternative)} (gone)</span>"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{encoded}" width="{_SIDE}" height="{_SIDE}" alt="{_escape(alternative)}">'


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)
