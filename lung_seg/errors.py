"""The errors that are told in plain words: the user's, and those of a file that was checked and is no good."""


class UserError(Exception):
    """A user's mistake: the value got, the rule it breaks and the remedy, in one or two lines.

    The command line prints it without a traceback and exits with code 2.
    """


class ExportError(RuntimeError):
    """An exported file does not do what the network does; nobody's mistake, so the exit code is 1."""
