"""A metric loss that a user registers: its name works in flags, training, evaluation and reports."""

import json

import pytest
import tensorflow as tf
from absl import flags

from dsl_tf.errors import UserError
from dsl_tf.losses import METRIC_LOSSES, RegisteredLoss
from dsl_tf.report import write_report
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import EvaluationConfiguration, ReportConfiguration, TrainingConfiguration
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.training import train
from tests.images import tiny_configuration


def pull_together(y, x):
    """Toy loss: squared distances within classes, one value per sample."""
    distances = tf.reduce_sum((x[:, None] - x[None]) ** 2, axis=2)
    same = tf.cast(y[:, None] == y[None], x.dtype)
    return tf.reduce_sum(same * distances, axis=1) / tf.reduce_sum(same, axis=1)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(METRIC_LOSSES, "pull", RegisteredLoss("Pull", pull_together))


def parsed(*arguments):
    values = flags.FlagValues()
    flagfiles.define(TrainingConfiguration, values, module_name="train")
    values(["train", *arguments])
    return flagfiles.parse(TrainingConfiguration, values)


def test_a_registered_loss_works_everywhere(registered, tmp_path, data_dir):
    configuration = tiny_configuration(
        tmp_path / "run",
        dataset="folder",
        data_dir=str(data_dir),
        image_size=16,
        metric_loss="pull",
        metric_weight=0.01,
    )
    assert parsed("--metric_loss=pull").loss_name == "sce_direct_sum_pull"
    results = train(configuration)
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert results["loss"] == "sce_direct_sum_pull" and line["metric_loss"] > 0
    evaluation = evaluate(
        EvaluationConfiguration(
            run_dir=(str(tmp_path / "run"),), ways=3, shots=(1,), queries=2, episodes=20, output_dir=str(tmp_path)
        )
    )
    assert len(evaluation.results) == 1
    write_report(ReportConfiguration((str(tmp_path / "run"),), str(tmp_path / "report")))
    assert "SCE⊕Pull" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def test_without_it_the_name_is_refused():
    with pytest.raises(UserError, match="--metric_loss must be one of nca, proto, none"):
        TrainingConfiguration(metric_loss="pull")
    with pytest.raises(flags.IllegalFlagValueError, match="metric_loss=pull"):
        parsed("--metric_loss=pull")
