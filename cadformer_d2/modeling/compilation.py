"""torch.compile for the repeated blocks of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import _dynamo

from .activation_recomputation import is_recomputed

if TYPE_CHECKING:
    from .meta_arch import CADFormer

# Components with compiled blocks. The rest, with its branches on sizes, runs eagerly.
COMPILED = ("backbone", "alignment", "decoder")
# Blocks that differ in size share their code, and torch keeps a graph of each: two kinds of block
# at four stages, for training and evaluation and a few batch and image sizes.
MAX_GRAPHS_PER_CODE = 64


def compile_repeated(model: CADFormer, **options: Any) -> list[str]:
    """Compile the Swin blocks, the alignments and the decoder's levels, in place.

    Each is a small graph of fixed sizes, compiled at its first call; blocks of the same sizes share
    one. A new size of image, batch or expression makes new graphs. Weights keep their names.
    Modules that recompute their activations stay eager.

    Args:
        model: a CADFormer, before it is wrapped for several processes.
        options: of torch.compile, such as a backend or a mode.

    Returns:
        the names of the modules compiled.
    """
    config = _dynamo.config
    config.recompile_limit = max(config.recompile_limit, MAX_GRAPHS_PER_CODE)
    of_component = model.recomputed_modules()
    repeated = {module for component in COMPILED for module in of_component[component]}
    names = []
    for name, module in model.named_modules():
        if module in repeated and not is_recomputed(module):
            module.compile(**{"dynamic": False, **options})
            names.append(name)
    return names
