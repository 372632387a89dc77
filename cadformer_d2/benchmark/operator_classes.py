"""ATen operators by what they do on a GPU, and how many kernels each launches."""

from __future__ import annotations

import re

from torch import Tensor

# The first pattern that fits an operator's name wins.
PATTERNS = (
    ("matrix product", r"(mm|addmm|bmm|baddbmm|_addmm_activation)$"),
    ("convolution", r"convolution"),
    ("attention", r"_scaled_dot_product"),
    ("norm", r".*(layer_norm|batch_norm|group_norm)"),
    ("optimizer", r"_fused_|_foreach_"),
    ("copy, cast", r"_to_copy|copy_|clone|contiguous|cat$|stack|repeat"),
    (
        "index",
        r"_?(unsafe_)?index|embedding|gather|scatter|roll|constant_pad|flip|upsample|"
        r"(select|slice)_(backward|scatter)|unfold|im2col|col2im|sort",
    ),
    ("reduction", r"(sum|mean|var|var_mean|any|all|amax|max|min|norm|linalg_vector_norm)$"),
    ("reduction", r".*softmax|argmax|nll_loss|std|cumsum"),
)
CLASSES = (*dict.fromkeys(kind for kind, _ in PATTERNS), "layout change", "pointwise")

MADE_WITHOUT_KERNEL = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"),
    *("detach", "alias", "lift_fresh", "is_same_size", "resize_", "set_", "_local_scalar_dense"),
}
# Kernels of operators that do not launch exactly one, from a profile of PyTorch 2.11 on an H200.
LAUNCHES = {
    "native_layer_norm_backward": 3,  # the map's gradient; weight's and bias's in two halves
    "native_batch_norm": 3,
    "_native_batch_norm_legit": 3,
    "cudnn_batch_norm": 1,
    "native_batch_norm_backward": 3,
    "constant_pad_nd": 2,  # filled, then copied into
    "slice_backward": 2,
    "select_backward": 2,
    "slice_scatter": 2,
    "select_scatter": 2,
    "_safe_softmax": 4,  # softmax, comparison, all, where
    "embedding_dense_backward": 9,  # sorts the words
    "index_put_": 8,  # where it adds up, sorts the places
    "_scaled_dot_product_efficient_attention_backward": 2,
    "_scaled_dot_product_flash_attention_backward": 3,
    "_scaled_dot_product_cudnn_attention_backward": 3,
    "nll_loss2d_forward": 2,
    "nll_loss2d_backward": 2,
}
# How many times several kernels read and write what one kernel would read and write once.
PASSES = {"_safe_softmax": 2.9, "native_layer_norm_backward": 1.5, "constant_pad_nd": 1.5}
# Multi-tensor kernels: tensors per launch, and blocks of 65,536 elements.
TENSORS_A_LAUNCH, BLOCKS_A_LAUNCH, BLOCK = 36, 320, 65536


def operator_class(name: str) -> str:
    """The class of an operator, by its name."""
    return next((kind for kind, pattern in PATTERNS if re.match(pattern, name)), "pointwise")


def num_launches(name: str, args: tuple, tensors: list[Tensor]) -> int:
    """The number of kernels that one call launches."""
    if name == "roll":
        return max(1, len(args[2]) if len(args) > 2 else 1)
    if name.startswith(("_fused_", "_foreach_")):
        # It works on one list, whatever other lists it reads.
        listed = args[0]
        blocks = sum(-(-x.numel() // BLOCK) for x in listed)
        return max(-(-len(listed) // TENSORS_A_LAUNCH), -(-blocks // BLOCKS_A_LAUNCH))
    return LAUNCHES.get(name, 1)


def num_passes(name: str, args: tuple) -> float:
    """How many times an operator's kernels pass over its tensors."""
    return num_launches(name, args, []) if name == "roll" else PASSES.get(name, 1.0)
