"""The configuration of a reproduction of the paper's experiments."""

import dataclasses

from dsl_tf.runs.configuration.options import Checked, option


@dataclasses.dataclass(frozen=True)
class ReproductionConfiguration(Checked):
    """Which of the paper's experiments to run. Each field is a flag of `dsl_tf reproduce`.

    Raises:
        UserError: if a value is out of its limits.
    """

    table: tuple = option((4,), "Tables of the paper to run, a list.", "experiments", minimum=3, maximum=6, items=int)
    datasets: tuple | None = option(
        None, "Data sets to run, a list. By default all data sets of the tables.", "experiments", items=str
    )
    rows: tuple | None = option(
        None,
        "Rows of the tables to run, a list of names such as sce_direct_sum_nca. By default all.",
        "experiments",
        items=str,
    )
    seeds: tuple = option(
        (0,), "Seeds to run, a list. Each seed is a separate run.", "experiments", minimum=0, items=int
    )
    batch_shapes: tuple | None = option(
        None,
        "Batches N×K to try, a list such as 64x8,32x16. By default one per data set.",
        "experiments",
        items=str,
    )
    runs: str = option("runs", "Folder for the run directories.", "experiments", path=True)
    print_commands: bool = option(
        False, "Print the remaining commands, for a scheduler, instead of running them.", "experiments"
    )
