"""The one exception a user may cause."""


class UserError(Exception):
    """A user's mistake: the value got, the rule it breaks and the remedy, in one or two lines.

    The command line prints it without a traceback and exits with code 2.
    """
