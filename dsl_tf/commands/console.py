"""Console output: text that any terminal can show, and warnings and errors as lines without log prefixes."""

import codecs
import contextlib
import logging
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

USER_ERROR = 2
# Replacements for terminals that cannot show these characters.
_ASCII = {
    "─": "-",
    "━": "=",
    "│": "|",
    "·": "*",
    "±": "+-",
    "×": "x",
    "⊕": "(+)",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "→": "->",
    "←": "<-",
    "∞": "inf",
    "‖": "||",
    "λ": "lambda",
    "ε": "epsilon",
    "ω": "omega",
    "σ": "sigma",
    "μ": "mu",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}
_PLAIN = "dsl_tf_plain"


def plain(text: str) -> str:
    """Converts characters to ASCII; those without a replacement become escapes, such as `\\u4e2d`."""
    return "".join(_plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    if character in _ASCII or character.isascii():
        return _ASCII.get(character, character)
    parts = unicodedata.normalize("NFKD", character)
    ascii_parts = "".join(part for part in parts if part.isascii())
    return ascii_parts or parts.encode("ascii", "backslashreplace").decode()


def _encode_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(_PLAIN, _encode_error)


class _Lines(logging.Handler):
    """Prints each record as one line: `warning: what happened`."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            kind = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            print(f"{kind}{_one_line(record.getMessage())}", file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


@contextlib.contextmanager
def opened() -> Iterator[None]:
    """Lets standard output and error accept any text, and shows log records as lines."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before: list[tuple[Any, Any]] = [(stream, stream.errors) for stream in streams]
    loggers = [logging.getLogger(), logging.getLogger("tensorflow")]
    handlers = [logger.handlers[:] for logger in loggers]
    for stream in streams:
        stream.reconfigure(errors=_PLAIN)
    # TensorFlow adds its handler only if the root logger has none.
    loggers[0].handlers[:], loggers[1].handlers[:] = [_Lines()], []
    try:
        yield
    finally:
        for logger, earlier in zip(loggers, handlers):
            logger.handlers[:] = earlier
        for stream, errors in before:
            stream.reconfigure(errors=errors)


def error(message: object, code: int = USER_ERROR) -> int:
    """Prints an error as one line and returns the exit code."""
    sys.stdout.flush()
    print(f"error: {_one_line(message)}", file=sys.stderr, flush=True)
    return code
