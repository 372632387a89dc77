"""What all commands share: numbers they take, and one line, no traceback, where users can help."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# What a file, a folder, an option or a value that the user gave can cause. ImportError: an extra
# that is not installed. Errors of our own making (assertions and the like) are not among them.
USER_ERRORS = (ValueError, OSError, KeyError, FloatingPointError, ImportError, MemoryError)
# torch reports what the machine lacks, and what a loader's worker process found, as RuntimeError;
# pathlib (before Python 3.13) a link that leads to itself.
USERS_RUNTIME_ERRORS = re.compile(
    r"Symlink loop|out of memory|not enough memory|can't allocate memory|DataLoader worker \(pid|"
    r"Caught Unicode\w+Error in DataLoader worker"  # which torch cannot raise as itself
)
# An error of a worker process comes as a text with the traceback in it.
OF_A_WORKER = re.compile(r"Caught (\w+) in .*\nOriginal Traceback ")
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
        if not _is_user_error(error):
            raise
        logger.debug("stopped by", exc_info=True)
        sys.exit(f"error: {format_one_line(error)}")


def _is_user_error(error: Exception) -> bool:
    """Whether the user can help: it is no error of this project's own making."""
    if isinstance(error, RuntimeError):
        return USERS_RUNTIME_ERRORS.search(str(error)) is not None
    return isinstance(error, USER_ERRORS)


def format_one_line(error: BaseException) -> str:
    """What an error says, without line breaks; its type where it says nothing."""
    # A KeyError shows its argument with quotes around it.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if found := OF_A_WORKER.match(message):
        # What follows the error's name where it stands last is the error itself.
        *_, message = re.split(rf"\n(?:[\w.]+\.)?{found[1]}: ", message)
        message = message.strip().strip("'") if found[1] == "KeyError" else message
    return " ".join(message.split()) or type(error).__name__


def at_least_one(text: str) -> int:
    """A whole number of 1 or more, as an argument's type."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number
