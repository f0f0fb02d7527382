"""Report the failure of a command in one sentence, and save the traceback to a file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path

from mixit_mss import __version__
from mixit_mss.errors import UserError
from mixit_mss.machine import is_out_of_memory

REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again to go on",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTDIR: "it lies in a file, where a folder is needed",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EIO: "the disk cannot be read or written there",
    errno.EMFILE: "too many files are open; raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
    errno.EADDRINUSE: "the address is in use",
}
"""Messages for common system errors."""

WITHIN_WORKER = re.compile(r"^Caught (\w+) in .* worker process")


def open_streams() -> None:
    """Open the null device for each missing standard stream, and make names printable.

    Where a stream is missing (``2>&-``, ``pythonw``), the next file that is opened would take its
    descriptor.  Characters that an output cannot encode are escaped with backslashes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # takes the lowest free descriptor, which is that of the missing stream
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict" and mode == "w":
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def say(sentence: str) -> None:
    """Print on standard error; ignore errors if it cannot be written."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(sentence, file=sys.stderr, flush=True)


def flush() -> None:
    """Flush standard output now, while a failure can still be reported."""
    if sys.stdout is not None:
        sys.stdout.flush()


def explain(error: BaseException, name: str) -> str:
    """Say in one sentence why a command failed.

    Args:
        error: the exception that ended it.
        name: the command, such as ``mixit-mss segment``.
    """
    known = _known(error)
    if known is not None:
        return known
    what = f"{type(error).__name__}: {_one_line(str(error))}".rstrip(": ")
    return f"an unexpected error ({what}); {_saved(error, name)}"


def drop_unwritable_output() -> None:
    """Keep Python from failing again at exit when standard output cannot be written."""
    try:
        flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            hole = os.open(os.devnull, os.O_WRONLY)
            os.dup2(hole, sys.stdout.fileno())
            os.close(hole)


def _known(error: BaseException) -> str | None:
    """The sentence for an error with a cause outside this program; None for any other error."""
    if isinstance(error, UserError):
        return _one_line(str(error))
    if is_out_of_memory(error):
        return (
            "the memory does not suffice: end other programs, or ask for less at once (a smaller "
            "batch, shorter chunks, fewer processes)"
        )
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more, so the command stopped"
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"a text or a name is not valid UTF-8 ({_one_line(str(error))})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        return f"the package {package} is not installed; pip install it, or install again"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "a path holds NUL, which no file's name does"
    return None


def _of_the_system(error: OSError) -> str:
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, (str, bytes))
    ]
    reason = REASONS.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
    where = " -> ".join(f"'{name}'" for name in names)
    return _one_line(f"{where}: {reason}" if where else reason)


def _one_line(text: str) -> str:
    """The text on one line; for an error in a torch worker, only the error itself."""
    if WITHIN_WORKER.match(text):
        lines = [line for line in text.splitlines() if line.strip()]
        text = re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1])
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 1500 else f"{text[:1000]} ... {text[-300:]}"


def _saved(error: BaseException, name: str) -> str:
    try:
        path = save_traceback(error, name)
    except Exception as failure:
        return f"its traceback could not be saved ({_one_line(str(failure))}); --debug shows it"
    return f"its traceback is in '{path}', and --debug shows it"


def save_traceback(error: BaseException, name: str) -> Path:
    """Write the traceback of an error to a file of its own, atomically.

    The file is in ``$XDG_STATE_HOME/mixit_mss``, or in the temporary folder if that is not set.

    Raises:
        OSError: the file cannot be written.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) / "mixit_mss" if os.path.isabs(state) else Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"mixit_mss {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
        f"{shlex.join(sys.argv)}\n\n",
        *traceback.format_exception(error),
    ]
    stem = f"{name.replace(' ', '-')}-"
    number, partial = tempfile.mkstemp(prefix=f".{stem}", suffix=".partial", dir=folder)
    path = folder / f"{stem}{Path(partial).name[len(stem) + 1 : -len('.partial')]}.txt"
    try:
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    return path
