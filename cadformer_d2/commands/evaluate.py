"""Score a checkpoint on DATASETS.TEST: ``train --eval-only`` under a name of its own.

cadformer evaluate --config-file configs/rrsisd.yaml MODEL.WEIGHTS model_best.pth
"""

from __future__ import annotations

from . import train


def main() -> None:
    train.main("--eval-only")
