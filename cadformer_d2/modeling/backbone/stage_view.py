"""What an alignment is given of a network that knows nothing of it."""

from __future__ import annotations

from torch import Tensor, nn


class StageView(nn.Module):
    """LayerNorm(V_i) + position_i.

    Features of a convolution network come at a scale of their own: the levels of EfficientNet-Lite2
    have standard deviations of 9.4, 8.5, 6.1 and 2.4. Beside them a position signal would vanish,
    and one level would count for more than another. The network itself goes on from V_i as it is.
    """

    def __init__(self, *, dim: int, position: nn.Module | None):
        """
        Args:
            dim: C_i, channels of the stage.
            position: gives the absolute position signal of a map size, or None.
        """
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.position = position

    def forward(self, visual: Tensor, map_size: tuple[int, int]) -> Tensor:
        """From V_i (B, N_i, C_i) of a map (height, width) to the same shape."""
        seen = self.norm(visual)
        if self.position is not None:
            seen = seen + self.position(*map_size)
        return seen
