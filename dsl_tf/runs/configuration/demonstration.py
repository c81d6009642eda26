"""The configuration of the page on which to try a model."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS
from dsl_tf.runs.configuration.options import Checked, option


@dataclasses.dataclass(frozen=True)
class DemonstrationConfiguration(Checked):
    """A page on which to try a model. Each field is a flag of `dsl_tf demo`.

    Raises:
        UserError: if a value is out of its limits, or there is no model.
    """

    model: str | None = option(
        None, "Run directory, or the folder of a SavedModel that dsl_tf exported.", "the run", path=True
    )
    host: str = option(
        "127.0.0.1",
        "Address to serve the page on. By default this machine alone sees it; 0.0.0.0 shows it to all who can reach "
        "this machine, without a password.",
        "the run",
    )
    port: int = option(7860, "Port of the page.", "the run", minimum=1, maximum=65535)
    classifier: str = option(
        "nearest_centroid",
        f"Few-shot classifier, one of {', '.join(CLASSIFIERS)}.",
        "evaluation",
        choices=tuple(CLASSIFIERS),
    )
    feature_transform: str | None = option(
        None,
        "Feature transform. By default cl2 for laplacian_shot and l2 for the others. cl2 needs a run directory.",
        "evaluation",
        choices=FEATURE_TRANSFORMS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise UserError(f"--model must be given: {self.__dataclass_fields__['model'].metadata['help']}")
