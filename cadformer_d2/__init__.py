"""CADFormer, referring remote sensing image segmentation, as a Detectron2 project.

Importing this package registers the components, so that their names in configs resolve. Without
Detectron2 nothing is registered, and what needs neither it nor PyTorch works: files that
``cadformer export`` has written, with the extra ``onnx``.
"""

from importlib.util import find_spec
from typing import Any

from .version import __version__

__all__ = ["__version__", "add_cadformer_config", "modeling"]

if find_spec("detectron2") is not None:
    from . import modeling
    from .config import add_cadformer_config
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise ImportError(
            f"cadformer_d2.{name} needs Detectron2, which PyPI does not have under its own name. "
            "Run 'python tools/install_detectron2.py' (no compiler needed) or install any build of "
            "it."
        )
