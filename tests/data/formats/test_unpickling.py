"""Tests of reading pickle files without running them, on files of pickle's own and on crafted ones."""

import builtins
import math
import os
import pickle
import random
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from dsl_tf.data.formats.unpickling import read_pickle
from dsl_tf.errors import UserError

PROTOCOLS = range(6)
NUMBERS = ("b1", "i1", "u1", "<i2", ">i4", "<i8", "<u2", ">u4", "<u8", "<f2", ">f4", "<f8")


def read(tmp_path, data):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return read_pickle(path)


def refusal(tmp_path, data):
    """The message of the one allowed error; that it also is quick and small shows in the time of the tests."""
    try:
        value = read(tmp_path, data)
    except UserError as error:
        message = str(error)
    else:
        pytest.fail(f"{data[:200]!r} was read as {str(value)[:200]}")
    assert message.isprintable() and "file.pkl" in message and "Received" in message and len(message) < 600
    return message


def peak_of(function, *args):
    """The most memory that a call has allocated, in bytes, which mapped files do not count to, and its result."""
    tracemalloc.start()
    try:
        result = function(*args)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def assert_same(actual, expected):
    if isinstance(expected, bytearray):
        expected = bytes(expected)
    assert type(actual) is type(expected)
    if isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected):
            assert_same(one, other)
    elif isinstance(expected, dict):
        assert_same(list(actual.items()), list(expected.items()))
    elif isinstance(expected, float):
        assert repr(actual) == repr(expected)
    else:
        assert actual == expected


# Files of Python 3.


VALUES = [
    *(None, True, False, 1.5, -0.0, math.inf, math.nan, 1e-300),
    *(0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**40, -(2**63), 2**64, 2**500),
    *("", "text", "with ' and \" and \\ and \\u0041", "two\nlines", "é€𝄞\ud800\0", "x" * 70000),
    *(b"", b"bytes", bytes(range(256)), bytes(range(256)) * 300, bytearray(), bytearray(b"\xff\0ab")),
    *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (b"a", ("b", (b"c", ())))),
    *([], [1], list(range(3000)), [[], [[]]], {}, {1: 2}, {b"a": [1], "a": (b"b",), None: {}, 2.5: True}),
    dict.fromkeys(range(3000), b"shared"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values(tmp_path, protocol):
    for value in VALUES:
        assert_same(read(tmp_path, pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_scalars(tmp_path, protocol):
    for dtype in NUMBERS:
        numbers = np.random.default_rng(0).integers(0, 2 if dtype == "b1" else 100, (4, 3, 5)).astype(dtype)
        many_shapes = [numbers, numbers[:, 0], numbers[0, 0, 0:0], numbers[:, 0:0], numbers[0, 0, 0].reshape(())]
        orders = [
            np.asfortranarray(numbers),
            numbers.transpose(1, 0, 2),
            numbers.transpose(2, 0, 1),
            numbers[::2, ::-1],
        ]
        value = {"shapes": many_shapes, "orders": orders, "scalar": numbers[1, 2, 3], numbers[0, 0, 1]: "key"}
        assert_same(read(tmp_path, pickle.dumps(value, protocol)), value)


def test_the_names_of_numpy_1(tmp_path):
    for protocol in PROTOCOLS:
        array = np.arange(6, dtype="<i4").reshape(2, 3)
        for value in (array, array[1, 2]):
            new = pickle.dumps(value, protocol)
            old = new.replace(b"numpy._core", b"numpy.core")
            for module in (b"multiarray", b"numeric"):
                # Protocols from 4 on have the length of the name before it, and that of the whole in front.
                name = b"numpy.core." + module
                old = old.replace(bytes([len(name) + 1]) + name, bytes([len(name)]) + name)
            if protocol >= 4:
                old = old[:3] + struct.pack("<Q", len(old) - 11) + old[11:]
            assert new != old
            assert_same(read(tmp_path, old), value)


def test_shared_objects_stay_shared(tmp_path):
    for protocol in PROTOCOLS:
        inner, array, content = [1], np.arange(3), b"content" * 50
        value = read(tmp_path, pickle.dumps([inner, inner, array, array, content, content, (array, content)], protocol))
        assert value[0] is value[1] and value[2] is value[3] and value[4] is value[5]
        assert value[6][0] is value[2] and value[6][1] is value[4]


def test_a_list_may_hold_itself(tmp_path):
    value = []
    value.append(value)
    result = read(tmp_path, pickle.dumps(value))
    assert len(result) == 1 and result[0] is result


def test_arrays_are_read_only(tmp_path):
    array = read(tmp_path, pickle.dumps(np.arange(3)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_arrays_outlive_the_name_of_the_file(tmp_path):
    array = read(tmp_path, pickle.dumps(np.arange(10_000)))
    os.remove(tmp_path / "file.pkl")
    np.testing.assert_array_equal(array, np.arange(10_000))


def test_path_of_every_kind(tmp_path):
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(1))
    assert read_pickle(str(tmp_path / "file.pkl")) == read_pickle(tmp_path / "file.pkl") == 1


# Files of Python 2 and NumPy 1: written by its pickle and cPickle.


PYTHON_2 = {
    "pickle 0": b"""(dp0
S'data'
p1
cnumpy.core.multiarray
_reconstruct
p2
(cnumpy
ndarray
p3
(I0
tp4
S'b'
p5
tp6
Rp7
(I1
(I2
I3
tp8
cnumpy
dtype
p9
(S'u1'
p10
I0
I1
tp11
Rp12
(I3
S'|'
p13
NNNI-1
I-1
I0
tp14
bI00
S'\\x00\\xff\\n\\'"\\\\'
p15
tp16
bsS'b'
p17
g2
(g3
(I0
tp18
g5
tp19
Rp20
(I1
(L1L
tp21
g12
I00
S"'"
p22
tp23
bs.""",
    "cPickle 0": b"(dp1\nS'b'\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\ntRp5\n"
    b"(I1\n(I1\ntp6\ncnumpy\ndtype\np7\n(S'u1'\np8\nI0\nI1\ntRp9\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS\"'\"\ntbs"
    b"S'data'\np10\ng2\n(g3\ng4\nS'b'\ntRp11\n(I1\n(I2\nI3\ntp12\ng9\nI00\nS'\\x00\\xff\\n\\'\"\\\\'\np13\ntbs.",
    "cPickle 1": b"}q\1(U\1bcnumpy.core.multiarray\n_reconstruct\nq\2(cnumpy\nndarray\nq\3(K\0tq\4U\1btRq\5"
    b"(K\1(K\1tq\6cnumpy\ndtype\nq\7(U\2u1q\x08K\0K\1tRq\t(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbI00\n"
    b"U\1'tbU\4dataq\nh\2(h\3h\4U\1btRq\x0b(K\1(K\2K\3tq\x0ch\tI00\nU\6\0\xff\n'\"\\q\rtbu.",
    "cPickle 2": b"\x80\2}q\1(U\1bcnumpy.core.multiarray\n_reconstruct\nq\2cnumpy\nndarray\nq\3K\0\x85q\4U\1b\x87Rq\5"
    b"(K\1K\1\x85q\6cnumpy\ndtype\nq\7U\2u1q\x08K\0K\1\x87Rq\t(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    b"\x89U\1'tbU\4dataq\nh\2h\3h\4U\1b\x87Rq\x0b(K\1K\2K\3\x86q\x0ch\t\x89U\6\0\xff\n'\"\\q\rtbu.",
}


def test_python_2_with_numpy_1(tmp_path):
    for writer in PYTHON_2:
        value = read(tmp_path, PYTHON_2[writer])
        assert sorted(value) == [b"b", b"data"]
        assert_same(value[b"data"], np.array([[0, 255, 10], [39, 34, 92]], np.uint8))
        assert_same(value[b"b"], np.array([39], np.uint8))


OF_PYTHON_2 = [
    (b"S'plain'\n.", b"plain"),
    (b"S'\\x80\\t\\n\\r\\\\ \\' \"'\np0\n.", b"\x80\t\n\r\\ ' \""),
    (b'S"it\'s"\n.', b"it's"),
    (b"S''\n.", b""),
    (b"V\\u20ac \\\\ \xe9\n.", "€ \\\\ é"),
    (b"I-12\n.", -12),
    (b"L12345678901234567890L\n.", 12345678901234567890),
    (b"F1.5\n.", 1.5),
    (b"I01\n.", True),
    (b"T\x03\0\0\0a\xffb.", b"a\xffb"),
    (b"(lp0\n(I1\nNtp1\nag1\na.", [(1, None), (1, None)]),
    (b"(dS'a'\nI1\ns.", {b"a": 1}),
    (b"(I1\nI2\nl.", [1, 2]),
    (b"(S'a'\nI1\nS'b'\n(ld.", {b"a": 1, b"b": []}),
    (b"c__builtin__\nbytearray\np0\n(Vab\xff\np1\nS'latin-1'\np2\ntp3\nRp4\n.", b"ab\xff"),
]


def test_python_2_values(tmp_path):
    for data, expected in OF_PYTHON_2:
        assert_same(read(tmp_path, data), expected)


# Memory.


def python_2_array(shape, size, kind=b"U\x02u1", order=b"U\x01|"):
    """What is before and after the raw bytes of an array in a file of protocol 2."""
    shape = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + kind + b"K\0K\1\x87R(K\3" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01"
    return start + shape + dtype + b"\x89\x8e" + struct.pack("<Q", size), b"tb"


def test_a_large_array_is_not_copied(tmp_path):
    size = 1 << 28
    before, after = python_2_array((size // 64, 64), size)
    with open(tmp_path / "large.pkl", "wb") as file:
        file.write(b"\x80\x02}U\x04data" + before)
        # Written no byte of, so that the test needs no space on disk.
        file.seek(size, os.SEEK_CUR)
        file.write(after + b"s.")
    peak, value = peak_of(read_pickle, tmp_path / "large.pkl")
    array = value[b"data"]
    assert array.shape == (size // 64, 64) and not array.flags.owndata and not array[-1].any()
    assert peak < 100_000


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_many_arrays_are_not_copied(tmp_path, protocol):
    rows = np.random.default_rng(0).integers(0, 256, (500, 20_000), dtype=np.uint8)
    (tmp_path / "many.pkl").write_bytes(pickle.dumps([row.copy() for row in rows], protocol))
    peak, value = peak_of(read_pickle, tmp_path / "many.pkl")
    np.testing.assert_array_equal(value, rows)
    assert peak < 2_000 * len(rows)


HUGE_LENGTHS = [
    *(code + struct.pack("<Q", 2**62) for code in (b"\x8d", b"\x8e", b"\x95", b"\x96")),
    *(code + struct.pack("<Q", 2**64 - 1) for code in (b"\x8d", b"\x8e", b"\x95", b"\x96")),
    *(code + struct.pack("<I", 2**31 - 1) for code in (b"B", b"T", b"X", b"\x8b")),
    *(code + struct.pack("<i", -1) for code in (b"B", b"T", b"X", b"\x8b")),
    *(b"N" + code + b"\xff\xff\xff\xff" for code in (b"r", b"j")),
    b"Np99999999999999999999999999\n",
    b"(" * 1000 + b"N" * 1000,
]


def test_huge_lengths_allocate_nothing(tmp_path):
    for data in HUGE_LENGTHS:
        peak, _ = peak_of(refusal, tmp_path, data)
        assert peak < 500_000


def test_a_huge_memo_index_allocates_nothing(tmp_path):
    peak, value = peak_of(read, tmp_path, b"]r\xff\xff\xff\xffj\xff\xff\xff\xff\x86.")
    assert value == ([], []) and value[0] is value[1]
    assert peak < 500_000


LARGE_INTEGERS = [b"\x8b" + struct.pack("<i", 65) + b"1" * 65, b"\x8a\xff" + b"1" * 255]


def test_large_integers_are_refused(tmp_path):
    for digits in LARGE_INTEGERS:
        assert "integer of" in refusal(tmp_path, digits + b".")


def test_long_numbers_in_text_are_refused(tmp_path):
    for count in (300, 1_000_000):
        for code in (b"I", b"L", b"F", b"p"):
            assert "damaged" in refusal(tmp_path, {b"p": b"N"}.get(code, b"") + code + b"1" * count + b"\n.")


DEPTH = 200_000


@pytest.mark.parametrize(
    "data",
    [b"]" * DEPTH + b"a" * (DEPTH - 1), b"(" * DEPTH + b"t" * DEPTH, b"N" + b"\x85" * DEPTH, b"C\1a" + b"\x85" * DEPTH],
    ids=["lists", "marked tuples", "tuples", "tuples of bytes"],
)
def test_deep_nesting(tmp_path, data):
    value = read(tmp_path, data + b".")
    depth = 1
    while value and isinstance(value[0], (list, tuple)):
        (value,) = value
        depth += 1
    assert depth == DEPTH


# Crafted files.


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


WRAPPINGS = [lambda call: call, lambda call: {"data": np.arange(3), "labels": [call]}]


def test_nothing_runs(tmp_path):
    for protocol in PROTOCOLS:
        for wrap in WRAPPINGS:
            probe = tmp_path / "probe"
            data = pickle.dumps(wrap(Call(os.mkdir, str(probe))), protocol)
            assert f"{os.mkdir.__module__}.mkdir" in refusal(tmp_path, data)
            assert not probe.exists()


def test_nothing_is_imported(tmp_path):
    assert "this.s" in refusal(tmp_path, b"cthis\ns\n.") and "this" not in sys.modules


FUNCTIONS = [os.system, eval, exec, getattr, __import__, np.load, np.frombuffer, np.array, set, complex, slice, object]


def test_functions_are_refused_by_name(tmp_path):
    for protocol in PROTOCOLS:
        for function in FUNCTIONS:
            message = refusal(tmp_path, pickle.dumps(Call(function, "print()"), protocol))
            assert function.__name__ in message
            assert (
                function.__module__.replace("builtins", "builtin") in message
                or function.__module__ == builtins.__name__
            )


OTHER_VALUES = [
    *(1j, {1, 2}, frozenset([1]), range(3), Call, len, Ellipsis, {(1, 2): 3}, {(): 3}),
    *(np.dtype("u1"), np.float32, np.array([None]), np.array(["text"]), np.array([b"text"]), np.complex64(1)),
    np.zeros(2, [("a", "u1"), ("b", "f4")]),
    np.zeros(2, "M8[s]"),
    np.zeros(2, "c8"),
    np.zeros(2, np.dtype("u1", metadata={"a": 1})),
    np.ma.array([1, 2]),
    np.zeros((2, 2)).view(np.matrix),
    np.random.default_rng(0),
]


@pytest.mark.filterwarnings("ignore:.*matrix:PendingDeprecationWarning", "ignore:.*metadata:UserWarning")
def test_other_values_are_refused(tmp_path):
    for protocol in PROTOCOLS:
        for value in OTHER_VALUES:
            refusal(tmp_path, pickle.dumps([value], protocol))


OTHER_DTYPES = ["O8", "O", "V8", "U2", "S2", "c8", "f16", "M8", "u16", "u1,u1", "", "x" * 1000]


def test_other_dtypes_are_refused_by_name(tmp_path):
    for kind in OTHER_DTYPES:
        before, after = python_2_array((1,), 8, b"X" + struct.pack("<I", len(kind)) + kind.encode())
        message = refusal(tmp_path, before + bytes(8) + after + b".")
        assert f"dtype {kind[:80]!r}" in message


KINDS_OF_NUMBERS = [b"U\x02u4", b"U\x02f8", b"U\x02b1"]
OTHER_ORDERS = [b"U\x01|", b"U\x01=", b"U\x00", b"U\x02<>", b"N", b"K\x01"]


def test_other_byte_orders_are_refused(tmp_path):
    for kind in KINDS_OF_NUMBERS:
        for order in OTHER_ORDERS:
            if (kind, order) == (b"U\x02b1", b"U\x01|"):
                continue
            before, after = python_2_array((0,), 0, kind, order)
            refusal(tmp_path, before + after + b".")


BEFORE, AFTER = python_2_array((3,), 3)
SMALL_ARRAY = BEFORE + b"\1\2\3" + AFTER
STATE = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"


def test_the_small_array(tmp_path):
    assert_same(read(tmp_path, SMALL_ARRAY + b"."), np.array([1, 2, 3], np.uint8))


CRAFTED_PARTS = [
    (b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
    (b"cnumpy\nndarray\n", b"cnumpy\nmatrix\n"),
    (b"cnumpy\nndarray\n", b"N"),
    (b"K\0\x85U\x01b\x87R", b"K\0\x85\x86R"),
    (b"\x87R(K\x01", b"\x87R(K\x02"),
    (b"(K\3U\1|", b"(K\4U\1|"),
    (STATE, STATE.replace(b"NNN", b"N}N")),
    (STATE, STATE.replace(b"NNN", b"NN(K\1t")),
    (STATE, STATE.replace(b"NNN", b"U\1aNN")),
    (STATE, STATE.replace(b"NNN", b"NN)N")),
    (STATE, STATE.replace(b"K\0t", b"K\x3ft")),
    (STATE, STATE.replace(b"K\0t", b"t")),
    (STATE, STATE.replace(b"K\0t", b"K\0Nt")),
    (STATE, STATE.replace(b"J\xff\xff\xff\xff", b"K\x08")),
    (STATE, b"0" * 20),
    (b"U\x02u1K\0K\1\x87R", b"U\x02u1\x85R"),
    (STATE, STATE + b"(K\3U\1|" + STATE),
    (b"\3" + AFTER, b"\3t)b"),
    (b"\3" + AFTER, b"\3tb(K\1K\3\x85NK\0U\0tb"),
    (b"\3" + AFTER, b"\3t]b"),
    (b"\3" + AFTER, b"\3t0"),
    (b"\3" + AFTER, b"\3t\x86R"),
    (b"\1\2\3", b"\1\2"),
]


def test_crafted_arrays_are_refused(tmp_path):
    for part, other in CRAFTED_PARTS:
        assert SMALL_ARRAY.count(part) == 1
        refusal(tmp_path, b"(" + SMALL_ARRAY.replace(part, other) + b"l.")


WRONG_SHAPES = [
    (4,),
    (2,),
    (),
    (-3,),
    (-1, -3),
    (3, 0),
    (0,),
    (3, 2**62, 4),
    (2**62, 4),
    (2**32, 2**32),
    (1,) * 65 + (3,),
]


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    for shape in WRONG_SHAPES:
        before, after = python_2_array(shape, 3)
        refusal(tmp_path, before + b"\1\2\3" + after + b".")


EMPTY_SHAPES = [(0, 2**62), (0, 2**62, 2**62), (2**63 - 1, 0, 9), (-1, 0), (0, -1)]


def test_huge_empty_shapes(tmp_path):
    for shape in EMPTY_SHAPES:
        before, after = python_2_array(shape, 0)
        try:
            assert read(tmp_path, before + after + b".").shape == shape and min(shape) >= 0
        except UserError:
            assert max(shape) > 2**60 or min(shape) < 0


NO_SHAPES = [b"]K\3a", b"K\3", b"N", b"K\3]\x86", b"G" + struct.pack(">d", 3) + b"\x85", b"\x88\x85"]


def test_shapes_of_other_types_are_refused(tmp_path):
    for shape in NO_SHAPES:
        refusal(tmp_path, SMALL_ARRAY.replace(b"(\x8a\x08" + struct.pack("<q", 3) + b"t", shape) + b".")


CRAFTED_AXES = [(0, 0), (0,), (0, 1, 2, 3), (-1, 5), (2**70, 0), "01", None]


def test_crafted_axes_are_refused(tmp_path):
    for axes in CRAFTED_AXES:
        data = pickle.dumps(np.zeros((2, 3, 4)).transpose(1, 0, 2), 5)
        end = b"K\x01K\x00K\x02\x87\x94"
        if data.count(end) != 1:
            pytest.skip("NumPy before 2.2 writes transposed arrays in another way.")
        crafted = data.replace(end, pickle.dumps(axes, 1)[:-1])
        refusal(tmp_path, b"\x80\x05" + crafted[11:])


def test_a_state_set_twice_is_refused(tmp_path):
    state = SMALL_ARRAY[SMALL_ARRAY.index(b"(K\1(") :]
    assert read(tmp_path, SMALL_ARRAY[: -len(state)] + state + b".").shape == (3,)
    assert "state" in refusal(tmp_path, SMALL_ARRAY + state + b".")


def test_bytes_that_are_no_bools_are_refused(tmp_path):
    data = pickle.dumps(np.ones(1000, bool), 4)
    assert "bool" in refusal(tmp_path, data.replace(b"\1" * 1000, b"\1" * 999 + b"\2"))


def test_large_arrays_of_bools(tmp_path):
    for protocol in PROTOCOLS:
        value = [np.random.default_rng(0).random(100_000) > 0.5, np.ones(50_000, bool)]
        assert_same(read(tmp_path, pickle.dumps(value, protocol)), value)


ENCODED = [b"c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86R", b"c__builtin__\nbytearray\nh\0U\x07latin-1\x86R"]


def test_text_is_not_encoded_again_and_again(tmp_path):
    for make in ENCODED:
        text = b"X" + struct.pack("<I", 1_000_000) + b"x" * 1_000_000 + b"q\0"
        peak, _ = peak_of(refusal, tmp_path, b"(" + text + make * 1000 + b"l.")
        assert peak < 10_000_000


def test_nested_keys_take_no_time(tmp_path):
    nested = b"N" + b"\x85" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(100))
    assert "key" in refusal(tmp_path, b"}" + nested + b"Ns.")
    nested = b"C\1a" + b"\x85" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(100))
    assert type(read(tmp_path, nested + b".")) is tuple


OTHER_KEYS = [b"]", b"}", b")", b"N\x85", b"]\x85", SMALL_ARRAY, b"cnumpy\nndarray\n"]


def test_other_keys_are_refused(tmp_path):
    for key in OTHER_KEYS:
        for data in (b"}" + key + b"Ns.", b"}(" + key + b"Nu.", b"(" + key + b"Nd."):
            refusal(tmp_path, data)


CRAFTED_FILES = [
    (b"cos\nsystem\n(Vtrue\ntR.", "'os.system'"),
    (b"cposix\nsystem\nVtrue\n\x85R.", "'posix.system'"),
    (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "'os.system'"),
    (b"c__builtin__\neval\n(Vtrue\ntR.", "'__builtin__.eval'"),
    (b"cbuiltins\nbytes.fromhex\n(Vtrue\ntR.", "bytes.fromhex"),
    (b"cnumpy\n\n.", "'numpy.'"),
    (b"c\xe2\x80\xa8\x1b[31m\nx\n.", r"'\u2028\x1b[31m.x'"),
    (b"(Vtrue\nios\nsystem\n.", "instance"),
    (b"(cnumpy\nndarray\no.", "instance"),
    (b"cnumpy\nndarray\n)\x81.", "instance"),
    (b"cnumpy\nndarray\n)}\x92.", "instance"),
    (b"\x82\x01.", "outside"),
    (b"\x83\x01\x01.", "outside"),
    (b"\x84\x01\x01\x01\x01.", "outside"),
    (b"P1\n.", "outside"),
    (b"K\x01Q.", "outside"),
    (b"\x97.", "outside"),
    (b"\x97\x98.", "outside"),
    (b"\x8f.", "set"),
    (b"\x80\x06N.", "protocol 6"),
    (b"\x80\x04K\x01K\x02\x93.", "name"),
    (b"}}b.", "tuple"),
    (b"})b.", "state"),
    (b"cnumpy\nndarray\n)b.", "state"),
    (b"cnumpy\nndarray\n}b.", "tuple"),
    (b"cnumpy\nndarray\n.", "class"),
    (b"cnumpy\nndarray\n\x85.", "class"),
    (b"]cnumpy\ndtype\na.", "class"),
    (b"cnumpy\nndarray\n)R.", "call of 'numpy.ndarray'"),
    (b"cnumpy\nndarray\nNR.", "tuple"),
    (b"N)R.", "function"),
    (b"])R.", "function"),
    (b"c_codecs\nencode\nVa\nVutf-16\n\x86R.", "call of '_codecs.encode'"),
    (b"c_codecs\nencode\nVa\nVlatin1\nVignore\n\x87R.", "call of '_codecs.encode'"),
    (b"c_codecs\nencode\nVa\n\x85R.", "call of '_codecs.encode'"),
    (b"c_codecs\nencode\nC\1aVzlib\n\x86R.", "call of '_codecs.encode'"),
    (b"c_codecs\nencode\nVa\nN\x86R.", "text"),
    (b"c__builtin__\nbytearray\nK\x7f\x85R.", "call of '__builtin__.bytearray'"),
    (b"c__builtin__\nbytes\nK\x7f\x85R.", "call of '__builtin__.bytes'"),
    (b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nVi8\n\x89\x88\x87RC\x08abcdefgh\x86R.", "array"),
    (b"]NNs.", "dict"),
    (b"}Na.", "list"),
    (b"}(Ne.", "list"),
    (b"N(Nu.", "dict"),
    (b")Na.", "list"),
    (b"NN.", "more than one"),
    (b"(N.", "more than one"),
    (b"N.N.", "more than one"),
    (b"N.\n", "more than one"),
]


def test_crafted_files_are_refused(tmp_path):
    for data, reason in CRAFTED_FILES:
        assert reason in refusal(tmp_path, data)


DAMAGED_FILES = [
    *(
        b".",
        b"a.",
        b"s.",
        b"(a.",
        b"e.",
        b"t.",
        b"R.",
        b"NR.",
        b"b.",
        b"Nb.",
        b"\x85.",
        b"N\x86.",
        b"q\0.",
        b"\x94.",
    ),
    *(b"N(a.", b"K\1(K\1s.", b"N(\x85.", b"h\0.", b"j\0\0\0\0.", b"g0\n.", b"gx\n.", b"(Nd.", b"}(Nu.", b"\xff."),
    *(
        b"Ix\n.",
        b"I\n.",
        b"LL\n.",
        b"Fx\n.",
        b"Sx\n.",
        b"S'\n.",
        b"S'x\"\n.",
        b"S'\\x'\n.",
        b"S'\\'\n.",
        b"S'\\q'\n.",
        b"S'\n.",
        b"S'\\8'\n.",
        b"V\\u12\n.",
    ),
    *(b"X\1\0\0\0\xff.", b"\x8c\1\xff.", b"c\xff\nx\n.", b"c_codecs\nencode\nV\\u20ac\nVlatin1\n\x86R."),
    *(b"\0", b"\n", b"no pickle", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY\1\0", b"\x1f\x8b\x08", b"2"),
]


def test_damaged_files_are_refused(tmp_path):
    for data in DAMAGED_FILES:
        assert "damaged" in refusal(tmp_path, data)


def test_no_file(tmp_path):
    (tmp_path / "empty.pkl").touch()
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "folder.pkl").mkdir()
    reasons = {"missing": "no such file", "empty": "an empty file", "pipe": "regular", "folder": "regular"}
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=rf"{name}\.pkl.*{reason}.*Check"):
            read_pickle(tmp_path / f"{name}.pkl")


# Damage everywhere.


def samples(protocols=PROTOCOLS):
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    value = {
        b"data": np.asfortranarray(array),
        "flags": np.array([True, False]),
        "labels": [1, 2.5, (array[0, 1], 300)],
    }
    value |= {
        "text": ["é", b"\xff", None, True, array.T, bytearray(b"a")],
        "more": [array.reshape(1, 2, 3).transpose(2, 0, 1)],
    }
    return [*(pickle.dumps(value, protocol) for protocol in protocols), *PYTHON_2.values()]


# Protocols 1, 2 and 4 have no operation that neither of these nor Python 2's files have.
@pytest.mark.parametrize("data", samples((0, 3, 5)), ids=lambda data: str(len(data)))
def test_every_truncation_is_refused(tmp_path, data):
    read(tmp_path, data)
    for length in range(1, len(data)):
        assert "damaged" in refusal(tmp_path, data[:length])


@pytest.mark.parametrize("data", samples(), ids=lambda data: str(len(data)))
def test_changed_bytes_give_a_value_or_the_error(tmp_path, data):
    rng = random.Random(0)
    codes = [ord(code) for code in "(.0]})NIJKMLFGSUTXVCBchjgqprtlduesabRioQP\x80\x81\x85\x86\x87\x8a\x93\x94\x95\x96"]
    refused = 0
    for _ in range(250):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 5])):
            position = rng.randrange(len(changed))
            match rng.randrange(4):
                case 0:
                    changed[position] ^= 1 << rng.randrange(8)
                case 1:
                    changed[position] = rng.choice(codes)
                case 2:
                    del changed[position : position + rng.randrange(1, 9)]
                case 3:
                    start = rng.randrange(len(data))
                    changed[position:position] = data[start : start + rng.randrange(1, 30)]
        try:
            repr(read(tmp_path, bytes(changed)))
        except UserError:
            refused += 1
    assert 0 < refused < 250
