"""Read YAML as data: tags run no code, and no file can exhaust memory or time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20
# Values of a document after its aliases are expanded; nine lines of aliases make 10^9.
MAX_VALUES = 10_000
# What values raise that are none of the type they have or name: 2001-99-99, !!bool what.
VALUE_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)


class PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases that multiply and without keys that are lost."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Count the values below a node, with aliases expanded.

    Args:
        counted: values by the id of each node, filled here; 0 while a node is being counted.

    Raises:
        yaml.MarkedYAMLError: too many values, a node that contains itself, or a duplicate key.
    """
    if counted.setdefault(id(node), -1) == 0:
        raise yaml.MarkedYAMLError(problem="it contains itself", problem_mark=node.start_mark)
    if counted[id(node)] > 0:
        return counted[id(node)]
    counted[id(node)], total = 0, 1
    keys = set()
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            total += _count_values(key, counted) + _count_values(value, counted)
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                problem = f"the key {key.value!r} appears twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count_values(value, counted) for value in node.value)
    if total > MAX_VALUES:
        problem = f"more than {MAX_VALUES} values"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    counted[id(node)] = total
    return total


def parse_yaml(text: str, *, source: object) -> Any:
    """Parse a YAML document of plain values.

    Args:
        source: its name in error messages, such as its path.

    Raises:
        ValueError: not YAML, too large, or with tags beyond plain values; the message names source,
            line and problem.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{source} is larger than {MAX_BYTES} bytes; is it the right file?")
    try:
        return yaml.load(text, Loader=PlainLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = (error.problem or "not YAML").replace("tag:yaml.org,2002:", "!!")
        raise ValueError(
            f"{source}{line}: {problem}; expected YAML of plain values, without code"
        ) from error
    except VALUE_ERRORS as error:
        raise ValueError(f"{source} is not YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{source} is nested too deeply to be read") from error


def read_yaml(path: Path) -> Any:
    """``parse_yaml`` of a file on this machine.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see ``parse_yaml``.
    """
    if not path.is_file():  # a device or a pipe might never end
        raise FileNotFoundError(f"{path} is missing or not a file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    return parse_yaml(text, source=path)
