import keras
import pytest
import tensorflow as tf

from tests.images import write_striped_folders


@pytest.fixture(autouse=True)
def no_scope_stays_open():
    """Names the test that leaves a strategy's scope open, not those after it, which fail."""
    before = tf.distribute.has_strategy()
    yield
    assert tf.distribute.has_strategy() == before, "This test leaves a strategy's scope open."


@pytest.fixture
def policy(request):
    """Sets a global dtype policy for one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The striped classes as folders of PNG files."""
    folder = tmp_path_factory.mktemp("data")
    write_striped_folders(folder)
    return folder
