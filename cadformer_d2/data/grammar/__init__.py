"""Expressions that single out one object of a scene: one grammar, whatever the scenes are from."""
