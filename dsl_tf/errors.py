"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """A mistake in a flag, a file or a folder, told in one line.

    The message says what is wrong, what was expected, what was received and what to do. The scripts print it
    without a traceback and exit with code 2.
    """
