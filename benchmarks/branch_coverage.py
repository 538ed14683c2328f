"""Which branches of the rules does a test exercise, and how long does it take to say so?

    python -m benchmarks.branch_coverage

Random play of every native id is recorded, and replayed without the compiler in one process. The
whole is to take less than 30 seconds; processor time is given beside wall time, since the machine
may do other things. What never happened is in the result, id by id.
"""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.report import RESULTS, write_result
from wm_envs import record
from wm_envs.branches import branch_coverages
from wm_envs.registration import TABLE


@dataclass(frozen=True)
class Config:
    """What to replay."""

    episodes: int = 64
    """Of each id, one an environment."""
    max_steps: int = 500
    """Replayed of each id."""
    seed: int = 0
    """Of the recordings."""
    output_dir: Path = RESULTS
    """Folder for branch_coverage.json."""


def main(config: Config) -> dict[str, Any]:
    """Record, replay, and write; returns the figures."""
    recordings = []
    for row in TABLE:
        played = record(row.id, episodes=config.episodes, seed=config.seed, progress=False)
        recordings.append((row.id, played, {}))
    before, began = processor_seconds(), time.perf_counter()
    reports = branch_coverages(recordings, seed=config.seed, max_steps=config.max_steps)
    figures = {
        "wall_seconds_all_ids": time.perf_counter() - began,
        "processor_seconds_all_ids": processor_seconds() - before,
        "ids": len(reports),
        "coverage": {
            report.env_id: {
                "steps": report.num_steps,
                "exercised": report.num_exercised,
                "outcomes": report.num_outcomes,
                "never": report.sentences(),
            }
            for report in reports
        },
    }
    write_result(
        "branch_coverage",
        figures,
        seeds=config.seed,
        command="python -m benchmarks.branch_coverage",
        folder=config.output_dir,
    )
    for report in reports:
        print(report)
    print(f"{figures['processor_seconds_all_ids']:.1f} processor seconds in all")
    return figures


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main(tyro.cli(Config))
