#!/usr/bin/env python3
"""Mutation testing: change the model's code in small ways and see whether the tests notice.

    python tools/mutate.py --sample 500 --seed 0
    python tools/mutate.py cadformer_d2/modeling/neck/cim.py

Each change is tried in a process of its own, forked from one that has imported everything but the
project, and only with the tests that run the function that was changed; nothing is written to the
source. Another call with the same --results resumes the run; delete that file after a change of
code or tests. docs/mutation.md reports the last run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.machinery
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mutants import Mutant, make_mutants
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
MUTATED = (
    *("cadformer_d2/layers", "cadformer_d2/modeling", "cadformer_d2/evaluation/metrics.py"),
    *("cadformer_d2/data/network_input.py", "cadformer_d2/data/masks.py"),
    "cadformer_d2/resampling.py",
)
TESTS = (
    *("tests/equations", "tests/layers", "tests/modeling", "tests/evaluation/test_metrics.py"),
    *(
        "tests/data/test_masks.py",
        "tests/data/test_mapper.py",
        "tests/data/test_expression_roles.py",
    ),
    *("tests/test_resampling.py", "tests/test_reference.py", "tests/test_checkpoint.py"),
)
SLOWEST_TEST = 3.0  # seconds; slower tests do not run for each change
# Processor seconds for the tests of one change: an endless loop is noticed by them, and a busy
# machine is not taken for one.
TIMEOUT = 60
OURS = tuple(ROOT / name for name in ("cadformer_d2", "tests", "tools"))


def main(arguments: argparse.Namespace) -> None:
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    results_file = Path(arguments.results)
    results_file.parent.mkdir(parents=True, exist_ok=True)
    coverage = run_or_read_coverage(results_file.with_suffix(".coverage.json"))
    for name in coverage["modules"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # A test's process would find a module that is imported already, unchanged.
    assert "cadformer_d2" not in sys.modules, "a library imports the project"
    mutants = list(list_mutants(arguments.files or MUTATED))
    if arguments.sample:
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    lines = results_file.read_text().splitlines() if results_file.exists() else []
    verdicts = dict(json.loads(line) for line in lines)
    started = time.time()
    for number, mutant in enumerate(mutants, start=1):
        if mutant.key not in verdicts:
            tests = find_tests(mutant, coverage["tests"])
            verdicts[mutant.key] = try_mutant(mutant, tests) if tests else "no test runs it"
            with results_file.open("a") as file:
                file.write(json.dumps([mutant.key, verdicts[mutant.key]]) + "\n")
        print(
            f"\r{number} of {len(mutants)}, {time.time() - started:.0f} s", end="", file=sys.stderr
        )
    print(file=sys.stderr)
    report(mutants, verdicts)


def list_mutants(files: Iterable[str]) -> Iterator[Mutant]:
    for name in files:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield from make_mutants(str(file.relative_to(ROOT)), file.read_text())


def find_tests(mutant: Mutant, tests: dict[str, dict[str, Any]]) -> list[str]:
    """Tests that run the mutant's function, quickest first; for other lines, any of its file's."""
    path = mutant.path
    if mutant.function_line is not None:
        place = f"{path}:{mutant.function_line}"
        found = [name for name, test in tests.items() if place in test["ran"]]
    else:
        found = [
            name
            for name, test in tests.items()
            if any(place.startswith(f"{path}:") for place in test["ran"])
        ]
    return sorted(found, key=lambda name: tests[name]["seconds"])


def try_mutant(mutant: Mutant, tests: list[str]) -> str:
    """Run the tests on a mutant; returns "killed" or "survived"."""
    target = str(ROOT / mutant.path)
    load = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, name: str) -> Any:
        if str(Path(self.path).resolve()) == target:
            return compile(mutant.source, target, "exec")
        return load(self, name)

    def run() -> int:
        importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
        resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))

    status = run_in_fork(run, timeout=10 * TIMEOUT)
    if status == int(pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"{mutant.key}: none of its tests was found; delete the coverage file")
    return "survived" if status == 0 else "killed"


def run_in_fork(run: Callable[[], int], *, timeout: float, silent: bool = True) -> int:
    """Call ``run`` in a forked process and return its result; -1 if it ended otherwise."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if silent:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        status = 99
        try:
            status = run()
        finally:
            os._exit(status)
    deadline = time.time() + timeout
    while time.time() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


class RanFunctions:
    """A pytest plugin that notes which of the project's functions each test runs, and how long."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        ran: set[str] = set()
        package = str(ROOT / "cadformer_d2")

        def note(frame: Any, event: str, _: Any) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(package):
                ran.add(f"{os.path.relpath(code.co_filename, ROOT)}:{code.co_firstlineno}")

        started = time.time()
        sys.setprofile(note)
        yield
        sys.setprofile(None)
        self.tests[item.nodeid] = {"seconds": time.time() - started, "ran": sorted(ran)}


def run_or_read_coverage(file: Path) -> dict[str, Any]:
    """Which functions each quick test runs, and the modules that the tests import."""
    if not file.exists():
        print("Recording which test runs what; all must pass.", file=sys.stderr)
        plugin = RanFunctions()

        def run() -> int:
            status = int(pytest.main(["-q", "-p", "no:cacheprovider", *TESTS], plugins=[plugin]))
            modules = [name for name, module in sys.modules.items() if not is_ours(module)]
            quick = {k: v for k, v in plugin.tests.items() if v["seconds"] < SLOWEST_TEST}
            file.write_text(json.dumps({"modules": modules, "tests": quick}))
            return status

        if run_in_fork(run, timeout=3600, silent=False) != 0:
            file.unlink(missing_ok=True)
            raise SystemExit("error: the tests fail without any change; run them first")
    return json.loads(file.read_text())


def is_ours(module: Any) -> bool:
    """Whether a module's file is the project's own."""
    file = getattr(module, "__file__", None)
    return file is not None and any(Path(file).is_relative_to(folder) for folder in OURS)


def report(mutants: list[Mutant], verdicts: dict[str, str]) -> None:
    """A table of files, and the changes that no test noticed."""
    rows = []
    for path in dict.fromkeys(mutant.path for mutant in mutants):
        of_file = [verdicts[mutant.key] for mutant in mutants if mutant.path == path]
        rows.append((path, len(of_file), of_file.count("killed")))
    rows.sort()
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    table = [(p, n, k, n - k, f"{100 * k / n:.0f} %") for p, n, k in rows]
    headers = ["file", "mutants", "killed", "survived", "share"]
    print(tabulate(table, headers, tablefmt="github"), end="\n\n")
    for mutant in sorted(mutants, key=lambda mutant: (mutant.path, mutant.line)):
        if verdicts[mutant.key] != "killed":
            print(f"- {mutant.key} ({verdicts[mutant.key]})")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="files or folders to change; default: the model's")
    parser.add_argument("--sample", type=int, default=0, help="number of changes to draw; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument(
        "--results", default="output/mutation.jsonl", help="file of results, to resume from"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_arguments())
