"""How linear maps start."""

from torch import nn


def initialize_linear(module: nn.Module) -> None:
    """Swin's start, for ``Module.apply``: weights from a truncated normal of 0.02, biases 0.

    What is a 1x1 convolution in LAVT (the maps of pixel-word attention) and the decoders keep
    PyTorch's start.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
