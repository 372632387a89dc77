"""Initialisation of linear maps."""

from torch import nn


def initialize_linear(module: nn.Module) -> None:
    """Swin's initialisation, for ``Module.apply``: truncated normal (std 0.02), zero biases.

    Decoders, and maps that are 1x1 convolutions in LAVT (pixel-word attention), keep PyTorch's
    initialisation.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
