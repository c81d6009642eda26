"""Compares what was measured of several subjects on the same episodes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from dsl_tf.evaluation.accuracy import Outcome
from dsl_tf.evaluation.paired import PairedMatrix, comparison_matrix
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.subjects import Subject
from dsl_tf.runs.titles import titles


def compare(
    subjects: Sequence[Subject], outcomes_of: Sequence[Sequence[Outcome]]
) -> dict[tuple[str, str, int], PairedMatrix]:
    """Compares subjects for each classifier, feature transform and number of shots that all of them have.

    Args:
        subjects: at least two; runs that differ in their seed only are grouped.
        outcomes_of: the outcomes of each.

    Returns:
        A dict from (classifier, feature transform, shots) to a `PairedMatrix`; empty, with a warning, if the episodes
        differ.
    """
    groups = _groups(subjects)
    outcomes = [{_comparison_key(outcome.entry): outcome for outcome in of_one} for of_one in outcomes_of]
    comparisons = {}
    for key in outcomes[0]:
        if not all(key in found for found in outcomes):
            continue
        if len({found[key].entry["episodes_fingerprint"] for found in outcomes}) > 1:
            logging.warning("No comparison: the subjects' episodes differ, because their data differ.")
            return {}
        accuracies = {
            name: np.stack([outcomes[index][key].accuracies for index in members]) for name, members in groups.items()
        }
        if len(accuracies) > 1:
            comparisons[key] = comparison_matrix(accuracies, _seeds(subjects, groups), outcomes[0][key].way_classes)
    return comparisons


def _comparison_key(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    return entry["classifier"], entry["feature_transform"], entry["shots"]


def _groups(subjects: Sequence[Subject]) -> dict[str, list[int]]:
    """Groups the subjects: returns their positions by group name. Runs that differ only in the seed share a group."""
    keys: dict[Any, list[int]] = {}
    for index, subject in enumerate(subjects):
        training = subject.training
        # A subject without a training configuration forms a separate group.
        key = index if training is None else run_directory.mathematical_flags(training, without=("seed",))
        keys.setdefault(key, []).append(index)
    groups = list(keys.values())
    return dict(zip(_group_names(subjects, groups), groups, strict=True))


def _group_names(subjects: Sequence[Subject], groups: list[list[int]]) -> list[str]:
    """Names groups by their loss and settings, such as "SCE (3 seeds)"; other subjects by their path."""
    paths = _short_names([subject.name for subject in subjects])
    trainings = [subjects[members[0]].training for members in groups]
    titled = iter(titles([training for training in trainings if training is not None]))
    names = [
        paths[members[0]] if training is None else next(titled)
        for members, training in zip(groups, trainings, strict=True)
    ]
    named = []
    for name, members, training in zip(names, groups, trainings, strict=True):
        if training is not None:
            # Trainings may have the same flags but other data.
            name += f", {paths[members[0]]}" if names.count(name) > 1 else ""
            name += f" ({len(members)} {'seed' if len(members) == 1 else 'seeds'})"
        named.append(name)
    return named


def _short_names(names: list[str]) -> list[str]:
    """Removes the leading folders that all names share."""
    if len(set(names)) < 2 or len({os.path.isabs(name) for name in names}) > 1:
        return names
    common = os.path.commonpath(names)
    return [os.path.relpath(name, common) if common else name for name in names]


def _seeds(subjects: Sequence[Subject], groups: Mapping[str, list[int]]) -> dict[str, tuple[int, ...]] | None:
    """Returns the seeds of each group's trainings, or None if they are not known or not distinct."""
    seeds = {}
    for name, members in groups.items():
        trainings = [subjects[index].training for index in members]
        known = tuple(training.seed for training in trainings if training is not None)
        if len(set(known)) < len(members):
            return None
        seeds[name] = known
    return seeds
