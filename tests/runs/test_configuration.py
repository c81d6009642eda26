import pytest

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import EvaluationConfiguration, TrainingConfiguration


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dataset": "imagenet"}, ["--dataset", "glyphs", "folder", "'imagenet'"]),
        ({"epochs": 0}, ["--epochs", "at least 1", "0"]),
        ({"learning_rate": 0.0}, ["--learning_rate", "above 0"]),
        ({"learning_rate": float("nan")}, ["--learning_rate", "finite"]),
        ({"power": 1.5}, ["--power", "at most 1", "1.5"]),
        ({"filters": (8, 8, 8)}, ["--filters", "four", "3"]),
        ({"filters": (8, 0, 8, 8)}, ["--filters", "at least 1", "0"]),
        ({"filters": (8, 8, 8, 10**6)}, ["--filters", "at most 10000"]),
        ({"test_shots": ()}, ["--test_shots", "empty"]),
        ({"test_shots": (1, 1, 5)}, ["--test_shots", "once", "1,1,5"]),
        ({"classification_loss": "none", "metric_loss": "none"}, ["--classification_loss", "--metric_loss"]),
        ({"seed": 2**32}, ["--seed", "at most 2147483647"]),
        ({"image_size": 100_000}, ["--image_size", "at most 4096"]),
        ({"image_size": 84, "stored_size": 64}, ["--stored_size", "at least --image_size=84", "64"]),
        ({"data_dir": "a\n--epochs=1"}, ["--data_dir", "one line of UTF-8"]),
        ({"output_dir": "a\0"}, ["--output_dir", "one line of UTF-8"]),
        ({"cache_dir": "\udcff"}, ["--cache_dir", "one line of UTF-8"]),
        ({"shots": 1}, ["--metric_loss=nca", "--shots", "at least 2", "1"]),
        ({"optimizer": "adamv"}, ["--optimizer", "adamw, ", "'adamv'"]),
        ({"optimizer": "multioptimizer"}, ["--optimizer", "'multioptimizer'"]),
        ({"optimizer": "adamw", "momentum": 0.5}, ["--momentum=0.5", "--optimizer=sgd", "--optimizer=adamw"]),
        ({"schedule": "linear"}, ["--schedule", "step, cosine, constant", "'linear'"]),
        ({"schedule": "cosine", "decay_epochs": (3.0,)}, ["--decay_epochs", "--schedule=step", "--schedule=cosine"]),
        ({"schedule": "constant", "decay_rate": 0.5}, ["--decay_rate", "--schedule=step", "--schedule=constant"]),
        ({"clip_norm": 0.0}, ["--clip_norm", "above 0"]),
        ({"ema_momentum": 1.0}, ["--ema_momentum", "below 1"]),
        ({"label_smoothing": 1.0}, ["--label_smoothing", "below 1"]),
        (
            {"label_smoothing": 0.1, "classification_loss": "bce"},
            ["--label_smoothing=0.1", "--classification_loss=sce"],
        ),
        ({"early_stopping": 0}, ["--early_stopping", "at least 1"]),
        (
            {"init_from": "a", "weights": "imagenet", "backbone": "MobileNetV2"},
            ["--init_from=a", "--weights=imagenet", "Omit one"],
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(values, words):
    with pytest.raises(UserError) as error:
        TrainingConfiguration(**values)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_one_image_a_class_is_enough_for_classification_alone():
    assert TrainingConfiguration(metric_loss="none", shots=1).shots == 1


def test_the_learning_rate_is_that_of_the_optimizer_unless_given():
    assert TrainingConfiguration().learning_rate == 0.1
    assert TrainingConfiguration(optimizer="AdamW") == TrainingConfiguration(optimizer="adamw", learning_rate=0.001)
    assert TrainingConfiguration(optimizer="lion", learning_rate=0.5).learning_rate == 0.5


def test_evaluation_needs_a_run_directory():
    with pytest.raises(UserError, match="--run_dir"):
        EvaluationConfiguration()


def test_schedule_scales_with_the_epochs_unless_given():
    assert TrainingConfiguration(epochs=160).schedule_epochs == (10, (80, 120))
    assert TrainingConfiguration(epochs=16).schedule_epochs == (1, (8, 12))
    given = TrainingConfiguration(epochs=16, warmup_epochs=2, decay_epochs=(10,))
    assert given.schedule_epochs == (2, (10,))
    assert TrainingConfiguration(epochs=16, schedule="cosine").schedule_epochs == (1, ())


def test_runs_have_directories_of_their_own():
    names = {
        TrainingConfiguration(**values).output_dir
        for values in (
            {},
            {"seed": 1},
            {"metric_loss": "none"},
            {"classification_loss": "none"},
            {"integration": "sum"},
            {"metric_loss": "proto"},
        )
    }
    assert len(names) == 6
    assert TrainingConfiguration(metric_loss="none").output_dir == "runs/glyphs_sce_seed0"
