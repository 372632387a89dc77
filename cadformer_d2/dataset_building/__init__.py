"""From boxes and sentences to reviewed masks in RefCOCO-format files.

Each step keeps its results in a ``Workspace`` on disk, so that it can be resumed: ``readers`` ->
``GroundedTriplet`` -> ``segmenters`` -> ``quality`` -> ``review`` -> ``consensus`` -> ``writing``.
``description`` counts the contents.
"""
