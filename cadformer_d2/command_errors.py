"""How a command ends where its user can help: with one line, not with a traceback."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# What a file, a folder, an option or a value that the user gave can cause. ImportError: an extra
# that is not installed. Errors of our own making (assertions and the like) are not among them.
USER_ERRORS = (ValueError, OSError, KeyError, FloatingPointError, ImportError, MemoryError)
# torch reports what the machine lacks, and what a loader's worker process found, as RuntimeError.
USERS_RUNTIME_ERRORS = re.compile(
    "out of memory|not enough memory|can't allocate memory|DataLoader worker"
)
# An error of a worker process comes as a text with the traceback in it; the error's own last line
# follows the last of the indented lines.
OF_A_WORKER = re.compile(r"Caught \w+ in .*\n.*Original Traceback", re.DOTALL)
LAST_OF_TRACEBACK = re.compile(r".*^ +.*?\n(?:[\w.]+: )?", re.DOTALL | re.MULTILINE)
INTERRUPTED = 130  # the exit status of a command that Ctrl-C has ended, as shells have it


def run_command(main: Callable[..., None], *arguments: Any) -> None:
    """Call ``main(*arguments)``, the whole of a command.

    Raises:
        SystemExit: with one line for what the user can mend; the traceback goes to the log file.
    """
    # A log file on a full disk must not bury the command's own words under logging's tracebacks.
    logging.raiseExceptions = False
    try:
        main(*arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not is_users(error):
            raise
        logger.debug("stopped by", exc_info=True)
        sys.exit(f"error: {one_line(error)}")


def is_users(error: Exception) -> bool:
    """Whether the user can help: it is no error of this project's own making."""
    if isinstance(error, RuntimeError):
        return USERS_RUNTIME_ERRORS.search(str(error)) is not None
    return isinstance(error, USER_ERRORS)


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks; its type where it says nothing."""
    # A KeyError shows its argument with quotes around it.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if OF_A_WORKER.match(message):
        message = LAST_OF_TRACEBACK.sub("", message, count=1)
    return " ".join(message.split()) or type(error).__name__
