"""The few calls in pickles that are understood: those that make the objects of NumPy's and Python's own pickles."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dsl_tf.data.formats.pickle_values import Array, Raw, RefusedError, Symbol, Type, items_of, known, text_of

_DIMENSIONS_LIMIT = 64
_WIDER_TYPES = ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
_DTYPES = {"|b1", "|i1", "|u1"} | {order + kind for order in "<>" for kind in _WIDER_TYPES}
_KINDS = {name[1:] for name in _DTYPES}
_LATIN1 = ("latin1", "latin-1")
# Only names to compare with; nothing is ever looked up by them.
_NAMES = {
    "__builtin__.bytearray",
    "__builtin__.bytes",
    "_codecs.encode",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
}


def symbol(module: str, name: str) -> Symbol:
    """Returns what stands for a class or a function.

    Raises:
        RefusedError: if it is not one of the few that are understood.
    """
    # What Python 2 and NumPy 1 called them.
    module = module.replace("numpy._core", "numpy.core").replace("builtins", "__builtin__")
    return Symbol(known(f"{module}.{name}", _NAMES, "name"))


def result_of(function: Any, arguments: Any, spend: Callable[[int], None]) -> Any:
    """Stands in for the call of a function.

    Args:
        function: what stands for it on the stack.
        arguments: a tuple, or what stands for one.
        spend: called with the number of bytes before they are copied or looked at.

    Returns:
        What the call would have made, or what stands for it.

    Raises:
        RefusedError: if the call is not one of the few that are understood.
    """
    if not isinstance(function, Symbol):
        raise RefusedError("a call of what is not a function")
    match function.name, items_of(arguments):
        case "numpy.core.multiarray._reconstruct", (Symbol(name="numpy.ndarray"), tuple(), Raw()):
            return Array()
        case "numpy.dtype", (kind, bool() | int(), bool() | int()):
            return Type(known(text_of(kind), _KINDS, "dtype"))
        case "numpy.core.numeric._frombuffer", (Raw() as raw, Type() as kind, tuple() as shape, str() as order):
            return Array(_array(raw, kind, shape, order, spend))
        case "numpy.core.numeric._frombuffer", (Raw() as raw, Type() as kind, tuple() as shape, "K", axes):
            return Array(_array(raw, kind, shape, "C", spend).transpose(_integers(axes)))
        case "numpy.core.multiarray.scalar", (Type() as kind, Raw() as raw):
            return _array(raw, kind, (), "C", spend)[()]
        case "_codecs.encode" | "__builtin__.bytearray", (str() as text, encoding) if text_of(encoding) in _LATIN1:
            spend(len(text))
            return Raw(text.encode("latin-1"), 0, len(text))
        case "__builtin__.bytes" | "__builtin__.bytearray", ():
            return Raw(b"", 0, 0)
        case "__builtin__.bytearray", (Raw() as raw,):
            return raw
    raise RefusedError(f"an unusual call of {function.name!r}")


def set_state(target: Any, state: Any, spend: Callable[[int], None]) -> None:
    """Sets the byte order of a dtype, or the content of an array; once only, as NumPy's own pickles do.

    Args:
        target: what stands for the dtype or the array.
        state: a tuple, or what stands for one.
        spend: called with the number of bytes before they are looked at.

    Raises:
        RefusedError: if the target has a state already, or NumPy would not have written this one.
    """
    match target, items_of(state):
        case Type(dtype=None), (3, order, None, None, None, -1, -1, 0):
            target.dtype = np.dtype(known(text_of(order) + target.kind, _DTYPES, "dtype"))
        case Array(array=None), (1, tuple() as shape, Type() as kind, 0 | 1 as fortran, Raw() as raw):
            target.array = _array(raw, kind, shape, "F" if fortran else "C", spend)
        case _:
            raise RefusedError("an unusual state of an object")


def _array(raw: Raw, kind: Type, shape: Any, order: str, spend: Callable[[int], None]) -> np.ndarray:
    """A read-only window on the bytes in the file."""
    dtype, shape = kind.dtype, _integers(shape)
    if dtype is None or order not in ("C", "F"):
        raise RefusedError("an unusual array")
    if math.prod(shape) * dtype.itemsize != raw.size:
        raise RefusedError(f"an array whose shape does not match its {raw.size} bytes")
    array: np.ndarray = np.ndarray(shape, dtype, raw.buffer, raw.start, order="F" if order == "F" else "C")
    if dtype == np.bool_:
        spend(raw.size)
        # NumPy counts and indexes past the end with other bytes.
        if array.view(np.uint8).max(initial=0) > 1:
            raise RefusedError("an array of bool with other bytes than 0 and 1")
    return array


def _integers(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > _DIMENSIONS_LIMIT or any(type(value) is not int for value in values):
        raise RefusedError("an array with an unusual shape")
    return values
