"""A dedicated interpreter for pickle opcodes, which imports, calls and runs nothing."""

import codecs
import mmap
import re
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from dsl_tf.data.formats.pickle_objects import result_of, set_state, symbol
from dsl_tf.data.formats.pickle_values import Raw, RefusedError, plain, sealed

_NEWEST_PROTOCOL = 5
_LONGEST_LINE = 255
_LONGEST_INTEGER = 64
_TYPES_OF_KEYS = (type(None), bool, int, float, str, bytes, np.number, np.bool_)
# What Python 2 writes of a str; other escapes would make Python warn.
_ESCAPED = re.compile(rb"""(?:[^\\]++|\\[\\'"nrtx])*+""")
# How a number is written: packed, or as a line of text.
_Layout: TypeAlias = struct.Struct | Callable[[bytes], Any]


class Machine:
    """The machine whose programs pickles are: a stack, marks that divide it, and a memo of shared values.

    Args:
        data: the file.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []
        # A dict, since the indices in a crafted file may be huge.
        self.memo: dict[int, Any] = {}
        # Text that stands for bytes is encoded once, and bytes that stand for bools are looked at once.
        self.budget = 2 * len(data)

    def run(self) -> Any:
        """Runs the whole program and returns its value.

        Raises:
            RefusedError: if the file holds what is not read.
            IndexError, KeyError, ValueError, OverflowError, struct.error: if it is damaged.
        """
        operations, data = _OPERATIONS, self.data
        while (code := data[self.position]) != _STOP:
            operation, argument = operations[code]
            self.position += 1
            operation(self, argument)
        value = self.stack.pop()
        if self.stack or self.outer_stacks or self.position + 1 != len(data):
            raise RefusedError("more than one value")
        return plain(value)

    # Reading the file.

    def number(self, layout: _Layout) -> Any:
        if not isinstance(layout, struct.Struct):
            parse = layout
            return parse(self.line())
        (value,) = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return value

    def skip(self, size: int) -> int:
        """Skips bytes and returns where they start, before anything is made of them."""
        start = self.position
        if not 0 <= size <= len(self.data) - start:
            raise ValueError
        self.position += size
        return start

    def counted(self, layout: struct.Struct) -> bytes:
        size = self.number(layout)
        return self.data[self.skip(size) : self.position]

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        start = self.position
        end = self.data.find(b"\n", start, start + longest + 1)
        if end < 0:
            raise ValueError
        self.position = end + 1
        return self.data[start:end]

    def spend(self, size: int) -> None:
        """Keeps a small file that refers to the same bytes over and over from taking for ever, or all memory."""
        self.budget -= size
        if self.budget < 0:
            raise RefusedError("the same bytes again and again")

    # Operations. Each takes the argument that the table of operations has for it.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_empty(self, kind: type) -> None:
        self.stack.append(kind())

    def push_number(self, layout: _Layout) -> None:
        self.stack.append(self.number(layout))

    def push_long(self, layout: struct.Struct) -> None:
        digits = self.counted(layout)
        if len(digits) > _LONGEST_INTEGER:
            raise RefusedError(f"an integer of {len(digits)} bytes")
        self.stack.append(int.from_bytes(digits, "little", signed=True))

    def push_unicode(self, layout: struct.Struct) -> None:
        self.stack.append(str(self.counted(layout), "utf-8", "surrogatepass"))

    def push_raw(self, layout: struct.Struct) -> None:
        size = self.number(layout)
        self.stack.append(Raw(self.data, self.skip(size), size))

    def push_unicode_line(self, _: None) -> None:
        self.stack.append(str(self.line(len(self.data)), "raw-unicode-escape"))

    def push_string_line(self, _: None) -> None:
        quoted = self.line(len(self.data))
        if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
            raise ValueError
        if not _ESCAPED.fullmatch(quoted, 1, len(quoted) - 1):
            raise ValueError
        content = codecs.escape_decode(quoted[1:-1])[0]
        self.stack.append(Raw(content, 0, len(content)))

    def push_global(self, _: None) -> None:
        self.stack.append(symbol(*(self.line().decode() for _ in range(2))))

    def push_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("a name that is not text")
        self.stack.append(symbol(module, name))

    def check_protocol(self, layout: struct.Struct) -> None:
        protocol = self.number(layout)
        if protocol > _NEWEST_PROTOCOL:
            raise RefusedError(f"the pickle protocol {protocol}")

    def check_frame(self, layout: struct.Struct) -> None:
        self.position = self.skip(self.number(layout))

    def memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, layout: _Layout) -> None:
        self.memo[self.number(layout)] = self.stack[-1]

    def get(self, layout: _Layout) -> None:
        self.stack.append(self.memo[self.number(layout)])

    def mark(self, _: None) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def after_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def push_tuple(self, size: int) -> None:
        items = [self.stack.pop() for _ in range(size)]
        self.stack.append(sealed(items[::-1]))

    def push_marked_tuple(self, _: None) -> None:
        self.push(sealed(self.after_mark()))

    def push_marked_list(self, _: None) -> None:
        self.push(list(map(plain, self.after_mark())))

    def push_marked_dict(self, _: None) -> None:
        items = self.after_mark()
        self.stack.append({})
        self.update(items)

    def append(self, _: None) -> None:
        item = self.stack.pop()
        self.last(list).append(plain(item))

    def extend(self, _: None) -> None:
        items = self.after_mark()
        self.last(list).extend(map(plain, items))

    def set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def set_items(self, _: None) -> None:
        self.update(self.after_mark())

    def update(self, items: list[Any]) -> None:
        target = self.last(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            key = plain(key)
            # Nested tuples can take for ever to hash.
            if not isinstance(key, _TYPES_OF_KEYS):
                raise RefusedError(f"a dict's key of the type {type(key).__name__}")
            target[key] = plain(value)

    def last(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise RefusedError(f"items for what is not a {kind.__name__}")
        return self.stack[-1]

    def refuse(self, what: str) -> None:
        raise RefusedError(what)

    def reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(result_of(function, arguments, self.spend))

    def build(self, _: None) -> None:
        state = self.stack.pop()
        set_state(self.stack[-1], state, self.spend)


def _parse_integer(line: bytes) -> int:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _parse_long(line: bytes) -> int:
    return int(line.removesuffix(b"L"))


_BYTE, _SHORT, _UNSIGNED, _SIGNED, _LONG = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<i", "<Q"))
_DOUBLE = struct.Struct(">d")
_STOP = ord(".")
_ARGUMENTS: dict[Callable[[Machine, Any], None], dict[str, Any]] = {
    Machine.check_protocol: {"\x80": _BYTE},
    Machine.check_frame: {"\x95": _LONG},
    Machine.push: {"N": None, "\x88": True, "\x89": False},
    Machine.push_empty: {"]": list, "}": dict, ")": tuple},
    Machine.push_number: {
        **{"I": _parse_integer, "L": _parse_long, "F": float},
        **{"K": _BYTE, "M": _SHORT, "J": _SIGNED, "G": _DOUBLE},
    },
    Machine.push_long: {"\x8a": _BYTE, "\x8b": _SIGNED},
    Machine.push_unicode: {"\x8c": _BYTE, "X": _UNSIGNED, "\x8d": _LONG},
    Machine.push_unicode_line: {"V": None},
    Machine.push_raw: {"U": _BYTE, "T": _SIGNED, "C": _BYTE, "B": _UNSIGNED, "\x8e": _LONG, "\x96": _LONG},
    Machine.push_string_line: {"S": None},
    Machine.put: {"p": int, "q": _BYTE, "r": _UNSIGNED},
    Machine.memoize: {"\x94": None},
    Machine.get: {"g": int, "h": _BYTE, "j": _UNSIGNED},
    Machine.mark: {"(": None},
    Machine.push_tuple: {"\x85": 1, "\x86": 2, "\x87": 3},
    Machine.push_marked_tuple: {"t": None},
    Machine.push_marked_list: {"l": None},
    Machine.push_marked_dict: {"d": None},
    Machine.append: {"a": None},
    Machine.extend: {"e": None},
    Machine.set_item: {"s": None},
    Machine.set_items: {"u": None},
    Machine.push_global: {"c": None},
    Machine.push_stack_global: {"\x93": None},
    Machine.reduce: {"R": None},
    Machine.build: {"b": None},
    Machine.refuse: {
        **dict.fromkeys("01", "a tuple that holds itself"),
        **dict.fromkeys("io\x81\x92", "an instance of a class"),
        **dict.fromkeys("\x8f\x90\x91", "a set"),
        **dict.fromkeys(
            "PQ\x82\x83\x84\x97\x98", "a reference to what is outside the file (or the file is not a pickle)"
        ),
    },
}
_OPERATIONS = {
    ord(code): (operation, argument)
    for operation, arguments in _ARGUMENTS.items()
    for code, argument in arguments.items()
}
