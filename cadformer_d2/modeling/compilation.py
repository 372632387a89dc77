"""torch.compile for the parts of a model that occur many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import _dynamo

from .checkpointing import is_recomputed

if TYPE_CHECKING:
    from .meta_arch import CADFormer

# What a graph is made of. The rest of the model, with its branches on sizes, runs as it is.
COMPILED = ("backbone", "alignment", "decoder")
# Blocks that differ in size share their code, and a graph of each is kept: of two kinds of block
# at four stages, each for training and evaluation and for a few batch and image sizes.
GRAPHS_OF_A_CODE = 64


def compile_repeated(model: CADFormer, **options: Any) -> list[str]:
    """Compile the Swin blocks, the alignments and the decoder's levels, in place.

    Each is a small graph of fixed sizes, made when it is first called; blocks of the same sizes
    share one. A new size of image, batch or sentence makes new graphs. Weights keep their names.
    Modules that recompute their activations are left as they are.

    Args:
        model: a CADFormer, before it is wrapped for several processes.
        options: of torch.compile, such as a backend or a mode.

    Returns:
        the names of the modules compiled.
    """
    config = _dynamo.config
    config.recompile_limit = max(config.recompile_limit, GRAPHS_OF_A_CODE)
    of_component = model.recomputed_modules()
    repeated = {module for component in COMPILED for module in of_component[component]}
    names = []
    for name, module in model.named_modules():
        if module in repeated and not is_recomputed(module):
            module.compile(**{"dynamic": False, **options})
            names.append(name)
    return names
