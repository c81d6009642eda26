import keras
import pytest

from tests.images import write_striped_folders


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
