import dataclasses
import pathlib

import pytest
from absl import flags

from dsl_tf.errors import UserError
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import EvaluationConfiguration, TrainingConfiguration

FLAGS_FOLDER = pathlib.Path(__file__).parent.parent.parent / "flags"


def parse(configuration, *arguments):
    values = flags.FlagValues()
    flagfiles.define(configuration, values, module_name="script")
    values(["script", *arguments])
    return flagfiles.parse(configuration, values)


def test_flags_have_the_defaults_of_the_configuration():
    assert parse(TrainingConfiguration) == TrainingConfiguration()
    assert parse(EvaluationConfiguration, "--run_dir=x") == EvaluationConfiguration(run_dir=("x",))


def test_every_kind_of_flag_is_parsed():
    configuration = parse(
        TrainingConfiguration,
        "--filters=8,16,24,32",
        "--decay_epochs=1.5,3",
        "--noflip",
        "--strict",
        "--power=0.1",
        "--log_every=7",
        "--data_dir=a folder, with a comma",
        "--integration=spectral_sum",
    )
    assert configuration.filters == (8, 16, 24, 32)
    assert configuration.decay_epochs == (1.5, 3.0)
    assert configuration.flip is False
    assert configuration.strict is True
    assert configuration.power == 0.1
    assert configuration.log_every == 7
    assert configuration.data_dir == "a folder, with a comma"


def test_a_flagfile_repeats_its_configuration(tmp_path):
    configuration = TrainingConfiguration(
        dataset="folder",
        data_dir="/data/ü, with = and #",
        filters=(8, 16, 24, 32),
        decay_epochs=(1.5, 3.0),
        flip=True,
        epsilon=1e-7,
        resume=False,
        log_every=3,
        precision="mixed_float16",
    )
    # No field of this configuration may keep its default unnoticed for want of a line.
    path = tmp_path / "run.flags"
    path.write_text("# a comment\n\n" + "\n".join(flagfiles.to_lines(configuration)), encoding="utf-8")
    assert flagfiles.read(path, TrainingConfiguration) == configuration


def test_defaults_can_be_left_out():
    configuration = TrainingConfiguration(seed=3, resume=False, filters=(1, 2, 3, 4), output_dir="here")
    assert flagfiles.to_lines(configuration, with_defaults=False) == [
        "--filters=1,2,3,4",
        "--output_dir=here",
        "--noresume",
        "--seed=3",
    ]


def test_every_field_is_in_the_flagfile_or_none():
    configuration = TrainingConfiguration()
    names = {line.lstrip("-").removeprefix("no").partition("=")[0] for line in flagfiles.to_lines(configuration)}
    for field in dataclasses.fields(configuration):
        assert (field.name in names) == (getattr(configuration, field.name) is not None)


@pytest.mark.parametrize(
    "argument", ["--filters=8,x,8,8", "--decay_epochs=soon", "--epochs=2.5", "--integration=product", "--flip=perhaps"]
)
def test_values_of_the_wrong_kind_are_flag_errors(argument):
    with pytest.raises(flags.Error):
        parse(TrainingConfiguration, argument)


def test_values_out_of_their_limits_are_user_errors():
    with pytest.raises(UserError):
        parse(TrainingConfiguration, "--epochs=-1")


@pytest.mark.parametrize("path", sorted(FLAGS_FOLDER.glob("*.flags")), ids=lambda path: path.name)
def test_the_flagfiles_of_the_project_parse_and_say_what_they_are(path):
    flagfiles.read(path, TrainingConfiguration)
    comments = path.read_text(encoding="utf-8").splitlines()[:3]
    assert all(line.startswith("# ") for line in comments)
    assert f"--flagfile=flags/{path.name}" in "".join(comments)


def test_flagfiles_of_earlier_runs_have_their_flags_under_other_names(tmp_path):
    (tmp_path / "run.flags").write_text("--classifier=random_basis\n--classification_loss=bce\n")
    run = flagfiles.read(tmp_path / "run.flags", TrainingConfiguration)
    assert (run.head, run.classification_loss) == ("random_basis", "bce")
