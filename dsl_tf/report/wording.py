"""Formats numbers and names for all tables and figures."""

from collections.abc import Iterable

from dsl_tf.evaluation.classifiers import CLASSIFIERS as FEW_SHOT_CLASSIFIERS

MISSING = "missing"
NOTHING = "–"
CLASSIFIERS = {name: classifier.title for name, classifier in FEW_SHOT_CLASSIFIERS.items()}
FEATURES = {"none": "raw", "l2": "l2", "cl2": "cl2"}


def printable(text: str) -> str:
    """Escapes characters that cannot be printed: line ends, control characters and undecodable bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """Formats `"65.16 ± 0.20"`; only the value if the error is None, and `"missing"` if the value is None."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def signed(value: float | None) -> str:
    """Formats a difference with its sign, `"+0.12"` or `"−0.12"`; None as a dash."""
    if value is None:
        return NOTHING
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text.replace("-", "−")


def seeds_text(count: int) -> str:
    """Formats `"1 seed"` or `"3 seeds"`."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def measure_text(classifier: str, feature_transform: str) -> str:
    """Names a measure, such as `"nearest class centroid, cl2 features"`."""
    return f"{CLASSIFIERS.get(classifier, classifier)}, {FEATURES.get(feature_transform, feature_transform)} features"


def protocol_text(ways: Iterable[int], protocols: Iterable[tuple[int, int]]) -> str:
    """Describes how accuracies were measured, given ways and pairs of queries and episodes."""

    def span(values: Iterable[int]) -> str:
        low, high = min(values), max(values)
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    parts = [f"{'/'.join(map(str, sorted(set(ways))))}-way"]
    pairs = list(protocols)
    if pairs:
        queries, episodes = zip(*pairs, strict=True)
        parts += [f"{span(queries)} queries per class", f"{span(episodes)} episodes"]
    return ", ".join(parts)
