"""synthrs: aerial scenes drawn from a scene graph, with expressions that single out one object."""

from .generator import SynthrsParameters, generate_synthrs

__all__ = ["SynthrsParameters", "generate_synthrs"]
