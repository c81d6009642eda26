import subprocess
import sys

import pytest

import dsl_tf


def test_importing_the_package_does_not_wait_for_tensorflow():
    script = "import sys, dsl_tf; assert 'tensorflow' not in sys.modules; dsl_tf.losses.NCALoss; dir(dsl_tf)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_subpackages_are_there_and_others_are_not():
    assert dsl_tf.evaluation.nearest_centroid and dsl_tf.models.resnet12 and dsl_tf.training.train
    with pytest.raises(AttributeError, match="nosuch"):
        dsl_tf.nosuch  # noqa: B018
