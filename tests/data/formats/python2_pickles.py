"""Pickles of protocol 2, byte for byte as Python 2 and its NumPy wrote them: text is bytes."""

import struct

import numpy as np


def python2_pickle(value):
    """The pickle of dicts, lists, integers, arrays, bytes (Python 2's `str`) and text (its `unicode`)."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value):
    if isinstance(value, bytes):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_pickled, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_pickled(key) + _pickled(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    return _array(value)


def _array(array):
    kind, order = array.dtype.str[1:].encode(), array.dtype.str[:1].encode()
    dtype = (
        b"cnumpy\ndtype\n(" + _pickled(kind) + b"K\0K\1tR(K\3" + _pickled(order) + b"NNN" + _pickled(-1) * 2 + b"K\0tb"
    )
    shape = b"(" + b"".join(map(_pickled, array.shape)) + b"t"
    state = b"(K\1" + shape + dtype + b"\x89" + _pickled(array.tobytes()) + b"t"
    return b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR" + state + b"b"
