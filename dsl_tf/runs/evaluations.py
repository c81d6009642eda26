"""The evaluations of a run: a folder per evaluation in the run directory, named by what was measured."""

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.files import is_temporary, read_text

EVALUATIONS = "evaluations"
EVALUATION = "evaluation.json"
# The fields that identify an accuracy: two entries with the same values measure the same.
KEY = ("split", "classifier", "feature_transform", "ways", "shots", "queries", "episodes", "seed")
# The fields that only accuracies on other kinds of episodes than those of the tables have.
_OTHER_KINDS = ("query_concentration", "varied", "within_groups", "listed")


def evaluation_name(
    subjects: Sequence[tuple[str, str | None]], entries: Sequence[dict[str, Any]], details: bool
) -> str:
    """Names an evaluation by what it measured, such as `test_5way_1-5shot_15queries_10000episodes_…_1a2b3c4d`.

    Args:
        subjects: the name of each subject, and the fingerprint of its data or None if that is not known.
        entries: all accuracies, dicts as `few_shot_accuracies` returns them.
        details: whether the details were measured too.

    Returns:
        The name of a folder: the same if the evaluation is repeated, different for any other evaluation.
    """

    def values(name: str) -> list[Any]:
        return list(dict.fromkeys(entry[name] for entry in entries))

    def joined(name: str) -> str:
        return "-".join(map(str, values(name)))

    kinds = {name: entry[name] for entry in entries[:1] for name in _OTHER_KINDS if name in entry}
    unequal = [kinds["query_concentration"]] if "query_concentration" in kinds else []
    # Groups and lists come from files, whose names say less than the episodes.
    episodes = values("episodes_fingerprint") if len(kinds) > len(unequal) else []
    digest = hashlib.sha256(
        repr([subjects, [(name, values(name)) for name in KEY], details, *unequal, *episodes]).encode()
    ).hexdigest()
    parts = [
        joined("split"),
        f"{joined('ways')}way",
        f"{joined('shots')}shot",
        f"{joined('queries')}queries{''.join(f'-dirichlet{value:g}' for value in unequal)}",
        f"{joined('episodes')}{'-listed' if 'listed' in kinds else ''}episodes",
        *(["varied"] if "varied" in kinds else []),
        *(["within-groups"] if "within_groups" in kinds else []),
        *([] if "listed" in kinds else [f"seed{joined('seed')}"]),
        joined("classifier"),
        joined("feature_transform"),
        *(["details"] if details else []),
        digest[:8],
    ]
    # File systems allow 255 bytes; the digest at the end keeps cut names apart.
    return re.sub(r"[^0-9A-Za-z_.-]", "-", "_".join(parts[:-1]))[:180] + f"_{digest[:8]}"


def known_classes_name(subjects: Sequence[tuple[str, str | None]], measured: Sequence[dict[str, Any]]) -> str:
    """Names an evaluation of held-out images of known classes, as `evaluation_name` names others.

    Args:
        subjects: as there.
        measured: what `known_class_measures` returned for each.
    """
    kinds = [[(entry["split"], entry["feature_transform"]) for entry in found["accuracies"]] for found in measured]
    digest = hashlib.sha256(repr([subjects, kinds]).encode()).hexdigest()
    return f"{kinds[0][0][0]}_known_classes_{digest[:8]}"


def read_evaluations(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the accuracies that evaluations of a run measured on the run's own data.

    Args:
        directory: the run directory.

    Returns:
        Dicts as `few_shot_accuracies` returns them, the latest per `KEY`. Evaluations of other data or of several
        runs, those of other kinds of episodes, which no table has, and unreadable files are skipped.
    """
    folder = pathlib.Path(directory) / EVALUATIONS
    try:
        paths = [path / EVALUATION for path in sorted(folder.iterdir()) if not is_temporary(path)]
        paths = sorted((path for path in paths if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    except OSError:
        return []
    found = {}
    for path in paths:
        for entry in _accuracies(path):
            found[key_of(entry)] = entry
    return list(found.values())


def key_of(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the fields that identify an accuracy, the values of `KEY`."""
    return tuple(entry.get(name) for name in KEY)


def _accuracies(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        (subject,) = json.loads(read_text(path))["subjects"]
        if subject["data"] != "the run's own":
            return []
        return [
            {name: value for name, value in entry.items() if name != "class_accuracies"}
            for entry in subject["accuracies"]
            if all(isinstance(entry.get(name), int | str) for name in KEY) and not set(_OTHER_KINDS) & set(entry)
        ]
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
