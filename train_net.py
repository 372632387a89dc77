#!/usr/bin/env python3
"""Train or evaluate CADFormer, in Detectron2's manner.

    python train_net.py --config-file configs/rrsisd.yaml --num-gpus 1
    python train_net.py --config-file configs/rrsisd.yaml --eval-only MODEL.WEIGHTS model.pth

Any key of the config may follow as KEY VALUE.
"""

from __future__ import annotations

import argparse

from detectron2.engine import default_argument_parser, launch

from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.engine.setup import report_user_errors, setup
from cadformer_d2.engine.trainer import RefSegTrainer


def run(arguments: argparse.Namespace) -> None:
    """Train, or evaluate with --eval-only, in this process."""
    cfg = setup(arguments)
    if arguments.eval_only:
        model = RefSegTrainer.build_model(cfg)
        RefSegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        RefSegTrainer.test(cfg, model)
        return
    trainer = RefSegTrainer(cfg)
    trainer.resume_or_load(resume=arguments.resume)
    trainer.train()


def main() -> None:
    arguments = default_argument_parser().parse_args()
    launch(
        report_user_errors,
        arguments.num_gpus,
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
        args=(run, arguments),
    )


if __name__ == "__main__":
    main()
