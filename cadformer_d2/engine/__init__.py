"""Configuration of a run, training and evaluation."""
