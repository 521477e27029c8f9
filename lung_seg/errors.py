"""The errors that are told in plain words."""


class UserError(Exception):
    """A user's mistake: the value got, the rule it breaks and the remedy, in one or two lines.

    The command line prints it without a traceback and exits with code 2.
    """


class FailureError(Exception):
    """What could not be done although nobody made a mistake: an export that differs, files that cannot be used.

    The command line prints it without a traceback and exits with code 1.
    """
