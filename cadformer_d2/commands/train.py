"""Train or evaluate CADFormer, in Detectron2's manner.

    cadformer train --config-file configs/rrsisd.yaml --num-gpus 1
    cadformer train --config-file configs/rrsisd.yaml --eval-only MODEL.WEIGHTS model.pth
    torchrun --nproc-per-node 8 train_net.py --config-file configs/rrsisd.yaml

Any key of the config may follow as KEY VALUE.
"""

from __future__ import annotations

import argparse
import sys

from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from ..checkpoint import RefSegCheckpointer
from ..engine.processes import run_in_processes
from ..engine.setup import setup
from ..engine.trainer import RefSegTrainer


def _run(arguments: argparse.Namespace, trainer_class: type[RefSegTrainer]) -> None:
    """Train, or evaluate with --eval-only, in this process."""
    cfg = setup(arguments)
    if arguments.eval_only:
        model = trainer_class.build_model(cfg)
        RefSegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        results = trainer_class.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=arguments.resume)
    trainer.train()


def main(*given: str, trainer_class: type[RefSegTrainer] = RefSegTrainer) -> None:
    """
    Args:
        given: arguments beside those of the command line.
        trainer_class: a subclass that overrides steps of training or evaluation.
    """
    arguments = default_argument_parser().parse_args([*given, *sys.argv[1:]])
    run_in_processes(_run, arguments, args=(arguments, trainer_class))
