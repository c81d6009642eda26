"""The error that a user can fix."""


class UserError(ValueError):
    """A mistake in a flag, a file or a folder, reported in one line.

    The message says what is wrong, what was expected, what was received and what to do. The commands print it
    without a traceback and exit with code 2.
    """


def reason_of(error: Exception) -> str:
    """Returns what an error says, in one line of at most 300 characters."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:300] or type(error).__name__
