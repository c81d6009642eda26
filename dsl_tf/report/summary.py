"""The end of a training on the screen: what was measured, against chance and SCE alone, and what to do next."""

import os
import pathlib
import shlex
from typing import Any

from dsl_tf.data.image_division import IMAGE_SPLIT_FILE
from dsl_tf.evaluation.paired import paired_difference
from dsl_tf.report.known_classes import known_classes_text
from dsl_tf.report.runs import Run, read_run
from dsl_tf.report.table import accuracy_table
from dsl_tf.report.wording import measure_text, signed
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.final_test import episodes_key
from dsl_tf.runs.titles import differing_settings

# Of a folder with more runs, only the first ones are looked at.
_MOST_RUNS = 200


def results_summary(results: dict[str, Any], directory: str | os.PathLike[str]) -> str:
    """Formats the results of a finished run, the location of its files, and commands that may come next.

    If a run of SCE alone on the same data lies in the same folder, the accuracies are compared with its.

    Args:
        results: the content of `results.json`.
        directory: the run directory.
    """
    lines = [""]
    if results["accuracies"]:
        chance = ", ".join(f"{1 / ways:.1%}" for ways in sorted({entry["ways"] for entry in results["accuracies"]}))
        lines += [f"Few-shot accuracy of {results['loss']} on classes unseen in training (chance: {chance}):", ""]
        lines += [accuracy_table(results["accuracies"]), ""]
    if known := results.get("known_classes"):
        lines += [f"Loss: {results['loss']}. {known_classes_text(known)}", ""]
    if not results["accuracies"] and not known:
        lines += ["Nothing was tested, since the data have no test split.", ""]
    run = read_run(directory)
    alone = _sce_alone(run, results)
    if alone is not None:
        lines += [*_differences(run, results, alone), ""]
    if scores := results.get("discriminant_scores"):
        lines += [
            f"Discriminant score of test features (Table 1; 0: classes coincide, 1: each class is a point): "
            f"{scores['classifier_subspace']:.3f} in span(W), {scores['complement']:.3f} in its complement"
        ]
    lines += [f"Results, backbone.keras and saved_model/ are in {directory}", "", "Next:"]
    return "\n".join([*lines, *_next(run, results, alone)])


def _is_sce_alone(configuration: TrainingConfiguration) -> bool:
    return (configuration.classification_loss, configuration.metric_loss) == ("sce", "none")


def _sce_alone(run: Run, results: dict[str, Any]) -> Run | None:
    """The run of SCE alone on the same data beside a run that differs in the fewest settings, if there is one."""
    own, data = run.configuration, results.get("data_fingerprint")
    if own is None or not data or _is_sce_alone(own):
        return None
    found = []
    try:
        beside = sorted(pathlib.Path(os.path.abspath(run.directory)).parent.iterdir())[:_MOST_RUNS]
    # A folder that may be entered but not listed.
    except OSError:
        return None
    for directory in beside:
        if not (directory / run_directory.RESULTS).is_file():
            continue
        # As the user would write it.
        other = read_run(os.path.join(os.path.dirname(os.path.normpath(run.directory)), directory.name))
        theirs = other.configuration
        if theirs and _is_sce_alone(theirs) and (other.results or {}).get("data_fingerprint") == data:
            found.append((len(differing_settings([own, theirs])), theirs.seed != own.seed, other))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _differences(run: Run, results: dict[str, Any], alone: Run) -> list[str]:
    """Sentences on how much better or worse than SCE alone."""
    assert run.configuration and alone.configuration and alone.results
    differing = differing_settings([run.configuration, alone.configuration])
    others = f", which also differs in {', '.join(differing)}" if differing else ""
    lines = [
        f"Against SCE alone ({alone.directory}{others}), in percentage points; ± is half of a 95% interval over the "
        "test episodes, and other seeds may differ by more:"
    ]
    theirs = {episodes_key(entry): entry for entry in alone.results["accuracies"] if entry["split"] == "test"}
    for entry in results["accuracies"]:
        other = theirs.get(episodes_key(entry))
        if other is None or entry["episodes_fingerprint"] != other.get("episodes_fingerprint"):
            continue
        change = f"{signed(100 * (entry['accuracy'] - other['accuracy']))}{_half_width(run, alone, entry)}"
        name = measure_text(entry["classifier"], entry["feature_transform"])
        lines.append(f"  {entry['ways']}-way {entry['shots']}-shot, {name}: {change}")
    known = {
        (entry["classifier"], entry["feature_transform"]): entry["accuracy"]
        for entry in (alone.results.get("known_classes") or {}).get("accuracies", ())
    }
    for entry in (results.get("known_classes") or {}).get("accuracies", ()):
        key = (entry["classifier"], entry["feature_transform"])
        if key in known:
            change = signed(100 * (entry["accuracy"] - known[key]))
            lines.append(f"  {key[0].replace('_', ' ')}, {key[1]} features: {change}")
    return lines if len(lines) > 1 else []


def _half_width(run: Run, alone: Run, entry: dict[str, Any]) -> str:
    """The 95% half-width over the episodes that both classified, if both kept them."""
    key = episodes_key(entry)
    ours, theirs = run.episodes.get(key), alone.episodes.get(key)
    if ours is None or theirs is None or len(ours) != len(theirs):
        return ""
    return f" ± {100 * paired_difference(ours, theirs).episodes_half_width:.2f}"


def _next(run: Run, results: dict[str, Any], alone: Run | None) -> list[str]:
    """Commands that may come next, each after what it is for."""
    directory = shlex.quote(os.fspath(run.directory))
    named = results.get("source") != "arrays"
    lines = []
    tested = results.get("accuracies") or results.get("known_classes")
    own = run.configuration
    if named and tested and own and not (run.particulars or alone or _is_sce_alone(own)):
        flags = f"--flagfile={shlex.quote(os.path.join(run.directory, run_directory.FLAGFILE))}"
        sce = shlex.quote(f"{os.path.normpath(run.directory)}_sce_alone")
        command = f"python -m dsl_tf train {flags} --classification_loss=sce --metric_loss=none --output_dir={sce}"
        lines += ["compare with SCE alone, trained in the same way", f"  {command}"]
    if named and results.get("accuracies"):
        classifiers = "nearest_centroid,laplacian_shot"
        command = f"python -m dsl_tf evaluate --run_dir={directory} --classifiers={classifiers} --details"
        lines += ["try other few-shot classifiers, and see what is confused", f"  {command}"]
    predict = f"python -m dsl_tf predict --model={directory} --support_dir="
    lines += [
        "classify images by a few labelled examples, EXAMPLES/CLASS/*.jpg",
        f"  {predict}EXAMPLES --images_dir=IMAGES",
    ]
    if folder := _class_folder(run):
        lines += [
            "classify images by all images that you have of these classes",
            f"  {predict}{shlex.quote(folder)} --images_dir=IMAGES",
        ]
    parent = shlex.quote(os.path.dirname(os.path.normpath(run.directory)) or ".")
    lines += ["see curves and images, beside the other runs there", f"  python -m dsl_tf report --runs={parent}"]
    return [line if line.startswith("  ") else f"- {line}:" for line in lines]


def _class_folder(run: Run) -> str | None:
    """The folder whose images a run divided, if they are of the classes that it trained on."""
    folder = run.configuration.data_dir if run.configuration else None
    divided = os.path.isfile(os.path.join(run.directory, IMAGE_SPLIT_FILE))
    return folder if folder and divided and os.path.isdir(folder) else None
