"""From boxes and sentences to reviewed masks in RefCOCO-format files.

The way of the data, each step kept in a ``Workspace`` on disk so that it can be taken up again:
``readers`` -> ``GroundedTriplet`` -> ``segmenters`` -> ``quality`` -> ``review`` -> ``consensus``
-> ``writing``; ``description`` counts what is there.
"""
