"""The accelerated operators once more, plainly, as their equations read.

They are what the product's operators are checked against, and what the benchmark's --reference
times. ``plain_operators`` puts them in the place of the product's for a while.
"""

from .operators import plain_operators

__all__ = ["plain_operators"]
