"""What a library says went wrong, as a message of this project can carry it."""

from __future__ import annotations

LONGEST_REASON = 300  # characters


def first_line(error: Exception) -> str:
    """The first line of an error's text; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON]
