"""Operators without configuration, shared by the components of the model."""
