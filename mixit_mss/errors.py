"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the file or key, and what to do.

    Commands print it without a traceback and exit with status 1.  Every other exception is a
    fault of ours and keeps its traceback.
    """
