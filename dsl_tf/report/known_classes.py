"""Formats measures of held-out images of known classes."""

from typing import Any

from dsl_tf.evaluation.known_classes import LINEAR, NEAREST_CLASS_MEAN
from dsl_tf.report.text_table import text_table

TITLES = {NEAREST_CLASS_MEAN: "nearest class mean of the training images", LINEAR: "classifier of the training (W)"}
EXPLANATION = (
    "Measured on held-out images of classes that training has seen (--held_out=images), so these are not few-shot "
    "accuracies of unseen classes."
)


def known_classes_text(found: dict[str, Any]) -> str:
    """Formats measures for the screen.

    Args:
        found: what `known_class_measures` returned.

    Returns:
        Lines of text: what was measured, a table of accuracies with 95% intervals, and the retrieval.
    """
    first = found["accuracies"][0]
    lines = [
        f"Held-out {first['split']} images of known classes: {first['images']:,} images of {first['classes']} classes "
        f"(chance: {1 / first['classes']:.1%}; always the largest class: {found['largest_class']:.1%})",
        "",
        text_table(["classifier", "transform", "accuracy (%)", "95% interval"], [_row(e) for e in found["accuracies"]]),
        "",
    ]
    if "retrieval" in found:
        lines.append(
            f"Retrieval, each held-out image among the others: recall@1 {found['retrieval']['recall_at_1']:.2%}, "
            f"MAP@R {found['retrieval']['map_at_r']:.2%}"
        )
    return "\n".join([*lines, EXPLANATION])


def _row(entry: dict[str, Any]) -> list[str]:
    low, high = entry["interval"]
    name = TITLES.get(entry["classifier"], entry["classifier"])
    return [name, entry["feature_transform"], f"{100 * entry['accuracy']:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"]
