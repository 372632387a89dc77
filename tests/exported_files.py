"""A small exported file made by hand: it takes bright pixels for the target, and no second."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cadformer_d2.data.tokenization import load_tokenizer
from cadformer_d2.exported_model import METADATA_KEY, ExportedModel

SIDE = 32


def describe(**changes):
    """What the file says about itself."""
    values = {
        "written_by": "a test",
        "input_size": (SIDE, SIDE),
        "channel_order": "RGB",
        "reads": ["input_ids", "attention_mask"],
        "max_tokens": 12,
        "tokenizer": load_tokenizer("synthrs").to_str(),
        "checkpoint": "0123456789abcdef",
    }
    return ExportedModel(**{**values, **changes})


def write_bright_model(path, *, description=None, metadata=None):
    """P(target) = red / 255 for expressions of an even number of tokens, 1 - red / 255 for others.

    Args:
        metadata: instead of the description's.
    """
    description = description or describe()
    if metadata is None:
        metadata = {METADATA_KEY: description.model_dump_json()}
    numbers = {"side": np.float32(255), "one": np.float32(1), "two": np.int64(2)}
    shapes = {"starts": np.array([0]), "ends": np.array([1]), "channel": np.array([1])}
    of_the_last = {"words": np.array([1], np.int64)}
    constants = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in {**numbers, **shapes, **of_the_last}.items()
    ]
    nodes = [
        helper.make_node("Slice", ["image", "starts", "ends", "channel"], ["red"]),
        helper.make_node("Div", ["red", "side"], ["share"]),
        helper.make_node("ReduceSum", ["attention_mask", "words"], ["length"], keepdims=1),
        helper.make_node("Mod", ["length", "two"], ["odd"]),
        helper.make_node("Cast", ["odd"], ["odd_number"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["odd_number", "last_axes"], ["turned"]),
        helper.make_node("Sub", ["share", "turned"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["target"]),
        helper.make_node("Sub", ["one", "target"], ["background"]),
        helper.make_node("Concat", ["background", "target"], ["probabilities"], axis=1),
    ]
    constants.append(numpy_helper.from_array(np.array([2, 3]), "last_axes"))
    fields = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["images", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 3, SIDE, SIDE])
    output = helper.make_tensor_value_info(
        "probabilities", TensorProto.FLOAT, ["images", 2, SIDE, SIDE]
    )
    graph = helper.make_graph(nodes, "bright", [image, *fields], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path
