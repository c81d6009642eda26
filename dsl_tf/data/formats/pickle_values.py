"""What is on the stack of the pickle interpreter: plain values, and stand-ins for what is never made of a file."""

import dataclasses
import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np


class RefusedError(Exception):
    """The file holds what is not read; the message says what, in a few words on one line."""


class Inert:
    """What is on the stack but is not, or not yet, a value to return."""

    __slots__ = ()

    def plain(self) -> Any:
        """Returns the value to return instead."""
        raise RefusedError("a class, a function or a dtype as a value")


@dataclasses.dataclass(slots=True, eq=False)
class Symbol(Inert):
    """The name of a class or a function."""

    name: str


@dataclasses.dataclass(slots=True, eq=False)
class Raw(Inert):
    """Bytes that stay in the file, since most are the data of an array."""

    buffer: mmap.mmap | bytes
    start: int
    size: int
    copy: bytes | None = None

    def plain(self) -> bytes:
        """Returns the bytes, the same object each time."""
        if self.copy is None:
            self.copy = self.buffer[self.start : self.start + self.size]
        return self.copy


@dataclasses.dataclass(slots=True, eq=False)
class Mixed(Inert):
    """A tuple that holds something inert, but no other of its kind: nesting them could take for ever."""

    items: list[Any]
    copy: tuple[Any, ...] | None = None

    def plain(self) -> tuple[Any, ...]:
        """Returns the tuple of plain values, the same object each time."""
        if self.copy is None:
            self.copy = tuple(map(plain, self.items))
        return self.copy


@dataclasses.dataclass(slots=True, eq=False)
class Type(Inert):
    """A dtype, which is None until its byte order is set."""

    kind: str
    dtype: np.dtype | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Array(Inert):
    """An array, which is None until its state is set."""

    array: np.ndarray | None = None

    def plain(self) -> np.ndarray:
        """Returns the array."""
        if self.array is None:
            raise RefusedError("an array without a state")
        return self.array


def plain(value: Any) -> Any:
    """Returns what to return for a value on the stack."""
    return value.plain() if isinstance(value, Inert) else value


def sealed(items: Iterable[Any]) -> tuple[Any, ...] | Mixed:
    """Returns the tuple of the items, or what stands for it."""
    items = [item.plain() if type(item) is Mixed else item for item in items]
    for item in items:
        if isinstance(item, Inert):
            return Mixed(items)
    return tuple(items)


def items_of(value: Any) -> tuple[Any, ...] | list[Any]:
    """Returns the items of a tuple, or of what stands for one."""
    if not isinstance(value, (tuple, Mixed)):
        raise RefusedError("arguments that are not a tuple")
    return value.items if isinstance(value, Mixed) else value


def text_of(value: Any) -> str:
    """Returns a text, which is bytes if Python 2 wrote it."""
    if not isinstance(value, (str, Raw)):
        raise RefusedError("arguments that are not text")
    return value if isinstance(value, str) else value.plain().decode("latin-1")


def known(text: str, texts: Iterable[str], what: str) -> str:
    """Returns the text if it is one of the texts, and refuses it otherwise."""
    if text not in texts:
        raise RefusedError(f"the {what} {text[:80]!r}")
    return text
