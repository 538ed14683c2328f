"""Run the reliability tests with their full counts and write how many of each there were, and how many failed.

    make reliability

The tests are those of tests/reliability, of which `make test` runs a short version.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks import soak
from benchmarks.report import write_result

TESTS = Path(__file__).parents[1] / "tests" / "reliability"


@dataclass(frozen=True)
class Config:
    """How long."""

    is_long: bool = True
    """All counts; otherwise those of `make test`."""
    soak_seconds: float = 600.0
    """Of all vector environments together; 0 leaves it out."""
    num_processes: int = 2
    """That share the tests; 0 runs them in this one."""
    is_written: bool = True
    """Write benchmarks/results/reliability.json."""


class Counter:
    """Collects the counts that tests record, and how tests ended."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.outcomes = {"passed": 0, "failed": 0, "skipped": 0}
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After each phase of each test."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
        if report.failed:
            self.failures.append(report.nodeid)
        if report.when == "call":
            self.rows += [value for name, value in report.user_properties if name == "counts"]


def main(config: Config) -> int:
    """Run, print the table, write the report; returns 0 when nothing failed."""
    counter, began = Counter(), time.perf_counter()
    options = ["-q", "-p", "no:cacheprovider", *(["--long"] if config.is_long else [])]
    options += ["-n", str(config.num_processes)] if config.num_processes else []
    pytest.main([str(TESTS), *options], plugins=[counter])
    figures: dict[str, Any] = {"promises": by_promise(counter.rows), "tests": counter.outcomes}
    if config.soak_seconds:
        soaked = soak.main(soak.Config(seconds=config.soak_seconds, is_written=False))
        figures["promises"]["soak: row steps, no invariant broken"] = _soak_row(soaked)
    figures |= {
        "failures": counter.failures,
        "minutes": round((time.perf_counter() - began) / 60, 1),
    }
    print("\n".join(table(figures["promises"])))
    print(f"tests: {counter.outcomes}, {figures['minutes']} minutes")
    if config.is_written:
        write_result("reliability", figures, seeds=0, command="make reliability")
    return int(bool(counter.failures) or any(row["failed"] for row in figures["promises"].values()))


def by_promise(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sums over what each promise was tried on."""
    sums: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = sums.setdefault(row["promise"], {"tried": 0, "failed": 0, "subjects": {}})
        total["tried"] += row["tried"]
        total["failed"] += row["failed"]
        total["subjects"][row["subject"]] = {
            k: v for k, v in row.items() if k not in ("promise", "subject")
        }
    return dict(sorted(sums.items()))


def table(promises: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each promise."""
    rows = [f"{name:66} {row['tried']:>12,} {row['failed']:>7,}" for name, row in promises.items()]
    return [f"{'promise':66} {'tried':>12} {'failed':>7}", *rows]


def _soak_row(soaked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    subjects = {
        name: {
            "tried": figures["num_steps"],
            "failed": figures["num_violations"],
            "violations": figures["violations"],
        }
        for name, figures in soaked.items()
    }
    tried, failed = (sum(row[name] for row in subjects.values()) for name in ("tried", "failed"))
    return {"tried": tried, "failed": failed, "subjects": subjects}


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config)))
