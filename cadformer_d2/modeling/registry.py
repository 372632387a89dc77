"""How a component's name in the config finds its class.

A new component is a class in one file, registered under its name and imported in its package's
``__init__``; docs/extending.md walks through it.
"""

from __future__ import annotations

from typing import Any

from detectron2.utils.registry import Registry


def get_component_class(registry: Registry, name: str, *, key: str) -> Any:
    """The class registered as ``name``.

    Args:
        key: the config key the name came from, for the message.

    Raises:
        ValueError: nothing is registered under that name; the message lists the names that are.
    """
    known = registered_names(registry)
    if name not in known:
        raise ValueError(f"{key} is {name!r}; known names: {', '.join(known) or '(none)'}")
    return registry.get(name)


def registered_names(registry: Registry) -> list[str]:
    """Names that may stand in the config, sorted."""
    return sorted(name for name, _ in registry)
