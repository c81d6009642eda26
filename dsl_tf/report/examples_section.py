"""Images on the report page: nearest neighbours, and the classes that are confused most often."""

import html
import pathlib
from typing import Any

from dsl_tf.report.candidates import data_key
from dsl_tf.report.comparison import Comparison
from dsl_tf.report.known_classes import TITLES
from dsl_tf.report.runs import Run
from dsl_tf.report.wording import FEATURES, measure_text, printable
from dsl_tf.runs.final_test import read_test_examples
from dsl_tf.runs.titles import loss_title


def examples_section(comparison: Comparison) -> list[str]:
    """Returns HTML that shows, for each data set, images of the test of the run with the best validation.

    Args:
        comparison: a `Comparison`.

    Returns:
        Lines of HTML; none if no run has such images.
    """
    # Validations on known and on unseen classes do not compare.
    runs: dict[tuple[str, bool], list[Run]] = {}
    for run in comparison.runs:
        if run.state == "finished":
            runs.setdefault((data_key(run), "known_classes" in (run.results or {})), []).append(run)
    lines: list[str] = []
    for (key, _), found in runs.items():
        # Of equally good ones, the first.
        for run in sorted(found, key=lambda run: -(run.validation_accuracy or 0.0)):
            examples = read_test_examples(pathlib.Path(run.directory))
            if examples is not None and run.configuration is not None:
                title = f"{comparison.data_titles[key]}, {loss_title(run.configuration)} ({run.directory})"
                lines += [*_neighbours(title, examples), *_confused(title, examples)]
                break
    return ["<h2>What the features hold to be alike</h2>", *lines] if lines else []


def _neighbours(title: str, examples: dict[str, Any]) -> list[str]:
    features = FEATURES.get(examples["feature_transform"], examples["feature_transform"])
    lines = [
        f"<h3>Nearest neighbours: {_escape(title)}</h3>",
        f'<p class="soft">Test images (left), and the nearest other test images by {_escape(features)} features. '
        "Framed: images of another class.</p>",
        '<div class="panels">',
    ]
    for query in examples["neighbours"]:
        others = [one["class"] for one in query["nearest"] if one["class"] != query["class"]]
        told = f"{len(others)} of {len(query['nearest'])} of other classes: {', '.join(dict.fromkeys(others))}"
        lines += [
            "<figure>",
            f"<figcaption>{_escape(query['class'])}</figcaption>",
            '<div class="strip neighbours">',
            _image(query["image"], query["class"], "query"),
            *(
                _image(one["image"], one["class"], "" if one["class"] == query["class"] else "wrong")
                for one in query["nearest"]
            ),
            "</div>",
            f'<p class="soft">{_escape(told) if others else "all of the same class"}</p>',
            "</figure>",
        ]
    return [*lines, "</div>"]


def _confused(title: str, examples: dict[str, Any]) -> list[str]:
    if not examples["confused"]:
        return []
    lines = [
        f"<h3>Most confused classes: {_escape(title)}</h3>",
        f'<p class="soft">{_escape(_measured(examples["measure"]))} Above: images that were taken for the other class. '
        "Below: images of that class.</p>",
        '<div class="panels">',
    ]
    for pair in examples["confused"]:
        name, other = pair["class"], pair["taken_for"]
        lines += [
            "<figure>",
            f"<figcaption>{_escape(name)}: {100 * pair['rate']:.1f}% taken for {_escape(other)}</figcaption>",
            *('<div class="strip">', *(_image(image, name, "") for image in pair["wrong"]), "</div>"),
            *('<div class="strip">', *(_image(image, other, "") for image in pair["others"]), "</div>"),
            "</figure>",
        ]
    return [*lines, "</div>"]


def _measured(entry: dict[str, Any]) -> str:
    """Says which answers they are, and what a rate is a share of."""
    classifier, transform = str(entry.get("classifier")), str(entry.get("feature_transform"))
    if "shots" not in entry:
        return f"By the {TITLES.get(classifier, classifier)}, {transform} features; shares of the class's images."
    task = f"{entry.get('ways')}-way {entry['shots']}-shot"
    return f"{task}, {measure_text(classifier, transform)}; shares of the queries in episodes with both classes."


def _image(encoded: str, name: str, kind: str) -> str:
    shown = f' class="{kind}"' if kind else ""
    text = _escape(name)
    return f'<img{shown} src="data:image/jpeg;base64,{encoded}" width="64" height="64" alt="{text}" title="{text}">'


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)
