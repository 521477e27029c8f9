"""Errors that the command line reports without a traceback."""


class UserError(Exception):
    """A mistake of the user: the value, the rule it breaks and the remedy, in one or two lines. Exit code 2."""


class FailureError(Exception):
    """A failure without a mistake of the user, e.g. an export that differs or unusable files. Exit code 1."""


class UnusableFileError(ValueError):
    """Why a file is not read, in words for the user; raised inside a reader, which adds the file's name."""


def first_line(error: BaseException) -> str:
    """What the error of a library says, without its details and last full stop; its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".: ")
