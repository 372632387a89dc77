"""3 x 3 convolutions with a quarter of the products, where no library does so itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exporting import is_recording_graph

TILE, STEP = 6, 4  # a tile of 6 x 6 input cells gives 4 x 4 outputs
# Below these, transforming the map or the kernels costs more than the products save.
FEWEST_CHANNELS, FEWEST_POSITIONS = 128, 2048

# Winograd's minimal filtering F(4 x 4, 3 x 3) at the points 0, 1, -1, 2, -2 and infinity
# (Lavin and Gray, arXiv 1509.09308): y = A^T [(G g) * (B^T d)] along each axis.
TO_TILE = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
TO_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
TO_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def convolve_3x3(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolution with zero padding of 1, each image with its own kernel or all with one.

    On a CPU in float32, wide maps use Winograd's algorithm, which PyTorch's CPU library lacks and
    cuDNN chooses by itself: about twice as fast on TCMD's maps, equal to 2e-5 of the largest
    output, gradients to 1e-5.

    Args:
        x: (B, C_in, h, w).
        kernels: (B or 1, C_out, C_in, 3, 3); rounded to the dtype of ``x``.

    Returns:
        (B, C_out, h, w).
    """
    if is_winograd_faster(x, kernels):
        return convolve_3x3_winograd(x, kernels)
    if len(kernels) == 1:
        return F.conv2d(x, kernels[0], padding=1)
    if x.is_cuda:
        return convolve_per_image(x, kernels)
    batch, _, height, width = x.shape
    # One grouped convolution: group b holds image b and its kernel.
    kernels = kernels.flatten(0, 1).to(x.dtype)
    y = F.conv2d(x.reshape(1, -1, height, width), kernels, padding=1, groups=batch)
    return y.reshape(batch, -1, height, width)


def convolve_columns(x: Tensor, kernels: Tensor) -> Tensor:
    """As ``convolve_3x3`` with a kernel for each image, as one product for any number of images.

    A grouped convolution would record the number of images in an exported graph. Nine shifted
    copies of the map take nine times its memory.

    Args:
        kernels: (B, C_out, C_in, 3, 3).
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    shifted = [padded[..., v : v + height, u : u + width] for v in range(3) for u in range(3)]
    columns = torch.cat(shifted, dim=1).flatten(2)  # (B, 9 C_in, h * w)
    rows = kernels.permute(0, 1, 3, 4, 2).flatten(2)  # (B, C_out, 9 C_in)
    return (rows @ columns).unflatten(2, (height, width))


def convolve_per_image(x: Tensor, kernels: Tensor) -> Tensor:
    """As ``convolve_3x3``, one image at a time, with channels last in memory.

    A grouped convolution needs channels first, and cuDNN would transpose maps and kernels before
    and after it.
    """
    maps = x.contiguous(memory_format=torch.channels_last).split(1)
    # Rounded and turned in one copy: (B, C_out, 9, C_in) in memory.
    cells = kernels.flatten(-2).mT.to(x.dtype, memory_format=torch.contiguous_format)
    pairs = zip(maps, cells.mT.unflatten(-1, (3, 3)).unbind(), strict=True)
    return torch.cat([F.conv2d(image, kernel, padding=1) for image, kernel in pairs])


def is_winograd_faster(x: Tensor, kernels: Tensor) -> bool:
    """Whether Winograd's savings outweigh its transforms; float32 on a CPU only."""
    if is_recording_graph():
        return False
    positions_of_a_kernel = len(x) // len(kernels) * x.shape[2] * x.shape[3]
    return (
        x.device.type == "cpu"
        and x.dtype == kernels.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and min(kernels.shape[1:3]) >= FEWEST_CHANNELS
        and positions_of_a_kernel >= FEWEST_POSITIONS
    )


def convolve_3x3_winograd(x: Tensor, kernels: Tensor) -> Tensor:
    """As ``convolve_3x3``."""
    batch, channels, height, width = x.shape
    rows, columns = (-(-side // STEP) for side in (height, width))
    padding = (1, columns * STEP + 1 - width, 1, rows * STEP + 1 - height)
    tiles = F.pad(x, padding).unfold(2, TILE, STEP).unfold(3, TILE, STEP)
    tiles = tiles.permute(4, 5, 0, 2, 3, 1).flatten(0, 1)  # (36, B, rows, columns, C_in)
    transformed = _kronecker_square(TO_TILE, x) @ tiles.flatten(1)
    # (36, B, tiles, C_in) times (36, B or 1, C_in, C_out)
    products = transformed.view(TILE**2, batch, -1, channels) @ _transform_kernels(kernels)
    outputs = _kronecker_square(TO_OUTPUT, x) @ products.flatten(1)
    outputs = outputs.view(STEP, STEP, batch, rows, columns, -1)
    whole = outputs.permute(2, 5, 3, 0, 4, 1)  # (B, C_out, rows, 4, columns, 4)
    # Channels last in memory, as the tiles are.
    whole = whole.permute(0, 2, 3, 4, 5, 1).reshape(batch, rows * STEP, columns * STEP, -1)
    return whole.permute(0, 3, 1, 2)[..., :height, :width]


def _transform_kernels(kernels: Tensor) -> Tensor:
    """(36, B, C_in, C_out) of (B, C_out, C_in, 3, 3)."""
    batch, out_channels, in_channels = kernels.shape[:3]
    cells = kernels.flatten(-2).permute(3, 0, 2, 1).flatten(1)  # (9, B * C_in * C_out)
    transformed = _kronecker_square(TO_KERNEL, kernels) @ cells
    return transformed.view(TILE**2, batch, in_channels, out_channels)


def _kronecker_square(matrix: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """The matrix that acts on flattened tiles as ``matrix`` does on rows and on columns."""
    one_axis = torch.tensor(matrix, dtype=like.dtype, device=like.device)
    return torch.kron(one_axis, one_axis)


class Convolution3x3(nn.Conv2d):
    """A 3 x 3 convolution without bias that keeps the map's size."""

    def __init__(self, in_channels: int, out_channels: int):
        """
        Args:
            in_channels, out_channels: of the maps.
        """
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) to (B, C_out, h, w)."""
        return convolve_3x3(x, self.weight[None])
