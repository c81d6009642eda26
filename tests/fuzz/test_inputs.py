"""Whatever a user hands over is a value or one line, within seconds."""

import pytest
from absl import logging
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl_tf.data.decoding import UnreadableImageError
from dsl_tf.data.encoding import encode_image
from tests.fuzz.inputs import KINDS, SIDE, NotToldError, bombs, outcome, try_input, whole_images

# The most costly ones are tried less often; benchmarks/fuzz.py tries them all for longer.
FEWER = {"prepared": 60, "meta-iNat": 100, "run": 120, "folders": 120, "pickled data set": 120}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Keeps back the warnings, one for each damaged image."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    yield
    logging.set_verbosity(before)


@pytest.mark.parametrize("kind", KINDS)
def test_any_input_is_a_value_or_one_line(kind):
    @settings(
        max_examples=FEWER.get(kind, 300),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def check(random):
        try_input(kind, random)

    check()


def test_every_kind_of_whole_image_is_told_from_a_bomb():
    for content in whole_images():
        try:
            encode_image(content, SIDE)
        except UnreadableImageError as error:
            assert str(error) in ("PNM images are not supported", "icon images are not supported")
    for content in bombs():
        with pytest.raises(UnreadableImageError, match="more than 100 megapixels"):
            encode_image(content, SIDE)


def broken():
    raise KeyError("a traceback")


def many_lines():
    raise UnreadableImageError("one\ntwo")


@pytest.mark.parametrize("call", [broken, many_lines])
def test_what_breaks_the_rule_is_seen(call):
    with pytest.raises(NotToldError):
        outcome(call)
