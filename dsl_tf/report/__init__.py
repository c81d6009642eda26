"""Results as people read them."""

from dsl_tf.report.figure import draw_accuracies
from dsl_tf.report.table import accuracy_table, results_summary

__all__ = ["accuracy_table", "draw_accuracies", "results_summary"]
