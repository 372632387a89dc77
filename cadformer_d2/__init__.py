"""CADFormer, referring remote sensing image segmentation, as a Detectron2 project.

Importing this package registers the components, so that their names in configs resolve.
"""

try:
    import detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "cadformer_d2 needs Detectron2, which PyPI does not have under its own name. "
        "Run 'python tools/install_detectron2.py' (no compiler needed) or install any build of it."
    ) from error

from . import modeling
from .config import add_cadformer_config
from .version import __version__

__all__ = ["__version__", "add_cadformer_config", "modeling"]
