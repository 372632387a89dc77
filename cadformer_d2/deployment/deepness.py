"""What the QGIS plugin Deepness reads from an ONNX file. Needs no PyTorch."""

from __future__ import annotations

import json

from ..exported_model import ExportedModel

OVERLAP = 25  # percent of a tile
CENTIMETRES = 100  # in a metre


def deepness_metadata(description: ExportedModel, *, metres: float | None) -> dict[str, str]:
    """Keys and JSON values of the file's metadata.

    Args:
        description: of a graph that answers one expression.
        metres: on the ground, a pixel; None: the plugin asks its user.

    Raises:
        ValueError: images are not square, which the plugin needs.
    """
    height, width = description.input_size
    if height != width:
        raise ValueError(
            f"the Deepness plugin reads square tiles, and the model {height} x {width} pixels; "
            "give a square --size"
        )
    values = {
        "model_type": "Segmentor",
        "class_names": dict(enumerate(description.class_names)),
        "tile_size": height,
        "tiles_size": height,  # as its manual spells it
        "tiles_overlap": OVERLAP,
        "seg_thresh": 0.5,
        "seg_small_segment": 0,
    }
    if metres is not None:
        values["resolution"] = metres * CENTIMETRES
    return {key: json.dumps(value) for key, value in values.items()}
