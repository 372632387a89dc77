"""synthrs: aerial scenes drawn from a scene graph, with expressions that single out one object."""

from ..grammar.any_targets import AnyTargets
from .generator import SynthrsParameters, generate_synthrs

__all__ = ["AnyTargets", "SynthrsParameters", "generate_synthrs"]
