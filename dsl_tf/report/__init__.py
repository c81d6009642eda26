"""Tables, figures and reports of results."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.report.figure import draw_accuracies
from dsl_tf.report.summary import results_summary
from dsl_tf.report.table import accuracy_table
from dsl_tf.report.writing import write_report

__all__ = ["accuracy_table", "draw_accuracies", "results_summary", "write_report"]
