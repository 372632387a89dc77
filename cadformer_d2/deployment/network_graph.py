"""The network as a graph of tensors: pixels and tokens in, probabilities out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..library_errors import first_line
from ..structures import TextFeatures

MOST_IMAGES = 1024  # of a batch
EXAMPLE_BATCH, EXAMPLE_TOKENS = 3, 9  # sizes at which the graph is recorded; none may be 0 or 1


class NetworkGraph(nn.Module):
    """A CADFormer as a function of tensors, for any batch and any number of tokens.

    Normalisation and softmax are inside. A fixed expression is, too.
    """

    def __init__(
        self,
        model: Any,
        *,
        expression: tuple[Tensor, ...] = (),
        pixel_range: int = 255,
        swaps_channels: bool = False,
    ):
        """
        Args:
            model: a CADFormer in evaluation mode.
            expression: fields (1, T) of the one that all images are asked with; none: fields are
                inputs.
            pixel_range: largest value of a pixel, 255 or 1.
            swaps_channels: whether images come in the other channel order than the model's.
        """
        super().__init__()
        self.model = model
        self.pixel_scale = 255 / pixel_range
        self.swaps_channels = swaps_channels
        self.text = model.text_encoder(*expression) if expression else None

    @property
    def says_presence(self) -> bool:
        """Whether presence is a second output; programs for one expression take one output."""
        return self.model.presence is not None and self.text is None

    def forward(self, image: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (B, 3, H, W) in [0, pixel_range].
            fields: of the expressions, (B, T) each, in the order of the text encoder's ``reads``.

        Returns:
            probabilities (B, 2, H, W) of background and target; then, if ``says_presence``, (B,)
            of presence.
        """
        if self.swaps_channels:
            image = image.flip(1)
        if self.text is None:
            text = self.model.text_encoder(*fields)
        else:
            text = _repeat(self.text, image.shape[0])
        images = self.model.normalize(image * self.pixel_scale)
        found = self.model.compute_probability(*self.model.compute_logits(images, text))
        return found if self.says_presence else found[:1]


def _repeat(text: TextFeatures, batch: int) -> TextFeatures:
    """One expression (1, T, C) for every image."""
    object_words, position_words = (
        None if words is None else _repeat(words, batch)
        for words in (text.object_words, text.position_words)
    )
    tokens, is_token = text.tokens.expand(batch, -1, -1), text.is_token.expand(batch, -1)
    return TextFeatures(tokens, is_token, object_words, position_words)


@torch.no_grad()
def record_graph(graph: NetworkGraph, size: tuple[int, int], *, max_tokens: int) -> ExportedProgram:
    """Record the graph for any number of images of one size, and any number of tokens.

    Args:
        size: (H, W).
        max_tokens: of an expression.

    Raises:
        ValueError: it depends on the number of images or tokens, or on values; the message says
            where.
    """
    inputs = example_inputs(
        graph, size, batch=EXAMPLE_BATCH, num_tokens=min(EXAMPLE_TOKENS, max_tokens)
    )
    graph(*inputs)  # so that caches of masks hold numbers, not the recorder's symbols
    images, tokens = Dim("images", max=MOST_IMAGES), Dim("tokens", max=max_tokens)
    of_fields = tuple({0: images, 1: tokens} for _ in inputs[1:])
    try:
        # The fused kernels of attention lay results out in another order, and the graph would hold
        # to it where other programs compute attention in steps.
        with sdpa_kernel(SDPBackend.MATH):
            program = torch.export.export(graph, inputs, dynamic_shapes=({0: images}, of_fields))
    except Exception as error:  # whatever the model's own code cannot do with symbols
        raise ValueError(
            f"the network cannot be recorded as a graph for any batch ({first_line(error)})"
        ) from error
    for part in program.graph_module.modules():  # blocks without gradients are graphs of their own
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def example_inputs(
    graph: NetworkGraph, size: tuple[int, int], *, batch: int, num_tokens: int, seed: int = 0
) -> tuple[Tensor, ...]:
    """Noise and words that the graph accepts; the expressions differ in length."""
    generator = torch.Generator().manual_seed(seed)
    high = 255 / graph.pixel_scale
    image = torch.rand((batch, 3, *size), generator=generator) * high
    if graph.text is not None:
        return (image,)
    lengths = torch.arange(num_tokens, num_tokens - batch, -1).clamp(min=min(num_tokens, 3))
    is_token = torch.arange(num_tokens) < lengths[:, None]
    words = torch.randint(5, 40, is_token.shape, generator=generator)  # that all encoders know
    fields = {
        "input_ids": words * is_token,
        "attention_mask": is_token.long(),
        "is_object": is_token & (words % 3 == 0),
        "is_position": is_token & (words % 2 == 0),
    }
    return (image, *(fields[name] for name in graph.model.text_encoder.reads))
