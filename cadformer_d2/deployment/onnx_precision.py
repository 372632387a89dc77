"""Smaller numbers in an ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LEAST_STORED = 1024  # numbers of a tensor that is worth storing in half precision


def change_precision(model: Any, precision: str) -> Any:
    """
    Args:
        model: an onnx.ModelProto in float32; may be changed.
        precision: "float32": as it is; "half": weights are stored in half precision and read in
            float32, so that every machine computes as before; "int8": the weights of matrix
            products are 8-bit integers, and so are the products (onnxruntime's dynamic
            quantisation).

    Returns:
        the model in that precision.
    """
    if precision == "half":
        return store_in_half(model)
    if precision == "int8":
        return quantize_products(model)
    return model


def store_in_half(model: Any) -> Any:
    """Round large weights to half precision; onnxruntime casts them once, when it opens the file.

    Weights that half precision cannot hold stay.
    """
    import onnx

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size < LEAST_STORED:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def quantize_products(model: Any) -> Any:
    """Dynamic quantisation of matrix products with constant weights, a scale a column."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(after)
