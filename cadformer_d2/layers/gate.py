"""The gate that decides how much of a fused feature flows back into its stream."""

from __future__ import annotations

from torch import Tensor, nn

from .initialization import initialize_linear


class LanguageGate(nn.Module):
    """gate(F) = tanh(W_2 relu(W_1 F)), equation 6 of the paper; LAVT's language gate.

    Neither map has a bias, and neither starts at zero: with both at zero the gate would never
    receive a gradient.
    """

    def __init__(self, *, dim: int):
        """
        Args:
            dim: channels of the gated feature.
        """
        super().__init__()
        self.reduce = nn.Linear(dim, dim, bias=False)
        self.expand = nn.Linear(dim, dim, bias=False)
        self.apply(initialize_linear)

    def forward(self, feature: Tensor) -> Tensor:
        """
        Args:
            feature: (..., dim).

        Returns:
            (..., dim) in (-1, 1).
        """
        return self.expand(self.reduce(feature).relu()).tanh()
