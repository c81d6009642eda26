"""Runs the experiments of the paper's tables that have not been run yet: `python -m dsl_tf reproduce`."""

import pathlib
import re
import shlex
import signal
import subprocess
import sys
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.experiments.cells import cells, configuration
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import EvaluationConfiguration, ReproductionConfiguration, TrainingConfiguration
from dsl_tf.runs.evaluations import read_evaluations

# The signals by which schedulers end a process.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

# The fields that the cells set.
CELL_FLAGS = ("dataset", "seed", "output_dir")


def planned_runs(
    reproduction: ReproductionConfiguration, changes: dict[str, Any]
) -> dict[TrainingConfiguration, set[str]]:
    """Lists the trainings that the tables need, each of them once.

    Args:
        reproduction: a `ReproductionConfiguration`.
        changes: further fields of `TrainingConfiguration` for all of them, by name. `{dataset}` in `data_dir` is
            replaced by the name of the data set.

    Returns:
        A dict from `TrainingConfiguration` to the few-shot classifiers of the tables.

    Raises:
        UserError: if rows or batch shapes are unknown, or values are out of their limits.
    """
    chosen = [cell for table in reproduction.table for cell in cells(table, reproduction.datasets)]
    if reproduction.rows is not None:
        known = sorted({cell.slug for cell in chosen})
        unknown = sorted(set(reproduction.rows) - set(known))
        if unknown:
            raise UserError(f"--rows must be among {', '.join(known)}. Received: {', '.join(unknown)}.")
        chosen = [cell for cell in chosen if cell.slug in reproduction.rows]
    shapes = [_shape(text) for text in reproduction.batch_shapes] if reproduction.batch_shapes else [{}]
    runs: dict[TrainingConfiguration, set[str]] = {}
    for cell in chosen:
        of_cell = dict(changes)
        if of_cell.get("data_dir"):
            of_cell["data_dir"] = of_cell["data_dir"].replace("{dataset}", cell.dataset)
        for shape in shapes:
            for seed in reproduction.seeds:
                run = configuration(cell, seed, reproduction.runs, **{**of_cell, **shape})
                runs.setdefault(run, set()).add(cell.classifier)
    return runs


def _shape(text: str) -> dict[str, int]:
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not match:
        raise UserError(f"--batch_shapes must be a list of N×K such as 64x8. Received: {text!r}.")
    return {"ways": int(match[1]), "shots": int(match[2])}


def _steps_left(run: TrainingConfiguration, classifiers: set[str]) -> list[tuple[str, list[str]]]:
    """Returns the remaining commands of a training, as pairs of a command and its flags."""
    if not pathlib.Path(str(run.output_dir)).is_dir():
        return [("train", flagfiles.to_lines(run, with_defaults=False))]
    directory = run_directory.open_directory(run)
    results = run_directory.read_results(directory)
    if results is None:
        return [("train", flagfiles.to_lines(run, with_defaults=False))]
    entries = [*results["accuracies"], *read_evaluations(directory)]
    measured = {entry["classifier"] for entry in entries if entry["split"] == "test"}
    missing = sorted(classifiers - measured)
    if not missing or "test" not in results.get("splits", {}):
        return []
    # The episodes of the run's test, so that both classifiers classify the same queries.
    evaluation = EvaluationConfiguration(
        run_dir=(run.output_dir,),
        classifiers=tuple(missing),
        ways=run.test_ways,
        shots=run.test_shots,
        queries=run.test_queries,
        episodes=run.test_episodes,
    )
    return [("evaluate", flagfiles.to_lines(evaluation, with_defaults=False))]


def _run(command: str, arguments: list[str]) -> int:
    """Runs a command in a separate process, so that crashes and memory leaks stay in it."""
    process = subprocess.Popen([sys.executable, "-m", "dsl_tf", command, *arguments])
    # Without these handlers, a signal of a scheduler would end this process but not the training.
    before = {number: signal.signal(number, lambda received, _: sys.exit(128 + received)) for number in SIGNALS}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # The process is still running only if waiting for it was interrupted.
        process.terminate()
        process.wait()


def reproduce(reproduction: ReproductionConfiguration, changes: dict[str, Any]) -> list[str]:
    """Runs the remaining trainings of the paper's tables, one after the other.

    Failed runs are reported, and the next one starts. If the call is repeated, finished runs are skipped and the
    interrupted one resumes.

    Args:
        reproduction: a `ReproductionConfiguration`.
        changes: as in `planned_runs`.

    Returns:
        The directories of the runs that failed.

    Raises:
        UserError: as `planned_runs`.
    """
    runs = planned_runs(reproduction, changes)
    failed = []
    for number, (run, classifiers) in enumerate(runs.items(), start=1):
        title = f"[{number}/{len(runs)}] {run.output_dir}"
        try:
            left = _steps_left(run, classifiers)
        except UserError as error:
            print(f"{title}: {error}", file=sys.stderr)
            failed.append(str(run.output_dir))
            continue
        if reproduction.print_commands:
            for command, arguments in left:
                print(shlex.join(["python", "-m", "dsl_tf", command, *arguments]))
            continue
        print(f"{title}: {'running' if left else 'done before'}", flush=True)
        for command, arguments in left:
            code = _run(command, arguments)
            if code:
                print(f"{title}: failed with exit code {code}", file=sys.stderr, flush=True)
                failed.append(str(run.output_dir))
    return failed
