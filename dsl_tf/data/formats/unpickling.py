"""Pickle files read as inert data: an own interpreter of their operations that imports, calls and runs nothing."""

import codecs
import dataclasses
import math
import mmap
import os
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from dsl_tf.errors import UserError

_NEWEST_PROTOCOL = 5
_LONGEST_LINE = 255
_LONGEST_INTEGER = 64
_DIMENSIONS_LIMIT = 64
_TYPES_OF_KEYS = (type(None), bool, int, float, str, bytes, np.number, np.bool_)
_WIDER_TYPES = ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
_DTYPES = {"|b1", "|i1", "|u1"} | {order + kind for order in "<>" for kind in _WIDER_TYPES}
_KINDS = {name[1:] for name in _DTYPES}
# What Python 2 writes of a str; other escapes would make Python warn.
_ESCAPED = re.compile(rb"""(?:[^\\]++|\\[\\'"nrtx])*+""")
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


def read_pickle(path):
    """Reads a pickle file of plain values and NumPy arrays of numbers, of any protocol, without running any of it.

    Arrays are read-only windows on the file, so that they need no memory of their own; the file must stay as it is
    while they are used.

    Args:
        path: the file.

    Returns:
        None, a bool, int, float, str, bytes, tuple, list, dict, NumPy array or scalar. The strings of Python 2 and
        bytearrays are bytes; the keys of a dict are no tuples.

    Raises:
        UserError: if the file is missing, damaged, or holds anything else, such as a call of a function.
    """
    machine = _Machine(_mapped(path))
    try:
        return machine.run()
    except _RefusedError as error:
        raise UserError(
            f"The pickle file {os.fspath(path)!r} must hold plain values and NumPy arrays of numbers only; nothing "
            f"in it is run. Received: {error}, near byte {machine.position}. Check where the file comes from."
        ) from None
    except (IndexError, KeyError, ValueError, OverflowError, struct.error):
        raise UserError(
            f"The file {os.fspath(path)!r} must be a whole pickle. Received: one that is cut short, damaged or no "
            f"pickle, as seen near byte {machine.position}. Fetch it again."
        ) from None


def _mapped(path):
    # Opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        reason = "not a regular file" if os.path.exists(path) else "no such file"
    else:
        try:
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            reason = error.strerror or str(error)
        except ValueError:
            reason = "an empty file"
    raise UserError(f"A pickle file must be readable. Received: {os.fspath(path)!r} ({reason}). Check the path.")


class _RefusedError(Exception):
    """The file holds what is not read; the message says what, in a few words on one line."""


class _Inert:
    """What lies on the stack but is not, or not yet, a value to return."""

    __slots__ = ()

    def plain(self):
        """The value to return instead."""
        raise _RefusedError("a class, a function or a dtype as a value")


@dataclasses.dataclass(slots=True, eq=False)
class _Symbol(_Inert):
    """The name of a class or a function."""

    name: str


@dataclasses.dataclass(slots=True, eq=False)
class _Raw(_Inert):
    """Bytes left where they are, since most are the data of an array."""

    buffer: mmap.mmap | bytes
    start: int
    size: int
    copy: bytes | None = None

    def plain(self):
        if self.copy is None:
            self.copy = self.buffer[self.start : self.start + self.size]
        return self.copy


@dataclasses.dataclass(slots=True, eq=False)
class _Mixed(_Inert):
    """A tuple that holds something inert, but no other of its kind: nesting them could take for ever."""

    items: list
    copy: tuple | None = None

    def plain(self):
        if self.copy is None:
            self.copy = tuple(map(_plain, self.items))
        return self.copy


@dataclasses.dataclass(slots=True, eq=False)
class _Type(_Inert):
    """A dtype, which is None until its byte order is set."""

    kind: str
    dtype: np.dtype | None = None


@dataclasses.dataclass(slots=True, eq=False)
class _Array(_Inert):
    """An array, which is None until its state is set."""

    array: np.ndarray | None = None

    def plain(self):
        if self.array is None:
            raise _RefusedError("an array without a state")
        return self.array


class _Machine:
    """The machine that pickles are programs of: a stack, marks that divide it, and a memo of shared values."""

    def __init__(self, data):
        self.data = data
        self.position = 0
        self.stack = []
        self.outer_stacks = []
        # A dict, since the indices in a crafted file may be huge.
        self.memo = {}
        # Text that stands for bytes is encoded once, and bytes that stand for bools are looked at once.
        self.budget = 2 * len(data)

    def run(self):
        operations, data = _OPERATIONS, self.data
        while (code := data[self.position]) != _STOP:
            operation, argument = operations[code]
            self.position += 1
            operation(self, argument)
        value = self.stack.pop()
        if self.stack or self.outer_stacks or self.position + 1 != len(data):
            raise _RefusedError("more than one value")
        return _plain(value)

    # Reading the file.

    def number(self, layout):
        if not isinstance(layout, struct.Struct):
            parse = layout
            return parse(self.line())
        (value,) = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return value

    def skip(self, size):
        """Passes over bytes and returns where they start, before anything is made of them."""
        start = self.position
        if not 0 <= size <= len(self.data) - start:
            raise ValueError
        self.position += size
        return start

    def counted(self, layout):
        size = self.number(layout)
        return self.data[self.skip(size) : self.position]

    def line(self, longest=_LONGEST_LINE):
        start = self.position
        end = self.data.find(b"\n", start, start + longest + 1)
        if end < 0:
            raise ValueError
        self.position = end + 1
        return self.data[start:end]

    def spend(self, size):
        """Keeps a small file that refers to the same bytes over and over from taking for ever, or all memory."""
        self.budget -= size
        if self.budget < 0:
            raise _RefusedError("the same bytes again and again")

    # Operations. Each takes the argument that the table of operations has for it.

    def push(self, value):
        self.stack.append(value)

    def push_empty(self, kind):
        self.stack.append(kind())

    def push_number(self, layout):
        self.stack.append(self.number(layout))

    def push_long(self, layout):
        digits = self.counted(layout)
        if len(digits) > _LONGEST_INTEGER:
            raise _RefusedError(f"an integer of {len(digits)} bytes")
        self.stack.append(int.from_bytes(digits, "little", signed=True))

    def push_unicode(self, layout):
        self.stack.append(str(self.counted(layout), "utf-8", "surrogatepass"))

    def push_raw(self, layout):
        size = self.number(layout)
        self.stack.append(_Raw(self.data, self.skip(size), size))

    def push_unicode_line(self, _):
        self.stack.append(str(self.line(len(self.data)), "raw-unicode-escape"))

    def push_string_line(self, _):
        quoted = self.line(len(self.data))
        if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
            raise ValueError
        if not _ESCAPED.fullmatch(quoted, 1, len(quoted) - 1):
            raise ValueError
        content, _ = codecs.escape_decode(quoted[1:-1])
        self.stack.append(_Raw(content, 0, len(content)))

    def push_global(self, _):
        self.stack.append(_symbol(*(self.line().decode() for _ in range(2))))

    def push_stack_global(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _RefusedError("a name that is no text")
        self.stack.append(_symbol(module, name))

    def check_protocol(self, layout):
        protocol = self.number(layout)
        if protocol > _NEWEST_PROTOCOL:
            raise _RefusedError(f"the pickle protocol {protocol}")

    def check_frame(self, layout):
        self.position = self.skip(self.number(layout))

    def memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, layout):
        self.memo[self.number(layout)] = self.stack[-1]

    def get(self, layout):
        self.stack.append(self.memo[self.number(layout)])

    def mark(self, _):
        self.outer_stacks.append(self.stack)
        self.stack = []

    def after_mark(self):
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def push_tuple(self, size):
        items = [self.stack.pop() for _ in range(size)]
        self.stack.append(_sealed(items[::-1]))

    def push_marked_tuple(self, _):
        self.push(_sealed(self.after_mark()))

    def push_marked_list(self, _):
        self.push(list(map(_plain, self.after_mark())))

    def push_marked_dict(self, _):
        items = self.after_mark()
        self.stack.append({})
        self.update(items)

    def append(self, _):
        item = self.stack.pop()
        self.last(list).append(_plain(item))

    def extend(self, _):
        items = self.after_mark()
        self.last(list).extend(map(_plain, items))

    def set_item(self, _):
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def set_items(self, _):
        self.update(self.after_mark())

    def update(self, items):
        target = self.last(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            key = _plain(key)
            # Nested tuples can take for ever to hash.
            if not isinstance(key, _TYPES_OF_KEYS):
                raise _RefusedError(f"a dict's key of the type {type(key).__name__}")
            target[key] = _plain(value)

    def last(self, kind):
        if type(self.stack[-1]) is not kind:
            raise _RefusedError(f"items for what is no {kind.__name__}")
        return self.stack[-1]

    def refuse(self, what):
        raise _RefusedError(what)

    def reduce(self, _):
        """Stands in for the call of a function: knows the few calls that NumPy's and Python's own pickles have."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Symbol):
            raise _RefusedError("a call of what is no function")
        result: object
        match function.name, _items(arguments):
            case "numpy.core.multiarray._reconstruct", (_Symbol(name="numpy.ndarray"), tuple(), _Raw()):
                result = _Array()
            case "numpy.dtype", (kind, bool() | int(), bool() | int()):
                result = _Type(_known(_text(kind), _KINDS, "dtype"))
            case "numpy.core.numeric._frombuffer", (_Raw() as raw, _Type() as kind, tuple() as shape, str() as order):
                result = _Array(self.array(raw, kind, shape, order))
            case "numpy.core.numeric._frombuffer", (_Raw() as raw, _Type() as kind, tuple() as shape, "K", axes):
                result = _Array(self.array(raw, kind, shape, "C").transpose(_integers(axes)))
            case "numpy.core.multiarray.scalar", (_Type() as kind, _Raw() as raw):
                result = self.array(raw, kind, (), "C")[()]
            case "_codecs.encode" | "__builtin__.bytearray", (str() as text, encoding) if _text(encoding) in _LATIN1:
                self.spend(len(text))
                result = _Raw(text.encode("latin-1"), 0, len(text))
            case "__builtin__.bytes" | "__builtin__.bytearray", ():
                result = _Raw(b"", 0, 0)
            case "__builtin__.bytearray", (_Raw() as raw,):
                result = raw
            case _:
                raise _RefusedError(f"an unusual call of {function.name!r}")
        self.stack.append(result)

    def build(self, _):
        """Sets the byte order of a dtype, or the content of an array; once only, as NumPy's own pickles do."""
        state = self.stack.pop()
        match self.stack[-1], _items(state):
            case _Type(dtype=None) as target, (3, order, None, None, None, -1, -1, 0):
                target.dtype = np.dtype(_known(_text(order) + target.kind, _DTYPES, "dtype"))
            case _Array(array=None) as target, (1, tuple() as shape, _Type() as kind, 0 | 1 as fortran, _Raw() as raw):
                target.array = self.array(raw, kind, shape, "F" if fortran else "C")
            case _:
                raise _RefusedError("an unusual state of an object")

    def array(self, raw, kind, shape, order):
        dtype, shape = kind.dtype, _integers(shape)
        if dtype is None or order not in ("C", "F"):
            raise _RefusedError("an unusual array")
        if math.prod(shape) * dtype.itemsize != raw.size:
            raise _RefusedError(f"an array whose shape does not fit its {raw.size} bytes")
        array = np.ndarray(shape, dtype, raw.buffer, raw.start, order=order)
        if dtype == np.bool_:
            self.spend(raw.size)
            # NumPy counts and indexes past the end with other bytes.
            if array.view(np.uint8).max(initial=0) > 1:
                raise _RefusedError("an array of bool with other bytes than 0 and 1")
        return array


def _plain(value):
    return value.plain() if isinstance(value, _Inert) else value


def _sealed(items):
    """The tuple of the items, or what stands for it."""
    items = [item.plain() if type(item) is _Mixed else item for item in items]
    for item in items:
        if isinstance(item, _Inert):
            return _Mixed(items)
    return tuple(items)


def _items(value):
    if not isinstance(value, (tuple, _Mixed)):
        raise _RefusedError("arguments that are no tuple")
    return value.items if isinstance(value, _Mixed) else value


def _integers(values):
    if type(values) is not tuple or len(values) > _DIMENSIONS_LIMIT or any(type(value) is not int for value in values):
        raise _RefusedError("an array with an unusual shape")
    return values


def _text(value):
    """A text, which is bytes where Python 2 wrote it."""
    if not isinstance(value, (str, _Raw)):
        raise _RefusedError("arguments that are no text")
    return value if isinstance(value, str) else value.plain().decode("latin-1")


def _symbol(module, name):
    # What Python 2 and NumPy 1 called them.
    module = module.replace("numpy._core", "numpy.core").replace("builtins", "__builtin__")
    return _Symbol(_known(f"{module}.{name}", _NAMES, "name"))


def _known(text, texts, what):
    if text not in texts:
        raise _RefusedError(f"the {what} {text[:80]!r}")
    return text


def _parse_integer(line):
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _parse_long(line):
    return int(line.removesuffix(b"L"))


_BYTE, _SHORT, _UNSIGNED, _SIGNED, _LONG = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<i", "<Q"))
_DOUBLE = struct.Struct(">d")
_STOP = ord(".")
_ARGUMENTS: dict[Callable, dict[str, Any]] = {
    _Machine.check_protocol: {"\x80": _BYTE},
    _Machine.check_frame: {"\x95": _LONG},
    _Machine.push: {"N": None, "\x88": True, "\x89": False},
    _Machine.push_empty: {"]": list, "}": dict, ")": tuple},
    _Machine.push_number: {
        **{"I": _parse_integer, "L": _parse_long, "F": float},
        **{"K": _BYTE, "M": _SHORT, "J": _SIGNED, "G": _DOUBLE},
    },
    _Machine.push_long: {"\x8a": _BYTE, "\x8b": _SIGNED},
    _Machine.push_unicode: {"\x8c": _BYTE, "X": _UNSIGNED, "\x8d": _LONG},
    _Machine.push_unicode_line: {"V": None},
    _Machine.push_raw: {"U": _BYTE, "T": _SIGNED, "C": _BYTE, "B": _UNSIGNED, "\x8e": _LONG, "\x96": _LONG},
    _Machine.push_string_line: {"S": None},
    _Machine.put: {"p": int, "q": _BYTE, "r": _UNSIGNED},
    _Machine.memoize: {"\x94": None},
    _Machine.get: {"g": int, "h": _BYTE, "j": _UNSIGNED},
    _Machine.mark: {"(": None},
    _Machine.push_tuple: {"\x85": 1, "\x86": 2, "\x87": 3},
    _Machine.push_marked_tuple: {"t": None},
    _Machine.push_marked_list: {"l": None},
    _Machine.push_marked_dict: {"d": None},
    _Machine.append: {"a": None},
    _Machine.extend: {"e": None},
    _Machine.set_item: {"s": None},
    _Machine.set_items: {"u": None},
    _Machine.push_global: {"c": None},
    _Machine.push_stack_global: {"\x93": None},
    _Machine.reduce: {"R": None},
    _Machine.build: {"b": None},
    _Machine.refuse: {
        **dict.fromkeys("01", "a tuple that holds itself"),
        **dict.fromkeys("io\x81\x92", "an instance of a class"),
        **dict.fromkeys("\x8f\x90\x91", "a set"),
        **dict.fromkeys("PQ\x82\x83\x84\x97\x98", "a reference to what is outside of the file (or no pickle)"),
    },
}
_OPERATIONS = {
    ord(code): (operation, argument)
    for operation, arguments in _ARGUMENTS.items()
    for code, argument in arguments.items()
}
