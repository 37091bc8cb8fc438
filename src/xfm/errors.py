"""The one exception that a user sees as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend: the message names the file, row or field and the remedy.

    The command line prints the message on one line and exits with status 2.
    """
