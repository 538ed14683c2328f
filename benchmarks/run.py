"""Run benchmarks, each in a process of its own, and write their page.

    python -m benchmarks.run --list
    python -m benchmarks.run --all --peer-python ../peers/bin/python --peer-python ../road-peers/bin/python
    python -m benchmarks.run --only throughput planning_speed --output-dir runs/benchmarks

A benchmark whose packages are missing is skipped with the reason, one that fails is reported and
the others go on. The results go to benchmarks/results, and docs/benchmarks.md is written from all
that is there; with `--output-dir` both go elsewhere, to be set beside the committed ones with
`python -m benchmarks.compare`. All of them take hours on two cores.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.catalogue import FOLDER, Benchmark, benchmarks, summary
from benchmarks.page import PAGE, write_page
from benchmarks.report import RESULTS

ROOT = FOLDER.parent
Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Config:
    """Which benchmarks, and where to."""

    all: bool = False
    """Run every benchmark."""
    only: tuple[str, ...] = ()
    """Run these, by the names that --list gives."""
    list: bool = False
    """List the names with one line each and run none."""
    peer_python: tuple[Path, ...] = ()
    """Pythons of virtual environments that have peers installed.

    The first that has a benchmark's peers is used.
    """
    output_dir: Path | None = None
    """Folder for the results and the page; None is benchmarks/results and docs/benchmarks.md."""
    timeout_minutes: float = 240.0
    """After which a benchmark counts as failed."""
    quiet: bool = False
    """Do not show what the benchmarks print."""


@dataclass(frozen=True)
class Outcome:
    """What became of one benchmark."""

    name: str
    status: Status
    remark: str
    seconds: float = 0.0


def main(config: Config) -> list[Outcome]:
    """Run, write the page, say what became of each; gives the outcomes."""
    chosen = choose(config)
    if config.list or not chosen:
        show_list()
        return []
    results = RESULTS if config.output_dir is None else config.output_dir.resolve()
    results.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, benchmark in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {benchmark.name}", flush=True)
        outcomes.append(run(benchmark, results, config))
        print(f"    {outcomes[-1].status}: {outcomes[-1].remark}", flush=True)
    page = PAGE if config.output_dir is None else results / "benchmarks.md"
    write_page(results, page)
    print(
        f"{sum(outcome.status == 'done' for outcome in outcomes)} of {len(outcomes)} done, page: "
        f"{page}"
    )
    return outcomes


def choose(config: Config) -> list[Benchmark]:
    """The benchmarks that were asked for; SystemExit names what does not exist."""
    everything = benchmarks()
    if config.all:
        return everything
    names = {benchmark.name for benchmark in everything} | {
        benchmark.module for benchmark in everything
    }
    if unknown := sorted(set(config.only) - names):
        raise SystemExit(f"no benchmarks {unknown}: --list gives their names")
    return [
        benchmark
        for benchmark in everything
        if {benchmark.name, benchmark.module} & set(config.only)
    ]


def run(benchmark: Benchmark, results: Path, config: Config) -> Outcome:
    """One benchmark in a process of its own."""
    if absent := missing(Path(sys.executable), benchmark.special.needs):
        return Outcome(benchmark.name, "skipped", f"not installed: {', '.join(absent)}")
    command, remark = command_of(benchmark, config.peer_python)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "WM_SUITE_RESULTS": str(results),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    started = time.perf_counter()
    output = subprocess.PIPE if config.quiet else None
    try:
        process = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            timeout=60 * config.timeout_minutes,
            stdout=output,
            stderr=output,
        )
    except subprocess.TimeoutExpired:
        return Outcome(
            benchmark.name, "failed", f"not finished after {config.timeout_minutes:g} minutes"
        )
    seconds = time.perf_counter() - started
    if process.returncode:
        last = (process.stderr or b"").decode(errors="replace").strip().split("\n")[-1]
        return Outcome(
            benchmark.name, "failed", f"exit status {process.returncode} {last}".strip(), seconds
        )
    return Outcome(benchmark.name, "done", f"{seconds:.0f} s{remark}", seconds)


def command_of(benchmark: Benchmark, pythons: tuple[Path, ...]) -> tuple[list[str], str]:
    """The command line, and a remark on the peers."""
    command = ["-m", f"benchmarks.{benchmark.module}", *benchmark.arguments]
    if not benchmark.special.peers:
        return [sys.executable, *command], ""
    for python in pythons:
        if not missing(python, benchmark.special.peers):
            by_argument = benchmark.special.peers_by == "argument"
            peers = f", with {', '.join(benchmark.special.peers)}"
            if by_argument:
                return [sys.executable, *command, "--peer-python", str(python)], peers
            return [str(python), *command], peers
    return [
        sys.executable,
        *command,
    ], f", without peers: no --peer-python has {', '.join(benchmark.special.peers)}"


def missing(python: Path, modules: tuple[str, ...]) -> list[str]:
    """Which of these modules a Python does not find; all of them where it does not run."""
    if not modules:
        return []
    code = f"import importlib.util as u; print(*[m for m in {modules!r} if u.find_spec(m) is None])"
    try:
        found = subprocess.run(
            [str(python), "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return [*modules]
    return found.stdout.split()


def show_list() -> None:
    """Names with one line each."""
    everything = benchmarks()
    width = max(len(benchmark.name) for benchmark in everything)
    for benchmark in everything:
        print(f"{benchmark.name:{width}}  {summary(benchmark)}")


if __name__ == "__main__":
    sys.exit(any(outcome.status == "failed" for outcome in main(tyro.cli(Config))))
