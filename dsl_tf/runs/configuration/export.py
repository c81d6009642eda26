"""The configuration of a conversion for devices and servers without TensorFlow."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration.options import Checked, option

EXPORT_FORMATS = ("litert", "litert_int8", "onnx")


@dataclasses.dataclass(frozen=True)
class ExportConfiguration(Checked):
    """A conversion of a run's network. Each field is a flag of `dsl_tf export`.

    Raises:
        UserError: if a value is out of its limits, or something is missing.
    """

    model: str | None = option(None, "Run directory of a finished training.", "the run", path=True)
    formats: tuple = option(
        ("litert",),
        "Formats to write, a list: litert (.tflite, float32), litert_int8 (.tflite, 8-bit integers inside, about a "
        "quarter of the size) and onnx, which needs the extra dsl_tf[onnx].",
        "the run",
        choices=EXPORT_FORMATS,
        items=str,
    )
    images_dir: str | None = option(
        None,
        "Folder of images like those in use, at any depth. Up to 100 of them calibrate litert_int8, which needs them, "
        "and check the result against the SavedModel. By default the check uses random pixels.",
        "data",
        path=True,
    )
    output_dir: str = option(
        "exported", "Folder for features.tflite, features_int8.tflite and features.onnx.", "the run", path=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise UserError(f"--model must be given: {self.__dataclass_fields__['model'].metadata['help']}")
        if "litert_int8" in self.formats and not self.images_dir:
            raise UserError(
                "--formats=litert_int8 must be used with --images_dir, whose images calibrate it. Received: no "
                "--images_dir. Give a folder of a few dozen images like those in use."
            )
