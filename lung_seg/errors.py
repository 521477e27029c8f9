"""Errors that the command line reports without a traceback."""


class UserError(Exception):
    """A mistake of the user: the value, the rule it breaks and the remedy, in one or two lines. Exit code 2."""


class FailureError(Exception):
    """A failure without a mistake of the user, e.g. an export that differs or unusable files. Exit code 1."""
