"""Exchange between scales, in front of the decoder."""

from .build import build_neck, neck_reads_text
from .cim import CIM
from .lgce import LGCE
from .tmem import TMEM

__all__ = ["CIM", "LGCE", "TMEM", "build_neck", "neck_reads_text"]
