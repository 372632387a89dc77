"""Write a trained model as one file: ONNX, or a program of torch.export."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..atomic_files import replace_atomically
from ..exported_model import (
    EXTRA_FILE,
    METADATA_KEY,
    ONNX_ENDING,
    PROGRAM_ENDING,
    ExportedModel,
    Precision,
    as_channel_order,
)
from ..inference.onnx_predictor import open_session
from ..inference.predictor import RefSegPredictor
from ..library_errors import first_line
from ..version import __version__
from .agreement import GraphFunction
from .deepness import deepness_metadata
from .network_graph import NetworkGraph, example_inputs, record_graph

OUTPUTS = ("probabilities", "presence")
ENDINGS = (ONNX_ENDING, PROGRAM_ENDING)
CHECKED_BATCH, CHECKED_TOKENS = 2, 6  # of the inputs on which a written file is compared
# Largest difference of a probability that rounding explains in a float32 file.
LARGEST_DIFFERENCE = 1e-3


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What a file shall be, beyond the model itself."""

    size: tuple[int, int] | None = None  # (H, W) of images; None: INPUT.SIZE
    precision: Precision = "float32"
    expression: str = ""  # that the file shall answer and no other; "": any
    licence: str = "other"  # as Hugging Face names licences
    metres: float | None = None  # on the ground, a pixel; for the Deepness plugin


def export_model(
    predictor: RefSegPredictor, path: Path, *, checkpoint: str, options: ExportOptions
) -> float:
    """Write a predictor's model as one file, compare its answers, and keep it only if they agree.

    Args:
        predictor: in float32, on a CPU.
        path: ending in .onnx or .pt2.
        checkpoint: hash of the weights.

    Returns:
        the largest difference of a probability between the file and the model, on noise.

    Raises:
        ValueError: another ending, options that the format lacks, a network that cannot be
            exported, or a file that answers otherwise; the message says why.
        ImportError: the extra ``export`` is not installed.
        OSError: the file could not be written.
    """
    refuse_impossible_export(path, options)
    size = options.size or predictor.input_size
    fixed = bool(options.expression)
    graph = NetworkGraph(
        predictor.model,
        expression=_fields_of(predictor, options.expression) if fixed else (),
        pixel_range=1 if fixed else 255,
        swaps_channels=fixed and predictor.image_format == "BGR",
    ).eval()
    description = describe_export(predictor, graph, checkpoint=checkpoint, options=options)
    program = record_graph(graph, size, max_tokens=predictor.tokenizer.max_tokens)
    with replace_atomically(path) as temporary:
        if path.suffix == PROGRAM_ENDING:
            extra = {EXTRA_FILE: description.model_dump_json()}
            torch.export.save(program, temporary, extra_files=extra)
            return _compare(graph, size, graph_function(temporary, PROGRAM_ENDING), path, options)
        metadata = {METADATA_KEY: description.model_dump_json()}
        if fixed:
            metadata |= deepness_metadata(description, metres=options.metres)
        write_onnx(program, temporary, description, metadata)
        return _compare(graph, size, graph_function(temporary, ONNX_ENDING), path, options)


def refuse_impossible_export(path: Path, options: ExportOptions) -> None:
    """Raise ValueError for another ending or options that the format lacks."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: one file ends in {' or '.join(ENDINGS)}")
    if path.suffix == PROGRAM_ENDING and options.precision != "float32":
        raise ValueError(f"--{options.precision} is of {ONNX_ENDING} files; {path} is none")
    if path.suffix == PROGRAM_ENDING and options.expression:
        raise ValueError(f"--expression is of {ONNX_ENDING} files; {path} is none")
    if options.metres is not None and not options.expression:
        raise ValueError("--resolution is for the Deepness plugin; give --expression as well")


def describe_export(
    predictor: RefSegPredictor, graph: NetworkGraph, *, checkpoint: str, options: ExportOptions
) -> ExportedModel:
    """What the file says about itself."""
    roles = predictor.network_input.role_parser
    reads = () if options.expression else predictor.model.text_encoder.reads
    return ExportedModel(
        written_by=f"cadformer_d2 {__version__}",
        input_size=options.size or predictor.input_size,
        channel_order="RGB" if graph.swaps_channels else as_channel_order(predictor.image_format),
        pixel_range=1 if options.expression else 255,
        reads=list(reads),
        max_tokens=predictor.tokenizer.max_tokens,
        tokenizer=predictor.tokenizer.to_json(),
        object_names=list(roles.names) if roles else [],
        role_special_tokens=roles.adds_special_tokens if roles else False,
        class_names=("background", options.expression or "target"),
        says_presence=graph.says_presence,
        precision=options.precision,
        licence=options.licence,
        checkpoint=checkpoint,
        expression=options.expression,
    )


def write_onnx(
    program: ExportedProgram, path: Path, description: ExportedModel, metadata: dict[str, str]
) -> None:
    """Write a recorded graph as an ONNX file with its weights inside.

    Raises:
        ValueError: an operator that ONNX lacks.
        ImportError: the extra ``export`` is not installed.
    """
    from .onnx_precision import change_precision

    inputs = ["image", *description.reads]
    outputs = list(OUTPUTS[: 1 + description.says_presence])
    try:
        with _silent_exporter(), sdpa_kernel(SDPBackend.MATH):  # as record_graph
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs
            )
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; ONNX files are written with the extra export: "
            "pip install 'cadformer_d2[export]'"
        ) from error
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(f"the network cannot be written as ONNX ({first_line(error)})") from error
    assert written is not None, "dynamo=True returns a program"
    model = written.model_proto
    # Where in which file of this machine each operator was called: a fifth of a small model.
    for part in (*model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    model = change_precision(model, description.precision)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def _fields_of(predictor: RefSegPredictor, expression: str) -> tuple[torch.Tensor, ...]:
    """An expression's fields (1, T), in the order in which the text encoder reads them."""
    fields = predictor.prepare_expression(expression)
    return tuple(fields[name][None] for name in predictor.model.text_encoder.reads)


def _compare(
    graph: NetworkGraph, size: tuple[int, int], function: Any, path: Path, options: ExportOptions
) -> float:
    """The largest difference on another batch than the graph was recorded with.

    Raises:
        ValueError: it is too large for rounding, in a file of full precision.
    """
    inputs = example_inputs(graph, size, batch=CHECKED_BATCH, num_tokens=CHECKED_TOKENS, seed=1)
    with torch.no_grad():
        pairs = zip(graph(*inputs), function(*inputs), strict=True)
        difference = max(
            float(np.abs(np.asarray(wanted) - np.asarray(found)).max()) for wanted, found in pairs
        )
    if options.precision == "float32" and not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"{path} is not written: its probabilities differ by {difference:.2g} from PyTorch's"
        )
    return difference


def graph_function(path: Path, ending: str, *, num_threads: int = 0) -> GraphFunction:
    """An exported file of our own as a function of tensors, on a CPU.

    Args:
        ending: of what the file holds, which may have another name.
        num_threads: of onnxruntime; 0: one a core.
    """
    if ending == PROGRAM_ENDING:
        return torch.export.load(path).module()
    session = open_session(path, device="cpu", num_threads=num_threads)
    names = [place.name for place in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> list[np.ndarray]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return session.run(None, feed)

    return run


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Without what the exporter says about its own steps."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
