"""The processes of a command: those that Detectron2 starts, or torchrun."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm
from torch.distributed.distributed_c10d import _get_default_store
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ..command_errors import INTERRUPTED, run_command

LOST_CONNECTION = re.compile("gloo|NCCL|Connection|Socket", re.IGNORECASE)
SECONDS_TO_END = 5  # for other processes to end after an interrupt


def run_in_processes(
    main: Callable[..., None], arguments: argparse.Namespace, *, args: tuple[Any, ...]
) -> None:
    """Call ``main(*args)`` in every process of a run, each as a command.

    Args:
        arguments: of Detectron2's ``default_argument_parser``.

    Raises:
        SystemExit: with one line for errors that the user can fix, printed once for all processes;
            or a process ended early.
    """
    run_command(_start_processes, main, arguments, args)


def _start_processes(
    main: Callable[..., None], arguments: argparse.Namespace, args: tuple[Any, ...]
) -> None:
    if dist.is_torchelastic_launched():
        if arguments.num_gpus > 1 or arguments.num_machines > 1:
            raise ValueError(
                "torchrun has started the processes already; remove --num-gpus and "
                "--num-machines, or run the command without torchrun"
            )
        _join_torchrun()
        run_rank(main, *args)
        return
    _refuse_impossible_processes(arguments)
    if arguments.num_gpus * arguments.num_machines <= 1:
        main(*args)
        return
    try:
        launch(
            run_rank,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=(main, *args),
        )
    except ProcessExitedException as error:
        if error.exit_code == INTERRUPTED:
            raise KeyboardInterrupt from error
        # A process that exited has reported why; a killed one could not.
        raise SystemExit(1 if error.signal_name is None else f"error: {error}") from error
    except ProcessRaisedException as error:
        if "EADDRINUSE" in str(error):
            raise ValueError(
                f"the address {arguments.dist_url} is in use, perhaps by another run; "
                "add --dist-url auto"
            ) from error
        raise
    except KeyboardInterrupt:
        _end_children()
        raise


def _refuse_impossible_processes(arguments: argparse.Namespace) -> None:
    """Raise ValueError if the machine cannot start the processes of --num-gpus and the like."""
    if arguments.num_gpus < 0 or arguments.num_machines < 1:
        raise ValueError(
            f"--num-gpus is {arguments.num_gpus} and --num-machines "
            f"{arguments.num_machines}; expected 0 or more, and 1 or more"
        )
    if not 0 <= arguments.machine_rank < arguments.num_machines:
        raise ValueError(
            f"--machine-rank is {arguments.machine_rank}, but --num-machines is "
            f"{arguments.num_machines}"
        )
    if torch.cuda.is_available() and arguments.num_gpus > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus is {arguments.num_gpus}, but this machine has {torch.cuda.device_count()}"
        )
    if arguments.num_machines > 1 and arguments.dist_url == "auto":
        raise ValueError(
            "--dist-url auto works on one machine only; give an address that all can reach"
        )


def _end_children() -> None:
    """End the processes that this one has started: an interrupt may reach only the parent."""
    children = multiprocessing.active_children()
    for child in children:
        if child.pid is not None:
            os.kill(child.pid, signal.SIGINT)
    for child in children:
        child.join(SECONDS_TO_END)
        child.kill()
        child.join()


def _join_torchrun() -> None:
    """Join the process group, as Detectron2's ``launch`` does for processes that it starts."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend="nccl" if has_gpu else "gloo")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def run_rank(main: Callable[..., None], *args: Any) -> None:
    """Run ``main(*args)`` as one rank of a command, then leave the process group."""

    def run() -> None:
        try:
            main(*args)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)  # the parent reports it
        except RuntimeError as error:
            if not LOST_CONNECTION.search(str(error)):
                raise
            raise ConnectionError(f"another process of the run has ended ({error})") from error

    try:
        run_command(run)
    except SystemExit as end:
        if isinstance(end.code, str):
            print_once(end.code)
            sys.exit(1)
        raise
    _leave_group()


def print_once(line: str) -> None:
    """Print a line, unless another process of the run has printed one.

    An error in one process appears in the others, as itself or as a lost connection.
    """
    try:
        is_first = _get_default_store().add("cadformer_d2/said", 1) == 1
    except RuntimeError:  # the process with the store has ended, and has reported why
        is_first = False
    if is_first:
        print(line, file=sys.stderr, flush=True)


def _leave_group() -> None:
    """Destroy the process group, which Detectron2 leaves to Python's exit.

    A Gloo thread that frees its last tensor while Python shuts down aborts the process, so that the
    run fails. The threads end with the last reference to their group: Detectron2 holds two, and a
    trainer, which is in a reference cycle, one more in its DistributedDataParallel.
    """
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()
