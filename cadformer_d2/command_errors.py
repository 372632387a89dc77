"""How a command ends where its user can help: with one line, not with a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# What a file, a folder, an option or a value that the user gave can cause. ImportError: an extra
# that is not installed. Errors of our own making (assertions and the like) are not among them.
USER_ERRORS = (ValueError, OSError, KeyError, FloatingPointError, ImportError)
INTERRUPTED = 130  # the exit status of a command that Ctrl-C has ended, as shells have it


def run_command(main: Callable[..., None], *arguments: Any) -> None:
    """Call ``main(*arguments)``, the whole of a command.

    Raises:
        SystemExit: with one line for what the user can mend; the traceback goes to the log file.
    """
    try:
        main(*arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except USER_ERRORS as error:
        logger.debug("stopped by", exc_info=True)
        sys.exit(f"error: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks; its type where it says nothing."""
    # A KeyError shows its argument with quotes around it.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(message).split()) or type(error).__name__
