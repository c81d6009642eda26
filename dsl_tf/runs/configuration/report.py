"""The configuration of a report."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS
from dsl_tf.runs.configuration.options import Checked, option


@dataclasses.dataclass(frozen=True)
class ReportConfiguration(Checked):
    """A report of runs. Each field is a flag of `dsl_tf report`.

    Raises:
        UserError: if a value is out of its limits.
    """

    runs: tuple | None = option(
        None, "Run directories, or folders that contain them at any depth, a list.", "the run", items=str, path=True
    )
    output_dir: str = option(
        "report", "Folder for report.html, report.md, report.csv and report.tex.", "the run", path=True
    )
    tables: tuple | None = option(
        None,
        "Tables of the paper to show, a list. By default those for which there is a run.",
        "the run",
        minimum=3,
        maximum=6,
        items=int,
    )
    feature_transform: str | None = option(
        None,
        "Feature transform of the accuracies. By default none for nearest_centroid and cl2 for laplacian_shot.",
        "evaluation",
        choices=FEATURE_TRANSFORMS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs or not all(self.runs):
            raise UserError(
                "--runs must be a list of run directories or of folders that contain them. "
                f"Received: {','.join(self.runs or ()) or 'none'}."
            )
        if self.tables is not None and not self.tables:
            raise UserError("--tables must not be empty. Omit it for those with a run.")
