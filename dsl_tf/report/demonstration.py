"""A page on which to try a model: a few images of each class, others to classify, and what was found."""

import html
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.report.contact_sheet import write_contact_sheet
from dsl_tf.runs.classification import Classification
from dsl_tf.runs.configuration import DemonstrationConfiguration
from dsl_tf.runs.export import load_exported_model
from dsl_tf.runs.predict import classify

_MOST_CLASSES = 20
_CLASSES_AT_FIRST = 3
# What may not be in the name of a folder.
_SEPARATORS = str.maketrans({"/": "_", "\\": "_", "\0": "_"})


def classify_files(
    model: str | os.PathLike[str],
    examples: Sequence[tuple[str, Sequence[str]]],
    images: Sequence[str],
    classifier: str = "nearest_centroid",
    feature_transform: str | None = None,
    reject_below: float = 0.0,
) -> tuple[Classification, str]:
    """Classifies image files by labelled ones.

    Args:
        model, classifier, feature_transform: as in `dsl_tf.runs.predict.classify`.
        examples: the name of each class, and its image files. Classes without files are left out.
        images: the files to classify.
        reject_below: images of lower confidence get no class.

    Returns:
        What was found, and an HTML page that shows it, as `write_contact_sheet` writes it.

    Raises:
        UserError: as `classify`, or if fewer than two classes have images, or two have the same name.
    """
    named = [(_folder_name(name, number), files) for number, (name, files) in enumerate(examples, start=1) if files]
    names = [name for name, _ in named]
    if len(named) < 2 or not images:
        raise UserError(
            "Give images of at least two classes, and at least one image to classify. "
            f"Received: {len(named)} classes with images, {len(images)} images to classify."
        )
    if len({name.casefold() for name in names}) < len(names):
        raise UserError(f"Each class must have a name of its own. Received: {', '.join(names)}.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, files in named:
            _copy(files, folder / "classes" / name)
        _copy(images, folder / "images")
        found = classify(model, folder / "classes", folder / "images", classifier, feature_transform)
        write_contact_sheet(found, folder / "page.html", folder / "images", reject_below)
        return found, (folder / "page.html").read_text(encoding="utf-8")


def _folder_name(name: str, number: int) -> str:
    # A leading dot would hide the folder.
    return name.translate(_SEPARATORS).strip().lstrip(".").strip() or f"class {number}"


def _copy(files: Sequence[str], folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    for number, file in enumerate(files, start=1):
        # Numbered, because files of two folders may have the same name.
        shutil.copyfile(file, folder / f"{number:03} {pathlib.Path(file).name}")


def demonstration(configuration: DemonstrationConfiguration) -> Any:
    """Builds the page.

    Args:
        configuration: the model, and how to classify.

    Returns:
        A `gradio.Blocks`. Nothing is served yet.

    Raises:
        UserError: if Gradio is not installed, or the model cannot be read.
    """
    # Before the import: Gradio would tell its makers about the page.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError:
        raise UserError(
            'The page needs Gradio. Received: a Python without it. Install it: pip install "dsl_tf[demo]".'
        ) from None
    load_exported_model(str(configuration.model))

    def answer(reject_below: float, images: list[str] | None, *classes: Any) -> str:
        examples = [(name or "", files or []) for name, files in zip(classes[::2], classes[1::2], strict=True)]
        try:
            _, page = classify_files(
                str(configuration.model),
                examples,
                images or [],
                configuration.classifier,
                configuration.feature_transform,
                reject_below,
            )
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from None
        # In a frame of its own, whose scripts, if a file's name had any, do not run.
        return (
            f'<iframe title="Predictions" sandbox="" srcdoc="{html.escape(page)}" width="100%" height="800"></iframe>'
        )

    with gradio.Blocks(title="dsl_tf") as blocks:
        gradio.Markdown(
            "# Classify images by a few examples\n\n"
            f"Model: `{configuration.model}`. Drop a few images of each class, then the images to classify. The files "
            "stay on the machine that serves this page."
        )
        shown = gradio.State(_CLASSES_AT_FIRST)
        rows, inputs = [], []
        for number in range(1, _MOST_CLASSES + 1):
            with gradio.Row(visible=number <= _CLASSES_AT_FIRST) as row:
                inputs.append(gradio.Textbox(f"class {number}", label=f"Name of class {number}", scale=1))
                inputs.append(_files(gradio, f"Images of class {number}", scale=3))
            rows.append(row)
        more = gradio.Button("Add a class", size="sm")
        images = _files(gradio, "Images to classify")
        reject_below = gradio.Slider(0, 1, 0, label="Give no class below this confidence")
        button = gradio.Button("Classify", variant="primary")
        found = gradio.HTML()
        more.click(
            lambda count: [
                min(count + 1, _MOST_CLASSES),
                *(gradio.Row(visible=row <= count) for row in range(len(rows))),
            ],
            shown,
            [shown, *rows],
            api_visibility="private",
        )
        button.click(answer, [reject_below, images, *inputs], found, api_name="classify")
    return blocks


def _files(gradio: Any, label: str, **options: Any) -> Any:
    return gradio.File(label=label, file_count="multiple", file_types=["image"], type="filepath", height=140, **options)


def serve(configuration: DemonstrationConfiguration) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UserError: as `demonstration`, or if the address is not free.
    """
    blocks = demonstration(configuration)
    print(f"Starting at http://{configuration.host}:{configuration.port}. Press Ctrl-C to end.", flush=True)
    try:
        blocks.launch(
            server_name=configuration.host,
            server_port=configuration.port,
            share=False,
            quiet=True,
            theme=_theme(),
        )
    except OSError as error:
        raise UserError(
            f"--host and --port must be a free address of this machine. Received: {configuration.host}, "
            f"{configuration.port} ({' '.join(str(error).split())}). Set another --port."
        ) from None


def _theme() -> Any:
    import gradio

    # Gradio's own fonts would be loaded from another server.
    return gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
