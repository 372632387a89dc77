"""Commands in processes of their own, without the seconds that importing the libraries takes.

A server has imported the libraries, and nothing of this project. For each command it forks a
process that becomes ``python -W ignore <script> <arguments>``, or the program ``cadformer``, with
an environment, a folder, output and an exit status of its own; what the command imports of the
project is imported anew.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
CADFORMER = "cadformer"  # in a script's place: the program
# rasterio is not among them: GDAL reads its options once a process.
LIBRARIES = (
    "torch._dynamo",
    "torchvision",
    "transformers.models.bert.modeling_bert",
    "detectron2.engine",
    "cv2",
    "matplotlib.pyplot",
    "pydantic",
    "scipy.ndimage",
)
SECONDS = 300  # that a command of a test may take
fork_server = multiprocessing.get_context("forkserver")
fork_server.set_forkserver_preload(list(LIBRARIES))


def run(script, *arguments, log=None, **options):
    """What ``python <script> <arguments>`` ends with, once it has.

    Args:
        log: a file to which its output is added, instead of being returned.
        options: of ``start``.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (log, log) if log else (Path(folder, "out"), Path(folder, "err"))
        process = start(script, *arguments, output=output, errors=errors, **options)
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{script} {arguments}: not done after {SECONDS} s")
        said = ("", "") if log else (output.read_text(), errors.read_text())
        return subprocess.CompletedProcess((script, *arguments), process.exitcode, *said)


def start(script, *arguments, output, errors, folder=ROOT, environment=()):
    """The running process of a command.

    Args:
        script: a path, from the project's root or absolute.
        output, errors: files to which its standard output and errors are added.
        folder: where it runs.
        environment: variables, beside those of this process.
    """
    process = fork_server.Process(
        target=become,
        args=(
            str(ROOT / script),
            [str(argument) for argument in arguments],
            {**os.environ, **dict(environment)},
            str(folder),
            (str(output), str(errors)),
        ),
    )
    process.start()
    return process


def become(script, arguments, environment, folder, outputs):
    """Do in this process what a new interpreter does with a script."""
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    # The test process has the folders of tests and commands there; a command has its own.
    ours = (ROOT, *(ROOT / name for name in ("tests", "tools", "demo", "datasets")))
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    others = (path for path in sys.path if not {Path(path), *Path(path).parents[:1]} & {*ours})
    is_program = Path(script).name == CADFORMER
    sys.path[:] = [str(Path(script).parent), *filter(None, given), *others]
    sys.argv = [script, *arguments]
    fork_processes_of_a_run()
    try:
        if is_program:
            runpy.run_module("cadformer_d2", run_name="__main__")
        else:
            runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out


def fork_processes_of_a_run():
    """Fork what Detectron2's ``launch`` starts: nothing here has threads that a fork would lose."""
    import torch.multiprocessing

    start_processes = torch.multiprocessing.start_processes
    torch.multiprocessing.start_processes = partial(start_processes, start_method="fork")
