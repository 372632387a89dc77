"""Options of commands that can write refs to several targets and to none."""

from __future__ import annotations

import argparse

from ..data.grammar.any_targets import AnyTargets

_DEFAULT = AnyTargets()


def add_any_targets_options(parser: argparse.ArgumentParser, *, of: str) -> None:
    """Add ``--any-targets``, ``--several``, ``--absent`` and ``--hard-share``.

    Args:
        of: what has refs, with its article, such as "a scene".
    """
    parser.add_argument(
        "--any-targets", action="store_true", help="add refs to several targets and to none"
    )
    for name, what in (("several", "several targets or all"), ("absent", "what is not there")):
        given = f"refs of {of} to {what}, with --any-targets (default {getattr(_DEFAULT, name)})"
        parser.add_argument(f"--{name}", type=int, help=given)
    parser.add_argument(
        "--hard-share",
        type=float,
        help="of refs to what is not there, those to a category that is there, with a false place "
        f"or relation (default {_DEFAULT.hard_share})",
    )


def read_any_targets(arguments: argparse.Namespace) -> AnyTargets | None:
    """
    Raises:
        ValueError: a number is out of range, or given without ``--any-targets``.
    """
    given = {name: getattr(arguments, name) for name in ("several", "absent", "hard_share")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.any_targets:
        return AnyTargets(**given)
    if given:
        raise ValueError("--several, --absent and --hard-share need --any-targets")
    return None
