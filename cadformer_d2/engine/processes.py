"""The processes that a command runs in: Detectron2's own, or those that torchrun has started."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException


def run_in_processes(
    main: Callable[..., None], arguments: argparse.Namespace, *, args: tuple[Any, ...]
) -> None:
    """Call ``main(*args)`` in every process of a run.

    Args:
        arguments: of Detectron2's ``default_argument_parser``.

    Raises:
        SystemExit: torchrun has started the processes, and the arguments ask for others; or a
            process ended early.
    """
    if not dist.is_torchelastic_launched():
        try:
            launch(
                call_and_leave,
                arguments.num_gpus,
                num_machines=arguments.num_machines,
                machine_rank=arguments.machine_rank,
                dist_url=arguments.dist_url,
                args=(main, *args),
            )
        except ProcessExitedException as error:
            # One that ended by itself has said why; one that was killed could not.
            raise SystemExit(1 if error.signal_name is None else f"error: {error}") from error
        return
    if arguments.num_gpus > 1 or arguments.num_machines > 1:
        raise SystemExit(
            "error: torchrun has started the processes already; leave out --num-gpus and "
            "--num-machines, or call the command without torchrun"
        )
    join_torchrun()
    call_and_leave(main, *args)


def join_torchrun() -> None:
    """Meet the other processes, as Detectron2's ``launch`` does for those it starts."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend="nccl" if has_gpu else "gloo")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def call_and_leave(main: Callable[..., None], *args: Any) -> None:
    """Call ``main(*args)``, then end the process group, which Detectron2 leaves to Python's exit.

    A thread of Gloo that frees its last tensor while Python shuts down aborts the process, and the
    run counts as failed. The threads end with the last reference to their group: Detectron2 holds
    two, and a trainer, which refers to itself, one more in its DistributedDataParallel.
    """
    main(*args)
    if not dist.is_initialized():
        return
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()
