"""Score a checkpoint on DATASETS.TEST: ``train --eval-only`` under a name of its own.

cadformer evaluate --config-file configs/rrsisd.yaml MODEL.WEIGHTS model_best.pth
"""

from __future__ import annotations

import sys

from detectron2.engine import default_argument_parser

from ..engine.processes import run_in_processes
from .train import run


def main() -> None:
    arguments = default_argument_parser().parse_args(["--eval-only", *sys.argv[1:]])
    run_in_processes(run, arguments, args=(arguments,))
