import keras
import pytest


@pytest.fixture
def policy(request):
    """Sets a global dtype policy for one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)
