"""The text of `dsl_tf --help`, which does not import TensorFlow."""

SUMMARIES = {
    "train": "Train an image backbone with a classification loss and a metric loss.",
    "evaluate": "Measure the few-shot accuracy of trained runs, a SavedModel or features.",
    "predict": "Classify images by a few labelled examples of each class.",
    "demo": "Open a page on which to try a model with images of your own.",
    "export": "Convert a run's network to LiteRT or ONNX, for phones and other servers.",
    "prepare": "Prepare a data set for training, once for all runs.",
    "reproduce": "Run the experiments behind the paper's tables.",
    "report": "Write tables, figures and a page that compare runs.",
}


def overview() -> str:
    """Returns the text of `dsl_tf --help`."""
    lines = [f"  {name:<11}{summary}" for name, summary in SUMMARIES.items()]
    return "\n".join(
        [
            "Usage: dsl_tf COMMAND [--flag=value ...]    (or: python -m dsl_tf COMMAND ...)",
            "",
            "Commands:",
            *lines,
            "",
            "dsl_tf COMMAND --help describes the flags of a command.",
        ]
    )
