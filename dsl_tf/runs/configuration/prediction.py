"""The configuration of a prediction: a classification of images."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS
from dsl_tf.runs.configuration.options import Checked, option


@dataclasses.dataclass(frozen=True)
class PredictionConfiguration(Checked):
    """A classification of images. Each field is a flag of `dsl_tf predict`.

    Raises:
        UserError: if a value is out of its limits, or a folder is missing.
    """

    model: str | None = option(
        None, "Run directory, or the folder of a SavedModel that dsl_tf exported.", "the run", path=True
    )
    output: str = option("predictions.csv", "CSV file to write: file, class and confidence.", "the run", path=True)
    contact_sheet: bool = option(
        True,
        "Also write an HTML page with each image, its class and the nearest labelled image; named as --output, with "
        ".html.",
        "the run",
    )
    top: int = option(1, "How many of the most probable classes to write for each image.", "the run", minimum=1)
    probabilities: bool = option(False, "Also write the probability of every class, one column each.", "the run")
    support_dir: str | None = option(
        None, "Folder of labelled examples: one folder per class with a few images.", "data", path=True
    )
    images_dir: str | None = option(None, "Folder of the images to classify, at any depth.", "data", path=True)
    classifier: str = option(
        "nearest_centroid",
        f"Few-shot classifier, one of {', '.join(CLASSIFIERS)}. "
        f"{', '.join(name for name in CLASSIFIERS if CLASSIFIERS[name].transductive)}: these look at all images "
        "together, and most of them work best if every class has about as many images.",
        "evaluation",
        choices=tuple(CLASSIFIERS),
    )
    feature_transform: str | None = option(
        None,
        "Feature transform. By default cl2 for laplacian_shot and l2 for the others. cl2 needs a run directory.",
        "evaluation",
        choices=FEATURE_TRANSFORMS,
    )
    lam: float = option(DEFAULT_LAM, "Weight λ of the neighbours in laplacian_shot.", "evaluation", minimum=0)
    calibrate: bool = option(
        True,
        "Calibrate the confidences on the labelled images, so that about 90% of the answers of confidence 0.9 are "
        "right. It needs classes with two labelled images or more.",
        "evaluation",
    )
    reject_below: float = option(
        0.0,
        "Give no class to images of lower confidence: they may be of none of the classes.",
        "evaluation",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("model", "support_dir", "images_dir", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} must be given: {self.__dataclass_fields__[name].metadata['help']}")
        if self.feature_transform is None:
            transform = "cl2" if self.classifier == "laplacian_shot" else "l2"
            object.__setattr__(self, "feature_transform", transform)
