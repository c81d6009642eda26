"""The configuration of each command. Its fields become the flags."""

from dsl_tf.runs.configuration.demonstration import DemonstrationConfiguration
from dsl_tf.runs.configuration.evaluation import EvaluationConfiguration
from dsl_tf.runs.configuration.export import ExportConfiguration
from dsl_tf.runs.configuration.options import DISTRIBUTIONS, PRECISIONS
from dsl_tf.runs.configuration.prediction import PredictionConfiguration
from dsl_tf.runs.configuration.report import ReportConfiguration
from dsl_tf.runs.configuration.reproduction import ReproductionConfiguration
from dsl_tf.runs.configuration.training import TrainingConfiguration

__all__ = [
    "DISTRIBUTIONS",
    "PRECISIONS",
    "DemonstrationConfiguration",
    "EvaluationConfiguration",
    "ExportConfiguration",
    "PredictionConfiguration",
    "ReportConfiguration",
    "ReproductionConfiguration",
    "TrainingConfiguration",
]
